"""Power-scaling: would another prior, or a weaker likelihood, say otherwise? For thousands of observations at once."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from ..problem import Problem
from ..result import Result
from ..space import Space
from .cumulative_divergence import Ordered
from .pointwise import flat_draws, log_likelihood, log_prior, posterior_of
from .psis import pareto_smooth
from .sensitivity_verdict import CLEAR, SENSITIVE, Verdict, verdict

ALPHAS = (0.99, 1.01)
"""Powers between which the derivative is taken, those of `arviz_stats.psense`."""

_FEWEST = 50  # draws, below which nothing is said
_NUMBERS = 1 << 17  # draws of causes held at once: what stays in the cache


@dataclass(frozen=True, eq=False)
class PowerScaling:
    """Sensitivities of each cause of each observation.

    Attributes
    ----------
    prior_sensitivity, likelihood_sensitivity : Tensor (*batch, n)
        How fast the posterior of the cause moves when prior or likelihood is raised to a power; from `SENSITIVE` on it
        matters. NaN where there are no draws, or all are equal (a cause that was set by intervention).
    prior_noise, likelihood_noise : Tensor (*batch, n)
        Root mean square of what so many draws give where there is no sensitivity at all.
    draws : Tensor (*batch)
        Effective draws.
    causes : Space
    """

    prior_sensitivity: Tensor
    likelihood_sensitivity: Tensor
    prior_noise: Tensor
    likelihood_noise: Tensor
    draws: Tensor
    causes: Space

    @property
    def verdict(self) -> Tensor:
        """Codes of `Verdict` ``(*batch, n)``."""
        noise = self.prior_noise, self.likelihood_noise
        return verdict(self.prior_sensitivity, self.likelihood_sensitivity, *noise)

    @property
    def draws_needed(self) -> Tensor:
        """Effective draws ``(*batch, n)`` from which on a sensitivity of `SENSITIVE` stands out of its noise."""
        noise = torch.maximum(self.prior_noise, self.likelihood_noise)
        return torch.ceil(self.draws[..., None] * (noise * CLEAR / SENSITIVE) ** 2)

    @property
    def stats(self) -> dict[str, Tensor]:
        """For a result's `stats`, by the names of `physgen.datatree.STATISTICS`."""
        return {"prior_sensitivity": self.prior_sensitivity, "likelihood_sensitivity": self.likelihood_sensitivity}

    def __str__(self) -> str:
        """A table: for each cause the median sensitivities, and how many observations have each verdict."""
        names, n = self.causes.element_names, self.prior_sensitivity.shape[-1]
        prior, likelihood = (v.reshape(-1, n) for v in (self.prior_sensitivity, self.likelihood_sensitivity))
        codes = self.verdict.reshape(-1, n)
        lines = [f"{'cause':12s}  prior  likelihood  verdict (of {len(codes)} observations)"]
        for i, name in enumerate(names):
            counts = torch.bincount(codes[:, i], minlength=len(Verdict))
            ranked = sorted((v for v in Verdict if counts[v]), key=lambda v: -int(counts[v]))
            words = ", ".join(v.words if len(codes) == 1 else f"{int(counts[v])} {v.words}" for v in ranked)
            medians = [float(torch.nanmedian(v[:, i])) for v in (prior, likelihood)]
            lines.append(f"{name:12s} {medians[0]:6.2f}  {medians[1]:10.2f}  {words}")
        return "\n".join(lines)


def power_scaling(
    problem: Problem, result: Result, *, latent: bool | None = None, alphas: tuple[float, float] = ALPHAS
) -> PowerScaling:
    """Sensitivity of every cause of every observation to the prior and to the likelihood, from draws that are there.

    Parameters
    ----------
    problem : Problem
        The one whose posterior was drawn from.
    result : Result
        At least 50 draws; its statistic `ess`, if it has one, says how many they are worth.
    latent : bool, optional
        Whether the prior is raised to a power in latent space, as N(z) and its weight, instead of its density of the
        causes. By default where it has no such density. A power of a bounded uniform is the same uniform; that of its
        latent normal is narrower or wider.
    alphas : (float, float)
        The two powers, below and above 1.

    Returns
    -------
    PowerScaling
        With the batch of the result.

    Raises
    ------
    ValueError
        If the result has other causes, conditions or observations than the problem, or fewer than 50 draws.
    TypeError
        If the prior has neither a density nor an inverse.

    References
    ----------
    Kallioinen, Paananen, Bürkner & Vehtari (2023), *Detecting and diagnosing prior and likelihood sensitivity with
    power-scaling*, Statistics and Computing 34:57.
    """
    posterior, x = posterior_of(problem, result), flat_draws(result)
    _check(len(x), alphas)
    effective = _effective(result.stats, len(x), x)
    conditions = problem.prior_takes.pick(posterior.conditions)
    prior = log_prior(problem.prior, x, conditions, latent=latent)
    found = sensitivities(x, prior, log_likelihood(posterior, x), effective=effective, alphas=alphas)
    batch = result.status.shape
    prior_by, likelihood_by, *noises = (v.reshape(*batch, x.shape[-1]).to(x.dtype) for v in found)
    return PowerScaling(prior_by, likelihood_by, noises[0], noises[1], effective.reshape(batch), result.causes)


