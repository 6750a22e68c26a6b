"""Derivatives by central differences, with an estimate of their own error."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

# five-point rule, error h^4 f^(5) / 30 (Abramowitz & Stegun 1972, equation 25.3.6)
_STENCIL = ((-2.0, 1 / 12), (-1.0, -8 / 12), (1.0, 8 / 12), (2.0, -1 / 12))
_RELATIVE_STEP = 2e-3


def steps(x: Tensor, low: Tensor | None = None, high: Tensor | None = None) -> Tensor:
    """A step for each element of x ``(R, n)``: small on the scale of the value and of the spread over rows.

    `low` and `high` ``(n,)`` bound x: no step leaves them.
    """
    spread = x.std(0) if len(x) > 1 else torch.zeros_like(x[0])
    step = _RELATIVE_STEP * torch.maximum(x.abs(), spread.expand_as(x))
    step = torch.where(step > 0, step, _RELATIVE_STEP)
    if low is not None and high is not None:
        room = 0.2 * torch.minimum(x - low, high - x)
        step = torch.where(room > 0, torch.minimum(step, room), step)
    return step


def central_differences(function: Callable[[Tensor], Tensor], x: Tensor, step: Tensor) -> tuple[Tensor, Tensor]:
    """Jacobians of a function that maps each row by itself, and how uncertain they are.

    Parameters
    ----------
    function : callable
        Rows ``(R, n)`` to rows ``(R, m)``.
    x : Tensor (R, n)
        float64.
    step : Tensor (R, n)
        Of the wider of two stencils; the difference between the two is the uncertainty.

    Returns
    -------
    (Tensor (R, m, n), Tensor (R, m, n))
    """
    with torch.no_grad():
        wide, rounding = _differences(function, x, step)
        narrow, finer = _differences(function, x, step / 3)
    return narrow, (narrow - wide).abs() + rounding + finer


def _differences(function: Callable[[Tensor], Tensor], x: Tensor, step: Tensor) -> tuple[Tensor, Tensor]:
    """Derivatives and their rounding error."""
    columns, rounding = [], []
    for j in range(x.shape[-1]):
        total, largest = torch.zeros(()), torch.zeros(())
        for offset, weight in _STENCIL:
            moved = x.clone()
            moved[:, j] += offset * step[:, j]
            value = function(moved)
            total = total + weight * value
            largest = torch.maximum(largest, value.abs())
        columns.append(total / step[:, j, None])
        rounding.append(4 * torch.finfo(x.dtype).eps * largest / step[:, j, None])
    return torch.stack(columns, dim=-1), torch.stack(rounding, dim=-1)


def disagreement(jacobian: Tensor, differences: Tensor, uncertainty: Tensor, tolerance: float) -> Tensor:
    """Where a Jacobian ``(R, m, n)`` is not the one of central differences, boolean.

    An element may err by its uncertainty and by `tolerance` times the largest derivative of its row and cause. Where
    the differences are not finite there is nothing to compare with.
    """
    known = torch.isfinite(differences)
    differences = torch.where(known, differences, 0)
    largest = differences.abs().amax(-2, keepdim=True)
    close = (jacobian - differences).abs() <= 10 * uncertainty + tolerance * largest
    return known & ~close
