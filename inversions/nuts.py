"""NUTS: the No-U-Turn sampler with a few long chains, as the check that users know."""

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
from .gradient_chains import DIVERGENT, Chains, Kernel, Move, run
from .markov import mean_of
from .nuts_tree import grow
from .step_size import StepSize, mean_acceptance

_STAGE = (1 << 21) + (1 << 16) * 3  # random stages of this method begin here


@dataclass(frozen=True)
class NUTS:
    """The No-U-Turn sampler (Hoffman & Gelman 2014), with states picked by their weights (Betancourt 2017).

    Trajectories double until they turn back, each chain for itself. Step size and metric are learned from all chains
    of an observation, which start at points of their own, drawn from the Laplace posterior where there is one; R-hat
    (Vehtari et al. 2021) compares them. Chains of all observations move together, and only those that have not turned
    are computed; still, `Hamiltonian`, whose chains keep in step, is the faster method. Needs a gradient.

    Parameters
    ----------
    draws : int
        Draws kept of each chain.
    chains : int
        At least 2.
    warm_up : int
        Trajectories from which step size and metric are learned.
    accept : float
        Mean acceptance that the step size aims at.
    max_steps : int
        Trajectories after the warm-up, at most; the chains go on, from twice to twice as long, until they are good.
    max_depth : int
        Doublings of a trajectory, at most: it has 2^max_depth steps.
    accept_rhat, accept_ess : float
        What an answer must reach to be trusted.
    chunk : int
        Observations held at once.

    Raises
    ------
    ValueError
        If a setting is out of range.

    References
    ----------
    Hoffman & Gelman (2014), *The No-U-Turn sampler*, JMLR 15; Betancourt (2017), *A conceptual introduction to
    Hamiltonian Monte Carlo*, arXiv:1701.02434; Phan, Pradhan & Jankowiak (2019), *Composable effects for flexible and
    accelerated probabilistic programming in NumPyro*, arXiv:1912.11554.
    """

    draws: int = 250
    chains: int = 4
    warm_up: int = 300
    accept: float = 0.8
    max_steps: int = 4000
    max_depth: int = 10
    accept_rhat: float = 1.01
    accept_ess: float = 400.0
    chunk: int = 256

    def __post_init__(self) -> None:
        check(self, {"chains": 2, "max_depth": 1})

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
            zero = torch.zeros(len(w), dtype=w.dtype, device=w.device)
            return _Kernel(StepSize.of(w, aim=self.accept), self.max_depth, zero, zero, 0)

        asked = {"conditions": conditions, "seed": seed, "index": index, "progress": progress}
        own = ("saturated",)
        return run(self, kernel, problem, y, stage=_STAGE, superchains=self.chains, statistics=own, **asked)


@final
class _Kernel(Kernel):
    """One tree of every chain.

    `leaves` and `saturated` (b,) are sums over the moves since the warm-up, of the means over the chains.
    """

    def __init__(self, step: StepSize, max_depth: int, leaves: Tensor, saturated: Tensor, moves: int) -> None:
        self.step, self.max_depth = step, max_depth
        self.leaves, self.saturated, self.moves = leaves, saturated, moves

    def move(self, chains: Chains, *, learning: bool) -> Move:
        step, many = self.step.now if learning else self.step.settled, chains.shape[0]

        def leaf(depth: int, which: Tensor) -> Tensor:
            # a longer set begins with the shorter one: the leaves of a depth come after those of the lesser ones
            return chains.uniform(2, (2 << depth, many), which)[:, 1 << depth :]

        start = chains.at.at(chains.normal(0, chains.shape))
        coins = chains.uniform(1, (self.max_depth, 2, many))
        tree = grow(chains.slope, start, step, coins, leaf, divergent=DIVERGENT)
        if learning:
            self.step.update(mean_acceptance(tree.accept, aim=self.step.aim))
        else:
            self.moves += 1
            self.leaves = self.leaves + mean_of(tree.leaves.to(step.dtype))
            self.saturated = self.saturated + mean_of(tree.saturated.to(step.dtype))
        return Move(tree.chosen, tree.accept, tree.diverged, tree.leaves.sum(1))

    def restart(self, draws: Tensor) -> None:
        self.step.restart()

    def calm(self, times: Tensor) -> None:
        self.step.calm(times)

    def select(self, rows: Tensor) -> Kernel:
        return _Kernel(self.step.select(rows), self.max_depth, self.leaves[rows], self.saturated[rows], self.moves)

    def report(self) -> dict[str, Tensor]:
        count, step = max(self.moves, 1), self.step.settled
        return {
            "step_size": step,
            "trajectory_length": step * self.leaves / count,
            "saturated": self.saturated / count,
        }
