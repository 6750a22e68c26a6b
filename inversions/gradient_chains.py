"""Chains that move along gradients: how they learn, for how long they run, and what they come to.

What differs between the methods is a `Kernel`: one move of all chains. It works in coordinates w with z = L w, in which
the metric is I; positions are ``(b, C, k)``: observations, chains, latents.
"""

from __future__ import annotations

import abc
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor

from physgen.problem import Posterior, Problem
from physgen.progress import Progress
from physgen.random import normal, uniform
from physgen.result import Result
from physgen.small_matrices import product, triangular_inverse
from physgen.status import Status

from .batched import Layout, invert
from .gradient import Target, need_gradient
from .leapfrog import Trajectory
from .markov import at_borders, judge, mean_of, metric, start, summary
from .step_size import halvings

# Error of the energy in nats. Steps that hold err by about 1; where places become narrow by and by, steps fail long
# before Stan's 1000, and on the walk below ten answers of ten were trusted for want of an alarm (docs/inversions.md).
DIVERGENT = 20.0
# Share of the moves beyond which the answer is not trusted, and the step shortened. A divergence is a chain that did
# not enter a place where it would have stayed: few of them stand for much mass.
DIVERGENCES = 5e-5
# Of the acceptance elsewhere, that at the border of the draws: chains that stay there for want of a shorter step have
# not entered what lies beyond. On a walk of unknown noise the share was 0 to 0.45, on round shapes and rings above 0.9.
_STICKY = 0.6
_SLOTS = 3  # sets of random numbers that a move may use
_WINDOWS = (0.2, 0.4, 0.65)  # shares of the warm-up after which the metric is learned anew
_LONGEST, _STATES = 0.35, 6  # of these windows; positions, velocities and gradients that a move holds


class Settings(Protocol):
    """The settings that all these methods have."""

    @property
    def draws(self) -> int:
        """Draws kept of each chain."""

    @property
    def chains(self) -> int:
        """Of each observation."""

    @property
    def warm_up(self) -> int:
        """Moves from which the kernel and the metric are learned."""

    @property
    def accept(self) -> float:
        """Mean acceptance that the step size aims at."""

    @property
    def max_steps(self) -> int:
        """Moves after the warm-up, at most."""

    @property
    def accept_rhat(self) -> float:
        """R-hat of a trusted answer, at most."""

    @property
    def accept_ess(self) -> float:
        """Effective draws of a trusted answer, at least."""

    @property
    def chunk(self) -> int:
        """Observations held at once."""


