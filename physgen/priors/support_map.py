"""From causes with supports to the whole line and back: one increasing map for each cause."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from ..space import Space
from .distribution import _keep_inside
from .standard_normal import cdf, log_density, score


@dataclass(frozen=True, eq=False)
class SupportMap:
    """Causes x and values u on the whole line, axes (causes, rows).

    A cause on (low, inf) is low + exp(u), one on (-inf, high) is high - exp(-u), one on (low, high) is
    low Phi(-u) + high Phi(u): a uniform cause becomes standard normal. Others stay as they are.

    Parameters
    ----------
    space : Space
        Of the causes; their supports choose the maps.
    """

    space: Space

    def decode(self, u: Tensor) -> Tensor:
        """Causes ``(n, R)``, strictly inside their supports, of values ``(n, R)``."""
        if self._free:
            return u
        columns = []
        for column, (low, high) in zip(u.unbind(0), self._ends, strict=True):
            x = column
            if math.isfinite(low) and math.isfinite(high):
                x = low * cdf(-column) + high * cdf(column)
            elif math.isfinite(low):
                x = low + column.exp()
            elif math.isfinite(high):
                x = high - (-column).exp()
            columns.append(_keep_inside(_keep_inside(x, low, 1), high, -1))
        return torch.stack(columns)

    def encode(self, x: Tensor) -> Tensor:
        """Values ``(n, R)`` of causes ``(n, R)``; NaN outside a support."""
        if self._free:
            return x
        columns = []
        for column, (low, high) in zip(x.unbind(0), self._ends, strict=True):
            inside = (column > low) & (column < high)
            safe = torch.where(inside, column, _middle(low, high))
            u = safe
            if math.isfinite(low) and math.isfinite(high):
                u = score((safe - low) / (high - low), (high - safe) / (high - low))
            elif math.isfinite(low):
                u = (safe - low).log()
            elif math.isfinite(high):
                u = -(high - safe).log()
            columns.append(torch.where(inside, u, math.nan))
        return torch.stack(columns)

    def log_slopes(self, u: Tensor) -> Tensor:
        """log dx / du of each cause ``(n, R)``."""
        columns = []
        for column, (low, high) in zip(u.unbind(0), self._ends, strict=True):
            slope = torch.zeros_like(column)
            if math.isfinite(low) and math.isfinite(high):
                slope = log_density(column) + math.log(high - low)
            elif math.isfinite(low):
                slope = column
            elif math.isfinite(high):
                slope = -column
            columns.append(slope)
        return torch.stack(columns)

    @cached_property
    def _ends(self) -> list[tuple[float, float]]:
        """The support of every element."""
        return [(float(b.support[0]), float(b.support[1])) for b in self.space for _ in range(b.size)]

    @cached_property
    def _free(self) -> bool:
        return not any(math.isfinite(end) for ends in self._ends for end in ends)


def _middle(low: float, high: float) -> float:
    """A value well inside the support."""
    if math.isfinite(low) and math.isfinite(high):
        return 0.5 * (low + high)
    return low + 1 + abs(low) if math.isfinite(low) else high - 1 - abs(high) if math.isfinite(high) else 0.0
