"""How much memory there is, and what an inversion would hold: estimated, and refused, before anything is computed."""

from __future__ import annotations

import math
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

_MEMINFO = Path("/proc/meminfo")
_SHARE = 0.9  # of what is free that may be used
_GIB = 2.0**30


def available(device: torch.device) -> float:
    """Bytes that are free, of the machine or of its accelerator; infinite where the system does not say."""
    if device.type == "cuda":
        return float(torch.cuda.mem_get_info(device)[0])
    try:
        for line in _MEMINFO.read_text(encoding="ascii").splitlines():
            if line.startswith("MemAvailable:"):
                return 1024.0 * int(line.split()[1])
    except (OSError, ValueError, IndexError):
        pass
    try:
        return float(os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE"))
    except (AttributeError, OSError, ValueError):
        return math.inf


@dataclass(frozen=True)
class Part:
    """One thing that is held: what it is, in words, and how many numbers it has."""

    words: str
    numbers: float


def fitting_chunk(
    method: str, whole: Sequence[Part], each: Sequence[Part], chunk: int, *, itemsize: int, device: torch.device
) -> int:
    """How many observations may be worked on at once: `chunk`, or as many as memory allows if these are fewer.

    Parameters
    ----------
    method : str
        Its class name, for the message.
    whole : sequence of Part
        What is held until the end.
    each : sequence of Part
        What is held besides for each observation that is being worked on.
    chunk : int
        Observations at once, at most.
    itemsize : int
        Bytes of a number.
    device : torch.device

    Raises
    ------
    ValueError
        If not even one observation can be worked on.
    """
    free = _SHARE * available(device)
    rest = free - itemsize * sum(part.numbers for part in whole)
    one = itemsize * sum(part.numbers for part in each)
    if rest >= one:
        return chunk if one == 0 or math.isinf(rest) else max(1, min(chunk, int(rest // one)))
    largest = max((*whole, *each), key=lambda part: part.numbers)
    raise ValueError(
        f"{method} would hold {_size(free - rest + one)}, most of it {largest.words} "
        f"({_size(itemsize * largest.numbers)}), and {_size(free)} are free. "
        "Lower draws, cut the observations into several calls, or use a method that holds no such thing: "
        "physgen.inversions.suggest names those for so many latents."
    )


def _size(count: float) -> str:
    """Bytes, in words."""
    return f"{count / _GIB:.3g} GiB" if count >= 0.1 * _GIB else f"{count / 2.0**20:.3g} MiB"
