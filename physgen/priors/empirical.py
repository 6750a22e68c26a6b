"""A distribution learned from a sample: a smooth increasing map from the normal scores to the values."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from scipy import special
from torch import Tensor

from .distribution import Distribution, Parameter, assign, ordered
from .rational_spline import RationalSpline
from .standard_normal import log_density

_TAIL_COUNT = 2.5  # sample values beyond the outermost knots, on each side
_LEAST_SLOPE = 1e-3  # of the mean slope: repeated values must not make the map flat


@dataclass(frozen=True, eq=False)
class Empirical(Distribution):
    """The distribution of a sample, smoothed: x = B(S(z)).

    S is an increasing rational-quadratic spline with continuous second derivatives through quantiles of the sample,
    placed at equal steps of their normal scores and continued by straight lines; B is the identity for an unbounded
    support, exp for a half-bounded and the logistic function for a bounded one. So the density is smooth, has tails
    like those of a normal (or log-normal) distribution, and `log_prob` is exact for the map.

    Parameters
    ----------
    sample : array_like (n,)
        At least 10 different values, strictly inside the bounds.
    low, high : float
        The bounds of the support; infinite for none.
    knots : int, optional
        How many quantiles; by default 4 n**(1/5): the noise of the density then falls as n**(-2/5).

    Raises
    ------
    ValueError
        If the sample is too small, not finite, or not inside the bounds.

    References
    ----------
    Delbourgo & Gregory (1983), C2 rational quadratic spline interpolation to monotonic data, *IMA Journal of Numerical
    Analysis* 3, 141-152.
    """

    sample: Any = field(repr=False)
    low: Parameter = -math.inf
    high: Parameter = math.inf
    knots: int | None = None
    _spline: RationalSpline = field(init=False, repr=False)

    def __post_init__(self) -> None:
        low, high = (float(b) for b in ordered(self, self.low, self.high))
        sample = np.sort(np.asarray(self.sample, dtype=np.float64).reshape(-1))
        if len(np.unique(sample)) < 10 or not np.isfinite(sample).all():
            raise ValueError("Invalid sample. Give at least 10 different values, all of them finite.")
        if not (low < sample[0] and sample[-1] < high):
            raise ValueError(
                f"Invalid sample from {sample[0]:g} to {sample[-1]:g}. It must lie strictly within {low:g} to {high:g}."
            )
        assign(self, sample=sample, low=low, high=high)
        assign(self, _spline=_fit(self._unbound(torch.from_numpy(sample)).numpy(), self.knots))

    @property
    def support(self) -> tuple[Parameter, Parameter]:
        return self.low, self.high

    def _decode(self, z: Tensor) -> Tensor:
        return self._bound(self._spline(z))

    def _encode(self, x: Tensor) -> Tensor:
        return self._spline.inverse(self._unbound(x))

    def _log_density(self, x: Tensor) -> Tensor:
        z = self._encode(x)
        return log_density(z) - torch.log(self._spline.slope(z)) - self._log_bound_slope(x)

    def _bound(self, u: Tensor) -> Tensor:
        if math.isinf(self.low) and math.isinf(self.high):
            return u
        if math.isinf(self.high):
            return self.low + torch.exp(u)
        if math.isinf(self.low):
            return self.high - torch.exp(-u)
        # not torch.sigmoid, whose last bit depends on the place of an element in its tensor
        return self.low / (1 + torch.exp(u)) + self.high / (1 + torch.exp(-u))

    def _unbound(self, x: Tensor) -> Tensor:
        if math.isinf(self.low) and math.isinf(self.high):
            return x
        if math.isinf(self.high):
            return torch.log(x - self.low)
        if math.isinf(self.low):
            return -torch.log(self.high - x)
        return torch.log(x - self.low) - torch.log(self.high - x)

    def _log_bound_slope(self, x: Tensor) -> Tensor | float:
        """log dx/du of `_bound`."""
        if math.isinf(self.low) and math.isinf(self.high):
            return 0.0
        if math.isinf(self.high):
            return torch.log(x - self.low)
        if math.isinf(self.low):
            return torch.log(self.high - x)
        return torch.log(x - self.low) + torch.log(self.high - x) - math.log(self.high - self.low)


def _fit(values: np.ndarray, knots: int | None) -> RationalSpline:
    """The spline through quantiles of sorted values, at equal steps of the normal score."""
    n = len(values)
    count = knots if knots is not None else round(4 * n**0.2)
    scores = special.ndtri((np.arange(n) + 0.5) / n)
    z = np.linspace(-1, 1, max(count, 3)) * special.ndtri(1 - _TAIL_COUNT / n)
    u = np.interp(z, scores, values)
    mean_slope = (u[-1] - u[0]) / (z[-1] - z[0])
    u = u[0] + np.concatenate([[0], np.cumsum(np.maximum(np.diff(u), _LEAST_SLOPE * mean_slope * np.diff(z)))])
    return RationalSpline.through(z, u)
