"""Exponential and half-Cauchy distributions: closed forms on the positive half-line."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from .distribution import Distribution, Parameter, assign, like, positive
from .elementwise import elementwise
from .normals import log
from .standard_normal import cdf, log_density, score


@dataclass(frozen=True, eq=False)
class Exponential(Distribution):
    """Exponential distribution, density exp(-x / scale) / scale for x > 0.

    Parameters
    ----------
    scale : float or Tensor
        Its mean (one over the rate), in the units of x.
    """

    scale: Parameter

    def __post_init__(self) -> None:
        assign(self, scale=positive(self, "scale", self.scale))

    @property
    def support(self) -> tuple[Parameter, Parameter]:
        return 0.0, math.inf

    def _decode(self, z: Tensor) -> Tensor:
        (scale,) = like(z, self.scale)
        return scale * elementwise(_standard_exponential, _standard_exponential_slopes, z).to(z.dtype)

    def _encode(self, x: Tensor) -> Tensor:
        (scale,) = like(x, self.scale)
        return score(-torch.expm1(-x / scale), torch.exp(-x / scale))

    def _log_density(self, x: Tensor) -> Tensor:
        (scale,) = like(x, self.scale)
        return -x / scale - log(scale)


@dataclass(frozen=True, eq=False)
class HalfCauchy(Distribution):
    """Half-Cauchy distribution: the absolute value of a Cauchy variable centred on 0.

    A prior of scales that lets the data speak (Gelman 2006, *Bayesian Analysis* 1, section 4.3). It has no mean.

    Parameters
    ----------
    scale : float or Tensor
        Its median, in the units of x.
    """

    scale: Parameter

    def __post_init__(self) -> None:
        assign(self, scale=positive(self, "scale", self.scale))

    @property
    def support(self) -> tuple[Parameter, Parameter]:
        return 0.0, math.inf

    def _decode(self, z: Tensor) -> Tensor:
        (scale,) = like(z, self.scale)
        # tan(pi/2 Phi(z)), with the cosine written as the sine of the complement for the upper tail
        return scale * torch.sin(0.5 * math.pi * cdf(z)) / torch.sin(0.5 * math.pi * cdf(-z))

    def _encode(self, x: Tensor) -> Tensor:
        (scale,) = like(x, self.scale)
        scale = torch.as_tensor(scale, dtype=x.dtype, device=x.device)
        # not atan2, whose last bit depends on where in memory an element lies
        return score(torch.atan(x / scale) * (2 / math.pi), torch.atan(scale / x) * (2 / math.pi))

    def _log_density(self, x: Tensor) -> Tensor:
        (scale,) = like(x, self.scale)
        ratio = x / scale
        # 2 log hypot: the square itself would overflow
        return math.log(2 / math.pi) - log(scale) - 2 * torch.log(torch.hypot(torch.ones_like(ratio), ratio))


def _standard_exponential(z: Tensor) -> Tensor:
    return -torch.special.log_ndtr(-z)


def _standard_exponential_slopes(u: Tensor, z: Tensor) -> Sequence[Callable[[], Tensor]]:
    """phi(z) / Phi(-z), with Phi(-z) = exp(-u); stated because `vmap` has no rule for `log_ndtr`."""
    return (lambda: torch.exp(log_density(z) + u),)
