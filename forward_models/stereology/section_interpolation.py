"""Sums of a smooth function over many radii, from its values at a few Chebyshev nodes.

A log-likelihood is a sum over thousands of profiles of one smooth function of the radius, evaluated anew for every
proposed parameter. Its Chebyshev interpolant p(x) = sum_j c_j T_j(x) turns ``sum_i p(x_i)`` into ``sum_j c_j t_j``,
``t_j = sum_i T_j(x_i)``, and so into a fixed weighted sum of nodal values: the cost no longer grows with the profiles.
"""

from __future__ import annotations

import functools
import math
from dataclasses import dataclass

import torch
from torch import Tensor

_TAIL = 4  # coefficients that must have died away


@dataclass(frozen=True, eq=False)
class Nodes:
    """Interpolation for B sets of radii, none of them empty.

    Attributes
    ----------
    r : Tensor (B, K + 1)
        Where the function is evaluated: Chebyshev-Lobatto points of ln(r + c) between the extremes, with c so small
        that few radii are smaller. Below c a rate is nearly proportional to r, and needs few points.
    weight : Tensor (B, K + 1)
        The sum over the radii is the sum of weight times value.
    """

    r: Tensor
    weight: Tensor

    @classmethod
    def of(cls, radii: Tensor, mask: Tensor, degree: int) -> Nodes:
        """Nodes for the radii ``(B, m)``, counting those of the mask."""
        c = _small(radii, mask)
        low = (torch.where(mask, radii, torch.inf).amin(-1, keepdim=True) + c).log()
        high = (torch.where(mask, radii, 0).amax(-1, keepdim=True) + c).log()
        half = (0.5 * (high - low)).clamp(min=1e-9)
        x = (((radii + c).log() - low) / half - 1).clamp(-1, 1)
        points = torch.cos(math.pi * torch.arange(degree + 1, dtype=radii.dtype, device=radii.device) / degree)
        r = torch.exp(low + half * (points + 1)) - c
        matrix = _coefficients(degree).to(radii)
        return cls(r, (_moments(x, mask, degree)[:, :, None] * matrix).sum(1))

    @staticmethod
    def resolved(values: Tensor, tolerance: float) -> Tensor:
        """Which rows ``(R)`` of nodal values ``(R, K + 1)`` the interpolant follows."""
        tail = _coefficients(values.shape[-1] - 1)[-_TAIL:].to(values)
        last = (values.detach()[:, None] * tail).sum(-1)
        return (last.abs() < tolerance).all(-1)


def _small(radii: Tensor, mask: Tensor) -> Tensor:
    """A radius (B, 1), two standard deviations of ln r below its mean."""
    count, log_r = mask.sum(-1, keepdim=True), radii.log()
    mean = (log_r * mask).sum(-1, keepdim=True) / count
    variance = ((log_r - mean).square() * mask).sum(-1, keepdim=True) / count
    return torch.exp(mean - 2 * variance.sqrt())


def _moments(x: Tensor, mask: Tensor, degree: int) -> Tensor:
    """``sum_i T_j(x_i)``, (B, degree + 1), by the three-term recurrence."""
    before, now = mask.to(x.dtype), x * mask
    sums = [before.sum(-1), now.sum(-1)]
    for _ in range(degree - 1):
        before, now = now, torch.addcmul(-before, x, now, value=2)
        sums.append(now.sum(-1))
    return torch.stack(sums, -1)


@functools.cache
def _coefficients(degree: int) -> Tensor:
    """Matrix from values at cos(pi k / K) to Chebyshev coefficients (a discrete cosine transform)."""
    j = torch.arange(degree + 1, dtype=torch.float64)
    matrix = 2 / degree * torch.cos(math.pi * j[:, None] * j / degree)
    matrix[[0, -1]] *= 0.5
    matrix[:, [0, -1]] *= 0.5
    return matrix
