"""Microcanonical: trajectories of constant speed, adjusted to be exact, for a hundred dimensions and more."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, final

import torch
from torch import Tensor

from physgen.diagnostics.convergence import ess
from physgen.problem import Problem
from physgen.progress import Progress
from physgen.result import Result

from .chain_settings import check
from .gradient_chains import Chains, Flight, Kernel, Move, metropolis, run
from .leapfrog import Slope, Trajectory, halton
from .markov import each, mean_of
from .second_try import again
from .step_size import SHORTEN, StepSize, mean_acceptance, often_excluded

_STAGE = (1 << 21) + (1 << 16) * 3 + (1 << 15)  # random stages of this method begin here
_LENGTH = 0.3  # of a trajectory, in units of the path from one independent draw to the next


@dataclass(frozen=True)
class Microcanonical:
    r"""Metropolis-adjusted microcanonical sampling (Robnik, Cohn-Gordon & Seljak 2025).

    Chains move at constant speed and turn towards higher density, which bounds what a steep gradient can do to them and
    takes larger steps in many dimensions than Hamiltonian dynamics. All chains of an observation share one jittered
    length of trajectory; step size, length and metric are learned from all of them. They start in groups (superchains)
    from one point each, drawn from the Laplace posterior where there is one, and nested R-hat (Margossian et al. 2024)
    says whether they have forgotten it. Needs a gradient, and at least 2 latents.

    Parameters
    ----------
    draws : int
        Draws kept of each chain.
    chains, superchains : int
        The second divides the first, and is at least 2.
    warm_up : int
        Trajectories from which step size, length and metric are learned.
    accept : float
        Mean acceptance that the step size aims at.
    max_steps : int
        Trajectories after the warm-up, at most; the chains go on, from twice to twice as long, until they are good.
    max_leaps : int
        Steps of a trajectory, at most. After the warm-up, one that fails is gone again in four times as many steps.
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
    Robnik, Cohn-Gordon & Seljak (2025), *Metropolis adjusted microcanonical Hamiltonian Monte Carlo*, arXiv:2503.01707;
    Robnik, De Luca, Silverstein & Seljak (2023), *Microcanonical Hamiltonian Monte Carlo*, JMLR 24; Margossian et al.
    (2024), *Nested R-hat*, Bayesian Analysis; Modi, Barnett & Carpenter (2023), *Delayed rejection Hamiltonian Monte
    Carlo for sampling multiscale distributions*, ibid. (a trajectory that failed is tried again).
    """

    draws: int = 128
    chains: int = 32
    superchains: int = 4
    warm_up: int = 150
    accept: float = 0.9
    max_steps: int = 3000
    max_leaps: int = 256
    accept_rhat: float = 1.01
    accept_ess: float = 1000.0
    chunk: int = 64

    def __post_init__(self) -> None:
        check(self, {"superchains": 2, "max_leaps": 1})
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
            If there is one latent alone, or observations or conditions are of the wrong shape, names or range.
        """
        if problem.prior.latent_dim < 2:
            raise ValueError("Microcanonical needs at least 2 latents, and there is 1. Use Hamiltonian or NUTS.")

        def kernel(w: Tensor) -> Kernel:
            length = torch.full((len(w),), math.sqrt(w.shape[-1]), dtype=w.dtype, device=w.device)
            return _Kernel(StepSize.of(w, aim=self.accept), length, self.max_leaps)

        asked = {"conditions": conditions, "seed": seed, "index": index, "progress": progress}
        return run(self, kernel, problem, y, stage=_STAGE, superchains=self.superchains, **asked)


