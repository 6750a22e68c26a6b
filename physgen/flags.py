"""Numbers that stand for words in a file: their values and meanings, as the CF conventions (section 3.5) want them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from enum import IntEnum
from typing import Any

import numpy as np
import xarray as xr

from .diagnostics.trust import Trust
from .method_codes import CODES
from .status import Status

FLAGS: Mapping[str, Sequence[tuple[int, str]]] = {
    "status": [(s.value, s.meaning) for s in Status],
    "trust": [(t.value, t.meaning) for t in Trust],
    "answered_by": [(number, name) for name, number in CODES.items()],
}
"""Variables that hold codes: each value and its meaning."""

_ADVICE: Mapping[str, type[Status] | type[Trust]] = {"status": Status, "trust": Trust}


def flag_attributes(name: str, dtype: np.dtype[Any]) -> dict[str, Any]:
    """The attributes `flag_values`, `flag_meanings` and, where there is any, `advice` of a variable of codes."""
    values, meanings = zip(*FLAGS[name], strict=True)
    out = {"flag_values": np.array(values, dtype=dtype), "flag_meanings": " ".join(meanings)}
    if name in _ADVICE:
        codes: type[IntEnum] = _ADVICE[name]
        out["advice"] = "\n".join(f"{c.meaning}: {c.advice}" for c in codes)  # type: ignore[attr-defined]
    return out


def flagged(dataset: xr.Dataset) -> xr.Dataset:
    """The dataset with these attributes on its variables of whole numbers that are codes. Changed in place."""
    for name in FLAGS:
        if name in dataset and dataset[name].dtype.kind == "i":
            dataset[name].attrs.update(flag_attributes(name, dataset[name].dtype))
    return dataset
