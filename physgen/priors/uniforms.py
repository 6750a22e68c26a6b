"""Distributions that are flat in x, or in log x."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from .distribution import Distribution, Parameter, assign, finite, like, ordered, positive
from .normals import log
from .standard_normal import cdf, score


@dataclass(frozen=True, eq=False)
class Uniform(Distribution):
    """Uniform distribution between two bounds.

    Parameters
    ----------
    low, high : float or Tensor
        In the units of x.
    """

    low: Parameter
    high: Parameter

    def __post_init__(self) -> None:
        low, high = ordered(self, finite(self, "low", self.low), finite(self, "high", self.high))
        assign(self, low=low, high=high)

    @property
    def support(self) -> tuple[Parameter, Parameter]:
        return self.low, self.high

    def _decode(self, z: Tensor) -> Tensor:
        low, high = like(z, self.low, self.high)
        # this form keeps the digits of both tails
        return low * cdf(-z) + high * cdf(z)

    def _encode(self, x: Tensor) -> Tensor:
        low, high = like(x, self.low, self.high)
        return score((x - low) / (high - low), (high - x) / (high - low))

    def _log_density(self, x: Tensor) -> Tensor:
        low, high = like(x, self.low, self.high)
        return torch.zeros_like(x) - log(high - low)


@dataclass(frozen=True, eq=False)
class LogUniform(Distribution):
    """Distribution whose logarithm is uniform: every factor of two between the bounds is equally probable.

    Parameters
    ----------
    low, high : float or Tensor
        In the units of x, both greater than 0.
    """

    low: Parameter
    high: Parameter

    def __post_init__(self) -> None:
        low, high = ordered(self, positive(self, "low", self.low), positive(self, "high", self.high))
        assign(self, low=low, high=high)

    @property
    def support(self) -> tuple[Parameter, Parameter]:
        return self.low, self.high

    def _decode(self, z: Tensor) -> Tensor:
        low, high = like(z, self.low, self.high)
        return torch.exp(log(low) * cdf(-z) + log(high) * cdf(z))

    def _encode(self, x: Tensor) -> Tensor:
        low, high = like(x, self.low, self.high)
        width = log(high / low)
        return score(torch.log(x / low) / width, torch.log(high / x) / width)

    def _log_density(self, x: Tensor) -> Tensor:
        low, high = like(x, self.low, self.high)
        return -torch.log(x) - log(log(high / low))
