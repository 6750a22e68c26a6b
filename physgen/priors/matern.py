"""Stationary correlations along a line: the Matern family of half-integer order."""

from __future__ import annotations

import math
from collections.abc import Callable
from types import MappingProxyType

import torch
from torch import Tensor


def exponential(s: Tensor) -> Tensor:
    """Matern-1/2: continuous, nowhere differentiable."""
    return torch.exp(-s)


def matern_3_2(s: Tensor) -> Tensor:
    """Matern-3/2: once differentiable."""
    t = math.sqrt(3) * s
    return (1 + t) * torch.exp(-t)


def matern_5_2(s: Tensor) -> Tensor:
    """Matern-5/2: twice differentiable."""
    t = math.sqrt(5) * s
    return (1 + t + t * t / 3) * torch.exp(-t)


def matern_7_2(s: Tensor) -> Tensor:
    """Matern-7/2: three times differentiable."""
    t = math.sqrt(7) * s
    return (1 + t + 0.4 * t * t + t * t * t / 15) * torch.exp(-t)


KERNELS: MappingProxyType[str, Callable[[Tensor], Tensor]] = MappingProxyType(
    {
        "matern-1/2": exponential,
        "matern-3/2": matern_3_2,
        "matern-5/2": matern_5_2,
        "matern-7/2": matern_7_2,
    }
)
"""Correlation as a function of the distance over the length scale (Rasmussen & Williams 2006, eq. 4.16)."""