@dataclass(frozen=True, eq=False)
class Move:
    """What one move of all chains came to.

    Attributes
    ----------
    at : Trajectory
        Where the chains are now; their velocities do not matter.
    accept : Tensor (b, C)
        Acceptance; NaN where the prior excludes the place that was tried.
    diverged : boolean Tensor (b, C)
    gradients : integer Tensor (b,)
        How many of them were computed.
    """

    at: Trajectory
    accept: Tensor
    diverged: Tensor
    gradients: Tensor


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

    @property
    def z(self) -> Tensor:
        """Latents (b, C, k) of all chains."""
        return product(self.at.z, self.factor.mT)

    @property
    def shape(self) -> tuple[int, int]:
        """Chains, latents."""
        return self.at.z.shape[1], self.at.z.shape[2]

    def normal(self, slot: int, shape: tuple[int, ...]) -> Tensor:
        """Standard normal numbers (b, *shape) of this move."""
        stage = self.stage + _SLOTS * self.number + slot
        return normal(shape, self.index, seed=self.seed, stage=stage, dtype=self.at.z.dtype)

    def uniform(self, slot: int, shape: tuple[int, ...], which: Tensor | None = None) -> Tensor:
        """Uniform numbers (b, *shape) of this move, or of some of the observations."""
        stage = self.stage + _SLOTS * self.number + slot
        index = self.index if which is None else self.index[which]
        return uniform(shape, index, seed=self.seed, stage=stage, dtype=self.at.z.dtype)

    def slope(self, w: Tensor, which: Tensor, wanted: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Log density (b, C) and its gradient (b, C, k) at w (b, C, k), of the observations `which`.

        Where the prior excludes the causes, or the model is undefined, the density is -inf; where a trajectory has
        left every scale, it is the lowest number. Chains that are not `wanted` (b, C) get -inf, and are not computed.
        """
        L = self.factor if len(which) == len(self.factor) else self.factor[which]
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

    def sample(self) -> dict[str, Tensor]:
        """Draws of each observation until its chains agree and are long enough, or the budget is spent.

        Those that lack nothing but calm go on for as long again, with the smaller step; the others for twice as long.
        """
        m, every = self.method, torch.arange(len(self.index), device=self.index.device)
        out: dict[str, Tensor] = {}
        waiting = [(self, every, 1, 0)]
        while waiting:
            run, at, thin, total = waiting.pop()
            found = run._stretch(thin)
            total += m.draws * thin
            found["steps"] = torch.full_like(run.index, total + m.warm_up)
            longer = found["status"] != Status.TOO_MANY_DIVERGENCES
            spent = total + m.draws * thin * (1 + longer.to(torch.int64)) > m.max_steps
            done = (found["status"] == Status.TRUSTED) | spent
            for name, value in found.items():
                out.setdefault(name, value.new_zeros(len(self.index), *value.shape[1:]))[at[done]] = value[done]
            for rest, times in ((~done & longer, 2), (~done & ~longer, 1)):
                rows = torch.nonzero(rest).squeeze(-1)
                if len(rows):
                    waiting.append((run._select(rows), at[rows], times * thin, total))
        return out

    def _go(self, *, learning: bool) -> Move:
        move = self.kernel.move(self, learning=learning)
        self.at = move.at
        self.gradients = self.gradients + move.gradients
        self.number += 1
        return move

    def _placed(self, z: Tensor) -> Trajectory:
        """Chains at z, in the coordinates of the metric."""
        w = product(z, triangular_inverse(self.factor).mT)
        every = torch.arange(len(z), device=z.device)
        return Trajectory(w, torch.zeros_like(w), *self.slope(w, every))

    def _relearn(self, draws: Tensor) -> None:
        """The metric from draws (b, C, S, k): what is left of their covariance in the coordinates of the last one."""
        z, flat = self.z, draws.flatten(1, 2)
        self.factor = product(self.factor, metric(product(flat, triangular_inverse(self.factor).mT)))
        self.at = self._placed(z)
        self.kernel.restart(product(flat, triangular_inverse(self.factor).mT).reshape(draws.shape))

    def _stretch(self, thin: int) -> dict[str, Tensor]:
        """`draws` of every chain, each after `thin` moves, and what they come to."""
        m, kept, share, begun = self.method, [], [], []
        divergences = torch.zeros_like(self.gradients)
        for number in range(m.draws * thin):
            keep = (number + 1) % thin == 0
            here = self.z if keep else None
            move = self._go(learning=False)
            share.append(torch.nan_to_num(move.accept))
            divergences += move.diverged.sum(1)
            if keep:
                kept.append(self.z)
                begun.append((here, move.accept))
        out = summary(self.posterior, torch.stack(kept, 2), getattr(m, "superchains", m.chains))
        border = _border_acceptance(*(torch.stack(part, 2) for part in zip(*begun, strict=True)))
        sticky = border < _STICKY
        agreed = {"accept_rhat": m.accept_rhat, "accept_ess": m.accept_ess}
        status = judge(self.target, torch.zeros_like(self.index), out["rhat"], out["ess"], **agreed)
        allowed = DIVERGENCES * m.draws * thin * m.chains
        many = divergences > allowed
        report = self.kernel.report()
        self.kernel.calm(halvings(divergences / allowed).clamp(min=sticky))
        status = torch.where(sticky & (status == Status.TRUSTED), int(Status.CHAINS_TOO_SHORT), status)
        return (
            report
            | out
            | {
                "status": torch.where(many & (status == Status.TRUSTED), int(Status.TOO_MANY_DIVERGENCES), status),
                "acceptance_fraction": mean_of(torch.cat(share, 1)),
                "border_acceptance": border,
                "divergences": divergences,
                "gradients": self.gradients,
                "nonfinite": self.target.undefined,
            }
        )

    def _select(self, rows: Tensor) -> Chains:
        """The chains of some of the observations, where they are."""
        new = Chains.__new__(Chains)
        new.method, new.seed, new.stage, new.number, new.window = self.method, self.seed, self.stage, self.number, []
        new.posterior, new.target = self.posterior.select(rows), self.target.select(rows)
        new.kernel, new.at = self.kernel.select(rows), self.at.select(rows)
        for name in ("index", "factor", "gradients"):
            setattr(new, name, getattr(self, name)[rows])
        return new


def _border_acceptance(z: Tensor, accept: Tensor) -> Tensor:
    """Acceptance at the worst border of the draws over that of all (b,): where moves began, z (b, C, S, k), and accept.

    What ended where the prior excludes the causes (NaN) is left out, and so is a border where all moves did.
    """
    least = torch.nan_to_num(at_borders(z, accept), nan=torch.inf).amin((1, 2))
    return least.clamp(max=1) / accept.flatten(1, 2).nanmean(1)


def metropolis(chains: Chains, end: Trajectory, odds: Tensor, u: Tensor, gradients: Tensor) -> Move:
    """The chains at the end of their trajectories where the odds (b, C), in nats, have it; u (b, C) is uniform."""
    excluded = torch.isneginf(end.value)
    odds = torch.nan_to_num(odds, nan=-torch.inf)
    accept = odds.clamp(max=0).exp()
    at = end.where(u < accept, chains.at)
    accept = torch.where(excluded, torch.nan, accept)
    return Move(at, accept, (odds < -DIVERGENT) & ~excluded, gradients * chains.shape[0])


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
    states = method.chains * (math.ceil(_LONGEST * method.warm_up) + method.draws + _STATES)
    layout = Layout(method.chains, method.draws, own, counts, states=states)
    settings = {"conditions": conditions, "seed": seed, "index": index, "progress": progress, "chunk": method.chunk}
    return invert(method, problem, y, answer, layout, **settings)


def check(method: Settings, least: Mapping[str, int]) -> None:
    """Raise `ValueError` if a setting is out of range; `least` gives the lowest of those that are whole numbers."""
    for name, low in {"draws": 8, "warm_up": 20, "chunk": 1, **least}.items():
        if getattr(method, name) < low:
            raise ValueError(f"Invalid {name} {getattr(method, name)}. Must be at least {low}.")
    if method.max_steps < method.draws:
        raise ValueError(f"Invalid max_steps {method.max_steps}. Must be at least the {method.draws} draws.")
    if not 0.1 <= method.accept <= 0.99:
        raise ValueError(f"Invalid accept {method.accept:g}. Must lie within 0.1 to 0.99.")
    if not method.accept_rhat > 1 or not method.accept_ess > 0:
        raise ValueError(
            f"Invalid accept_rhat {method.accept_rhat:g} or accept_ess {method.accept_ess:g}. "
            "The first must be greater than 1, the second positive."
        )
