"""Starts of chains where the noise has no quadratic model: steepest climbs, and the curvature where they end."""

from __future__ import annotations

import torch
from torch import Tensor

from physgen.small_matrices import cholesky, inverse

from .gradient import Target

_STEPS, _RATE = 300, 0.1  # of Adam (Kingma & Ba 2015)
_MOMENTUM, _MEMORY = 0.9, 0.99


def climb(target: Target, z: Tensor) -> tuple[Tensor, Tensor]:
    """Climb from every start towards a mode.

    Parameters
    ----------
    target : Target
        Of B observations.
    z : Tensor (B, K, k)
        Starts, each of finite density.

    Returns
    -------
    z : Tensor (B, K, k)
        The highest point of each climb.
    value : Tensor (B, K)
        Its log density.
    """
    which = torch.arange(len(z), device=z.device).repeat_interleave(z.shape[1])
    at, first, second = z.flatten(0, 1), torch.zeros_like(z.flatten(0, 1)), torch.zeros_like(z.flatten(0, 1))
    best, highest = at, at.new_full((len(at),), -torch.inf)
    for t in range(_STEPS):
        value, gradient = target.slope(at, which)
        higher = value > highest
        best, highest = torch.where(higher[:, None], at, best), torch.where(higher, value, highest)
        first = _MOMENTUM * first + (1 - _MOMENTUM) * gradient
        second = _MEMORY * second + (1 - _MEMORY) * gradient * gradient
        size = _RATE * (1 - t / _STEPS) ** 2  # long steps first, none at the end
        step = first / (1 - _MOMENTUM ** (t + 1)) / ((second / (1 - _MEMORY ** (t + 1))).sqrt() + 1e-12)
        lost = torch.isneginf(value)[:, None]  # outside a selection: back to where it was good
        at = torch.where(lost, best, at + size * step)
    return best.reshape(z.shape), highest.reshape(z.shape[:2])


def curvature(target: Target, z: Tensor) -> Tensor:
    """Covariance (B, k, k) of the normal distribution that has the curvature of the density at z (B, k).

    Minus the Hessian of the log density, by central differences of the gradient; where it is not positive definite,
    its eigenvalues are those of their size, and none is below the tenth of the prior's.
    """
    count, k = z.shape
    step = torch.finfo(z.dtype).eps ** (1 / 3)
    moves = step * torch.eye(k, dtype=z.dtype, device=z.device)
    points = torch.cat([z[:, None] + moves, z[:, None] - moves], 1)
    which = torch.arange(count, device=z.device).repeat_interleave(2 * k)
    slopes = target.slope(points.flatten(0, 1), which)[1].reshape(count, 2, k, k)
    hessian = -(slopes[:, 0] - slopes[:, 1]) / (2 * step)
    values, vectors = torch.linalg.eigh(0.5 * (hessian + hessian.mT))
    precision = (vectors * values.abs().clamp(min=0.1)[:, None]) @ vectors.mT
    return inverse(cholesky(precision))
