"""The normal distribution between two bounds, and its half."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from . import normal_interval as interval
from .distribution import Distribution, Parameter, assign, finite, ordered, positive
from .elementwise import elementwise
from .standard_normal import LOG_SQRT_2_PI, cdf, log_density

_FAR = 1e100  # stands for an infinite bound, whose square would make NaN in higher derivatives


@dataclass(frozen=True, eq=False)
class TruncatedNormal(Distribution):
    """A normal distribution cut off at two bounds, however far in a tail the bounds are.

    Parameters
    ----------
    mean, sd : float or Tensor
        Of the normal distribution before it is cut off, in the units of x. The mean may lie outside the bounds.
    low, high : float or Tensor
        The bounds; infinite for none.

    Notes
    -----
    Values are computed in float64 and relative to the nearer bound, so that distances from it keep 11 digits.
    Slopes follow from the cumulative distribution by the implicit function theorem.
    """

    mean: Parameter
    sd: Parameter
    low: Parameter = -math.inf
    high: Parameter = math.inf

    def __post_init__(self) -> None:
        low, high = ordered(self, self.low, self.high)
        assign(self, mean=finite(self, "mean", self.mean), sd=positive(self, "sd", self.sd), low=low, high=high)

    @property
    def support(self) -> tuple[Parameter, Parameter]:
        return self.low, self.high

    @property
    def _parameters(self) -> tuple[Parameter, ...]:
        return self.mean, self.sd, self.low, self.high

    def _decode(self, z: Tensor) -> Tensor:
        return elementwise(_value, _value_slopes, z, *self._parameters).to(z.dtype)

    def _encode(self, x: Tensor) -> Tensor:
        return elementwise(_latent, _latent_slopes, x, *self._parameters).to(x.dtype)

    def _log_density(self, x: Tensor) -> Tensor:
        wide = x.double()
        mean, sd, *_ = _tensors(wide, *self._parameters)
        return (log_density((wide - mean) / sd) - torch.log(sd) - log_mass(wide, *self._parameters)).to(x.dtype)


@dataclass(frozen=True, eq=False)
class HalfNormal(Distribution):
    """The absolute value of a normal variable of mean 0.

    Parameters
    ----------
    sd : float or Tensor
        Standard deviation of the normal variable, in the units of x. The mean of x is 0.80 sd.
    """

    sd: Parameter

    def __post_init__(self) -> None:
        assign(self, sd=positive(self, "sd", self.sd))

    @property
    def support(self) -> tuple[Parameter, Parameter]:
        return 0.0, math.inf

    @cached_property
    def _whole(self) -> TruncatedNormal:
        return TruncatedNormal(0.0, self.sd, 0.0, math.inf)

    def _decode(self, z: Tensor) -> Tensor:
        return self._whole._decode(z)

    def _encode(self, x: Tensor) -> Tensor:
        return self._whole._encode(x)

    def _log_density(self, x: Tensor) -> Tensor:
        return self._whole._log_density(x)


def _tensors(like: Tensor, *parameters: Parameter) -> list[Tensor]:
    return [torch.as_tensor(p, dtype=like.dtype, device=like.device) for p in parameters]


def _interval(like: Tensor, *parameters: Parameter) -> interval.Interval:
    if not any(isinstance(p, Tensor) for p in parameters):
        return interval.between_numbers(*parameters)[0]  # type: ignore[arg-type]
    mean, sd, low, high = _tensors(like, *parameters)
    return interval.between((low - mean) / sd, (high - mean) / sd, (high - low) / sd)


def _value(z: Tensor, *parameters: Parameter) -> Tensor:
    mean, sd, low, high = parameters
    t, from_low, from_high = interval.quantile(z, _interval(z, *parameters))
    x = mean + sd * t
    if from_low is not None:
        x = torch.where(from_low > 0, low + sd * from_low, x)
    if from_high is not None:
        x = torch.where(from_high > 0, high - sd * from_high, x)
    return x


def _latent(x: Tensor, *parameters: Parameter) -> Tensor:
    mean, sd, low, high = _tensors(x, *parameters)
    t, a, b = (x - mean) / sd, (low - mean) / sd, (high - mean) / sd
    return interval.score(t, a, b, (x - low) / sd, (high - x) / sd, (high - low) / sd)


def log_mass(like: Tensor, *parameters: Parameter) -> Parameter:
    """Logarithm of the mass that the bounds leave; a number if the parameters are numbers.

    Parameters
    ----------
    like : Tensor
        Whose shape it takes.
    *parameters : float or Tensor
        Mean, sd, low, high.
    """
    if not any(isinstance(p, Tensor) for p in parameters):
        return interval.between_numbers(*parameters)[1]  # type: ignore[arg-type]
    return elementwise(_log_mass, _log_mass_slopes, torch.zeros_like(like), *parameters)


def _log_mass(x: Tensor, *parameters: Parameter) -> Tensor:
    mean, sd, low, high = _tensors(x, *parameters)
    return interval.log_mass((low - mean) / sd, (high - mean) / sd, (high - low) / sd).expand_as(x)


def _standardised(like: Tensor, *parameters: Parameter) -> tuple[Tensor, Tensor, Tensor]:
    mean, sd, low, high = _tensors(like, *parameters)
    return sd, (low.clamp(min=-_FAR) - mean) / sd, (high.clamp(max=_FAR) - mean) / sd


def _value_slopes(x: Tensor, z: Tensor, *parameters: Parameter) -> Sequence[Callable[[], Tensor]]:
    """From phi(t) dt = phi(z) Z dz + Phi(-z) phi(a) da + Phi(z) phi(b) db, Z = Phi(b) - Phi(a), x = mean + sd t."""
    mean, sd, *_ = parameters
    t = (x - mean) / sd

    def dz() -> Tensor:
        return sd * torch.exp(0.5 * (t - z) * (t + z) + log_mass(z, *parameters))

    def dlow() -> Tensor:
        _, a, _ = _standardised(z, *parameters)
        return torch.exp(0.5 * (t - a) * (t + a)) * cdf(-z)

    def dhigh() -> Tensor:
        _, _, b = _standardised(z, *parameters)
        return torch.exp(0.5 * (t - b) * (t + b)) * cdf(z)

    def dmean() -> Tensor:  # moving everything moves x as much
        return 1 - dlow() - dhigh()

    def dsd() -> Tensor:  # stretching everything about the mean stretches x - mean as much
        _, a, b = _standardised(z, *parameters)
        return t - a * dlow() - b * dhigh()

    return dz, dmean, dsd, dlow, dhigh


def _latent_slopes(z: Tensor, x: Tensor, *parameters: Parameter) -> Sequence[Callable[[], Tensor]]:
    dz, *others = _value_slopes(x, z, *parameters)
    return lambda: 1 / dz(), *(lambda s=s: -s() / dz() for s in others)  # type: ignore[misc]


def _log_mass_slopes(value: Tensor, x: Tensor, *parameters: Parameter) -> Sequence[Callable[[], Tensor]]:
    sd, a, b = _standardised(x, *parameters)

    def da() -> Tensor:
        return -torch.exp(-0.5 * a * a - LOG_SQRT_2_PI - value)

    def db() -> Tensor:
        return torch.exp(-0.5 * b * b - LOG_SQRT_2_PI - value)

    return (
        lambda: torch.zeros_like(x),
        lambda: -(da() + db()) / sd,
        lambda: -(a * da() + b * db()) / sd,
        lambda: da() / sd,
        lambda: db() / sd,
    )
