"""Ensemble: affine-invariant Markov chains, for forward models without a gradient and to check faster methods."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import emcee
import numpy as np
import torch
from scipy.stats import chi2
from torch import Tensor

from physgen.diagnostics.convergence import autocorrelation_time, ess_bulk, rhat
from physgen.problem import Posterior, Problem, log_normal
from physgen.progress import Progress
from physgen.random import normal, uniform
from physgen.result import Result
from physgen.status import Status

from .batched import Layout, invert

# emcee 3.1.6 also has a snooker move, but its distribution is not the target's: for seven standard normals it finds a
# variance of 0.64 (the direction is not normalised, the Jacobian's power is halved)
_MOVES: dict[str, Callable[[], emcee.moves.Move]] = {
    "differential": emcee.moves.DEMove,  # ter Braak (2006)
    "jump": lambda: emcee.moves.DEMove(gamma0=1.0),  # from mode to mode, ter Braak (2006), section 2.4
    "stretch": emcee.moves.StretchMove,  # Goodman & Weare (2010)
}
_JITTER_STAGE, _PICK_STAGE, _CHAIN_STAGE = 1000, 2000, 2001  # random stages; those of the prior draws begin at 0
_ATTEMPTS = 16  # sets of candidates until enough walkers are feasible
_FORGET = 5  # autocorrelation times after which the start is forgotten
_JUDGED = 2000  # draws of each chain that R-hat compares
_NO_MASS = 1e-9  # latents so far out that the prior holds less: a model may be undefined there


@dataclass(frozen=True)
class Ensemble:
    """Affine-invariant ensemble sampling in latent space (Foreman-Mackey et al. 2013, emcee).

    Needs values of the forward model and no gradient. Observations are sampled one after the other, all walkers of
    one in a single call of the model; it takes seconds for each, where `OptimalEstimation` takes milliseconds.

    Parameters
    ----------
    draws : int
        Posterior draws kept in each chain, at least 8.
    chains : int
        Groups of walkers that are compared; each is one chain of the result.
    walkers : int, optional
        A multiple of `chains`, at least 2 k + 2 for k latents; by default 64, or 4 k if that is more.
    burn_in : int
        Steps discarded, or five autocorrelation times if that is more.
    autocorrelation_times : float
        The chains run until they are so many autocorrelation times long.
    max_steps : int
        Steps at most, burn-in included.
    thin : int
        Only each thin-th step is held in memory.
    candidates : int
        Prior draws from which the walkers' starts are chosen.
    moves : mapping of str to float
        Shares of the moves "differential", "jump" and "stretch".
    accept_rhat : float
        R-hat at most, for an observation to be trusted.

    Raises
    ------
    ValueError
        If a setting is out of range.

    References
    ----------
    Foreman-Mackey, Hogg, Lang & Goodman 2013, *emcee: the MCMC hammer*, PASP 125; Goodman & Weare 2010, *Ensemble
    samplers with affine invariance*, CAMCoS 5; ter Braak 2006, *A Markov chain Monte Carlo version of the genetic
    algorithm differential evolution*, Stat. Comput. 16.
    """

    draws: int = 500
    chains: int = 4
    walkers: int | None = None
    burn_in: int = 500
    autocorrelation_times: float = 50.0
    max_steps: int = 20000
    thin: int = 1
    candidates: int = 512
    moves: Mapping[str, float] = field(default_factory=lambda: {"differential": 0.7, "jump": 0.1, "stretch": 0.2})
    accept_rhat: float = 1.01

    def __post_init__(self) -> None:
        object.__setattr__(self, "moves", dict(self.moves))
        for name, least in (("draws", 8), ("chains", 1), ("burn_in", 0), ("thin", 1), ("candidates", 1)):
            if getattr(self, name) < least:
                raise ValueError(f"Invalid {name} {getattr(self, name)}. Must be at least {least}.")
        if self.walkers is not None and (self.walkers < 1 or self.walkers % self.chains):
            raise ValueError(f"Invalid walkers {self.walkers}. Must be a multiple of the {self.chains} chains.")
        if set(self.moves) - set(_MOVES) or not self.moves or min(self.moves.values()) <= 0:
            raise ValueError(f"Invalid moves {self.moves}. Give positive shares of {', '.join(_MOVES)}.")
        if not self.accept_rhat > 1 or not self.autocorrelation_times > 0:
            raise ValueError(
                f"Invalid accept_rhat {self.accept_rhat:g} or autocorrelation_times {self.autocorrelation_times:g}. "
                "The first must be greater than 1, the second positive."
            )

    def __call__(
        self,
        problem: Problem,
        y: Any,
        *,
        conditions: Mapping[str, Any] | None = None,
        seed: int = 0,
        index: Any = None,
        progress: Progress = False,
    ) -> Result:
        """Invert observations ``(*batch, m)``; see `physgen.inversions.inversion.Inversion`.

        The result's `stats` are rhat (largest over the causes), ess (of the draws kept; smallest over the causes),
        autocorrelation_time (steps; longest over the latents), acceptance_fraction, steps, nonfinite (evaluations in
        which the model was undefined), latent_mean and latent_covariance.

        Raises
        ------
        ValueError
            If observations or conditions are of the wrong shape, names or range, or there are too few walkers or
            steps for the problem.
        """
        walkers, k = self._walkers(problem.prior.latent_dim), problem.prior.latent_dim

        def answer(posterior: Posterior, index: Tensor, advance: Callable[[int], None]) -> dict[str, Tensor]:
            out = self._invert(posterior.select(0), walkers, seed, index[0].cpu())
            advance(1)
            return {name: torch.as_tensor(value)[None] for name, value in out.items()}

        statistics: dict[str, tuple[int | str, ...]] = {"latent_mean": ("k",), "latent_covariance": ("k", "k")}
        statistics |= dict.fromkeys(("rhat", "ess", "autocorrelation_time", "acceptance_fraction"), ())
        chain = 2 * self._first(walkers) // self.thin * walkers * k
        layout = Layout(self.chains, self.draws, statistics, ("steps", "nonfinite"), shared=chain)
        settings = {"conditions": conditions, "seed": seed, "index": index, "progress": progress, "chunk": 1}
        return invert(self, problem, y, answer, layout, **settings)

    def _walkers(self, k: int) -> int:
        walkers = self.walkers or math.ceil(max(64, 4 * k) / self.chains) * self.chains
        if walkers < 2 * k + 2:
            raise ValueError(f"Invalid walkers {walkers}. Must be at least 2 k + 2 = {2 * k + 2} for {k} latents.")
        if self.max_steps < self.burn_in + self._least(walkers):
            raise ValueError(
                f"Invalid max_steps {self.max_steps}. Must be at least {self.burn_in + self._least(walkers)} for a "
                f"burn-in of {self.burn_in} and {self.draws} draws in each chain."
            )
        return walkers

    def _first(self, walkers: int) -> int:
        """Steps of the first stretch: the chain goes on where these are not enough."""
        least = max(self._least(walkers), math.ceil(10 * self.autocorrelation_times))
        return min(self.max_steps, self.burn_in + least)

    def _least(self, walkers: int) -> int:
        """Steps after burn-in that hold the draws, none of them twice."""
        return self.thin * max(8, math.ceil(self.draws * self.chains / walkers))

    def _invert(self, posterior: Posterior, walkers: int, seed: int, index: Tensor) -> dict[str, Any]:
        """Everything about one observation, by name."""
        target = _Target(posterior)
        start = _start(target, walkers, candidates=self.candidates, seed=seed, index=index)
        if start is None:
            undefined = target.nonfinite > 0
            status = Status.MODEL_UNDEFINED if undefined else Status.INFEASIBLE
            return {"status": int(status), "nonfinite": target.nonfinite}
        words = uniform((8,), index, seed=seed, stage=_CHAIN_STAGE).numpy()
        random = np.random.RandomState((words * 2.0**32).astype(np.uint32))
        kept, stats = self._sample(target, start, random)
        out = stats | self._judge(posterior, kept)
        long_enough = len(kept) * self.thin >= self.autocorrelation_times * stats["autocorrelation_time"]
        status = Status.TRUSTED if out["rhat"] <= self.accept_rhat else Status.CHAINS_DISAGREE
        status = status if long_enough else Status.CHAINS_TOO_SHORT
        status = Status.MODEL_UNDEFINED if target.nonfinite else status
        return out | {"status": int(status), "nonfinite": target.nonfinite}

    def _sample(
        self, target: _Target, start: np.ndarray, random: np.random.RandomState
    ) -> tuple[np.ndarray, dict[str, Any]]:
        """Run until the chains are long enough; the steps kept (step, walker, k), and what emcee says of them."""
        walkers, k = start.shape
        moves = [(_MOVES[name](), share) for name, share in self.moves.items()]
        sampler = emcee.EnsembleSampler(walkers, k, target, moves=moves, vectorize=True)
        sampler.log_prob_fn = target  # emcee's own wrapper prints every walker when the model raises
        state = emcee.State(start, random_state=random.get_state())
        least = self._least(walkers) // self.thin
        burn_in = math.ceil(self.burn_in / self.thin)
        most = max(self.max_steps // self.thin, burn_in + least)
        steps = min(most, burn_in + max(least, math.ceil(10 * self.autocorrelation_times / self.thin)))
        while True:
            state = sampler.run_mcmc(state, steps - sampler.iteration, thin_by=self.thin, skip_initial_state_check=True)
            chain = sampler.get_chain()
            tau = _longest(chain[burn_in:])
            forget = min(max(burn_in, math.ceil(_FORGET * tau)), steps - least)
            needed = forget + math.ceil(self.autocorrelation_times * tau)
            if steps >= min(needed, most):
                break
            steps = min(most, max(math.ceil(1.25 * steps), min(math.ceil(1.1 * needed), 2 * steps)))
        return chain[forget:], {
            "autocorrelation_time": tau * self.thin,
            "acceptance_fraction": float(sampler.acceptance_fraction.mean()),
            "steps": steps * self.thin,
        }

    def _judge(self, posterior: Posterior, kept: np.ndarray) -> dict[str, Any]:
        """Draws, their moments, and how far the chains agree."""
        steps, walkers, k = kept.shape
        flat = torch.from_numpy(kept.reshape(-1, k))
        judged = self._decode(posterior, kept, min(max(self.draws, _JUDGED), steps * (walkers // self.chains)))
        samples = self._decode(posterior, kept, self.draws)
        return {
            "samples": samples,
            "latent_mean": flat.mean(0),
            "latent_covariance": torch.atleast_2d(torch.cov(flat.T)),
            # a cause that is set by intervention is constant: it has no R-hat
            "rhat": float(torch.nan_to_num(rhat(judged), nan=0.0).amax()),
            "ess": float(ess_bulk(samples).amin()),
        }

    def _decode(self, posterior: Posterior, kept: np.ndarray, draws: int) -> Tensor:
        """Causes (chain, draw, n), evenly spread over steps and walkers."""
        steps, walkers, _ = kept.shape
        i = np.arange(draws)
        step = ((i + 0.5) * steps / draws).astype(int)
        walker = (i % (walkers // self.chains)) * self.chains + np.arange(self.chains)[:, None]
        return posterior.decode(torch.from_numpy(kept[step, walker]).to(posterior.y))


class _Target:
    """Log posterior density of walkers ``(W, k)``, as emcee wants it; counts where the model was undefined."""

    def __init__(self, posterior: Posterior) -> None:
        self.posterior = posterior
        self.nonfinite = 0
        self.k = posterior.problem.prior.latent_dim
        self.radius2 = float(chi2.isf(_NO_MASS, self.k))

    def __call__(self, z: np.ndarray) -> np.ndarray:
        rows = torch.from_numpy(np.ascontiguousarray(z)).to(self.posterior.y)
        x, prediction = self.posterior.predict(rows)
        value = self.posterior.log_weight(x, prediction) + log_normal(rows)
        bad = ~torch.isfinite(prediction).all(-1) | torch.isnan(value) | torch.isposinf(value)
        if bool(bad.any()):
            self.nonfinite += int((bad & self._has_mass(rows, x)).sum())
        return torch.where(bad, -torch.inf, value).to(torch.float64).cpu().numpy()

    def _has_mass(self, z: Tensor, x: Tensor) -> Tensor:
        """Where the prior lets the causes be: proposals go further, and a model may be undefined out there."""
        prior = self.posterior.problem.prior
        inside = (z * z).sum(-1) < self.radius2
        if "log_factor" in prior.capabilities:
            own = self.posterior.problem.prior_takes.pick(self.posterior.conditions)
            inside = inside & ~torch.isneginf(prior.log_factor(x, **own))
        return inside


def _start(target: _Target, walkers: int, *, candidates: int, seed: int, index: Tensor) -> np.ndarray | None:
    """Feasible latents (walkers, k) where the posterior is high, or None if there are none.

    Prior draws, picked without replacement with probability proportional to their likelihood (Efraimidis & Spirakis
    2006, as Gumbel keys). Where a selection leaves too few feasible, the neighbourhood of those is searched.
    """
    z, value = np.empty((0, target.k)), np.empty(0)

    def add(new: np.ndarray) -> None:
        nonlocal z, value
        found = target(new)
        good = np.isfinite(found)
        z, value = np.concatenate([z, new[good]]), np.concatenate([value, found[good]])

    for stage in range(_ATTEMPTS):
        if len(z) < walkers:
            add(normal((candidates, target.k), index, seed=seed, stage=stage).numpy())
    if not len(z):
        return None
    for attempt in range(_ATTEMPTS):
        if len(z) < walkers:
            step = normal((walkers, target.k), index, seed=seed, stage=_JITTER_STAGE + attempt).numpy()
            add(np.resize(z, step.shape) + 0.5 ** (attempt + 1) * step)
    if len(z) < walkers:
        return None
    u = uniform((len(z),), index, seed=seed, stage=_PICK_STAGE).numpy()
    likelihood = value + 0.5 * (z * z).sum(-1)
    return z[np.argsort(likelihood - np.log(-np.log(u)))[-walkers:]]


def _longest(chain: np.ndarray) -> float:
    """Autocorrelation time of (step, walker, k), the longest over the latents; all steps where nothing moved."""
    tau = autocorrelation_time(torch.from_numpy(chain).transpose(0, 1))
    return max(1.0, float(torch.nan_to_num(tau, nan=float(len(chain))).amax()))
