"""Gradient boosting of stumps: an additive, non-linear regression that says how much each column matters."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from .sample_table import paired_rows

_BINS = 32
_FEWEST = 50


@dataclass(frozen=True, eq=False)
class BoostedStumps:
    """An additive regression of several targets, made by `fit_stumps`.

    Attributes
    ----------
    importance : Tensor (k, f)
        Reduction of each target's squared error by the splits of each column, as a share of its variance.
    edges : Tensor (k, bins - 1)
    table : Tensor (k, bins, f)
        What the bin of each column adds to the targets' means.
    mean : Tensor (f,)
    """

    importance: Tensor
    edges: Tensor
    table: Tensor
    mean: Tensor

    def __call__(self, x: Tensor) -> Tensor:
        """Targets ``(N, f)`` of x ``(N, k)``."""
        out = self.mean.expand(len(x), -1)
        for column, which in zip(self.table, _bins(x, self.edges), strict=True):
            out = out + column[which]
        return out


def fit_stumps(x: Tensor, y: Tensor, *, rounds: int = 300, rate: float = 0.1) -> BoostedStumps:
    """Boost regression stumps on binned columns, for all targets at once.

    Every round splits, for each target, the column at the place that lowers its squared error most, and adds `rate`
    times the means of both sides (Friedman 2001, *Greedy function approximation*, algorithms 1 and 2, with stumps).

    Parameters
    ----------
    x, y : Tensor (N, k), (N, f)
        Row by row, at least 50.
    rounds : int
    rate : float

    Returns
    -------
    BoostedStumps

    Raises
    ------
    ValueError, TypeError
        If rows are too few, not finite, or differ in number, or a setting is out of range.
    """
    if rounds < 1 or not 0 < rate <= 1:
        raise ValueError(
            f"Invalid settings: {rounds} rounds at the rate {rate:g}. Give 1 or more, and a rate in (0, 1]."
        )
    x, y = paired_rows(x, y, ("columns", "targets"), _FEWEST)
    edges = _edges(x)
    which = _bins(x, edges)
    left = _below(which, torch.ones_like(y[:, :1]))  # rows left of each split, (k, b, 1)
    mean = y.mean(0)
    residual, table = y - mean, x.new_zeros(x.shape[1], _BINS, y.shape[1])
    gained = x.new_zeros(x.shape[1], y.shape[1])
    for _ in range(rounds):
        column, step, gain = _best_splits(_below(which, residual), left, len(x))
        residual = residual - rate * step.gather(0, which[column].mT)
        targets = torch.arange(y.shape[1], device=x.device)
        table[column, :, targets] += rate * step.mT
        gained[column, targets] += rate * (2 - rate) * gain
    variance = (y - mean).square().sum(0)
    # a target that varies by rounding only cannot be explained
    varies = variance > len(y) * (1e2 * torch.finfo(y.dtype).eps * y.abs().amax(0)).square()
    return BoostedStumps(torch.where(varies, gained / variance, 0), edges, table, mean)


def _best_splits(total: Tensor, left: Tensor, n: int) -> tuple[Tensor, Tensor, Tensor]:
    """For each target its best column ``(f,)``, the means on both sides by bin ``(bins, f)``, and the gain ``(f,)``.

    `total` ``(k, b, f)`` holds the sum of residuals left of each split; those of all rows sum to 0.
    """
    weight = 1 / left.clamp(min=1) + 1 / (n - left).clamp(min=1)
    gain, where = torch.where((left > 0) & (left < n), total.square() * weight, 0).flatten(0, 1).max(0)
    column, split = where // left.shape[1], where % left.shape[1]
    here = total[column, split, torch.arange(total.shape[2], device=total.device)]
    count = left[column, split, 0].clamp(min=1, max=n - 1)
    bins = torch.arange(_BINS, device=total.device)[:, None]
    step = torch.where(bins <= split, here / count, -here / (n - count))
    return column, torch.where(gain > 0, step, 0), gain


def _below(which: Tensor, y: Tensor) -> Tensor:
    """Sums of y ``(N, f)`` over the rows left of each split of each column, ``(k, bins - 1, f)``."""
    k = len(which)
    flat = (which + _BINS * torch.arange(k, device=which.device)[:, None]).reshape(-1)
    sums = y.new_zeros(k * _BINS, y.shape[1]).index_add_(0, flat, y.expand(k, *y.shape).reshape(-1, y.shape[1]))
    return sums.reshape(k, _BINS, -1).cumsum(1)[:, :-1]


def _edges(x: Tensor) -> Tensor:
    """Splits of every column at equal shares of its samples, ``(k, bins - 1)``; repeated where there are ties."""
    share = torch.arange(1, _BINS, dtype=x.dtype, device=x.device) / _BINS
    return x.quantile(share, dim=0).mT.contiguous()


def _bins(x: Tensor, edges: Tensor) -> Tensor:
    """The bin of every value, ``(k, N)``."""
    return torch.searchsorted(edges, x.mT.contiguous())
