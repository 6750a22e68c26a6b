"""One measurement under several priors: posterior, evidence, and what each answer owes to its prior."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import reduce
from operator import or_
from typing import Any

import torch
from torch import Tensor

from ..conditions import check_names
from ..priors import Prior
from ..problem import Posterior, Problem
from ..result import Result
from ..space import Space
from .averaging_kernel import information
from .overlap import overlap
from .pointwise import flat_draws, posterior_of

_PRIOR_DRAWS = 4096  # of a prior without conditions; of one with, a quarter of them for each observation
_NUMBERS = 1 << 23  # of prior draws held at once
_STATISTICS = ("mean", "sd", "contraction", "overlap", "from_data")


@dataclass(frozen=True, eq=False)
class PriorComparison:
    """P priors side by side, for observations of shape ``(*batch)`` and n causes.

    `physgen.comparison_dataset.comparison_dataset` makes labelled arrays of it.

    Attributes
    ----------
    priors : tuple of str
        Their names, in the order of the first axis.
    results : mapping of str to Result
        The posteriors.
    trusted : boolean Tensor (P, *batch)
    log_evidence : Tensor (P, *batch)
        Log density of the observation under each prior, in nats; NaN where the inversion does not give it.
    rank : integer Tensor (P, *batch)
        1 for the prior of the highest evidence; 0 where an evidence is missing.
    dofs : Tensor (P, *batch)
        Degrees of freedom for signal.
    mean, sd : Tensor (P, *batch, n)
        Of the posterior.
    contraction : Tensor (P, *batch, n)
        1 minus posterior over prior variance: 0 where the measurement has added nothing.
    overlap : Tensor (P, *batch, n)
        Of prior and posterior: 1 where they are the same.
    from_data : Tensor (P, *batch, n)
        Diagonal of the averaging kernel in the causes: how much of the estimate follows the truth; the rest follows
        the prior. NaN (as dofs) where the forward model has no gradient, or the prior no inverse.
    """

    priors: tuple[str, ...]
    results: Mapping[str, Result]
    trusted: Tensor
    log_evidence: Tensor
    rank: Tensor
    dofs: Tensor
    mean: Tensor
    sd: Tensor
    contraction: Tensor
    overlap: Tensor
    from_data: Tensor

    @property
    def causes(self) -> Space:
        """Of all the results."""
        return next(iter(self.results.values())).causes

    @property
    def from_prior(self) -> Tensor:
        """What of each estimate follows the prior, ``(P, *batch, n)``."""
        return 1 - self.from_data

    @property
    def disagreement(self) -> Tensor:
        """Largest difference of two posterior means, in posterior standard deviations, ``(*batch, n)``.

        The deviation is the root mean square of those of all priors; only trusted answers count.
        """
        kept = self.trusted[..., None]
        low = torch.where(kept, self.mean, torch.inf).amin(0)
        high = torch.where(kept, self.mean, -torch.inf).amax(0)
        sd = torch.where(kept, self.sd.square(), torch.nan).nanmean(0).sqrt()
        return torch.where(kept.sum(0) > 1, (high - low) / sd, torch.nan)

    def __str__(self) -> str:
        """Two tables of medians over the trusted observations: prior by prior, and cause by cause."""
        count = max(1, self.trusted[0].numel())
        lines = [f"{'prior':16s} trusted  log evidence  best in  dofs"]
        for p, name in enumerate(self.priors):
            kept = self.trusted[p].reshape(-1)
            best = int((self.rank[p] == 1).sum())
            evidence, dofs = (_median(v[p].reshape(-1)[kept]) for v in (self.log_evidence, self.dofs))
            share = f"{int(kept.sum())}/{count}"
            lines.append(f"{name:16s} {share:>7s}  {evidence:12.2f}  {best:7d}  {dofs:4.1f}")
        lines.append("")
        lines.append(f"{'cause':16s} {'prior':16s}     mean       sd  contraction  overlap  from data  apart (sd)")
        gaps = self.disagreement.reshape(count, -1)
        for j, cause in enumerate(self.causes.element_names):
            for p, name in enumerate(self.priors):
                kept = self.trusted[p].reshape(-1)
                of = [_median(getattr(self, s)[p].reshape(count, -1)[kept, j]) for s in _STATISTICS]
                gap = f"{_median(gaps[:, j]):10.2f}" if p == 0 else ""
                lines.append(
                    f"{cause if p == 0 else '':16s} {name:16s} {of[0]:8.4g} {of[1]:8.3g}  {of[2]:11.2f}  {of[3]:7.2f}"
                    f"  {of[4]:9.2f}  {gap}".rstrip()
                )
        return "\n".join(lines)


def compare_priors(
    problem: Problem,
    priors: Mapping[str, Prior],
    y: Any,
    inversion: Callable[..., Result],
    *,
    conditions: Mapping[str, Any] | None = None,
    seed: int = 0,
    progress: bool | Callable[[int, int], None] = False,
) -> PriorComparison:
    """Invert the same observations under each prior, and say what each answer owes to its prior.

    Parameters
    ----------
    problem : Problem
        Its forward model and noise; its own prior counts only if it is among `priors`.
    priors : mapping of str to Prior
        At least two, by name, over the problem's causes.
    y : array_like (*batch, m)
    inversion : Inversion
        One that gives log_evidence, if the priors are to be ranked.
    conditions : mapping, optional
        Those of any prior: each takes its own.
    seed : int
    progress : bool or callable

    Raises
    ------
    ValueError
        If there are fewer than two priors, one has other causes, or a condition is taken by none of them.
    """
    problems = _problems(problem, priors)
    given = dict(conditions or {})
    check_names(given, reduce(or_, (p.takes for p in problems.values())))
    results = {
        name: inversion(p, y, conditions=p.takes.pick(given), seed=seed, progress=progress)
        for name, p in problems.items()
    }
    return compare_results(problem, priors, results, seed=seed)


def compare_results(
    problem: Problem, priors: Mapping[str, Prior], results: Mapping[str, Result], *, seed: int = 0
) -> PriorComparison:
    """The same from results that are there, such as those of `reweight`.

    Parameters
    ----------
    problem : Problem
    priors : mapping of str to Prior
    results : mapping of str to Result
        By the same names, of the same observations.
    seed : int
        Of the prior draws.

    Raises
    ------
    ValueError
        See `compare_priors`; and if names or observations differ.
    """
    problems = _problems(problem, priors)
    if results.keys() != priors.keys() or len({tuple(r.status.shape) for r in results.values()}) != 1:
        raise ValueError(
            f"Results of {', '.join(results)} for the priors {', '.join(priors)}. "
            "Give one for each, of the same observations."
        )
    found = [_one(problems[name], results[name], seed) for name in priors]
    joined = {name: torch.stack([f[name] for f in found]) for name in found[0]}
    evidence = joined["log_evidence"]
    rank = (evidence[None] > evidence[:, None]).sum(1) + 1
    rank = torch.where(torch.isnan(evidence).any(0), 0, rank)
    ordered = {name: results[name] for name in priors}
    return PriorComparison(tuple(priors), ordered, rank=rank, **joined)


def _problems(problem: Problem, priors: Mapping[str, Prior]) -> dict[str, Problem]:
    if len(priors) < 2:
        raise ValueError(f"Invalid comparison of {len(priors)} prior. Give at least two, by name.")
    for name, prior in priors.items():
        if prior.causes.names != problem.prior.causes.names or prior.causes.size != problem.prior.causes.size:
            raise ValueError(
                f"The prior {name!r} has the causes {', '.join(prior.causes.names)}, "
                f"the problem {', '.join(problem.prior.causes.names)}. Give priors over the same causes, in one order."
            )
    return {name: Problem(problem.forward, prior, problem.noise) for name, prior in priors.items()}


def _one(problem: Problem, result: Result, seed: int) -> dict[str, Tensor]:
    """Everything about one prior, ``(*batch)`` and ``(*batch, n)``."""
    posterior, x = posterior_of(problem, result), flat_draws(result)
    batch, n = tuple(result.status.shape), x.shape[-1]
    mean, sd = x.mean(0), x.std(0)
    contraction, shared = _against_prior(posterior, x, seed)
    blank = x.new_full((x.shape[1],), torch.nan)
    dofs, from_data = _information(posterior, result, mean)
    each = {"mean": mean, "sd": sd, "contraction": contraction, "overlap": shared, "from_data": from_data}
    out = {name: value.reshape(*batch, n) for name, value in each.items()}
    evidence = result.stats.get("log_evidence", blank).reshape(batch)
    return out | {"log_evidence": evidence, "dofs": dofs.reshape(batch), "trusted": result.trusted}


def _against_prior(posterior: Posterior, x: Tensor, seed: int) -> tuple[Tensor, Tensor]:
    """Contraction and overlap (b, n) of draws (S, b, n) against prior draws."""
    prior, own = posterior.problem.prior, posterior.problem.prior_takes.pick(posterior.conditions)
    draws, b = (_PRIOR_DRAWS // 4 if own else _PRIOR_DRAWS), x.shape[1]
    size = max(1, _NUMBERS // ((draws + len(x)) * x.shape[-1]))
    parts = []
    for rows in torch.arange(b).split(size):
        shape = (draws, len(rows)) if own else (draws, 1)
        theirs = prior.sample(shape, seed=seed, dtype=x.dtype, **{k: v[rows] for k, v in own.items()})
        here = x[:, rows]
        parts.append((1 - here.var(0) / theirs.var(0), overlap(theirs, here)))
    contraction, shared = (torch.cat(part) for part in zip(*parts, strict=True))
    return contraction, shared


def _information(posterior: Posterior, result: Result, mean: Tensor) -> tuple[Tensor, Tensor]:
    """dofs (b,) and the diagonal of the averaging kernel (b, n); NaN where they cannot be had."""
    dofs, share = torch.full_like(mean[:, 0], torch.nan), torch.full_like(mean, torch.nan)
    z = _centre(posterior, result, mean)
    rows = torch.nonzero(torch.isfinite(z).all(-1)).squeeze(-1)
    if len(rows):
        try:
            found = information(posterior.select(rows), z[rows])
        except TypeError:  # no gradient: nothing to linearise
            return dofs, share
        dofs[rows], share[rows] = found.dofs, found.from_data
    return dofs, share


def _centre(posterior: Posterior, result: Result, mean: Tensor) -> Tensor:
    """Latents (b, k) to linearise at: those that the inversion reports, or those of the posterior mean; NaN: none."""
    prior, b = posterior.problem.prior, len(mean)
    z = mean.new_full((b, prior.latent_dim), torch.nan)
    if "latent_mean" in result.stats:
        z = result.stats["latent_mean"].reshape(b, -1).to(mean)
    lacking = torch.nonzero(~torch.isfinite(z).all(-1) & torch.isfinite(mean).all(-1)).squeeze(-1)
    if len(lacking) and "encode" in prior.capabilities:
        own = posterior.problem.prior_takes.pick(posterior.conditions)
        z = z.index_copy(0, lacking, prior.encode(mean[lacking], **{k: v[lacking] for k, v in own.items()}))
    return z


def _median(values: Tensor) -> float:
    return float(values.double().nanmedian()) if values.numel() else float("nan")
