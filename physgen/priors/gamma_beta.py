"""Gamma and beta distributions."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from .distribution import Distribution, Parameter, assign, finite, like, ordered, positive
from .shape_families import BETA, GAMMA


@dataclass(frozen=True, eq=False)
class Gamma(Distribution):
    """Gamma distribution, density proportional to x**(shape - 1) exp(-x / scale).

    Parameters
    ----------
    shape : float or Tensor
        Dimensionless. `decode` and `encode` are not differentiable with respect to it; `log_prob` is.
    scale : float or Tensor
        In the units of x (one over the rate): the mean is shape times scale.
    """

    shape: Parameter
    scale: Parameter

    def __post_init__(self) -> None:
        assign(self, shape=positive(self, "shape", self.shape), scale=positive(self, "scale", self.scale))

    @property
    def support(self) -> tuple[Parameter, Parameter]:
        return 0.0, math.inf

    def _decode(self, z: Tensor) -> Tensor:
        (scale,) = like(z, self.scale)
        return scale * GAMMA.decode(z, self.shape).to(z.dtype)

    def _encode(self, x: Tensor) -> Tensor:
        (scale,) = like(x, self.scale)
        return GAMMA.encode(x / scale, self.shape).to(x.dtype)

    def _log_density(self, x: Tensor) -> Tensor:
        shape, scale = (torch.as_tensor(p, dtype=x.dtype, device=x.device) for p in (self.shape, self.scale))
        return GAMMA.log_density(x / scale, shape) - torch.log(scale)


@dataclass(frozen=True, eq=False)
class Beta(Distribution):
    """Beta distribution, density proportional to u**(a - 1) (1 - u)**(b - 1) with x = low + (high - low) u.

    Parameters
    ----------
    a, b : float or Tensor
        Dimensionless; for low 0 and high 1 the mean is a / (a + b). `decode` and `encode` are not differentiable with
        respect to them; `log_prob` is.
    low, high : float or Tensor
        The bounds, in the units of x.
    """

    a: Parameter
    b: Parameter
    low: Parameter = 0.0
    high: Parameter = 1.0

    def __post_init__(self) -> None:
        low, high = ordered(self, finite(self, "low", self.low), finite(self, "high", self.high))
        assign(self, a=positive(self, "a", self.a), b=positive(self, "b", self.b), low=low, high=high)

    @property
    def support(self) -> tuple[Parameter, Parameter]:
        return self.low, self.high

    def _decode(self, z: Tensor) -> Tensor:
        low, high = like(z, self.low, self.high)
        u = BETA.decode(z, self.a, self.b)
        return (low * (1 - u) + high * u).to(z.dtype)

    def _encode(self, x: Tensor) -> Tensor:
        low, high = like(x, self.low, self.high)
        u = (x - low) / (high - low)
        return BETA.encode(u, self.a, self.b).to(x.dtype)

    def _log_density(self, x: Tensor) -> Tensor:
        a, b, low, high = (torch.as_tensor(p, dtype=x.dtype, device=x.device) for p in self._parameters)
        return BETA.log_density((x - low) / (high - low), a, b) - torch.log(high - low)

    @property
    def _parameters(self) -> tuple[Parameter, ...]:
        return self.a, self.b, self.low, self.high
