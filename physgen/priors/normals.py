"""Normal and log-normal distributions."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from .distribution import Distribution, Parameter, assign, finite, like, positive
from .standard_normal import log_density


@dataclass(frozen=True, eq=False)
class Normal(Distribution):
    """Normal distribution: x = mean + sd z.

    Parameters
    ----------
    mean, sd : float or Tensor
        In the units of x.
    """

    mean: Parameter
    sd: Parameter

    def __post_init__(self) -> None:
        assign(self, mean=finite(self, "mean", self.mean), sd=positive(self, "sd", self.sd))

    @property
    def support(self) -> tuple[Parameter, Parameter]:
        return -math.inf, math.inf

    def _decode(self, z: Tensor) -> Tensor:
        mean, sd = like(z, self.mean, self.sd)
        return mean + sd * z

    def _encode(self, x: Tensor) -> Tensor:
        mean, sd = like(x, self.mean, self.sd)
        return (x - mean) / sd

    def _log_density(self, x: Tensor) -> Tensor:
        (sd,) = like(x, self.sd)
        return log_density(self._encode(x)) - log(sd)


@dataclass(frozen=True, eq=False)
class LogNormal(Distribution):
    """Log-normal distribution: x = median exp(sigma z).

    ``LogNormal(0.3, 0.5)`` has its median at 0.3 and about two thirds of its mass between 0.3 / 1.65 and 0.3 * 1.65:
    for a small sigma, sigma is the relative standard deviation.

    Parameters
    ----------
    median : float or Tensor
        Median of x, in its units: the exponential of the mean of log x.
    sigma : float or Tensor
        Standard deviation of log x (natural logarithm).
    """

    median: Parameter
    sigma: Parameter

    def __post_init__(self) -> None:
        assign(self, median=positive(self, "median", self.median), sigma=positive(self, "sigma", self.sigma))

    @property
    def support(self) -> tuple[Parameter, Parameter]:
        return 0.0, math.inf

    def _decode(self, z: Tensor) -> Tensor:
        median, sigma = like(z, self.median, self.sigma)
        return median * torch.exp(sigma * z)

    def _encode(self, x: Tensor) -> Tensor:
        median, sigma = like(x, self.median, self.sigma)
        return torch.log(x / median) / sigma

    def _log_density(self, x: Tensor) -> Tensor:
        (sigma,) = like(x, self.sigma)
        return log_density(self._encode(x)) - torch.log(x) - log(sigma)


def log(value: Parameter) -> Parameter:
    """Natural logarithm of a number or a tensor."""
    return torch.log(value) if isinstance(value, Tensor) else math.log(value)
