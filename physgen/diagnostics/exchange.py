"""The exchange test: is the truth one of its draws? Right for any statistic, any ties, and any dependence.

Under an exact posterior the truth and its S draws are exchangeable given the observation. Putting any of the draws in
the place of the truth, independently in each replication, therefore gives data sets that are as probable as the one at
hand: the place of its statistic among theirs is a p-value that holds for a finite number of replications, discrete
ranks and dependent causes alike (Hemerik & Goeman 2018, *Exact testing with random permutations*, TEST 27, theorem 2).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from ..random import single_stream, uniform

CALIBRATION_STAGE = 1 << 45  # of which draw takes the truth's place, of the order of ties, and of reference points
TIMES = 999
_NUMBERS = 1 << 21  # of the data sets held at once


@dataclass(frozen=True, eq=False)
class Exchanged:
    """Result of `exchange_test`.

    Attributes
    ----------
    statistic : Tensor (q,)
        Of each part, with the truth in its place.
    parts : Tensor (q,)
        The p-value of each part by itself.
    score : Tensor (q,)
        The statistic of each part in the standard deviations that it has under exchange, above its mean there.
    largest : float
        The largest score.
    p_value : float
        Chance of a `largest` at least so large under exchange: all parts together, however they depend.
    """

    statistic: Tensor
    parts: Tensor
    score: Tensor
    largest: float
    p_value: float

    @property
    def worst(self) -> int:
        """Which part has the largest score."""
        return int(self.score.argmax())


def exchange_test(
    table: Tensor, statistic: Callable[[Tensor], Tensor], *, times: int = TIMES, seed: int = 0, stage: int = 0
) -> Exchanged:
    """Compare a statistic of the truth with those of draws in its place.

    Parameters
    ----------
    table : Tensor (S + 1, n, q)
        A number for each candidate (the truth first, then the draws), replication and quantity. It must be the same
        function of all candidates: ranks, say, or each one's score against the others.
    statistic : callable
        Numbers ``(T, n, q)`` of T data sets to statistics ``(T, q')``, the larger the worse; each data set by itself.
    times : int
        Data sets drawn; the smallest p-value is 1 / (times + 1).
    seed, stage : int
        Of the exchanges.
    """
    count, n, quantities = table.shape
    place = draw_places(times, n, count, seed=seed, stage=stage).to(table.device)
    each = torch.arange(n, device=table.device)
    size = max(1, _NUMBERS // (n * quantities))
    found = torch.cat([statistic(table[part, each]) for part in place.split(size)])
    mean, sd = found.mean(0), found.std(0)
    score = (found - mean) / torch.where(sd > 0, sd, 1)
    largest = score.amax(-1)
    return Exchanged(found[0], _share(found), score[0], float(largest[0]), float(_share(largest)))


def draw_places(times: int, n: int, count: int, *, seed: int, stage: int = 0) -> Tensor:
    """Which of `count` candidates takes the truth's place in each replication, ``(times + 1, n)``: the truth first."""
    u = uniform((times, n), single_stream(), seed=seed, stage=CALIBRATION_STAGE + stage)
    index = (u * count).long().clamp(max=count - 1)
    return torch.cat([torch.zeros(1, n, dtype=torch.int64), index])


def ranks(values: Tensor, *, seed: int = 0) -> Tensor:
    """Rank 0 to S of every candidate among all ``(S + 1, n, q)``, ties in random order.

    Parameters
    ----------
    values : Tensor (S + 1, n, q)
        -inf and inf are allowed, NaN is not.
    seed : int
        Of the order of ties.
    """
    count = values.shape[0]
    order = uniform((count, *values.shape[1:2]), single_stream(), seed=seed, stage=CALIBRATION_STAGE + 1).argsort(0)
    order = order[..., None].expand(values.shape).to(values.device)
    # a stable sort keeps the random order among equals
    ascending = order.gather(0, values.gather(0, order).sort(dim=0, stable=True).indices)
    places = torch.arange(count, device=values.device)[:, None, None].expand(values.shape)
    return torch.empty_like(places).scatter_(0, ascending, places)


def candidates(truth: Tensor, draws: Tensor) -> Tensor:
    """The truth ``(n, ...)`` before its draws ``(S, n, ...)``."""
    return torch.cat([truth[None], draws])


def _share(found: Tensor) -> Tensor:
    """Share of all data sets whose statistic is at least that of the first; rounding makes no two equal ones differ."""
    slack = 1e-9 * (1 + found[0].abs())
    return (found >= found[0] - slack).to(torch.float64).mean(0)
