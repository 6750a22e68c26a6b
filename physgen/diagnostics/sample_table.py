"""Tables of samples: how the diagnostics read them, and what they refuse."""

from __future__ import annotations

import torch
from torch import Tensor

from ..random import single_stream, uniform


def sample_table(name: str, x: Tensor, fewest: int = 2) -> Tensor:
    """Samples as a floating-point table.

    Parameters
    ----------
    name : str
        What the samples are, for the error.
    x : Tensor (N,) or (N, *own)
        One sample a row; axes after the first are flattened (an image becomes its pixels).
    fewest : int
        Rows that the caller needs.

    Returns
    -------
    Tensor (N, n)
        Integers become torch's default dtype.

    Raises
    ------
    TypeError
        If x is not a tensor of real numbers.
    ValueError
        If there are too few rows, no columns, or a value is NaN or infinite.
    """
    if not isinstance(x, Tensor) or x.is_complex():
        kind = "complex numbers" if isinstance(x, Tensor) else type(x).__name__
        raise TypeError(f"Invalid {name} of type {kind}. Give a tensor of real numbers, one sample a row.")
    if x.ndim == 0 or len(x) < fewest:
        raise ValueError(f"Too few {name}: shape {tuple(x.shape)}. At least {fewest} rows are needed.")
    rows = x.detach().reshape(len(x), -1)
    rows = rows if rows.is_floating_point() else rows.to(torch.get_default_dtype())
    if rows.shape[1] == 0:
        raise ValueError(f"Invalid {name} of shape {tuple(x.shape)}. Every sample needs at least one number.")
    bad = (~torch.isfinite(rows)).any(0).nonzero()
    if len(bad):
        raise ValueError(f"Invalid {name}: column {int(bad[0])} has NaN or infinite values. Leave such samples out.")
    return rows


def table_pair(x: Tensor, y: Tensor, names: tuple[str, str], fewest: int = 2) -> tuple[Tensor, Tensor]:
    """Two tables of samples of one quantity, with the same columns and the dtype and device of the first.

    Raises
    ------
    ValueError, TypeError
        As `sample_table`, and if the columns differ in number.
    """
    a, b = sample_table(names[0], x, fewest), sample_table(names[1], y, fewest)
    if a.shape[1] != b.shape[1]:
        raise ValueError(
            f"Invalid shapes {tuple(x.shape)} of {names[0]} and {tuple(y.shape)} of {names[1]}. "
            "Both need the same columns."
        )
    return a, b.to(a)


def paired_rows(x: Tensor, y: Tensor, names: tuple[str, str], fewest: int = 2) -> tuple[Tensor, Tensor]:
    """Two tables whose rows belong together (a code and the factors behind it); the columns may differ.

    Raises
    ------
    ValueError, TypeError
        As `sample_table`, and if the rows differ in number.
    """
    a, b = sample_table(names[0], x, fewest), sample_table(names[1], y, fewest)
    if len(a) != len(b):
        raise ValueError(f"Invalid shapes: {len(a)} rows of {names[0]}, {len(b)} of {names[1]}. Give them row by row.")
    return a, b.to(a)


def permutation(count: int, *, seed: int, stage: int = 0, times: int | None = None) -> Tensor:
    """A random order of ``count`` rows, ``(count,)``; of `times` orders, ``(times, count)``. On the CPU."""
    shape = (count,) if times is None else (times, count)
    return uniform(shape, single_stream(), seed=seed, stage=stage).argsort(-1)


def thin(x: Tensor, most: int, *, seed: int, stage: int = 0) -> Tensor:
    """At most so many rows of x, chosen at random without repetition."""
    return x if len(x) <= most else x[permutation(len(x), seed=seed, stage=stage)[:most].to(x.device)]
