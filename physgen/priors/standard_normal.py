"""The standard normal distribution, accurate in both tails."""

from __future__ import annotations

import math

import torch
from torch import Tensor

LOG_SQRT_2_PI = 0.5 * math.log(2 * math.pi)
_SQRT_HALF = math.sqrt(0.5)


def cdf(z: Tensor) -> Tensor:
    """Phi(z). The upper tail is ``cdf(-z)``.

    `torch.special.ndtr` is one half of 1 + erf and loses the lower tail; erfc keeps it.
    """
    return 0.5 * torch.erfc(-_SQRT_HALF * z)


def log_density(z: Tensor) -> Tensor:
    """log phi(z)."""
    return -0.5 * z * z - LOG_SQRT_2_PI


def score(p: Tensor, q: Tensor) -> Tensor:
    """The z with Phi(z) = p and Phi(-z) = q = 1 - p, found from the smaller of the two."""
    lower = p < q
    # the choice is made on the argument: at p = q a choice between two results would halve or lose the gradient
    z = torch.special.ndtri(torch.where(lower, p, q))
    return torch.where(lower, z, -z)
