"""Chains that move along gradients: how they learn, for how long they run, and what they come to.

What differs between the methods is a `Kernel`: one move of all chains. It works in coordinates w with z = L w, in which
the metric is I; positions are ``(b, C, k)``: observations, chains, latents.
"""

from __future__ import annotations

import abc
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor

from physgen.problem import Posterior, Problem
from physgen.progress import Progress
from physgen.random import normal, uniform
from physgen.result import Result
from physgen.small_matrices import product, triangular_inverse
from physgen.status import Status

from .batched import Layout, invert
from .chain_settings import Settings
from .chain_walk import Walk
from .gradient import Target, need_gradient
from .jumps import Jumps
from .leapfrog import Trajectory
from .markov import mean_of, metric, start
from .normal_mixture import components

# Error of the energy in nats. Steps that hold err by about 1; where places become narrow by and by, steps fail long
# before Stan's 1000, and on the walk below ten answers of ten were trusted for want of an alarm (docs/inversions.md).
DIVERGENT = 20.0
_SLOTS = 5  # sets of random numbers that a move may use: three of the kernel, two of jumps
_TRIAL = 1 << 19  # sets of the first tries of jumps begin here, beyond those of all moves
_WINDOWS = (0.2, 0.4, 0.65)  # shares of the warm-up after which the metric is learned anew
_LONGEST, _STATES = 0.35, 6  # of these windows; positions, velocities and gradients that a move holds
_PLACE = 10  # random numbers, places and their distances from each component, for each place of a jump
_TAUGHT = 4  # sets of the draws that places are learned from, while they are


@dataclass(frozen=True, eq=False)
class Move:
    """What one move of all chains came to.

    Attributes
    ----------
    at : Trajectory
        Where the chains are now; their velocities do not matter.
    accept : Tensor (b, C)
        Acceptance; NaN where the prior excludes the place that was tried, or none was.
    diverged : boolean Tensor (b, C)
    gradients : integer Tensor (b,)
        How many of them were computed.
    """

    at: Trajectory
    accept: Tensor
    diverged: Tensor
    gradients: Tensor


class Flight(NamedTuple):
    """Trajectories of n observations: their ends (n, c), log odds against their beginnings (n, c), steps (n,)."""

    end: Trajectory
    odds: Tensor
    leaps: Tensor

    @staticmethod
    def of(end: Trajectory, odds: Tensor, leaps: Tensor) -> Flight:
        """With odds of -inf where they are not numbers."""
        return Flight(end, torch.nan_to_num(odds, nan=-torch.inf), leaps)


class Kernel(abc.ABC):
    """One move of all chains, and what it has learned of each observation."""

    @abc.abstractmethod
    def move(self, chains: Chains, *, learning: bool) -> Move:
        """Move every chain; learn from it if that is asked."""

    @abc.abstractmethod
    def restart(self, draws: Tensor) -> None:
        """The metric has changed: draws (b, C, S, k) of the chains so far, in the new coordinates."""

    @abc.abstractmethod
    def calm(self, times: Tensor) -> None:
        """Halve the step from now on, as many times (b,)."""

    @abc.abstractmethod
    def select(self, rows: Tensor) -> Kernel:
        """That of some of the observations."""

    @abc.abstractmethod
    def report(self) -> dict[str, Tensor]:
        """Statistics (b,) of its own: step_size and trajectory_length at least."""


