"""Which model predicts the observations better: leave-one-out cross-validation of problems with their results."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from ..problem import Problem
from ..result import Result
from .loo import Loo, compare, loo
from .pointwise import flat_draws, posterior_of

_NUMBERS = 1 << 22  # of predictions held at once


def pointwise_log_likelihood(problem: Problem, result: Result, *, draws: int | None = None) -> Tensor:
    """Log density of each datum, given the causes and all other data of its observation.

    Where the noise is independent this is the density of the datum alone. Where it is not, it is the difference of two
    densities, log p(y | x) - log p(y without i | x), which is what leaving one out needs (Bürkner, Gabry & Vehtari
    2021, *Comput. Stat.* 36:1243). A noise with a method ``pointwise(y, prediction)`` says it itself.

    Parameters
    ----------
    problem : Problem
    result : Result
    draws : int, optional
        At most so many, evenly spaced; all by default.

    Returns
    -------
    Tensor (S, b, m)
        NaN where a datum is not measured, or an observation has no draws.

    Raises
    ------
    ValueError
        If the result has other causes, conditions or observations than the problem, or no draws.
    """
    posterior, x = posterior_of(problem, result), flat_draws(result)
    if draws is not None and draws < len(x):
        x = x[torch.linspace(0, len(x) - 1, draws).round().long()]
    noise, m, parts = problem.noise, posterior.y.shape[-1], []
    own_way = getattr(noise, "pointwise", None)
    size = max(1, _NUMBERS // (len(x) * max(m, 1)))
    with torch.no_grad():
        for rows in torch.arange(x.shape[1]).split(size):
            here = posterior.select(rows)
            own, prediction = problem.noise_takes.pick(here.conditions), here.predict_causes(x[:, rows])
            if own_way is not None:
                value = own_way(here.y, prediction, **own)
            else:
                whole = noise.log_prob(here.y, prediction, **own)
                without = [
                    noise.log_prob(
                        here.y.index_fill(-1, torch.tensor([i], device=x.device), torch.nan), prediction, **own
                    )
                    for i in range(m)
                ]
                value = whole[..., None] - torch.stack(without, -1)
            value = torch.where(torch.isfinite(prediction).all(-1)[..., None], value, torch.nan)
            parts.append(torch.where(torch.isnan(here.y), torch.nan, value))
    return torch.cat(parts, 1)


def loo_of(problem: Problem, result: Result, *, draws: int | None = None) -> Loo:
    """Leave-one-out over all data of all observations that have draws: see `loo`.

    Raises
    ------
    ValueError
        If there are none, or as `pointwise_log_likelihood`.
    """
    value = pointwise_log_likelihood(problem, result, draws=draws)
    kept = ~torch.isnan(value).any(0)
    if not bool(kept.any()):
        raise ValueError("No datum has a density at all draws. Invert observations that the model can reach.")
    return loo(value[:, kept])


@dataclass(frozen=True, eq=False)
class ModelComparison:
    """Models from the best to the worst.

    Attributes
    ----------
    names : tuple of str
    loo : tuple of Loo
    behind : tuple of float
        By how much each predicts the data worse than the best.
    error : tuple of float
        Standard error of that difference.
    """

    names: tuple[str, ...]
    loo: tuple[Loo, ...]
    behind: tuple[float, ...]
    error: tuple[float, ...]

    def __str__(self) -> str:
        lines = [f"{'model':16s} {'elpd':>10s} {'behind':>9s} {'se':>7s} {'p_loo':>7s}  unreliable"]
        for name, one, behind, error in zip(self.names, self.loo, self.behind, self.error, strict=True):
            lines.append(
                f"{name:16s} {one.elpd:10.1f} {behind:9.1f} {error:7.1f} {one.p_loo:7.1f}  "
                f"{one.unreliable} of {len(one.k_hat)}"
            )
        return "\n".join(lines)


def compare_models(models: Mapping[str, tuple[Problem, Result]], *, draws: int | None = None) -> ModelComparison:
    """Compare problems by how well their posteriors predict the same observations.

    Only data count that every model gives a density.

    Parameters
    ----------
    models : mapping of str to (Problem, Result)
        Of the same observations.
    draws : int, optional
        Of each result, at most.

    Raises
    ------
    ValueError
        If there are fewer than two models, or their observations differ.
    """
    if len(models) < 2:
        raise ValueError(f"Too few models to compare: {len(models)}. Give two or more.")
    results = [result for _, result in models.values()]
    for result in results[1:]:
        same = result.y.shape == results[0].y.shape
        if not same or not bool(torch.equal(torch.nan_to_num(result.y), torch.nan_to_num(results[0].y.to(result.y)))):
            raise ValueError("The results are of different observations. Invert the same ones under every model.")
    values = [pointwise_log_likelihood(p, r, draws=draws) for p, r in models.values()]
    kept = ~torch.stack([torch.isnan(v).any(0) for v in values]).any(0)
    if not bool(kept.any()):
        raise ValueError("No datum has a density under every model. Invert observations that all of them can reach.")
    found = [loo(v[:, kept]) for v in values]
    order = sorted(range(len(found)), key=lambda i: -found[i].elpd)
    behind = [compare(found[order[0]], found[i]) for i in order]
    names = list(models)
    return ModelComparison(
        tuple(names[i] for i in order),
        tuple(found[i] for i in order),
        tuple(b[0] for b in behind),
        tuple(b[1] for b in behind),
    )
