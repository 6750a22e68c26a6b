"""The posterior under another prior: from the draws that are there where they reach it, inverted anew where not."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from ..conditions import Takes, check_names
from ..priors import Prior
from ..problem import Posterior, Problem
from ..progress import Progress
from ..result import Result
from ..status import Status
from .pointwise import flat_draws, posterior_of
from .prior_ratio import comparable, log_densities, reaches_beyond
from .psis import ess_importance, pareto_smooth
from .resampling import evenly, systematic, unbiased

_STAGE = 1 << 42
_FEWEST = 50  # draws, below which no weights are trusted
_ASKED_ALREADY = (Status.NO_DATA, Status.OUT_OF_RANGE)  # another prior changes nothing
_WITHOUT_DRAWS = (Status.MODEL_UNDEFINED, Status.INFEASIBLE, Status.INTERRUPTED)


@dataclass(frozen=True)
class Acceptance:
    """When the weighted draws are relied on.

    Attributes
    ----------
    k_hat : float
        Pareto shape of the weights, at most.
    ess : float
        Effective draws, at least: with fewer an interval is too narrow more often than not.
    """

    k_hat: float = 0.7
    ess: float = 100.0


def reweight(
    result: Result,
    new_prior: Prior,
    *,
    problem: Problem,
    conditions: Mapping[str, Any] | None = None,
    inversion: Callable[..., Result] | None = None,
    accept: Acceptance = Acceptance(),
    seed: int = 0,
    progress: Progress = False,
) -> Result:
    """The posterior of every observation under another prior, or under other conditions of a prior.

    The draws are weighted by new over old prior density, the weights Pareto-smoothed (Vehtari et al. 2024), and the
    draws resampled by them. An observation is inverted anew where they cannot be relied on: k_hat or the effective
    draws fail, its old answer was not trusted, or the new prior has mass where the old one has none, so that no draw
    can be there. Other seasons, sites or class frequencies are followed so without training anything: by `shift` of
    the old prior, or by `conditions`.

    Parameters
    ----------
    result : Result
        Of the old prior.
    new_prior : Prior
        Over the same causes.
    problem : Problem
        The one whose posterior was drawn from, with the old prior.
    conditions : mapping, optional
        Of the new prior, instead of the result's or besides them; not of the forward model or the noise.
    inversion : Inversion, optional
        What to ask where weights do not do. Without it such an observation has the status HEAVY_TAILS or
        FEW_EFFECTIVE_DRAWS.
    accept : Acceptance
    seed : int
        Of resampling, and of the inversion.
    progress : bool or callable
        Of the inversion.

    Returns
    -------
    Result
        As many equally weighted draws; the statistics k_hat and ess of the weights (of the inversion, where it was
        asked), `reweighted` (1 where the draws are old ones, 0 elsewhere), log_evidence and measured where they were
        known, and what the inversion adds, NaN elsewhere. The Laplace statistics of the old prior are dropped.

    Raises
    ------
    ValueError
        If the priors have other causes, there are fewer than 50 draws, or a condition is unknown, missing, or one
        that forward model or noise take.
    TypeError
        If the ratio of the priors is not known and no inversion is given.
    """
    old = posterior_of(problem, result)
    new = _new_posterior(problem, new_prior, result, conditions).flatten()
    x = flat_draws(result)
    if len(x) < _FEWEST:
        raise ValueError(f"Too few draws to weigh: {len(x)}. Invert with at least {_FEWEST}; 1,000 reach further.")
    known = comparable(new_prior, problem.prior)
    if not known and inversion is None:
        raise TypeError(
            f"The density of {_name(new_prior)} over {_name(problem.prior)} is not known. "
            "Give priors with 'log_prob', a shift of the old one, or an inversion to ask instead."
        )
    out = _weigh(result, x, new, old, seed) if known else _unweighed(result, x)
    out["status"] = _judge(out, result.status.reshape(-1), accept)
    again = _again(out["status"])
    if inversion is not None and len(again):
        out = _invert(out, again, new, inversion, result.samples.shape[:2], seed, progress)
    return _result(result, out, new, accept, inversion)


def swapped(result: Result) -> str:
    """What `reweight` did, in a sentence."""
    by_weights, answered = int((result.stats["reweighted"] == 1).sum()), result.stats["reweighted"].numel()
    anew = int(((result.stats["reweighted"] == 0) & result.trusted).sum())
    rest = answered - by_weights - anew
    words = f"{by_weights} of {answered} posteriors by weights, {anew} inverted anew"
    return words + (f", {rest} not to be trusted." if rest else ".")


def _new_posterior(problem: Problem, prior: Prior, result: Result, conditions: Mapping[str, Any] | None) -> Posterior:
    """The same observations under the new prior and its conditions."""
    if prior.causes.names != problem.prior.causes.names or prior.causes.size != problem.prior.causes.size:
        raise ValueError(
            f"The new prior has the causes {', '.join(prior.causes.names)}, "
            f"the result {', '.join(result.causes.names)}. "
            "Give a prior over the same causes, in their order."
        )
    new = Problem(problem.forward, prior, problem.noise)
    fixed = problem.forward_takes | problem.noise_takes
    for name in conditions or {}:
        if fixed.everything or name in fixed.names:
            raise ValueError(
                f"The condition {name!r} is one of the forward model or the noise. Changing it is another measurement: "
                "invert again."
            )
    check_names(conditions or {}, _optional(new))
    kept = {k: v for k, v in result.conditions.items() if new.takes.everything or k in new.takes.names}
    return new.condition(result.y, **{**kept, **(conditions or {})})


def _optional(problem: Problem) -> Takes:
    """The conditions of a problem, none of them required."""
    return replace(problem.takes, required=frozenset(), optional=problem.takes.names)


def _weigh(result: Result, x: Tensor, new: Posterior, old: Posterior, seed: int) -> dict[str, Tensor]:
    """Resampled draws (S, b, n) and what the weights say, for b observations."""
    priors = new.problem.prior, old.problem.prior
    under_new, under_old = log_densities(*priors, x, new.conditions, old.conditions)
    # a draw that rounding has put on the edge of the old prior counts for nothing
    ratio = torch.where(torch.isneginf(under_old), -torch.inf, (under_new - under_old).double())
    ratio = torch.where(torch.isnan(under_new) | torch.isnan(under_old), torch.nan, ratio)
    smooth, k_hat = pareto_smooth(ratio)
    old_ess = result.stats.get("ess")
    share = 1.0 if old_ess is None else (old_ess.reshape(-1).double() / len(x)).nan_to_num(nan=1.0).clamp(max=1)
    ess = ess_importance(smooth) * share
    if reaches_beyond(*priors, new.conditions, old.conditions, seed, x.dtype):
        k_hat = torch.where(torch.isnan(k_hat), k_hat, torch.inf)
    weight = unbiased(torch.nan_to_num(smooth.exp()).T).clamp(min=0)
    index = torch.arange(x.shape[1])
    pick = systematic(weight, len(x), index, seed=seed, stages=(_STAGE, _STAGE + 1))
    drawn = x.gather(0, pick.T[..., None].expand_as(x))
    drawn = torch.where(torch.isfinite(k_hat)[:, None] | torch.isneginf(k_hat)[:, None], drawn, x)
    out = {"samples": drawn, "k_hat": k_hat.to(x), "ess": ess.to(x)}
    if "log_evidence" in result.stats:
        gain = torch.logsumexp(ratio, 0) - torch.log(ratio.new_tensor(len(x)))
        out["log_evidence"] = (result.stats["log_evidence"].reshape(-1) + gain).to(x)
    return out | _carried(result)


def _unweighed(result: Result, x: Tensor) -> dict[str, Tensor]:
    """Draws of the old prior, that cannot be weighed."""
    worst = torch.where(torch.isfinite(x).all(-1).all(0), x.new_tensor(torch.inf), torch.nan)
    out = {"samples": x, "k_hat": worst, "ess": torch.zeros_like(worst)}
    if "log_evidence" in result.stats:
        out["log_evidence"] = torch.full_like(worst, torch.nan)
    return out | _carried(result)


def _carried(result: Result) -> dict[str, Tensor]:
    return {"measured": result.stats["measured"].reshape(-1)} if "measured" in result.stats else {}


def _judge(out: Mapping[str, Tensor], old: Tensor, accept: Acceptance) -> Tensor:
    """A status (b,): whether the weighted draws can be relied on."""
    status = torch.zeros_like(old)
    status[~(out["ess"] >= accept.ess)] = Status.FEW_EFFECTIVE_DRAWS
    status[~(out["k_hat"] < accept.k_hat)] = Status.HEAVY_TAILS
    return torch.where(old == Status.TRUSTED, status, old)


def _again(status: Tensor) -> Tensor:
    """Which observations to invert anew."""
    settled = status.new_tensor([int(s) for s in (Status.TRUSTED, *_ASKED_ALREADY)])
    return torch.nonzero(~torch.isin(status, settled)).squeeze(-1)


def _invert(
    out: dict[str, Tensor],
    rows: Tensor,
    new: Posterior,
    inversion: Callable[..., Result],
    shape: tuple[int, ...],
    seed: int,
    progress: Progress,
) -> dict[str, Tensor]:
    """The answer with some rows inverted under the new prior."""
    here = new.select(rows)
    found = inversion(here.problem, here.y, conditions=here.conditions, seed=seed, index=rows, progress=progress)
    samples = evenly(found.samples, *shape).flatten(1, 2).transpose(0, 1)
    fresh = {**found.stats, "status": found.status}
    count, out = len(out["status"]), dict(out)
    out["reweighted"] = (out["status"] == Status.TRUSTED).long()
    out["samples"] = out["samples"].index_copy(1, rows, samples.to(out["samples"].dtype))
    for name in {*fresh, *out} - {"samples", "reweighted"}:
        value = fresh.get(name)
        if name not in out and value is not None:
            blank = torch.nan if value.is_floating_point() else 0
            out[name] = value.new_full((count, *value.shape[1:]), blank)
        if value is None:
            value = torch.full_like(out[name][rows], torch.nan) if out[name].is_floating_point() else out[name][rows]
        out[name] = out[name].index_copy(0, rows, value.to(out[name].dtype))
    return out


def _result(
    old: Result, out: dict[str, Tensor], new: Posterior, accept: Acceptance, inversion: Callable[..., Result] | None
) -> Result:
    batch, n = tuple(old.status.shape), old.samples.shape[-1]
    prior = new.problem.prior
    out.setdefault("reweighted", (out["status"] == Status.TRUSTED).long())
    samples = out.pop("samples").reshape(*old.samples.shape[:2], *batch, n)
    stats = {name: value.reshape(*batch, *value.shape[1:]) for name, value in out.items()}
    swap = {
        "prior": repr(prior),
        "accept": {"k_hat": accept.k_hat, "ess": accept.ess},
        "inversion": None if inversion is None else _name(inversion),
    }
    return replace(
        old,
        samples=samples,
        status=stats.pop("status"),
        stats=stats,
        causes=prior.causes,
        conditions={k: v.reshape(*batch, *v.shape[1:]) for k, v in new.conditions.items()},
        settings={**old.settings, "reweighted_to": swap},
        provenance={**old.provenance, "reweighted_to": swap},
    )


def _name(part: object) -> str:
    return getattr(part, "__name__", type(part).__name__)
