"""Increasing rational-quadratic splines whose knots a network gives, one spline for each element.

Between two knots, with xi the share of the way from one to the next, s the mean slope and d_0, d_1 the slopes at them,

    y = y_0 + (y_1 - y_0) (s xi^2 + d_0 xi (1 - xi)) / (s + (d_0 + d_1 - 2 s) xi (1 - xi))

(Durkan et al. 2019, *Neural spline flows*, eq. 4, after Gregory & Delbourgo 1982), and y = x outside [-B, B]. The axes
are (parameters, ...): what is summed over comes first and rows come last, so that every operation runs along memory.
With rows first the same arithmetic has been measured to take several times longer.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

BOUND = 5.0
"""B: the spline acts on [-B, B] and is the identity outside."""

_SLOPE = 1e-3  # smallest slope of a spline


def parameter_count(bins: int) -> int:
    """Numbers that a spline of so many bins takes: widths, heights, and slopes at the knots between them.

    A straight line (one bin, see `line`) takes two as well.
    """
    return 3 * bins - 1


def spline(x: Tensor, phi: Tensor, *, inverse: bool = False, slope: bool = True) -> tuple[Tensor, Tensor]:
    """Values of the splines, or of their inverses.

    Parameters
    ----------
    x : Tensor (...)
    phi : Tensor (3 K - 1, ...)
        Any numbers; all 0 make the identity.
    inverse : bool
        Go from y to x.
    slope : bool
        Whether the second of what is returned is wanted.

    Returns
    -------
    value : Tensor (...)
    log_slope : Tensor (...)
        Log of the derivative of what was computed; 0 if not wanted.
    """
    bins = (phi.shape[0] + 1) // 3
    sums = _sums(phi[:bins]), _sums(phi[bins : 2 * bins])
    inner = x.clamp(-BOUND, BOUND)
    searched = sums[int(inverse)]
    k = (searched[1:-1] < (0.5 + 0.5 / BOUND * inner) * searched[-1]).sum(0, keepdim=True)
    (x0, x1), (y0, y1) = (_edges(each, k) for each in sums)
    d0, d1 = _slopes(phi[2 * bins :], k)
    h, s = y1 - y0, (y1 - y0) / (x1 - x0)
    xi = _share(inner - y0, h, s, d0, d1) if inverse else (inner - x0) / (x1 - x0)
    mixed = xi * (1 - xi)
    low = s + (d0 + d1 - 2 * s) * mixed
    value = x0 + xi * (x1 - x0) if inverse else y0 + h * (s * xi * xi + d0 * mixed) / low
    outside = x != inner
    value = torch.where(outside, x, value)
    if not slope:
        return value, torch.zeros_like(value)
    log_slope = (s * s * (2 * s * mixed + d0 * (1 - xi) ** 2 + d1 * xi * xi) / (low * low)).log()
    return value, torch.where(outside, 0.0, -log_slope if inverse else log_slope)


def line(x: Tensor, phi: Tensor, *, inverse: bool = False) -> tuple[Tensor, Tensor]:
    """Values of straight lines y = exp(s) x + t, or of their inverses, and the log slope (Dinh et al. 2017, eq. 4).

    They cost a small part of what splines do. Parameters and result are those of `spline`, phi being (2, ...).
    """
    s, t = bent(phi[0], 2), phi[1]
    return ((x - t) * (-s).exp(), -s) if inverse else (s.exp() * x + t, s)


def _sums(raw: Tensor) -> Tensor:
    """Widths added up ``(K + 1, ...)``, from 0; the knots are at their shares of the whole."""
    bins = len(raw)
    # a product with ones below the diagonal sums faster than cumsum along the first axis
    ones = torch.ones(bins + 1, bins, dtype=raw.dtype, device=raw.device).tril(-1)
    return (ones @ bent(raw, 2).exp().reshape(bins, -1)).reshape(bins + 1, *raw.shape[1:])


def _edges(sums: Tensor, k: Tensor) -> tuple[Tensor, Tensor]:
    """The knots on both sides, from -B to B."""
    whole = sums[-1]
    return BOUND * (2 * sums.gather(0, k)[0] / whole - 1), BOUND * (2 * sums.gather(0, k + 1)[0] / whole - 1)


def _slopes(raw: Tensor, k: Tensor) -> tuple[Tensor, Tensor]:
    """Slopes at the knots on both sides; 1 at -B and B."""
    last = len(raw)
    left = torch.where(k > 0, raw.gather(0, (k - 1).clamp(min=0)), 0.0)[0]
    right = torch.where(k < last, raw.gather(0, k.clamp(max=last - 1)), 0.0)[0]
    return bent(left, 1).exp(), bent(right, 1).exp()


def bent(raw: Tensor, times: int) -> Tensor:
    """Numbers kept within log(1000) / times on both sides, so that no bin vanishes."""
    return raw / (1 + (raw * (times / math.log(_SLOPE))).abs())


def _share(v: Tensor, h: Tensor, s: Tensor, d0: Tensor, d1: Tensor) -> Tensor:
    """xi of a height v above y_0 (Durkan et al. 2019, eqs 6 to 8): the root that loses no digits."""
    bend = v * (d0 + d1 - 2 * s)
    a, b, c = h * (s - d0) + bend, h * d0 - bend, -s * v
    return 2 * c / (-b - (b * b - 4 * a * c).clamp(min=0).sqrt())
