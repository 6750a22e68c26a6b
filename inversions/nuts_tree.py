"""One No-U-Turn trajectory of every chain, without recursion: trees that double until they turn back.

All chains double together; those that have turned are masked, and cost no gradient. A subtree of 2^d leaves is grown
leaf by leaf. Which of its own subtrees end at leaf n can be read off the bits of n, so that d checkpoints are enough to
test all of them for a U-turn (Phan, Pradhan & Jankowiak 2019, algorithm 2).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from .leapfrog import Trajectory, leap

Uniform = Callable[[int, Tensor], Tensor]


class MaskedSlope(Protocol):
    """Log density (b, C) and its gradient (b, C, k) of the observations `which`, of the chains `wanted` (b, C)."""

    def __call__(self, w: Tensor, which: Tensor, wanted: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Positions (b, C, k) are those in which the metric is I."""


@dataclass(frozen=True, eq=False)
class Tree:
    """What the trees (b, C) came to.

    Attributes
    ----------
    chosen : Trajectory
        The next state of each chain.
    accept : Tensor
        Mean of min(1, e^-error) over the leaves; NaN where the prior excludes all of them.
    diverged, saturated : boolean Tensor
        Whether it ended for a divergence, or because it was as deep as allowed.
    leaves : integer Tensor
        Gradients that were computed.
    """

    chosen: Trajectory
    accept: Tensor
    diverged: Tensor
    saturated: Tensor
    leaves: Tensor


@dataclass(frozen=True, eq=False)
class _Branch:
    """A subtree: its outermost leaf, the state picked, log weight, sum of velocities, and whether it is whole."""

    end: Trajectory
    chosen: Trajectory
    weight: Tensor
    total: Tensor
    whole: Tensor
    accept: Tensor
    counted: Tensor
    leaves: Tensor
    diverged: Tensor


def grow(
    slope: MaskedSlope, start: Trajectory, step: Tensor, coins: Tensor, leaf: Uniform, *, divergent: float
) -> Tree:
    """Trees with states picked by their weights (Betancourt 2017, appendix A.3), newer subtrees first (A.3.2).

    Parameters
    ----------
    slope : callable
    start : Trajectory
        (b, C, k), with fresh velocities; the metric is I.
    step : Tensor (b,)
    coins : Tensor (b, D, 2, C)
        Uniform numbers for the direction and the choice of each doubling; D is the largest depth.
    leaf : callable
        ``leaf(depth, which)``: uniform numbers (b, 2^depth, C) for the leaves of a doubling.
    divergent : float
        Error of the energy, in nats, at which a trajectory is given up.
    """
    left = right = chosen = start
    energy, total, weight = start.energy, start.v, torch.zeros_like(start.value)
    going = torch.ones_like(start.value, dtype=torch.bool)
    count, diverged = torch.zeros_like(going, dtype=torch.int64), torch.zeros_like(going)
    accept, counted = torch.zeros_like(weight), torch.zeros_like(weight)
    for depth in range(coins.shape[1]):
        which = torch.nonzero(going.any(1)).squeeze(-1)
        if not len(which):
            break
        forward = coins[:, depth, 0] < 0.5
        signed = torch.where(forward, step[:, None], -step[:, None])[which, :, None]
        edge = right.where(forward, left).select(which)
        u = leaf(depth, which)
        b = _branch(slope, edge, signed, energy[which], going[which], which, u, divergent)
        went, was = _spread(b, which, going), going
        going = going & went.whole
        better = torch.log(coins[:, depth, 1]) < went.weight - weight
        chosen = went.chosen.where(going & better, chosen)
        right, left = went.end.where(going & forward, right), went.end.where(going & ~forward, left)
        weight = torch.where(going, torch.logaddexp(weight, went.weight), weight)
        total = torch.where(going[..., None], total + went.total, total)
        count, accept, counted = count + went.leaves * was, accept + went.accept * was, counted + went.counted * was
        diverged = diverged | (went.diverged & was)
        going = going & ~_turned(total, left.v, right.v)
    return Tree(chosen, accept / torch.where(counted > 0, counted, torch.nan), diverged, going, count)


def _branch(
    slope: MaskedSlope,
    start: Trajectory,
    step: Tensor,
    energy: Tensor,
    going: Tensor,
    which: Tensor,
    u: Tensor,
    divergent: float,
) -> _Branch:
    """As many leaves as there are numbers u (b, leaves, C), onwards from the leaf `start`, of the chains `going`."""
    p, chosen = start, start
    weight, total = torch.full_like(energy, -torch.inf), torch.zeros_like(start.v)
    accept, counted = torch.zeros_like(energy), torch.zeros_like(energy)
    leaves, diverged = torch.zeros_like(going, dtype=torch.int64), torch.zeros_like(going)
    corners: dict[int, tuple[Tensor, Tensor]] = {}  # first velocity of a subtree, and the sum up to it
    log_u = torch.log(u)
    for n in range(u.shape[1]):
        # a chain that has stopped goes on without a gradient: what it comes to is not read, as it is not whole
        p = leap(lambda w, which: slope(w, which, going), p, None, step, which)  # noqa: B023
        odds = torch.nan_to_num(energy - p.energy, nan=-torch.inf)
        bad, inside = odds < -divergent, going & ~torch.isneginf(p.value)
        leaves = leaves + going
        accept = accept + torch.where(inside, odds.clamp(max=0).exp(), 0)
        counted = counted + inside
        diverged = diverged | (inside & bad)
        going = going & ~bad
        weight, total = torch.logaddexp(weight, odds), total + p.v
        chosen = p.where(log_u[:, n] < odds - weight, chosen)
        if n % 2 == 0:
            corners[n.bit_count()] = (p.v, total)
        else:
            for corner in _closing(n):
                first, before = corners[corner]
                going = going & ~_turned(total - before + first, first, p.v)
        if not bool(going.any()):
            break
    return _Branch(p, chosen, weight, total, going, accept, counted, leaves, diverged)


def _closing(n: int) -> range:
    """Which checkpoints begin the subtrees that end at the odd leaf n: one for each of its trailing ones."""
    trailing = ((n + 1) & -(n + 1)).bit_length() - 1
    last = (n - 1).bit_count()
    return range(last, last - trailing, -1)


def _turned(total: Tensor, first: Tensor, last: Tensor) -> Tensor:
    """The generalised U-turn criterion (Betancourt 2017, appendix A.4.2), of the sum of velocities (b, C, k).

    The ends count by half, as in the trapezoidal rule for the distance gone; otherwise two leaves half a period apart
    pass for a straight line.
    """
    along = total - 0.5 * (first + last)
    return ((along * first).sum(-1) <= 0) | ((along * last).sum(-1) <= 0)


def _spread(b: _Branch, which: Tensor, going: Tensor) -> _Branch:
    """A branch of some observations, among all; what stands at the others is not read."""
    if len(which) == len(going):
        return b

    def wide(x: Tensor) -> Tensor:
        return x.new_zeros(len(going), *x.shape[1:]).index_copy(0, which, x)

    def path(p: Trajectory) -> Trajectory:
        return Trajectory(wide(p.z), wide(p.v), wide(p.value), wide(p.gradient))

    rest = (b.weight, b.total, b.whole, b.accept, b.counted, b.leaves, b.diverged)
    return _Branch(path(b.end), path(b.chosen), *(wide(x) for x in rest))