def sensitivities(
    x: Tensor,
    log_prior: Tensor,
    log_likelihood: Tensor,
    *,
    effective: Tensor | None = None,
    alphas: tuple[float, float] = ALPHAS,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """The same from tensors: sensitivity to prior and likelihood, and the noise of both, each (b, n).

    Parameters
    ----------
    x : Tensor (S, b, n)
        Draws of n quantities of b observations.
    log_prior, log_likelihood : Tensor (S, b)
        Of each draw, up to a constant.
    effective : Tensor (b,), optional
        How many independent draws they are worth; S by default.
    alphas : (float, float)

    Raises
    ------
    ValueError
        If the shapes do not fit, or the draws are fewer than 50.
    """
    if x.ndim != 3 or log_prior.shape != x.shape[:2] or log_likelihood.shape != x.shape[:2]:
        shapes = ", ".join(str(tuple(v.shape)) for v in (x, log_prior, log_likelihood))
        raise ValueError(f"Invalid shapes {shapes}. Give draws (S, b, n) and log densities (S, b) of both kinds.")
    _check(len(x), alphas)
    draws = x.new_full(x.shape[1:2], float(len(x))) if effective is None else effective.to(x)
    size = max(1, _NUMBERS // max(x.shape[0] * x.shape[2], 1))
    parts = []
    for rows in torch.arange(x.shape[1]).split(size):
        ordered = Ordered(x[:, rows])
        both = [_one(ordered, v[:, rows].double(), draws[rows].double(), alphas) for v in (log_prior, log_likelihood)]
        parts.append((both[0][0], both[1][0], both[0][1], both[1][1]))
    if not parts:
        empty = x.new_empty(0, x.shape[-1])
        return empty, empty, empty, empty
    a, b, c, d = (torch.cat(part) for part in zip(*parts, strict=True))
    return a, b, c, d


def _one(ordered: Ordered, log_density: Tensor, draws: Tensor, alphas: tuple[float, float]) -> tuple[Tensor, Tensor]:
    """Sensitivity (b, n) to a power of one density (S, b), and its noise (b, n)."""
    known = torch.isfinite(log_density).all(0)
    l = torch.where(known, log_density, 0.0)  # noqa: E741
    l = l - l.mean(0)  # noqa: E741
    slopes = [ordered.distance(pareto_smooth((alpha - 1) * l)[0].exp()) / abs(math.log2(alpha)) for alpha in alphas]
    value = torch.where(known[:, None], 0.5 * (slopes[0] + slopes[1]), torch.nan)
    noise = _noise(ordered, l.var(0), draws)
    return value, torch.where(torch.isnan(value), torch.nan, noise)


def _noise(ordered: Ordered, variance: Tensor, draws: Tensor) -> Tensor:
    """Root mean square (b, n) of the sensitivity of draws of which the density is independent.

    To first order in log alpha the distribution function F moves by log(alpha) c, c its covariance with the log density
    l, which draws alone make var(l) F (1 - F) / S. The squared distance is the integral of c^2 / (4 F ln 2) over twice
    that of F, whence ln 2 / 8 var(l) / S times the integral of 1 - F over that of F, and likewise for -x.
    """
    ratio = ordered.above / ordered.below
    return torch.sqrt(math.log(2) / 8 * (variance / draws)[:, None] * torch.maximum(ratio, 1 / ratio))


def _effective(stats: Mapping[str, Tensor], draws: int, like: Tensor) -> Tensor:
    """Effective draws (b,): the result's own number, at most that of the draws."""
    ess = stats.get("ess")
    if ess is None:
        return like.new_full(like.shape[1:2], float(draws))
    return torch.nan_to_num(ess.reshape(-1).to(like), nan=float(draws)).clamp(1, draws)


def _check(draws: int, alphas: tuple[float, float]) -> None:
    if draws < _FEWEST:
        raise ValueError(
            f"Too few draws for power-scaling: {draws}. It needs at least {_FEWEST}, and some 1,000 for a dozen causes."
        )
    if not 0 < alphas[0] < 1 < alphas[1]:
        raise ValueError(f"Invalid alphas {alphas}. Give one power below 1 and one above, such as 0.99 and 1.01.")
