"""TemperedSMC: particles that are led from the prior to the posterior, with the evidence and its error."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from physgen.diagnostics.resampling import systematic
from physgen.problem import Posterior, Problem
from physgen.progress import Progress
from physgen.random import normal
from physgen.result import Result
from physgen.status import Status

from .batched import Layout, invert
from .gradient import Target, need_gradient
from .markov import judge, mean_of, summary
from .tempered_population import Population

_STAGE = (1 << 21) + (1 << 16) * 5  # random stages of this method begin here
_PICK = _STAGE + (1 << 15)  # those of the last resampling
_DRIFT = 0.1  # standard deviations that the moments may change by while the particles move at the posterior
_LOST_SHARE = 2e-4  # of the moves at the posterior whose trajectories lost their energy: more, and it is not trusted
_FEW = 16  # latents, up to which walks are cheaper: a canopy with 14 took a seventh of the time of Hamiltonian moves
_STATES = 6  # of each particle: where it was, where it is, a proposal, ...
MOVES = ("auto", "walk", "hamiltonian")


@dataclass(frozen=True)
class TemperedSMC:
    r"""Sequential Monte Carlo along :math:`N(z; 0, I)\, p(y \mid z)^{\beta}`, beta from 0 to 1.

    Finds several modes where the prior leads to them, needs no start and no gradient, and gives the evidence. Some
    independent populations are run for each observation: they are weighted by the evidence that each found, and what
    they differ by is the error of it. Each temperature follows from the effective size of the weights (Del Moral,
    Doucet & Jasra 2006, 2012), the number of moves from how far they have carried the particles.

    Parameters
    ----------
    draws : int
        Draws kept of each population.
    chains : int
        Independent populations, at least 2.
    particles : int
        Of each population.
    share : float
        Effective share of the particles after each step of the temperature.
    moves : {"auto", "walk", "hamiltonian"}
        "walk": autoregressive and random-walk proposals scaled by the particles' covariance, which only evaluate;
        "hamiltonian" needs a gradient; "auto" takes it where there is one and there are more than 16 latents.
    correlation : float
        Moves are repeated until the particles' correlation with where they were is below it, in every latent.
    max_moves : int
        At each temperature.
    max_steps : int
        Temperatures, and passes of moves at the posterior, at most. There the particles move until mean and spread of
        no latent changes; where they still do after as many passes as there were temperatures, the answer is not
        trusted.
    accept_rhat, accept_error : float
        R-hat between populations, and standard error of the log evidence, at most, for an answer to be trusted.
    chunk : int
        Observations held at once.

    Raises
    ------
    ValueError
        If a setting is out of range.

    References
    ----------
    Del Moral, Doucet & Jasra (2006), *Sequential Monte Carlo samplers*, JRSS B 68:411; (2012), *An adaptive sequential
    Monte Carlo method for approximate Bayesian computation*, Stat. Comput. 22:1009 (the temperatures); Buchholz,
    Chopin & Jacob (2021), *Adaptive tuning of Hamiltonian Monte Carlo within sequential Monte Carlo*, Bayesian
    Analysis 16 (the number of moves).
    """

    draws: int = 250
    chains: int = 4
    particles: int = 1000
    share: float = 0.5
    moves: str = "auto"
    correlation: float = 0.3
    max_moves: int = 40
    max_steps: int = 200
    accept_rhat: float = 1.05
    accept_error: float = 0.5
    chunk: int = 16

    def __post_init__(self) -> None:
        for name, least in (("draws", 8), ("chains", 2), ("particles", 20), ("max_moves", 1), ("max_steps", 1)):
            if getattr(self, name) < least:
                raise ValueError(f"Invalid {name} {getattr(self, name)}. Must be at least {least}.")
        if self.max_moves > 60 or self.max_steps > 255:  # each has stages of the random numbers
            raise ValueError(
                f"Invalid max_moves {self.max_moves} or max_steps {self.max_steps}. At most 60 and 255 are possible."
            )
        if self.chunk < 1:
            raise ValueError(f"Invalid chunk {self.chunk}. Must be at least 1.")
        for name in ("share", "correlation"):
            if not 0 < getattr(self, name) < 1:
                raise ValueError(f"Invalid {name} {getattr(self, name):g}. Must lie within 0 to 1, both excluded.")
        if self.moves not in MOVES:
            raise ValueError(f"Unknown moves {self.moves!r}. Must be one of {', '.join(MOVES)}.")
        if not self.accept_rhat > 1 or not self.accept_error > 0:
            raise ValueError(
                f"Invalid accept_rhat {self.accept_rhat:g} or accept_error {self.accept_error:g}. "
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

        Raises
        ------
        TypeError
            If Hamiltonian moves are asked for, and the forward model has no gradient.
        ValueError
            If observations or conditions are of the wrong shape, names or range.
        """
        if self.moves == "hamiltonian":
            need_gradient(problem, "Hamiltonian moves need", 'TemperedSMC(moves="walk"), SliceSampler or Ensemble')

        def answer(posterior: Posterior, index: Tensor, advance: Callable[[int], None]) -> dict[str, Tensor]:
            out = self._answer(posterior, seed, index)
            advance(len(index))
            return out

        statistics: dict[str, tuple[int | str, ...]] = dict.fromkeys(
            ("rhat", "ess", "acceptance_fraction", "log_evidence", "log_evidence_error"), ()
        )
        statistics |= {"latent_mean": ("k",), "latent_covariance": ("k", "k")}
        states = _STATES * self.chains * self.particles
        layout = Layout(self.chains, self.draws, statistics, ("steps", "nonfinite"), states=states)
        settings = {"conditions": conditions, "seed": seed, "index": index, "progress": progress, "chunk": self.chunk}
        return invert(self, problem, y, answer, layout, **settings)

    @property
    def _still(self) -> float:
        """Drift below which particles are taken to be at equilibrium: at least four Monte-Carlo errors."""
        return max(_DRIFT, 4 * math.sqrt(2 / (self.chains * self.particles)))

    def _answer(self, posterior: Posterior, seed: int, index: Tensor) -> dict[str, Tensor]:
        target, k = Target(posterior), posterior.problem.prior.latent_dim
        shape = (self.chains, self.particles, k)
        z = normal(shape, index, seed=seed, stage=_STAGE, dtype=posterior.y.dtype)
        many = posterior.problem.differentiable and k > _FEW
        gradient = self.moves == "hamiltonian" or (self.moves == "auto" and many)
        all_of = Population.of(target, z, index, seed=seed, stage=_STAGE + 1, gradient=gradient)
        feasible = torch.isfinite(all_of.log_likelihood).any(-1).all(-1)
        settled, active = torch.zeros_like(feasible), torch.nonzero(feasible).squeeze(-1)
        passes: list[Tensor] = []
        for temperature in range(self.max_steps):
            if not len(active):
                break
            here = all_of.select(active)
            here.heat(temperature, self.share)
            here.move(temperature, correlation=self.correlation, most=self.max_moves)
            all_of.put(active, here)
            passes.append(_moments(all_of.z))
            steps = here.steps.amax(-1)
            after = temperature + 1 - steps  # passes since all were at the posterior
            last = after >= steps  # no more of them than there were temperatures
            # particles that do not forget may still have been led to the right places: then nothing has moved at all
            back = torch.where(last & ~here.forgot, 0, (after - 1).clamp(min=0) // 2)
            earlier = (steps - 1 + back).clamp(max=temperature)
            drift = _drift(torch.stack(passes)[earlier, active], passes[-1][active])
            settled[active] = (after > 0) & (here.forgot | last) & (drift < self._still)
            active = active[~(settled[active] | last)]
        return self._conclude(posterior, all_of, feasible, settled, seed, index)

    def _conclude(
        self, posterior: Posterior, found: Population, feasible: Tensor, settled: Tensor, seed: int, index: Tensor
    ) -> dict[str, Tensor]:
        log_z = torch.where(feasible[:, None], found.log_evidence, 0)
        weight = torch.softmax(log_z, -1)
        batch, groups, particles, k = found.z.shape
        flat = found.z.reshape(batch, groups * particles, k)
        each = (weight / particles).repeat_interleave(particles, 1)
        stages = (_PICK, _PICK + 1)
        place = systematic(each, self.chains * self.draws, index, seed=seed, stages=stages)
        drawn = flat.gather(1, place[..., None].expand(-1, -1, k)).reshape(batch, self.chains, self.draws, k)
        # populations are compared as they are; what is drawn of them is weighted
        every = torch.linspace(0, particles - 1, min(particles, 400), device=flat.device).round().long()
        apart = summary(posterior, found.z[:, :, every], groups)
        out = summary(posterior, drawn, groups) | {"rhat": apart["rhat"]}
        mean_z = (log_z - log_z.amax(-1, keepdim=True)).exp()
        error = mean_z.std(-1) / mean_z.mean(-1) / math.sqrt(groups)
        out["ess"] = torch.minimum(out["ess"], 1 / (weight * weight).sum(-1) * particles / 2)
        status = judge(
            found.target,
            torch.where(feasible, int(Status.TRUSTED), int(Status.INFEASIBLE)),
            out["rhat"],
            out["ess"],
            accept_rhat=self.accept_rhat,
            accept_ess=min(100.0, 0.25 * particles),
        )
        status = torch.where((status == Status.TRUSTED) & (error > self.accept_error), _DISAGREE, status)
        status = torch.where((status == Status.TRUSTED) & ~settled, int(Status.CHAINS_TOO_SHORT), status)
        lost_energy = found.diverged > _LOST_SHARE
        status = torch.where((status == Status.TRUSTED) & lost_energy, int(Status.TOO_MANY_DIVERGENCES), status)
        unfinished = (found.beta < 1).any(-1) & feasible
        out["status"] = torch.where(unfinished, int(Status.NOT_CONVERGED), status)
        lost = ~feasible & (found.target.undefined > 0)
        out["status"] = torch.where(lost, int(Status.MODEL_UNDEFINED), out["status"])
        out["samples"] = torch.where(feasible[:, None, None, None], out["samples"], torch.nan)
        out |= {"log_evidence": torch.logsumexp(log_z, -1) - math.log(groups), "log_evidence_error": error}
        return out | {
            "acceptance_fraction": found.accepted.mean(-1),
            "steps": found.steps.amax(-1),
            "nonfinite": found.target.undefined,
        }


def _moments(z: Tensor) -> Tensor:
    """Mean and standard deviation (B, 2, k) of particles (B, G, N, k)."""
    flat = z.flatten(1, 2)
    mean = mean_of(flat)
    return torch.stack([mean, mean_of((flat - mean[:, None]).square()).sqrt()], 1)


def _drift(before: Tensor, after: Tensor) -> Tensor:
    """By how many standard deviations means, and by which share standard deviations, have changed: the largest (B,)."""
    sd = after[:, 1].clamp(min=torch.finfo(after.dtype).tiny)
    return torch.maximum((after[:, 0] - before[:, 0]).abs() / sd, (before[:, 1] / sd - 1).abs()).amax(-1)


_DISAGREE = int(Status.CHAINS_DISAGREE)
