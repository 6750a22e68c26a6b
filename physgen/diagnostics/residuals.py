"""Residuals of every observation in units of the noise: their mean spectrum, and whether neighbours are alike."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from ..problem import Problem
from ..random import single_stream, uniform
from ..result import Result
from .misfit import has_chi2
from .observation_embedding import own_seed
from .pointwise import flat_draws, posterior_of

TIES_STAGE = (1 << 43) + (1 << 20)
"""Stage of the numbers that break ties between an observation and its replicates."""

_DRAWS = 100  # that replicate an observation where the noise cannot standardise


@dataclass(frozen=True, eq=False)
class Residuals:
    """Standardised residuals.

    If the model holds each is about normal; where the fit has taken up some of the noise their variance is below 1.

    Attributes
    ----------
    values : Tensor (b, m)
        NaN where not measured, and where an observation has no draws.
    """

    values: Tensor

    @property
    def chi2(self) -> Tensor:
        """Sum of squares of each observation ``(b,)``."""
        return torch.nan_to_num(self.values).square().sum(-1)

    def spectrum(self) -> tuple[Tensor, Tensor, Tensor]:
        """Over all observations, of each element ``(m,)``: mean, its standard error, and root mean square."""
        known = ~torch.isnan(self.values)
        count, r = known.sum(0).clamp(min=1), torch.nan_to_num(self.values)
        mean = r.sum(0) / count
        variance = torch.where(known, (r - mean).square(), 0).sum(0) / (count - 1).clamp(min=1)
        return mean, torch.sqrt(variance / count), torch.sqrt(r.square().sum(0) / count)

    def autocorrelation(self, most: int = 10) -> tuple[Tensor, Tensor]:
        """Correlation of elements so many places apart, over all observations.

        Parameters
        ----------
        most : int
            Largest lag.

        Returns
        -------
        correlation, error : Tensor (L,)
            Of the lags 1, 2, ..., L; the standard error is that of residuals that are independent.

        Raises
        ------
        ValueError
            If the lag is not positive, or there are fewer than three elements.
        """
        m = self.values.shape[-1]
        if most < 1 or m < 3:
            raise ValueError(f"Invalid lag {most} for {m} elements. Give at least 1, for at least 3 elements.")
        known, r = ~torch.isnan(self.values), torch.nan_to_num(self.values)
        variance = r.square().sum() / known.sum().clamp(min=1)
        found, errors = [], []
        for lag in range(1, min(most, m - 2) + 1):
            pairs = (known[:, lag:] & known[:, :-lag]).sum()
            found.append((r[:, lag:] * r[:, :-lag]).sum() / (pairs.clamp(min=1) * variance))
            errors.append(1 / pairs.clamp(min=1).to(r).sqrt())
        return torch.stack(found), torch.stack(errors)

    def runs(self) -> Tensor:
        """Correlation of neighbouring residuals of each observation ``(b,)``: near 1 where whole stretches are off."""
        known, r = ~torch.isnan(self.values), torch.nan_to_num(self.values)
        pairs = known[:, 1:] & known[:, :-1]
        variance = r.square().sum(-1) / known.sum(-1).clamp(min=1)
        return (r[:, 1:] * r[:, :-1]).sum(-1) / (pairs.sum(-1).clamp(min=1) * variance)


def residuals(problem: Problem, result: Result, *, seed: int = 0) -> Residuals:
    """Residuals of all observations of a result at the mode, or the mean of its draws.

    Whitened by the noise (each element less what those before it explain) where it can; otherwise the normal scores
    of the observation's rank among replicates of the draws (Dunn & Smyth 1996, *J. Comput. Graph. Stat.* 5:236).

    Parameters
    ----------
    problem : Problem
    result : Result
        Its `latent_mean` is the mode; without one, the mean of the draws' predictions stands for it.
    seed : int
        Of replicates.

    Raises
    ------
    ValueError
        If the result has other causes, conditions or observations than the problem, or no draws.
    """
    posterior, x = posterior_of(problem, result), flat_draws(result)
    own = problem.noise_takes.pick(posterior.conditions)
    z = result.stats.get("latent_mean")
    with torch.no_grad():
        if not has_chi2(problem.noise):
            keep = torch.linspace(0, len(x) - 1, min(_DRAWS, len(x))).round().long()
            prediction = posterior.predict_causes(x[keep])
            like = posterior.y.expand(len(keep), *posterior.y.shape)
            replicates = problem.noise.sample(prediction, seed=own_seed(seed), like=like, **own)
            values = quantile_residuals(posterior.y, replicates, seed)
        elif z is not None:
            _, prediction = posterior.predict(z.reshape(len(posterior.y), -1))
            values = problem.noise.standardise(posterior.y, prediction, **own)
        else:
            prediction = posterior.predict_causes(x)
            values = problem.noise.standardise(posterior.y, prediction, **own).mean(0)
    absent = torch.isnan(posterior.y) | ~torch.isfinite(x).all(-1).all(0)[:, None]
    return Residuals(torch.where(absent, torch.nan, values))


def quantile_residuals(y: Tensor, replicates: Tensor, seed: int = 0) -> Tensor:
    """Normal scores ``(b, m)`` of the ranks of y (b, m) among replicates (S, b, m); ties are broken at random."""
    below, equal = (replicates < y).sum(0), (replicates == y).sum(0)
    u = uniform(tuple(y.shape), single_stream(), seed=seed, stage=TIES_STAGE).to(y)
    return torch.special.ndtri((below + u * (equal + 1)) / (len(replicates) + 1))


def lag_words(correlation: Tensor, error: Tensor) -> str:
    """What the first lag of an autocorrelation says, in two sentences."""
    first, sd = float(correlation[0]), float(error[0])
    if not math.isfinite(first) or abs(first) < 3 * sd:
        return f"Neighbouring residuals do not depend on each other ({first:+.2f}). The noise accounts for them."
    kind = "alike" if first > 0 else "opposed"
    return (
        f"Neighbouring residuals are {kind} ({first:+.2f}, {abs(first) / sd:.0f} standard errors). "
        "The model errs over stretches: give the noise a discrepancy with a length, or correct the model."
    )
