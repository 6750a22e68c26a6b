"""Log-normal sphere sizes."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from physgen.space import Block

from .sizes import DROP, Sizes, spread, trapezoid, unbind

_LOG_SQRT_2_PI = 0.5 * math.log(2 * math.pi)


class LogNormalSizes(Sizes):
    """ln R is normal: f(R) = exp(-ln(R / m)^2 / (2 s^2)) / (R s sqrt(2 pi)).

    theta holds the geometric mean m, a length, and the multiplicative standard deviation exp(s) > 1.
    """

    causes = (
        Block("geometric_mean", "um", (0.0, math.inf), "geometric mean of the size"),
        Block("multiplicative_sd", "1", (1.0, math.inf), "multiplicative standard deviation of the size"),
    )
    lengths = (True, False)
    steps = 32

    def log_density(self, R: Tensor, theta: Tensor) -> Tensor:
        m, s = _parameters(theta, R)
        return -0.5 * ((R / m).log() / s).square() - R.log() - s.log() - _LOG_SQRT_2_PI

    def log_moment(self, k: float, theta: Tensor) -> Tensor:
        m, s = _parameters(theta, theta[..., 0])
        return k * m.log() + 0.5 * (k * s).square()

    def log_survival(self, x: Tensor, theta: Tensor) -> Tensor:
        m, s = _parameters(theta, x)
        return torch.special.log_ndtr((m / x).log() / s)

    def biased_cdf(self, R: Tensor, theta: Tensor) -> Tensor:
        m, s = _parameters(theta, R)
        return torch.special.ndtr((R / m).log() / s - s)

    def log_chord(self, r: Tensor, theta: Tensor, cap: Tensor | None = None) -> Tensor:
        """As in every family; without a cap in fewer operations, from ln cosh u."""
        if cap is not None:
            return super().log_chord(r, theta, cap)
        m, s = _parameters(theta, r)
        u, log_weight = trapezoid(*self._arc(r, theta, None), self.steps)
        log_cosh = u + torch.log1p(torch.exp(-2 * u)) - math.log(2)
        a = (r / m).log() + s.square()
        terms = log_weight - 0.5 * ((a[..., None] + log_cosh) / spread(s, u)).square()
        return torch.logsumexp(terms, -1) + 0.5 * s.square() - (m * s).log() - _LOG_SQRT_2_PI

    def span(self, r: Tensor, theta: Tensor) -> tuple[Tensor, Tensor]:
        m, s = _parameters(theta, r)
        # in a = ln(R / m), ln f = -(a + s^2)^2 / (2 s^2) + constant
        a, drop = (r / m).log() + s.square(), 2 * DROP * s.square()
        high = torch.sqrt(a.clamp(min=0).square() + drop)
        low = torch.maximum(a, -drop.sqrt())
        return r * torch.exp(low - a), r * torch.exp(high - a)

    def quantile(self, z: Tensor, theta: Tensor, *, biased: bool = False) -> Tensor:
        m, s = _parameters(theta.detach(), z)
        return m * torch.exp(s * z + (s.square() if biased else 0))


def _parameters(theta: Tensor, like: Tensor) -> tuple[Tensor, Tensor]:
    m, g = unbind(theta, like)
    return m, g.log()
