"""Extensibility: how far generation can be trusted beyond the range that it was learned from."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

from .sample_table import sample_table


class Extensibility(NamedTuple):
    """Errors of generated properties, as fractions of the width of the learned range.

    Attributes
    ----------
    inside, outside : float
        Root mean square of (property generated - property asked for), within the learned range and beyond it.
    """

    inside: float
    outside: float


def out_of_range_error(
    generate: Callable[[Tensor], Tensor],
    measure: Callable[[Tensor], Tensor],
    asked: Tensor,
    learned: tuple[float, float],
) -> Extensibility:
    """Ask for properties within and beyond the learned range, and measure what is generated.

    Parameters
    ----------
    generate : callable
        Values of the property ``(N,)`` to causes ``(N, n)``: a prior given the property, or with it set by `do`.
    measure : callable
        Causes ``(N, n)`` to the property that they have, ``(N,)``.
    asked : Tensor (N,)
        At least two values within the range and two beyond it.
    learned : (float, float)
        Range of the property in the samples of the fit.

    Returns
    -------
    Extensibility

    Raises
    ------
    ValueError, TypeError
        If the range is empty, values on one side are too few, or a result is not finite or of another shape.
    """
    low, high = learned
    if not low < high:
        raise ValueError(f"Invalid range {low:g} to {high:g}. The second end must be larger.")
    value = sample_table("values asked for", asked)[:, 0]
    inside = (value >= low) & (value <= high)
    if min(int(inside.sum()), int((~inside).sum())) < 2:
        raise ValueError(
            f"Too few values: {int(inside.sum())} within the range, {int((~inside).sum())} beyond. Give two of each."
        )
    found = measure(generate(value))
    if found.shape != value.shape:
        raise ValueError(f"Invalid property of shape {tuple(found.shape)}. Give one for each of {len(value)} values.")
    error = (sample_table("measured properties", found)[:, 0] - value) / (high - low)
    return Extensibility(*(float(error[side].square().mean().sqrt()) for side in (inside, ~inside)))


def beyond(learned: tuple[float, float], *, reach: float = 0.5, count: int = 50) -> Tensor:
    """Evenly spaced values ``(count,)`` from `reach` widths below the learned range to as much above it."""
    width = learned[1] - learned[0]
    if not width > 0 or not reach > 0 or count < 8:
        raise ValueError(
            f"Invalid range {learned}, reach {reach:g}, count {count}. Give positive widths, and 8 or more."
        )
    return torch.linspace(learned[0] - reach * width, learned[1] + reach * width, count)