class Chains:
    """The chains of b observations: where they are, and how they move.

    Parameters
    ----------
    method : Settings
    kernel : callable
        ``kernel(w)`` makes the kernel, for positions like w (b, C, k).
    posterior : Posterior
    z : Tensor (b, C, k)
        Where the chains begin.
    factor : Tensor (b, k, k)
        Lower Cholesky factor of the covariance that the posterior seems to have.
    seed, index, stage
        Decide the random numbers.
    """

    def __init__(
        self,
        method: Settings,
        kernel: Callable[[Tensor], Kernel],
        posterior: Posterior,
        z: Tensor,
        factor: Tensor,
        *,
        seed: int,
        index: Tensor,
        stage: int,
    ) -> None:
        self.method, self.posterior, self.target = method, posterior, Target(posterior)
        self.seed, self.index, self.stage, self.number = seed, index, stage, 0
        self.factor, self.window = factor, [z]
        self.gradients = torch.zeros(len(index), dtype=torch.int64, device=z.device)
        self.at = self._placed(z)
        self.kernel = kernel(self.at.z)
        self.jumps: Jumps | None = None

    @property
    def z(self) -> Tensor:
        """Latents (b, C, k) of all chains."""
        return product(self.at.z, self.factor.mT)

    @property
    def every(self) -> Tensor:
        """All observations (b,)."""
        return torch.arange(len(self.index), device=self.index.device)

    @property
    def shape(self) -> tuple[int, int]:
        """Chains, latents."""
        return self.at.z.shape[1], self.at.z.shape[2]

    def normal(self, slot: int, shape: tuple[int, ...], which: Tensor | None = None) -> Tensor:
        """Standard normal numbers (b, *shape) of this move, or of some of the observations."""
        stage = self.stage + _SLOTS * self.number + slot
        index = self.index if which is None else self.index[which]
        return normal(shape, index, seed=self.seed, stage=stage, dtype=self.at.z.dtype)

    def uniform(self, slot: int, shape: tuple[int, ...], which: Tensor | None = None) -> Tensor:
        """Uniform numbers (b, *shape) of this move, or of some of the observations."""
        stage = self.stage + _SLOTS * self.number + slot
        index = self.index if which is None else self.index[which]
        return uniform(shape, index, seed=self.seed, stage=stage, dtype=self.at.z.dtype)

    @property
    def turns(self) -> tuple[Tensor, Tensor]:
        """Number (b,) of the trajectory of each observation that comes next, and whether it comes in this move."""
        if self.jumps:
            return self.jumps.trajectories(self.number - self.method.warm_up)
        return torch.full_like(self.gradients, self.number), torch.ones_like(self.gradients, dtype=torch.bool)

    def slope(self, w: Tensor, which: Tensor, wanted: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Log density (b, C) and its gradient (b, C, k) at w (b, C, k), of the observations `which`.

        Where the prior excludes the causes, or the model is undefined, the density is -inf; where a trajectory has
        left every scale, it is the lowest number. Chains that are not `wanted` (b, C) get -inf, and are not computed.
        """
        L = self.factor if torch.equal(which, self.every) else self.factor[which]
        z, rows = product(w, L.mT).flatten(0, 1), which.repeat_interleave(w.shape[1])
        if wanted is None or bool(wanted.all()):
            value, gradient = self.target.slope(z, rows)
        else:
            value, gradient = z.new_full((len(z),), -torch.inf), torch.zeros_like(z)
            at = torch.nonzero(wanted.flatten()).squeeze(-1)
            if len(at):
                value[at], gradient[at] = self.target.slope(z[at], rows[at])
        lost = torch.isneginf(value) & ~self.target.near(z)
        value = torch.where(lost, torch.finfo(value.dtype).min, value)
        return value.reshape(w.shape[:2]), product(gradient.reshape(w.shape), L)

    def learn(self) -> None:
        """The warm-up: moves that teach the kernel; the metric is learned anew three times."""
        windows = [math.ceil(share * self.method.warm_up) for share in _WINDOWS]
        for _ in range(self.method.warm_up):
            self._go(learning=True)
            self.window.append(self.z)
            if self.number in windows:
                first = self.number == windows[0]  # its beginning still remembers the starts
                self._relearn(torch.stack(self.window[len(self.window) // 2 if first else 0 :], 2))
                self.window = []
        self._learn_jumps(torch.stack(self.window, 2))
        self.window = []

    def sample(self) -> dict[str, Tensor]:
        """Draws of each observation until its chains agree and are long enough, or the budget is spent.

        Those that lack nothing but length go on until they are twice as long, and learn from their draws where to jump
        to: where chains are slow, the warm-up has shown them little. Those that lack nothing but calm begin anew, for
        as long and with a smaller step; all others begin anew for twice as long.
        """
        m, out, waiting = self.method, dict[str, Tensor](), [_Waiting(self, self.every, 1)]
        while waiting:
            run, at, thin, walk = waiting.pop()
            walk = run._walk(thin, walk)
            found = walk.judged(run.posterior, run.target, m) | run.kernel.report()
            found |= {"gradients": run.gradients, "steps": torch.full_like(at, run.number)}
            status, times = found["status"], walk.halvings
            run.kernel.calm(times)
            restless = status == Status.TOO_MANY_DIVERGENCES
            short = (status == Status.CHAINS_TOO_SHORT) & (times == 0)
            missing = torch.where(short, m.draws - m.draws // 2, m.draws) * torch.where(restless, thin, 2 * thin)
            done = (status == Status.TRUSTED) | (run.number + missing > m.warm_up + m.max_steps)
            for name, value in found.items():
                out.setdefault(name, value.new_zeros(len(self.index), *value.shape[1:]))[at[done]] = value[done]
            for which, longer in ((restless, thin), (short, 2 * thin), (~restless & ~short, 2 * thin)):
                rows = torch.nonzero(which & ~done).squeeze(-1)
                if len(rows):
                    so_far, some = walk.select(rows), run._select(rows)
                    if some.jumps and which is short:
                        some._learn_jumps(so_far.z)
                    elif some.jumps:
                        some.jumps = some.jumps.rarer()
                    waiting.append(_Waiting(some, at[rows], longer, so_far.thinned() if which is short else None))
        return out

    def _go(self, *, learning: bool) -> Move:
        move = self.kernel.move(self, learning=learning)
        self.at = move.at
        self.gradients = self.gradients + move.gradients
        if self.jumps and not learning:
            self._jump(self.jumps, self.jumps.due(self.number - self.method.warm_up))
        self.number += 1
        return move

    def _learn_jumps(self, draws: Tensor) -> None:
        """Where to jump to, from draws (b, C, S, k), and by a first try for which observations that is of use."""
        self.jumps = Jumps.learned(draws, getattr(self.method, "candidates", 0))
        if self.jumps:
            wait = self._jump(self.jumps, torch.nonzero(self.jumps.worth).squeeze(-1), first=_TRIAL)
            self.jumps = self.jumps.where_worth(wait)

    def _jump(self, jumps: Jumps, which: Tensor, first: int = 3) -> Tensor:
        """Each chain of the observations `which` to one of some places that have been learned, or not.

        Returns for how many moves each (b, C) would wait for a jump where it was.
        """
        wait = torch.full_like(self.at.value, torch.inf)
        if not len(which):
            return wait
        here, (normal, uniform) = self.at.select(which), jumps.numbers
        chains, L = self.shape[0], self.factor[which]
        z = product(here.z, L.mT)
        normals, u = self.normal(first, (chains, *normal), which), self.uniform(first + 1, (chains, *uniform), which)
        # a target of its own: places far out, where a model may be undefined, are not what the chains have met
        end, wait[which] = jumps.ends(Target(self.posterior), which, z, here.value, normals, u)
        moved = (end != z).any(-1)
        w = product(end, triangular_inverse(L).mT)
        there = Trajectory(w, here.v, *self.slope(w, which, moved)).where(moved, here)
        self.at = self.at.put(which, there)
        self.gradients = self.gradients.index_add(0, which, moved.sum(1) + chains * jumps.number)
        return wait

    def _placed(self, z: Tensor) -> Trajectory:
        """Chains at z, in the coordinates of the metric."""
        w = product(z, triangular_inverse(self.factor).mT)
        return Trajectory(w, torch.zeros_like(w), *self.slope(w, self.every))

    def _relearn(self, draws: Tensor) -> None:
        """The metric from draws (b, C, S, k): what is left of their covariance in the coordinates of the last one."""
        z, flat = self.z, draws.flatten(1, 2)
        self.factor = product(self.factor, metric(product(flat, triangular_inverse(self.factor).mT)))
        self.at = self._placed(z)
        self.kernel.restart(product(flat, triangular_inverse(self.factor).mT).reshape(draws.shape))

    def _walk(self, thin: int, earlier: Walk | None) -> Walk:
        """The moves of which every `thin`-th leads to a draw, until there are `draws`, those of `earlier` included."""
        kept, divergences, made = [], torch.zeros_like(self.gradients), torch.zeros_like(self.gradients)
        accepted = self.at.value.new_zeros(len(self.index))
        moves = (self.method.draws - (earlier.z.shape[2] if earlier else 0)) * thin
        for number in range(moves):
            keep = (number + 1) % thin == 0
            begun = self.z if keep else None
            move = self._go(learning=False)
            accepted += mean_of(torch.nan_to_num(move.accept))
            divergences += move.diverged.sum(1)
            made += move.gradients > 0
            if keep:
                kept.append((self.z, begun, move.accept))
        z, begun, accept = (torch.stack(part, 2) for part in zip(*kept, strict=True))
        walk = Walk(z, begun, accept, accepted, divergences, made)
        return earlier.then(walk) if earlier else walk

    def _select(self, rows: Tensor) -> Chains:
        """The chains of some of the observations, where they are."""
        new = Chains.__new__(Chains)
        new.method, new.seed, new.stage, new.number, new.window = self.method, self.seed, self.stage, self.number, []
        new.posterior, new.target = self.posterior.select(rows), self.target.select(rows)
        new.kernel, new.at = self.kernel.select(rows), self.at.select(rows)
        new.jumps = self.jumps.select(rows) if self.jumps else None
        for name in ("index", "factor", "gradients"):
            setattr(new, name, getattr(self, name)[rows])
        return new


class _Waiting(NamedTuple):
    """Chains that are to walk: which observations they are of, moves between draws, and what they keep."""

    chains: Chains
    at: Tensor
    thin: int
    kept: Walk | None = None


def metropolis(chains: Chains, flight: Flight, u: Tensor) -> Move:
    """The chains at the end of their trajectories where the odds have it; u (b, C) is uniform."""
    end, odds, leaps = flight
    excluded = torch.isneginf(end.value)
    accept = odds.clamp(max=0).exp()
    at = end.where(u < accept, chains.at)
    accept = torch.where(excluded | (leaps == 0)[:, None], torch.nan, accept)
    return Move(at, accept, (odds < -DIVERGENT) & ~excluded, leaps * chains.shape[0])


def run(
    method: Settings,
    kernel: Callable[[Tensor], Kernel],
    problem: Problem,
    y: Any,
    *,
    stage: int,
    superchains: int,
    statistics: tuple[str, ...] = (),
    conditions: Mapping[str, Any] | None,
    seed: int,
    index: Any,
    progress: Progress,
) -> Result:
    """The whole method: starts, warm-up, draws; see `physgen.inversions.inversion.Inversion`.

    Parameters
    ----------
    method : Settings
    kernel : callable
        ``kernel(w)`` makes the kernel of a chunk of observations.
    stage : int
        The method's random stages begin here.
    superchains : int
        Groups of chains that share a start.
    statistics : tuple of str
        Real statistics that the kernel reports besides step_size and trajectory_length.

    Raises
    ------
    TypeError
        If the forward model has no gradient.
    ValueError
        If observations or conditions are of the wrong shape, names or range.
    """
    need_gradient(problem, f"{type(method).__name__} needs")

    def answer(posterior: Posterior, index: Tensor, advance: Callable[[int], None]) -> dict[str, Tensor]:
        begun = start(posterior, method.chains, superchains, seed=seed, index=index, stage=stage)
        out = layout.blank(posterior, begun.status)
        rows = torch.nonzero(begun.status == Status.TRUSTED).squeeze(-1)
        if len(rows):
            z, factor = begun.z[rows], begun.factor[rows]
            here = posterior.select(rows)
            chains = Chains(method, kernel, here, z, factor, seed=seed, index=index[rows], stage=stage + 2)
            chains.learn()
            for name, value in chains.sample().items():
                out[name][rows] = value.to(out[name].dtype)
        advance(len(index))
        return out

    names = ("rhat", "ess", "acceptance_fraction", "border_acceptance", "step_size", "trajectory_length", *statistics)
    own: dict[str, tuple[int | str, ...]] = dict.fromkeys(names, ())
    own |= {"latent_mean": ("k",), "latent_covariance": ("k", "k")}
    counts = ("steps", "gradients", "divergences", "nonfinite")
    last = method.chains * (method.warm_up - math.ceil(_WINDOWS[-1] * method.warm_up))
    places = getattr(method, "candidates", 0) if components(last, problem.prior.latent_dim) else 0
    jumps = _PLACE * places + (_TAUGHT * method.draws if places else 0)
    states = method.chains * (math.ceil(_LONGEST * method.warm_up) + 3 * method.draws + _STATES + jumps)
    layout = Layout(method.chains, method.draws, own, counts, states=states)
    settings = {"conditions": conditions, "seed": seed, "index": index, "progress": progress, "chunk": method.chunk}
    return invert(method, problem, y, answer, layout, **settings)
