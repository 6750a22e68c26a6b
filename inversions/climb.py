"""Starts of chains where the noise has no quadratic model: climbs, and the normal distributions along their paths.

The mode of a posterior may hold no mass. Where a scale is unknown, the density often grows without bound as it shrinks
and its own region shrinks faster, and a climb ends far out of where the posterior is. So a start is taken from that
point of the path whose normal approximation is the nearest to the posterior (Pathfinder; Zhang, Carpenter, Gelman &
Vehtari 2022, algorithm 1), with the curvature from differences of gradients and not from the path.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from physgen.small_matrices import cholesky, inverse, product

from .gradient import Target

_STEPS, _RATE = 300, 0.1  # of Adam (Kingma & Ba 2015)
_MOMENTUM, _MEMORY = 0.9, 0.99
_STOPS = (0, 5, 10, 20, 35, 60, 100, 170)  # steps after which a point of the path is looked at, besides its best one
POINTS = len(_STOPS) + 1  # of a path, at most
_FEW = (0, 10, 35, 100)  # the same where the curvature costs many gradients
_MANY = 64  # latents from which it does
_NUMBERS = 1 << 22  # that are held at once


def climb(target: Target, z: Tensor) -> Tensor:
    """Points on the way from every start towards a mode.

    Parameters
    ----------
    target : Target
        Of B observations.
    z : Tensor (B, K, k)
        Starts, each of finite density.

    Returns
    -------
    Tensor (B, K, P, k)
        The last of them is the highest point of the climb.
    """
    which = torch.arange(len(z), device=z.device).repeat_interleave(z.shape[1])
    at, first, second = z.flatten(0, 1), torch.zeros_like(z.flatten(0, 1)), torch.zeros_like(z.flatten(0, 1))
    best, highest, path = at, at.new_full((len(at),), -torch.inf), []
    stops = _STOPS if z.shape[-1] < _MANY else _FEW
    for t in range(_STEPS):
        value, gradient = target.slope(at, which)
        higher = value > highest
        best, highest = torch.where(higher[:, None], at, best), torch.where(higher, value, highest)
        if t in stops:
            path.append(best)
        first = _MOMENTUM * first + (1 - _MOMENTUM) * gradient
        second = _MEMORY * second + (1 - _MEMORY) * gradient * gradient
        size = _RATE * (1 - t / _STEPS) ** 2  # long steps first, none at the end
        step = first / (1 - _MOMENTUM ** (t + 1)) / ((second / (1 - _MEMORY ** (t + 1))).sqrt() + 1e-12)
        lost = torch.isneginf(value)[:, None]  # outside a selection: back to where it was good
        at = torch.where(lost, best, at + size * step)
    return torch.stack([*path, best], 1).reshape(*z.shape[:2], -1, z.shape[-1])


def nearest_normal(target: Target, path: Tensor, eps: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """The best of the normal approximations at the points of each path: see `normals`.

    Returns
    -------
    mean, factor, bound : Tensor (B, K, k), (B, K, k, k), (B, K)
    """
    mean, factor, bound = normals(target, path, eps)
    best = bound.argmax(2)
    rows, paths = torch.arange(len(path), device=path.device)[:, None], torch.arange(path.shape[1], device=path.device)
    return mean[rows, paths, best], factor[rows, paths, best], bound[rows, paths, best]


def normals(target: Target, path: Tensor, eps: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Normal approximations at all points of paths.

    Parameters
    ----------
    target : Target
        Of B observations.
    path : Tensor (B, K, P, k)
        Of `climb`.
    eps : Tensor (B, M, k)
        Standard normal, for the lower bounds of the evidence.

    Returns
    -------
    mean, factor : Tensor (B, K, P, k), (B, K, P, k, k)
        Mean and Cholesky factor of the covariance.
    bound : Tensor (B, K, P)
        Their lower bounds.
    """
    flat, lead, k = path.flatten(0, 2), path.shape[:3], path.shape[3]
    which = torch.arange(lead[0], device=path.device).repeat_interleave(lead[1] * lead[2])
    each = k * max(2 * k, eps.shape[1])  # numbers that are held for a point
    found = []
    for cut in torch.arange(len(flat), device=path.device).split(max(1, _NUMBERS // each)):
        found.append(_normal(target.select(which[cut]), flat[cut], eps[which[cut]]))
    mean, factor, bound = (torch.cat(part).unflatten(0, lead) for part in zip(*found, strict=True))
    return mean, factor, bound


def _normal(target: Target, z: Tensor, eps: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Mean (B, k), factor (B, k, k) and lower bound (B,) of the approximation at z (B, k).

    Its centre is one Newton step away, at most two standard deviations.
    """
    count, k = z.shape
    gradient, precision = curvature(target, z)
    factor = cholesky(inverse(cholesky(precision)))
    half = product(factor.mT, gradient[..., None])
    length = half.square().sum((1, 2)).sqrt().clamp(min=1e-12)
    mean = z + product(factor, half).squeeze(-1) * (2 / length).clamp(max=1)[:, None]
    draws = mean[:, None] + product(eps, factor.mT)
    which = torch.arange(count, device=z.device).repeat_interleave(eps.shape[1])
    value = target.value(draws.flatten(0, 1), which).reshape(eps.shape[:2])
    entropy = factor.diagonal(dim1=1, dim2=2).log().sum(-1) + 0.5 * k * (1 + math.log(2 * math.pi))
    return mean, factor, value.mean(1) + entropy


def curvature(target: Target, z: Tensor) -> tuple[Tensor, Tensor]:
    """Gradient (B, k) of the log density at z (B, k), and minus its Hessian (B, k, k), made positive.

    By central differences of the gradient. Where it is not positive definite, its eigenvalues are those of their size,
    and none is below the tenth of the prior's.
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
    return slopes.mean((1, 2)), precision
