"""Log densities of a result's draws: under the prior, and of the observations given them."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from ..priors import Prior
from ..problem import DECODE_ROWS, Posterior, Problem, log_normal
from ..result import Result
from ..rows import in_blocks

_KEPT = 1 << 22  # numbers of predictions held at once


def posterior_of(problem: Problem, result: Result) -> Posterior:
    """The posterior that a result has drawn from, its observations on one axis.

    Raises
    ------
    ValueError
        If the result has other causes than the problem's prior, or no draws.
    """
    _check_draws(problem.prior, result)
    return problem.condition(result.y, **result.conditions).flatten()


def flat_draws(result: Result) -> Tensor:
    """Draws (S, b, n) of a result, chains and draws on one axis, observations on another."""
    return result.draws.reshape(result.samples.shape[0] * result.samples.shape[1], -1, result.samples.shape[-1])


def log_likelihood(posterior: Posterior, x: Tensor) -> Tensor:
    """Log density of each observation at causes.

    Parameters
    ----------
    posterior : Posterior
        Of b observations on one axis.
    x : Tensor (S, b, n)

    Returns
    -------
    Tensor (S, b)
        NaN where the model is undefined or x is NaN.
    """
    own = posterior.problem.noise_takes
    size = max(1, _KEPT // (x.shape[0] * max(x.shape[-1], posterior.y.shape[-1])))
    parts = []
    with torch.no_grad():
        for rows in torch.arange(x.shape[1]).split(size):
            here = posterior.select(rows)
            prediction = here.predict_causes(x[:, rows])
            value = posterior.problem.noise.log_prob(here.y, prediction, **own.pick(here.conditions))
            parts.append(torch.where(torch.isfinite(prediction).all(-1), value, torch.nan))
    return torch.cat(parts, 1) if parts else x.new_zeros(x.shape[:-1])


def log_prior(
    prior: Prior, x: Tensor, conditions: Mapping[str, Tensor], *, latent: bool | None = None, log_factor: bool = True
) -> Tensor:
    """Log density of causes under a prior, by blocks of rows.

    Parameters
    ----------
    prior : Prior
    x : Tensor (S, b, n)
    conditions : mapping of str to Tensor (b, *own)
        Those that the prior takes.
    latent : bool, optional
        The density of the latents, log N(z) + log_factor(x), z encoded from x; by default where the prior has no
        density of the causes.
    log_factor : bool
        Whether a weighted prior's factor counts in latent space (in the density of the causes it always does).

    Returns
    -------
    Tensor (S, b)
        -inf outside the support; NaN where x is NaN.

    Raises
    ------
    TypeError
        If the prior has neither a density nor an inverse.
    """
    latent = "log_prob" not in prior.capabilities if latent is None else latent
    needed = "encode" if latent else "log_prob"
    if needed not in prior.capabilities:
        raise TypeError(
            f"{type(prior).__name__} has no {needed!r}, so that the prior density of its draws is not known. "
            "Use a prior with a density or an inverse (a Chain, a Flow), or compare inversions under several priors."
        )
    known = torch.isfinite(x).all(-1)
    weighted = log_factor and "log_factor" in prior.capabilities

    def density(rows: Tensor, own: Mapping[str, Tensor]) -> tuple[Tensor]:
        if not latent:
            return (prior.log_prob(rows, **own),)
        z = prior.encode(rows, **own)
        value = log_normal(z) + (prior.log_factor(rows, **own) if weighted else 0)
        return (torch.where(torch.isfinite(z).all(-1), value, -torch.inf),)

    rows = x[known]
    own = {k: v.expand(x.shape[:2] + v.shape[1:])[known] for k, v in conditions.items()}
    out = x.new_full(x.shape[:-1], torch.nan)
    if len(rows):
        with torch.no_grad():
            (out[known],) = in_blocks(density, rows, own, DECODE_ROWS)
    return out


def _check_draws(prior: Prior, result: Result) -> None:
    if result.causes.names != prior.causes.names or result.samples.shape[-1] != prior.causes.size:
        raise ValueError(
            f"The result has the causes {', '.join(result.causes.names)}, the prior {', '.join(prior.causes.names)}. "
            "Give a prior over the result's causes, in their order."
        )
    if not result.samples.numel():
        raise ValueError(
            f"Invalid result without draws, of shape {tuple(result.samples.shape)}. Invert the observations first."
        )
