"""Replications: causes drawn from the prior, each measured and inverted. Every check of calibration reads them.

If the inversion is exact, the true cause of a replication and its posterior draws are draws of one and the same
distribution given the observation (Cook, Gelman & Rubin 2006, *J. Comput. Graph. Stat.* 15, section 2): no function of
them and of the observation can tell which is the truth. All checks here rest on that, and on nothing else.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields, replace
from typing import Any

import torch
from torch import Tensor

from ..problem import Posterior, Problem
from ..progress import Progress
from ..rows import spread
from .convergence import ess
from .pointwise import log_likelihood, log_prior

FEWEST_DRAWS = 20
FEWEST_REPLICATIONS = 20


@dataclass(frozen=True, eq=False)
class Replications:
    """n true causes, and S posterior draws for each, as independent as can be.

    Attributes
    ----------
    truth : Tensor (n, k)
        In the units of the causes.
    draws : Tensor (S, n, k)
    names : tuple of str
        Of the k elements.
    trusted : bool Tensor (n,), optional
        Which replications the inversion vouches for; all, by default. A status is a function of the observation and
        never of the truth, so that what is left after a selection by it is as exact as the whole.
    y : Tensor (n, m), optional
        The observations, NaN where not measured.
    conditions : mapping of str to Tensor (n, *own)
    log_prob_truth, log_prob_draws : Tensor (n,), (S, n), optional
        Log density of the posterior, up to a constant for each replication, in causes or in latents.
    log_likelihood_truth, log_likelihood_draws : Tensor (n,), (S, n), optional
        log p(y | x).
    prior_sd : Tensor (k,), optional

    Raises
    ------
    ValueError, TypeError
        If shapes do not fit, or the truth is not finite.
    """

    truth: Tensor
    draws: Tensor
    names: tuple[str, ...]
    trusted: Tensor | None = None
    y: Tensor | None = None
    conditions: Mapping[str, Tensor] = field(default_factory=dict)
    log_prob_truth: Tensor | None = None
    log_prob_draws: Tensor | None = None
    log_likelihood_truth: Tensor | None = None
    log_likelihood_draws: Tensor | None = None
    prior_sd: Tensor | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "names", tuple(self.names))
        if not isinstance(self.truth, Tensor) or not isinstance(self.draws, Tensor):
            raise TypeError("Invalid truth or draws that are no tensors. Give tensors (n, k) and (S, n, k).")
        shape, drawn = tuple(self.truth.shape), tuple(self.draws.shape)
        if len(shape) != 2 or drawn[1:] != shape or shape[1] != len(self.names):
            raise ValueError(
                f"Invalid shapes {shape} of truth and {drawn} of draws with {len(self.names)} names. "
                "Give truth (n, k), draws (S, n, k) and k names."
            )
        if not bool(torch.isfinite(self.truth).all()):
            raise ValueError("Invalid truth with NaN or infinite values. Every replication needs its true causes.")
        n, k = shape
        wanted: dict[str, tuple[int, ...]] = {"trusted": (n,), "prior_sd": (k,)}
        wanted |= {f"{kind}_truth": (n,) for kind in _DENSITIES} | {f"{kind}_draws": drawn[:2] for kind in _DENSITIES}
        for name, size in wanted.items():
            value = getattr(self, name)
            if value is not None and tuple(value.shape) != size:
                raise ValueError(f"Invalid shape {tuple(value.shape)} of {name}. Must be {size}.")
        for name, value in {**self.conditions, **({} if self.y is None else {"y": self.y})}.items():
            if len(value) != n:
                raise ValueError(f"Invalid {name} of {len(value)} rows. Give one for each of the {n} replications.")

    def __len__(self) -> int:
        return len(self.truth)

    def select(self, index: Tensor | slice) -> Replications:
        """Some of the replications: an index, a mask or a slice of them."""
        kept: dict[str, Any] = {"conditions": {k: v[index] for k, v in self.conditions.items()}}
        for part in fields(self):
            value = getattr(self, part.name)
            if isinstance(value, Tensor) and part.name != "prior_sd":
                over_draws = part.name == "draws" or part.name.endswith("_draws")
                kept[part.name] = value[:, index] if over_draws else value[index]
        return replace(self, **kept)

    def thin(self, count: int) -> Replications:
        """At most so many draws of each, evenly spaced."""
        total = len(self.draws)
        if count >= total:
            return self
        keep = torch.arange(count, device=self.draws.device) * total // count
        names = ("draws", *(f"{kind}_draws" for kind in _DENSITIES))
        return replace(self, **{n: v[keep] for n in names if (v := getattr(self, n)) is not None})

    def elements(self, most: int) -> Replications:
        """At most so many elements of the causes, evenly spread: those of a field are too many to be tested each."""
        k = len(self.names)
        if k <= most:
            return self
        kept = spread(k, most).to(self.truth.device)
        sd = None if self.prior_sd is None else self.prior_sd[kept]
        names = tuple(self.names[int(i)] for i in kept)
        return replace(self, truth=self.truth[:, kept], draws=self.draws[..., kept], names=names, prior_sd=sd)

    def usable(self, question: str, fewest: int = FEWEST_REPLICATIONS) -> Replications:
        """Those that are trusted and whose draws are finite.

        Parameters
        ----------
        question : str
            Who asks, for the error.
        fewest : int
            Replications that it needs.

        Raises
        ------
        ValueError
            If there are too few of them, or too few draws, saying how many it takes.
        """
        good = torch.isfinite(self.draws).all(-1).all(0)
        if self.trusted is not None:
            good = good & self.trusted.to(torch.bool)
        if int(good.sum()) < fewest:
            raise ValueError(
                f"Too few replications for {question}: {int(good.sum())} trusted of {len(self)}. "
                f"At least {fewest} are needed: simulate more, or make the inversion converge."
            )
        if len(self.draws) < FEWEST_DRAWS:
            raise ValueError(
                f"Too few draws for {question}: {len(self.draws)} a replication. At least {FEWEST_DRAWS} are needed, "
                "and 100 are better: let the inversion keep more."
            )
        return self if bool(good.all()) else self.select(good)


_DENSITIES = ("log_prob", "log_likelihood")


def replicate(
    problem: Problem,
    inversion: Callable[..., Any],
    n: int,
    *,
    seed: int = 0,
    conditions: Mapping[str, Any] | None = None,
    draws: int | None = None,
    progress: Progress = False,
) -> Replications:
    """Draw causes from the prior, measure them, and invert all in one call.

    Parameters
    ----------
    problem : Problem
    inversion : Inversion
    n : int
        Replications: 300 tell a posterior that is a fifth too narrow, see ``docs/calibration.md``.
    seed : int
    conditions : mapping, optional
        One value each, or n.
    draws : int, optional
        Kept of each at most; what the effective sample size allows, by default.
    progress : bool or callable
        See `physgen.progress.advancing`.

    Raises
    ------
    ValueError
        If n is too small, or as the inversion does.
    """
    if n < FEWEST_REPLICATIONS:
        raise ValueError(f"Too few replications: {n}. At least {FEWEST_REPLICATIONS} are needed, and 300 are better.")
    given = dict(conditions or {})
    truth, y = problem.simulate(n, seed=seed, **given)
    result = inversion(problem, y, conditions=given, seed=seed, progress=progress)
    return replications_of(problem, truth, result, draws=draws)


def replications_of(problem: Problem, truth: Tensor, result: Any, *, draws: int | None = None) -> Replications:
    """Replications of true causes and the result of inverting their observations.

    Draws of a chain, or resampled by importance, are fewer than they seem: as many are kept, evenly spaced, as the
    effective sample size of the trusted ones says (Talts et al. 2018, section 5.1): the smallest that the result's
    statistics `ess` or `ess_bulk` state, or else what the chains have on average.

    Parameters
    ----------
    problem : Problem
    truth : Tensor (n, k)
    result : Result
        Of n observations on one axis.
    draws : int, optional
        Kept of each at most.

    Raises
    ------
    ValueError
        If shapes do not fit, or the effective draws are too few.
    """
    if result.status.ndim != 1 or tuple(truth.shape) != (len(result.status), result.causes.size):
        raise ValueError(
            f"Invalid shapes {tuple(truth.shape)} of truth and {tuple(result.status.shape)} of observations. "
            "Give (n, k) true causes and the result of n observations on one axis."
        )
    samples = result.draws
    keep = min(len(samples), draws or len(samples), _effective(result))
    if keep < FEWEST_DRAWS:
        raise ValueError(
            f"Too few effective draws for a calibration: {keep} a replication. At least {FEWEST_DRAWS} are needed: "
            "let the inversion keep more draws, or run longer chains."
        )
    kept = samples[torch.arange(keep, device=samples.device) * len(samples) // keep]
    posterior = problem.condition(result.y, **result.conditions)
    truth = truth.to(kept)
    true, drawn = densities(posterior, truth), densities(posterior, kept)
    return Replications(
        truth,
        kept,
        element_names(result.causes),
        trusted=result.trusted,
        y=result.y,
        conditions=result.conditions,
        log_prob_truth=true[0],
        log_prob_draws=drawn[0],
        log_likelihood_truth=true[1],
        log_likelihood_draws=drawn[1],
        prior_sd=truth.std(0),
    )


def densities(posterior: Posterior, x: Tensor) -> tuple[Tensor | None, Tensor]:
    """Log density of the posterior in latents (None where the prior cannot encode) and log p(y | x), ``(*draws, n)``.

    Parameters
    ----------
    posterior : Posterior
        Of n observations on one axis.
    x : Tensor (*draws, n, k)
        Causes; where a density is not known, it is -inf.
    """
    problem = posterior.problem
    prior, draws = problem.prior, x.reshape(-1, *x.shape[-2:])
    likelihood = log_likelihood(posterior, draws)
    latent = None
    if "encode" in prior.capabilities:
        own = problem.prior_takes.pick(posterior.conditions)
        latent = likelihood + log_prior(prior, draws, own, latent=True)

    def ranked(value: Tensor) -> Tensor:
        return torch.where(torch.isnan(value), -torch.inf, value).reshape(x.shape[:-1])

    return None if latent is None else ranked(latent), ranked(likelihood)


def element_names(space: Any) -> tuple[str, ...]:
    """One name for each element: a block's own, numbered where it has several."""
    return tuple(b.name if b.size == 1 else f"{b.name}[{i}]" for b in space for i in range(b.size))


def _effective(result: Any) -> int:
    """Effective draws of a trusted observation: the smallest number stated, or else the chains' own on average.

    A single short chain's own is a noisy estimate, whose smallest among many would say too little.
    """
    samples = result.samples[:, :, result.trusted]
    total = int(samples.shape[0] * samples.shape[1])
    stated = [result.stats[name][result.trusted] for name in ("ess", "ess_bulk") if name in result.stats]
    if not samples.shape[2] or (not stated and samples.shape[1] < 4):
        return total
    found = torch.cat([part.reshape(-1) for part in stated]) if stated else ess(samples).nanmean(0)
    found = found[torch.isfinite(found)]
    return int(found.min()) if len(found) else total
