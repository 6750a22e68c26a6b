"""Gamma, Weibull, exponential and Rayleigh sphere sizes: four cases of the generalised gamma distribution."""

from __future__ import annotations

import abc
import math

import torch
from scipy import special
from torch import Tensor

from physgen.space import Block

from .sizes import DROP, Sizes, spread

_ROUNDS = 8  # of the fixed point for the end of the span; each gains a factor of about DROP


class _GeneralisedGamma(Sizes):
    """(R / b)^p is gamma distributed with shape k: f(R) = p / (b Gamma(k)) x^(k - 1/p) exp(-x), x = (R / b)^p.

    References
    ----------
    Stacy (1962), *A generalization of the gamma distribution*, Ann. Math. Statist. 33:1187, eq. 1.
    """

    @abc.abstractmethod
    def _kbp(self, theta: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """k, b and p, each ``(*)``."""

    def log_density(self, R: Tensor, theta: Tensor) -> Tensor:
        k, b, p = self._each(theta, R)
        log_x = p * (R / b).log()
        return (p / b).log() - torch.lgamma(k) + (k - 1 / p) * log_x - log_x.exp()

    def log_moment(self, k: float, theta: Tensor) -> Tensor:
        shape, b, p = self._kbp(theta)
        return k * b.log() + torch.lgamma(shape + k / p) - torch.lgamma(shape)

    def biased_cdf(self, R: Tensor, theta: Tensor) -> Tensor:
        """Without derivative by the shape."""
        k, b, p = self._each(theta.detach(), R)
        return torch.special.gammainc((k + 1 / p).expand_as(R), (R / b).pow(p))

    def span(self, r: Tensor, theta: Tensor) -> tuple[Tensor, Tensor]:
        k, b, p = self._each(theta, r)
        # ln f = c ln x - x + constant has its mode at c, if that is positive
        c = k - 1 / p
        peak = c.clamp(min=torch.finfo(r.dtype).tiny)
        x = (r / b).pow(p)
        start = torch.maximum(x, peak)
        end = start + DROP
        for _ in range(_ROUNDS):
            end = start + DROP + c.clamp(min=0) * (end / start).log()
        below = torch.where(c > 0, peak * torch.exp(-DROP / peak - 1), 0)
        low, high = (b * y.pow(1 / p) for y in (below, end))
        return torch.maximum(r, low), high

    def quantile(self, z: Tensor, theta: Tensor, *, biased: bool = False) -> Tensor:
        k, b, p = self._each(theta.detach(), z)
        shape = (k + 1 / p if biased else k).expand_as(z).cpu().double().numpy()
        tail = torch.special.ndtr(-z.abs()).cpu().double().numpy()
        lower = torch.as_tensor(special.gammaincinv(shape, tail)).to(z)
        upper = torch.as_tensor(special.gammainccinv(shape, tail)).to(z)
        return b * torch.where(z < 0, lower, upper).pow(1 / p)

    def _each(self, theta: Tensor, like: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        k, b, p = self._kbp(theta)
        return spread(k, like), spread(b, like), spread(p, like)


class GammaSizes(_GeneralisedGamma):
    """f(R) = R^(k - 1) exp(-R / b) / (Gamma(k) b^k); theta holds the shape k and the scale b, a length."""

    causes = (
        Block("shape", "1", (0.0, math.inf), "shape of the gamma distribution of the size"),
        Block("scale", "um", (0.0, math.inf), "scale of the gamma distribution of the size"),
    )
    lengths = (False, True)

    def _kbp(self, theta: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        k, b = theta.unbind(-1)
        return k, b, torch.ones_like(k)


class WeibullSizes(_GeneralisedGamma):
    """P(radius > R) = exp(-(R / b)^p); theta holds the shape p and the scale b, a length."""

    causes = (
        Block("shape", "1", (0.0, math.inf), "shape of the Weibull distribution of the size"),
        Block("scale", "um", (0.0, math.inf), "scale of the Weibull distribution of the size"),
    )
    lengths = (False, True)
    steps = 160  # R^p bends more sharply than R

    def _kbp(self, theta: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        p, b = theta.unbind(-1)
        return torch.ones_like(p), b, p

    def log_survival(self, x: Tensor, theta: Tensor) -> Tensor:
        _, b, p = self._each(theta, x)
        return -(x / b).pow(p)


class ExponentialSizes(_GeneralisedGamma):
    """f(R) = exp(-R / b) / b; theta holds the mean b, a length."""

    causes = (Block("mean", "um", (0.0, math.inf), "mean of the size"),)
    lengths = (True,)

    def _kbp(self, theta: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        b = theta[..., 0]
        return torch.ones_like(b), b, torch.ones_like(b)

    def log_survival(self, x: Tensor, theta: Tensor) -> Tensor:
        return -x / spread(theta[..., 0], x)


class RayleighSizes(_GeneralisedGamma):
    """f(R) = R / s^2 exp(-R^2 / (2 s^2)); theta holds the mode s, a length. Sections have the same distribution."""

    causes = (Block("mode", "um", (0.0, math.inf), "mode of the Rayleigh distribution of the size"),)
    lengths = (True,)

    def _kbp(self, theta: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        s = theta[..., 0]
        return torch.ones_like(s), s * math.sqrt(2), torch.full_like(s, 2.0)

    def log_survival(self, x: Tensor, theta: Tensor) -> Tensor:
        return -0.5 * (x / spread(theta[..., 0], x)).square()
