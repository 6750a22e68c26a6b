"""How the network of `Amortised` learns: from draws of the prior, measured anew at every step."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from physgen.priors.columns import Casts
from physgen.priors.fitting import FitReport, Training, train
from physgen.problem import Posterior, Problem
from physgen.progress import Progress
from physgen.provenance import describe
from physgen.random import normal, uniform
from physgen.rows import spread
from physgen.status import Status

from .amortised_network import Features, PosteriorNetwork

STAGE = (1 << 21) + (1 << 16)  # random stages of this method begin here; of a fit, from STAGE + 16
_RANDOM_MASKS = 0.15  # share of the simulated observations that lack elements at random
_ROUNDS, _FEWEST = 50, 64  # of rejection from a weighted prior, and simulations that a fit needs
_FRAMED = 20_000  # simulations that centre and spread are taken from


@dataclass(frozen=True, eq=False)
class Trained:
    """What a fit leaves.

    Attributes
    ----------
    network : PosteriorNetwork
    conditions : tuple of str
        In the order in which the network takes them.
    mark : str
        Checksum of the problem that it was trained for.
    report : FitReport
        The learning curve.
    undefined : float
        Share of the simulations at which the forward model was not finite; they were left out.
    """

    network: PosteriorNetwork
    conditions: tuple[str, ...]
    mark: str
    report: FitReport
    undefined: float

    def __post_init__(self) -> None:
        object.__setattr__(self, "_casts", Casts(self.network))

    def like(self, y: Tensor) -> PosteriorNetwork:
        """The network in the dtype and on the device of y."""
        network: PosteriorNetwork = self._casts(y)  # type: ignore[attr-defined]
        return network

    def check(self, posterior: Posterior, *, corrected: bool) -> None:
        """Refuse a problem that the network was not trained for; a corrected answer needs but the same shapes.

        Raises
        ------
        ValueError
        """
        latents, size = posterior.problem.prior.latent_dim, posterior.y.shape[-1]
        wanted = self.network.latents, len(self.network.features.centre), self.conditions
        if (latents, size, tuple(sorted(posterior.conditions))) != wanted:
            raise ValueError(
                f"This Amortised was trained for {wanted[0]} latents, {wanted[1]} observables and the conditions "
                f"{', '.join(wanted[2]) or 'none'}. Train one for this problem with fit."
            )
        if not corrected and mark(posterior.problem) != self.mark:
            raise ValueError(
                "This Amortised was trained for another problem, and nothing corrects it. "
                "Train one for this problem with fit, or leave correct=True."
            )


def mark(problem: Problem) -> str:
    """Checksum of everything that decides a problem."""
    parts = [describe(part) for part in (problem.forward, problem.prior, problem.noise)]
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()


def flat_conditions(posterior: Posterior) -> Tensor:
    """All conditions ``(B, c)`` of B observations side by side, by name."""
    columns = [v.reshape(len(v), -1) for _, v in sorted(posterior.conditions.items())]
    return torch.cat([posterior.y.new_empty(len(posterior.y), 0), *columns], 1)


def witnesses(problem: Problem, y: Any, conditions: Mapping[str, Any]) -> Posterior:
    """Some of the observations ``(*batch, m)``, evenly spread: what conditions and gaps there are.

    Observations that cannot be inverted are left out, unless none can.

    Raises
    ------
    ValueError, TypeError
        See `Problem.condition`.
    """
    flat = problem.condition(y, **conditions).flatten()
    flat = flat.select(spread(len(flat.y)))
    good = flat.screen() == Status.TRUSTED
    any_good = bool(good.any())
    flat = flat.select(good) if any_good else flat
    y = flat.y if any_good else torch.zeros_like(flat.y)
    return Posterior(problem, y.float().cpu(), {k: v.float().cpu() for k, v in flat.conditions.items()})


def learn(
    problem: Problem,
    seen: Posterior,
    build: Callable[[Features], PosteriorNetwork],
    training: Training,
    *,
    simulations: int,
    seed: int,
    progress: Progress,
    checkpoint: str | Path | None,
) -> Trained:
    """Simulate, and train a network on it.

    Parameters
    ----------
    problem : Problem
    seen : Posterior
        Observations that lend their conditions and their missing elements.
    build : callable
        The network of given features, as it begins.
    training : Training
    simulations : int
    seed : int
    progress, checkpoint
        See `physgen.priors.fitting.train`.
    """
    rows, undefined = _simulate(problem, seen, simulations, seed)
    measure = _Measure(problem, torch.isnan(seen.y), tuple(sorted(seen.conditions)), seed)
    first = [r[:_FRAMED] for r in rows]
    network = build(Features(measure.noisy(first, -1), measure.flat(first)))

    def loss(rows: Sequence[Tensor], stage: int) -> Tensor:
        y = measure.gaps(measure.noisy(rows, stage), stage)
        return -network.log_prob(rows[0], network.embed(y, measure.flat(rows)))

    with torch.enable_grad():
        report = train(network, loss, rows, training=training, seed=seed, progress=progress, checkpoint=checkpoint)
    return Trained(network, measure.names, mark(problem), report, undefined)


def _simulate(problem: Problem, seen: Posterior, count: int, seed: int) -> tuple[list[Tensor], float]:
    """Latents, predictions and conditions of `count` draws, and the share of those where the model is undefined.

    A weighted prior is drawn by rejection; conditions under which it rejects much are then rarer.
    """
    k, weighted = problem.prior.latent_dim, "log_factor" in problem.prior.capabilities
    parts: list[list[Tensor]] = []
    found = 0
    for attempt in range(_ROUNDS if weighted else 1):
        stream = torch.tensor(attempt)
        lent = (uniform((count,), stream, seed=seed, stage=STAGE + 16) * len(seen.y)).long()
        z = normal((count, k), stream, seed=seed, stage=STAGE + 17, dtype=torch.float32)
        here = seen.select(lent)
        if weighted:
            factor = problem.prior.log_factor(here.decode(z), **problem.prior_takes.pick(here.conditions))
            log_u = torch.log(uniform((count,), stream, seed=seed, stage=STAGE + 18))
            kept = log_u < factor
            z, here = z[kept], here.select(kept)
        parts.append([z, *(v for _, v in sorted(here.conditions.items()))])
        found += len(z)
        if found >= count:
            break
    z, *own = (torch.cat(part)[:count] for part in zip(*parts, strict=True))
    names = sorted(seen.conditions)
    with torch.no_grad():
        _, prediction = Posterior(problem, z.new_empty(len(z), 0), dict(zip(names, own, strict=True))).predict(z)
    good = torch.isfinite(prediction).all(-1)
    if int(good.sum()) < _FEWEST:
        raise ValueError(
            f"Only {int(good.sum())} of {count} draws of the prior can be simulated. "
            "Correct the forward model where it is not finite, widen the selection, or use Ensemble."
        )
    rows = [r.float()[good].contiguous() for r in (z, prediction, *own)]
    return rows, float(1 - good.double().mean())


@dataclass(frozen=True, eq=False)
class _Measure:
    """What a simulated row becomes when it is measured: noise and gaps are new at every step.

    Attributes
    ----------
    patterns : boolean Tensor (W, m)
        Where the real observations lack an element.
    names : tuple of str
        Of the conditions.
    """

    problem: Problem
    patterns: Tensor
    names: tuple[str, ...]
    seed: int

    def flat(self, rows: Sequence[Tensor]) -> Tensor:
        """The conditions (B, c) side by side."""
        return torch.cat([rows[0].new_empty(len(rows[0]), 0), *(r.reshape(len(r), -1) for r in rows[2:])], 1)

    def noisy(self, rows: Sequence[Tensor], step: int) -> Tensor:
        """Measurements (B, m)."""
        own = self.problem.noise_takes.pick(dict(zip(self.names, rows[2:], strict=True)))
        seed = (1 << 63) | ((self.seed & 0x7FFFFFFF) << 32) | (step & 0xFFFFFFFF)
        return self.problem.noise.sample(rows[1], seed=seed, **own).float()

    def gaps(self, y: Tensor, step: int) -> Tensor:
        """NaN where the real observations have it, and in some rows at random."""
        count, m = y.shape
        u = uniform((count, m + 3), torch.tensor(step), seed=self.seed, stage=STAGE + 19)
        missing = self.patterns[(u[:, 0] * len(self.patterns)).long()]
        at_random = u[:, 3:] < u[:, 1:2]
        at_random &= ~at_random.all(1, keepdim=True)
        return torch.where(torch.where(u[:, 2:3] < _RANDOM_MASKS, at_random, missing), torch.nan, y)
