"""Noise levels of a diffusion: those that the solver passes, and those that a network learns from."""

from __future__ import annotations

import math

import torch
from torch import Tensor


def karras_levels(sigma_max: float, sigma_min: float, steps: int, rho: float) -> tuple[float, ...]:
    """The ``steps + 1`` levels from sigma_max to sigma_min, even in sigma^(1 / rho) (Karras et al. 2022, eq. 5).

    Raises
    ------
    ValueError
        If the levels are not positive and in order, or rho is below 1.
    """
    if not 0 < sigma_min < sigma_max < math.inf:
        raise ValueError(f"Invalid noise levels {sigma_min:g} to {sigma_max:g}. Both must be positive, and rise.")
    if not 1 <= rho < math.inf:
        raise ValueError(f"Invalid rho {rho:g}. It must be at least 1.")
    first, last = sigma_max ** (1 / rho), sigma_min ** (1 / rho)
    inner = [(first + i / steps * (last - first)) ** rho for i in range(1, steps)]
    return (sigma_max, *inner, sigma_min)


def draw_levels(quantile: Tensor, largest: float, low: float, high: float) -> Tensor:
    """Levels ``(R,)`` of a step of a fit, kept within those that the solver passes.

    ln sigma ~ N(m, 1.4^2), m half-way between -0.8 and the logarithm of the deviation along the first principal axis:
    where the denoiser differs most from a linear one. (Karras et al. 2022 have -0.5 and 1.2 in these units, where the
    smallest levels matter less: they ask for images, and we for densities too.)

    Parameters
    ----------
    quantile : Tensor (R,)
        In (0, 1).
    largest : float
        That deviation.
    low, high : float
    """
    mean, sd = 0.5 * math.log(largest) - 0.4, 1.4
    return (mean + sd * torch.special.ndtri(quantile.clamp(1e-6, 1 - 1e-6))).exp().clamp(low, high)
