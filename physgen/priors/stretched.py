"""A distribution stretched onto another interval."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from .distribution import Distribution, Parameter, like


@dataclass(frozen=True, eq=False)
class Stretched(Distribution):
    """A bounded distribution, mapped linearly from its own interval onto (low, high).

    Where only the interval depends on other causes, this costs a product and a sum on top of a fixed distribution.

    Parameters
    ----------
    base : Distribution
        With a bounded support whose ends are numbers.
    low, high : float or Tensor
        The new ends.

    Raises
    ------
    ValueError
        If the base is not bounded.
    """

    base: Distribution
    low: Parameter
    high: Parameter

    def __post_init__(self) -> None:
        if any(isinstance(b, Tensor) or math.isinf(b) for b in self.base.support):
            raise ValueError(f"Invalid base {self.base!r}. Its support must have two finite ends, given as numbers.")

    @property
    def support(self) -> tuple[Parameter, Parameter]:
        return self.low, self.high

    def _decode(self, z: Tensor) -> Tensor:
        low, factor = self._map(z)
        return low + factor * (self.base.decode(z) - self._start)

    def _encode(self, x: Tensor) -> Tensor:
        return self.base.encode(self._back(x))

    def _log_density(self, x: Tensor) -> Tensor:
        _, factor = self._map(x)
        return self.base.log_prob(self._back(x)) - torch.log(torch.as_tensor(factor, dtype=x.dtype, device=x.device))

    @property
    def _start(self) -> float:
        return float(self.base.support[0])

    def _map(self, x: Tensor) -> tuple[Parameter, Parameter]:
        low, high = like(x, self.low, self.high)
        return low, (high - low) / (float(self.base.support[1]) - self._start)

    def _back(self, x: Tensor) -> Tensor:
        """The value of the base; rounding must not carry it out of the base's open support."""
        low, factor = self._map(x)
        start, end = (float(b) for b in self.base.support)
        edge = (end - start) * torch.finfo(x.dtype).eps
        return (start + (x - low) / factor).clamp(start + edge, end - edge)
