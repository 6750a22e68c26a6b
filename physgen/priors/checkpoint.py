"""The state of a fit in one file: tensors in safetensors, the rest as JSON in its header."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import safetensors
import safetensors.torch
from torch import Tensor

from ..writing import whole_file


def write_checkpoint(path: Path, tensors: Mapping[str, Tensor], values: Mapping[str, Any]) -> None:
    """Write tensors and plain values; the file appears whole or not at all."""
    content = {n: t.detach().cpu().contiguous().clone() for n, t in tensors.items()}
    with whole_file(path) as temporary:
        safetensors.torch.save_file(content, temporary, metadata={"state": json.dumps(values)})


def read_checkpoint(path: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """What `write_checkpoint` wrote.

    Raises
    ------
    ValueError
        If the file is none of its files.
    """
    try:
        with safetensors.safe_open(path, framework="pt") as file:
            values = json.loads((file.metadata() or {})["state"])
            return {n: file.get_tensor(n) for n in file.keys()}, values  # noqa: SIM118
    except (safetensors.SafetensorError, KeyError, ValueError) as error:
        raise ValueError(f"The file {path} is no checkpoint of a fit ({error}). Give another path.") from error