@final
class _Kernel(Kernel):
    """One trajectory of every chain, all of the same length (b,)."""

    def __init__(self, step: StepSize, length: Tensor, max_leaps: int, restarts: int = 0) -> None:
        self.step, self.length, self.max_leaps, self.restarts = step, length, max_leaps, restarts

    def move(self, chains: Chains, *, learning: bool) -> Move:
        step = self.step.now if learning else self.step.settled
        v, u = chains.normal(0, chains.shape), chains.uniform(1, chains.shape[:1])
        leaps = torch.ceil(halton(chains.number) * self.length / step).clamp(1, self.max_leaps).to(torch.int64)
        now = chains.at.at(v / v.norm(dim=-1, keepdim=True))

        def fly(slope: Slope, start: Trajectory, which: Tensor, shorter: int) -> Flight:
            end, error = isokinetic(slope, start, step[which] / shorter, leaps[which] * shorter)
            return Flight.of(end, -error, leaps[which] * shorter)

        flight = fly(chains.slope, now, chains.every, 1)
        move = metropolis(chains, flight, u)
        if learning:
            self.step.update(mean_acceptance(move.accept, aim=self.step.aim))
            self.length = self.length * torch.where(often_excluded(move.accept), math.exp(-SHORTEN), 1.0)
            return move
        return again(chains, now, flight, move, fly)

    def restart(self, draws: Tensor) -> None:
        """The pooled standard deviations of the latents make the first length, sqrt(k), then the autocorrelation."""
        if self.restarts:
            chains, count = draws.shape[1:3]
            effective = mean_of(each(ess, draws.permute(1, 2, 0, 3)))  # (b,)
            tau = (chains * count / effective).clamp(1, count)
            shortest = 0.3 * math.sqrt(draws.shape[-1])
            self.length = (_LENGTH * self.length * tau).clamp(shortest, 10 * shortest)
        self.restarts += 1
        self.step.restart()

    def calm(self, times: Tensor) -> None:
        self.step.calm(times)

    def select(self, rows: Tensor) -> Kernel:
        return _Kernel(self.step.select(rows), self.length[rows], self.max_leaps, self.restarts)

    def report(self) -> dict[str, Tensor]:
        return {"step_size": self.step.settled, "trajectory_length": self.length}


def isokinetic(slope: Slope, start: Trajectory, step: Tensor, leaps: Tensor) -> tuple[Trajectory, Tensor]:
    """Velocity-leapfrog steps of isokinetic dynamics, as many as each observation needs, in whitened coordinates.

    Parameters
    ----------
    slope : callable
        ``slope(w, which)``: log density (b, C) and gradient (b, C, k) of the observations `which` (b,).
    start : Trajectory
        With velocities of length 1.
    step : Tensor (B,)
    leaps : integer Tensor (B,)

    Returns
    -------
    Trajectory, Tensor (B, C)
        The end, and the change of the energy: of the potential, and of the kinetic energy in each velocity update.
    """
    now, active = start, torch.arange(len(start.z), device=start.z.device)
    kinetic = torch.zeros_like(start.value)
    for done in range(int(leaps.max())):
        if done:
            active = active[leaps[active] > done]
        p, eps = now if len(active) == len(start.z) else now.select(active), step[active][:, None, None]
        v, first = _turn(p.v, p.gradient, 0.5 * eps)
        z = p.z + eps * v
        value, gradient = slope(z, active)
        value = torch.where(torch.isneginf(p.value), p.value, value)  # see `leapfrog.leap`
        v, second = _turn(v, gradient, 0.5 * eps)
        now = now.put(active, Trajectory(z, v, value, gradient))
        kinetic = kinetic.index_add(0, active, first + second)
    return now, kinetic - (now.value - start.value)


def _turn(v: Tensor, gradient: Tensor, step: Tensor) -> tuple[Tensor, Tensor]:
    """The velocity turned towards the gradient, and the change of the kinetic energy (b, C).

    With e = gradient / |gradient| and delta = step |gradient| / (k - 1), the new velocity is along
    v + e (sinh delta + e v (cosh delta - 1)), and the change (k - 1) ln(cosh delta + e v sinh delta) (Robnik et al.
    2023, eq. 16); both are written with zeta = e^-delta, which cannot overflow.
    """
    size = gradient.norm(dim=-1, keepdim=True)
    e, others = gradient / size.clamp(min=torch.finfo(v.dtype).tiny), v.shape[-1] - 1
    delta, along = step * size / others, (e * v).sum(-1, keepdim=True)
    zeta = torch.exp(-delta)
    turned = e * (1 - zeta) * (1 + zeta + along * (1 - zeta)) + 2 * zeta * v
    tiny = torch.finfo(v.dtype).tiny  # a velocity straight against a steep slope turns nowhere
    kinetic = delta - math.log(2.0) + torch.log((1 + along + (1 - along) * zeta * zeta).clamp(min=tiny))
    size = turned.norm(dim=-1, keepdim=True)
    return torch.where(size > tiny, turned / size.clamp(min=tiny), v), others * kinetic.squeeze(-1)
