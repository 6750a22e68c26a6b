"""Normal sphere sizes, cut off at 0."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from physgen.space import Block

from .sizes import DROP, Sizes, legendre, spread, unbind

_LOG_SQRT_2_PI = 0.5 * math.log(2 * math.pi)
_BISECTIONS = 60  # of an interval of some 20 standard deviations, down to rounding


class NormalSizes(Sizes):
    """f(R) = exp(-(R - m)^2 / (2 s^2)) / (s sqrt(2 pi) Phi(m / s)) for R > 0.

    theta holds the mean m and the standard deviation s before the cut, both lengths; m may be negative.
    """

    causes = (
        Block("mean", "um", (-math.inf, math.inf), "mean of the normal distribution that is cut off at 0"),
        Block("sd", "um", (0.0, math.inf), "standard deviation of the normal distribution that is cut off at 0"),
    )
    lengths = (True, True)

    def log_density(self, R: Tensor, theta: Tensor) -> Tensor:
        m, s = unbind(theta, R)
        return -0.5 * ((R - m) / s).square() - s.log() - _LOG_SQRT_2_PI - torch.special.log_ndtr(m / s)

    def log_moment(self, k: float, theta: Tensor) -> Tensor:
        """By Gauss-Legendre quadrature, exact to rounding for whole k >= 0."""
        low, high = self._range(theta.detach())
        R, log_weight = legendre(low, high)
        return torch.logsumexp(self.log_density(R, theta) + log_weight + k * R.log(), -1)

    def log_survival(self, x: Tensor, theta: Tensor) -> Tensor:
        m, s = unbind(theta, x)
        return torch.special.log_ndtr((m - x) / s) - torch.special.log_ndtr(m / s)

    def span(self, r: Tensor, theta: Tensor) -> tuple[Tensor, Tensor]:
        m, s = unbind(theta, r)
        nearest, drop = torch.maximum(r, m) - m, 2 * DROP * s.square()
        high = m + torch.sqrt(nearest.square() + drop)
        # far above the mean, r + sqrt(...) - r would lose its digits
        high = torch.where(nearest > 0, r + drop / (nearest + torch.sqrt(nearest.square() + drop)), high)
        return torch.maximum(r, m - drop.sqrt()), high

    def quantile(self, z: Tensor, theta: Tensor, *, biased: bool = False) -> Tensor:
        theta, p = theta.detach(), torch.special.ndtr(z)
        low, high = (spread(end, z).expand_as(z) for end in self._range(theta))
        below = self._below_biased if biased else self.cdf
        for _ in range(_BISECTIONS):
            middle = 0.5 * (low + high)
            under = below(middle, theta) < p
            low, high = torch.where(under, middle, low), torch.where(under, high, middle)
        return 0.5 * (low + high)

    def _range(self, theta: Tensor) -> tuple[Tensor, Tensor]:
        """Where all the spheres are, ``(*)`` each."""
        zero = torch.zeros_like(theta[..., 0])
        return self.span(zero, theta)

    def _below_biased(self, R: Tensor, theta: Tensor) -> Tensor:
        """``integral_0^R t f(t) dt / E``: of m (Phi(b) - Phi(a)) + s (phi(a) - phi(b)), a = -m / s, b = (R - m) / s."""
        m, s = unbind(theta, R)
        a, b = -m / s, (R - m) / s
        mass = torch.special.ndtr(b) - torch.special.ndtr(a)
        part = m * mass + s * (_height(a) - _height(b))
        return part / (m * torch.special.ndtr(-a) + s * _height(a))


def _height(t: Tensor) -> Tensor:
    return torch.exp(-0.5 * t.square() - _LOG_SQRT_2_PI)
