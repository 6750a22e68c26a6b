"""Hamiltonian: many short chains at once, whose trajectories adapt across them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, final

import torch
from torch import Tensor

from physgen.problem import Problem
from physgen.progress import Progress
from physgen.result import Result

from .chain_settings import check
from .chees import Adaptation
from .gradient_chains import Chains, Flight, Kernel, Move, metropolis, run
from .leapfrog import Slope, Trajectory, halton, trajectory
from .second_try import again

_STAGE = 1 << 21  # random stages of this method begin here


@dataclass(frozen=True)
class Hamiltonian:
    """Hamiltonian Monte Carlo with many chains, adapted across them (ChEES; Hoffman, Radul & Sountsov 2021).

    In a batch, a gradient of a thousand chains costs little more than that of one. All chains of an observation share
    one jittered length of trajectory, so that they stay in step; step size, length and metric are learned from all of
    them. Chains start in groups (superchains) from one point each, drawn from the Laplace posterior where there is one,
    and nested R-hat (Margossian et al. 2024) says whether they have forgotten it. Between two trajectories a chain may
    jump to where others have been, which joins separated modes. Needs a gradient.

    Parameters
    ----------
    draws : int
        Draws kept of each chain.
    chains, superchains : int
        The second divides the first, and is at least 2.
    warm_up : int
        Trajectories from which step size, length and metric are learned.
    accept : float
        Mean acceptance (harmonic) that the step size aims at.
    max_steps : int
        Trajectories after the warm-up, at most; the chains go on, from twice to twice as long, until they are good.
    max_leaps : int
        Steps of a trajectory, at most. After the warm-up, one that fails is tried again with steps a quarter as long.
    accept_rhat, accept_ess : float
        What an answer must reach to be trusted. Of 4,000 effective draws one moment in 600 is more than 0.05 standard
        deviations off.
    candidates : int
        Places drawn from what the chains have seen, to one of which a chain may jump after every fourth trajectory; 0
        for none. There are none where they are of no use, nor where the warm-up made fewer than 20 draws for each
        latent. Where chains wait for a jump for less than two moves on average, there are eight jumps to a trajectory.
        Chains that go on learn anew from their draws where to jump to.
    chunk : int
        Observations held at once. More of them are faster together; progress is reported, and what is done is kept
        when interrupted, by the chunk.

    Raises
    ------
    ValueError
        If a setting is out of range.

    References
    ----------
    Neal (2011), *MCMC using Hamiltonian dynamics*; Hoffman, Radul & Sountsov (2021), *An adaptive-MCMC scheme for
    setting trajectory lengths in Hamiltonian Monte Carlo*, AISTATS; Margossian et al. (2024), *Nested R-hat: assessing
    the convergence of Markov chain Monte Carlo when running many short chains*, Bayesian Analysis; Modi, Barnett &
    Carpenter (2023), *Delayed rejection Hamiltonian Monte Carlo for sampling multiscale distributions*, ibid.
    (a trajectory that failed is tried again); Samsonov et al. (2022), *Local-global MCMC kernels: the best of both
    worlds*, NeurIPS (jumps between trajectories).
    """

    draws: int = 256
    chains: int = 32
    superchains: int = 4
    warm_up: int = 100
    accept: float = 0.8
    max_steps: int = 3000
    max_leaps: int = 256
    accept_rhat: float = 1.01
    accept_ess: float = 4000.0
    candidates: int = 32
    chunk: int = 64

    def __post_init__(self) -> None:
        check(self, {"superchains": 2, "max_leaps": 1, "candidates": 0})
        if self.chains % self.superchains:
            raise ValueError(f"Invalid chains {self.chains}. Must be a multiple of the {self.superchains} superchains.")

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
            If the forward model has no gradient.
        ValueError
            If observations or conditions are of the wrong shape, names or range.
        """

        def kernel(w: Tensor) -> Kernel:
            return _Kernel(Adaptation.of(w, accept=self.accept), self.max_leaps)

        asked = {"conditions": conditions, "seed": seed, "index": index, "progress": progress}
        return run(self, kernel, problem, y, stage=_STAGE, superchains=self.superchains, **asked)


@final
class _Kernel(Kernel):
    """One trajectory of every chain, all of the same length."""

    def __init__(self, adaptation: Adaptation, max_leaps: int) -> None:
        self.adaptation, self.max_leaps = adaptation, max_leaps

    def move(self, chains: Chains, *, learning: bool) -> Move:
        step, length = self.adaptation.now if learning else self.adaptation.settled
        v, u = chains.normal(0, chains.shape), chains.uniform(1, chains.shape[:1])
        # up to twice the length they would mostly end on the other side, as far from the centre as they began
        turn, due = chains.turns
        jitter = 0.5 + 0.5 * length.new_tensor([halton(number) for number in turn.tolist()])
        leaps = torch.ceil(jitter * length / step).clamp(1, self.max_leaps).to(torch.int64) * due
        now = chains.at.at(v)

        def fly(slope: Slope, start: Trajectory, which: Tensor, shorter: int) -> Flight:
            end = trajectory(slope, start, None, step[which] / shorter, leaps[which])
            return Flight.of(end, start.energy - end.energy, leaps[which])

        flight = fly(chains.slope, now, chains.every, 1)
        move = metropolis(chains, flight, u)
        if learning:
            end = flight.end
            self.adaptation.update(now.z, end.z, end.v, move.accept, jitter)
            return move
        return again(chains, now, flight, move, fly)

    def restart(self, draws: Tensor) -> None:
        self.adaptation.restart()

    def calm(self, times: Tensor) -> None:
        self.adaptation.step.calm(times)

    def select(self, rows: Tensor) -> Kernel:
        return _Kernel(self.adaptation.select(rows), self.max_leaps)

    def report(self) -> dict[str, Tensor]:
        step, length = self.adaptation.settled
        return {"step_size": step, "trajectory_length": length}
