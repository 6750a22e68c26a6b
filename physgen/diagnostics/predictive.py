"""Prior and posterior predictive checks: would data from the model look like these, in the features that one names?"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from ..problem import Problem
from ..result import Result
from .observation_embedding import lent, own_seed
from .pointwise import flat_draws, posterior_of

Statistic = Callable[[Tensor], Tensor]
"""``(*, m) -> (*)``; it meets NaN where elements are not measured, in data and replicates alike."""

_FEWEST = 20
_NUMBERS = 1 << 22  # of replicates held at once


@dataclass(frozen=True, eq=False)
class PredictiveCheck:
    """Statistics of observations beside those of replicated ones.

    Attributes
    ----------
    names : tuple of str
    observed : Tensor (*batch, s)
        The s statistics.
    upper : Tensor (*batch, s)
        Chance of a replicate with as large a statistic, or larger; ties count half.
    low, median, high : Tensor (*batch, s)
        5 %, 50 % and 95 % quantile of the replicates.
    replicates : int
        Of each observation.
    """

    names: tuple[str, ...]
    observed: Tensor
    upper: Tensor
    low: Tensor
    median: Tensor
    high: Tensor
    replicates: int

    @property
    def p_value(self) -> Tensor:
        """Two-sided ``(*batch, s)``, at least 2 / (replicates + 1)."""
        least = 1 / (self.replicates + 1)
        return 2 * torch.minimum(self.upper, 1 - self.upper).clamp(min=least).clamp(max=0.5)

    def __str__(self) -> str:
        """A table: for each statistic its median over the observations, and how many have a p-value below 5 %."""
        count = self.observed[..., 0].numel()
        lines = [f"{'statistic':16s} {'observed':>10s} {'replicated':>10s}  p < 0.05 (of {count})"]
        for i, name in enumerate(self.names):
            middle = [float(torch.nanmedian(v[..., i])) for v in (self.observed, self.median)]
            share = int((self.p_value[..., i] < 0.05).sum())
            lines.append(f"{name:16s} {middle[0]:10.4g} {middle[1]:10.4g}  {share}")
        return "\n".join(lines)


def posterior_predictive_check(
    problem: Problem, result: Result, statistics: Mapping[str, Statistic], *, draws: int = 200, seed: int = 0
) -> PredictiveCheck:
    """Compare each observation with replicates from its own posterior draws.

    A replicate has seen the data through the posterior, so that p-values are nearer to 1/2 than uniform ones: a small
    one is the more telling, one that is not small tells little (Gelman, Meng & Stern 1996, *Statistica Sinica* 6:733).

    Parameters
    ----------
    problem : Problem
    result : Result
    statistics : mapping of str to callable
        ``(*, m) -> (*)``, such as ``lambda y: y[..., 7] - y[..., 2]``.
    draws : int
        Replicates of each observation, at most as many as there are draws.
    seed : int

    Raises
    ------
    ValueError
        If there are fewer than 20 draws, no statistics, or the result is not of this problem.
    TypeError
        If a statistic does not return one number for each observation.
    """
    posterior, x = posterior_of(problem, result), flat_draws(result)
    _check(statistics, min(len(x), draws))
    x = x[torch.linspace(0, len(x) - 1, min(draws, len(x))).round().long()]
    size = max(1, _NUMBERS // (len(x) * posterior.y.shape[-1]))
    parts = []
    for number, rows in enumerate(torch.arange(len(posterior.y)).split(size)):
        here = posterior.select(rows)
        own = problem.noise_takes.pick(here.conditions)
        with torch.no_grad():
            prediction, like = here.predict_causes(x[:, rows]), here.y.expand(len(x), *here.y.shape)
            replicates = problem.noise.sample(prediction, seed=own_seed(seed, number), like=like, **own)
        parts.append(_compared(here.y, replicates, statistics))
    batch = tuple(result.status.shape)
    observed, upper, low, median, high = (torch.cat(p).reshape(*batch, -1) for p in zip(*parts, strict=True))
    return PredictiveCheck(tuple(statistics), observed, upper, low, median, high, len(x))


def prior_predictive_check(
    problem: Problem,
    y: Any,
    statistics: Mapping[str, Statistic],
    *,
    conditions: Mapping[str, Any] | None = None,
    n: int = 1000,
    seed: int = 0,
) -> PredictiveCheck:
    """Compare each observation with observations of causes drawn from the prior.

    All are compared with the same n, each simulated under the conditions of a random observation. The p-values are
    uniform if the model holds.

    Parameters
    ----------
    problem : Problem
    y : array_like (*batch, m)
        NaN where not measured: there the replicates are not measured either.
    statistics : mapping of str to callable
        ``(*, m) -> (*)``.
    conditions : mapping, optional
        One value each, or one for each observation.
    n : int
    seed : int

    Raises
    ------
    ValueError, TypeError
        As `posterior_predictive_check`, and as `Problem.condition`.
    """
    _check(statistics, n)
    posterior = problem.condition(y, **(conditions or {}))
    batch, posterior = posterior.batch, posterior.flatten()
    seed = own_seed(seed)
    _, simulated = problem.simulate(n, seed=seed, **lent(problem, posterior.conditions, n, seed))
    if simulated.shape[-1] != posterior.y.shape[-1]:
        raise ValueError(
            f"Invalid observations of {posterior.y.shape[-1]} elements. The problem simulates {simulated.shape[-1]}."
        )
    simulated = simulated.to(posterior.y)
    patterns, which = torch.isnan(posterior.y).unique(dim=0, return_inverse=True)
    whole = [posterior.y.new_empty(len(posterior.y), len(statistics)) for _ in range(5)]
    for number, missing in enumerate(patterns):
        here = which == number
        replicates = torch.where(missing, torch.nan, simulated)[:, None]
        for out, found in zip(whole, _compared(posterior.y[here], replicates, statistics), strict=True):
            out[here] = found
    observed, upper, low, median, high = (v.reshape(*batch, -1) for v in whole)
    return PredictiveCheck(tuple(statistics), observed, upper, low, median, high, n)


def _compared(y: Tensor, replicates: Tensor, statistics: Mapping[str, Statistic]) -> list[Tensor]:
    """Observed statistics (b, s), upper tails and quantiles, from replicates (S, b, m) or (S, 1, m)."""
    columns = []
    for name, statistic in statistics.items():
        observed, theirs = _values(name, statistic, y), _values(name, statistic, replicates)
        upper = (theirs > observed).to(y).mean(0) + 0.5 * (theirs == observed).to(y).mean(0)
        upper = torch.where(torch.isnan(observed) | torch.isnan(theirs).any(0), torch.nan, upper)
        levels = theirs.quantile(theirs.new_tensor([0.05, 0.5, 0.95]), dim=0).expand(3, len(y))
        columns.append(torch.stack([observed, upper, *levels]))
    return list(torch.stack(columns, -1).unbind())


def _values(name: str, statistic: Statistic, y: Tensor) -> Tensor:
    value = statistic(y)
    if not isinstance(value, Tensor) or value.shape != y.shape[:-1]:
        shape = tuple(value.shape) if isinstance(value, Tensor) else type(value).__name__
        raise TypeError(
            f"The statistic {name!r} returned {shape} for observations of shape {tuple(y.shape)}. "
            "Reduce the last axis to one number, and keep the others."
        )
    return value.to(y.dtype)


def _check(statistics: Mapping[str, Statistic], replicates: int) -> None:
    if not statistics:
        raise ValueError("No statistics to check. Name at least one, such as mean=lambda y: y.mean(-1).")
    if replicates < _FEWEST:
        raise ValueError(
            f"Too few replicates: {replicates}. At least {_FEWEST} are needed, and 200 are better: invert with more "
            "draws, or raise their number."
        )
