"""A second try, with shorter steps, of the few trajectories that failed: delayed rejection."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from .gradient_chains import DIVERGENT, Chains, Flight, Move
from .leapfrog import Slope, Trajectory

# Nats that a trajectory must lose to have failed. Where the steps suit a place they lose less, and are not tried twice.
_LOST = 3.0
_SHORTER = 4  # times is the step of the second try

Fly = Callable[[Slope, Trajectory, Tensor, int], Flight]


def again(chains: Chains, begun: Trajectory, first: Flight, move: Move, fly: Fly) -> Move:
    """The move with failed trajectories tried once more, with steps of a quarter of the length.

    Where a place is narrower than the rest, steps that suit the rest fail: without a second try the step of all moves
    would have to suit it. Few chains fail, and only those are computed; in the warm-up, where steps are still being
    learned, many would.

    With d the log odds of the first end and e those of the second, a trajectory is tried again where d < -3 and the
    first end was rejected. The way back from the second end must be one that is tried twice as well: the trajectory
    that goes back from there with the long step, to log odds g, must fail too. The second end is then accepted with
    the probability ``min(1, exp(e) (1 - exp(g)) / (1 - exp(d)))``.

    The acceptance of the move stays that of the first try. Where it is low at the border of the draws, the step of all
    must be shortened (`chain_walk.Walk.border`): second tries alone enter such a place too rarely to know its mass.

    Parameters
    ----------
    chains : Chains
    begun : Trajectory (b, C)
        Where the trajectories began, with their velocities.
    first : Flight
        What they came to.
    move : Move
        As it is without a second try.
    fly : callable
        ``fly(slope, start, which, shorter)``: trajectories of the observations `which` (n,) from `start` (n, c), with
        steps that are so many times shorter. `Hamiltonian` makes as many of them: four times as many, to go as far as
        the first time, which `Microcanonical` does, moved its draws no faster.

    References
    ----------
    Modi, Barnett & Carpenter (2023), *Delayed rejection Hamiltonian Monte Carlo for sampling multiscale
    distributions*, Bayesian Analysis 19; Green & Mira (2001), *Delayed rejection in reversible jump
    Metropolis-Hastings*, Biometrika 88.
    """
    rejected = (move.at.z != first.end.z).any(-1)
    which, chain = torch.nonzero(_failed(first) & rejected).unbind(-1)
    if not len(which):
        return move

    def slope(w: Tensor, rows: Tensor) -> tuple[Tensor, Tensor]:
        return chains.slope(w, which[rows])

    second = fly(slope, begun.select((which[:, None], chain[:, None])), which, _SHORTER)
    back = fly(slope, second.end.at(-second.end.v), which, 1)
    excluded = torch.isneginf(second.end.value)
    better = second.odds + torch.log1p(-back.odds.clamp(max=-_LOST).exp())
    better = better - torch.log1p(-first.odds[which, chain, None].exp())
    accept = torch.where(_failed(back) & ~excluded, better.clamp(max=0).exp(), 0)[:, 0]
    taken = chains.uniform(2, chains.shape[:1])[which, chain] < accept

    diverged = move.diverged.clone()
    diverged[which, chain] = ((second.odds < -DIVERGENT) & ~excluded)[:, 0]
    gradients = move.gradients.index_add(0, which, second.leaps + back.leaps)
    return Move(_put(move.at, second.end, which, chain, taken), move.accept, diverged, gradients)


def _failed(flight: Flight) -> Tensor:
    """Which trajectories lost their energy, other than by leaving the prior's support."""
    return (flight.odds < -_LOST) & ~torch.isneginf(flight.end.value)


def _put(at: Trajectory, new: Trajectory, which: Tensor, chain: Tensor, taken: Tensor) -> Trajectory:
    """All chains, with those of `new` (n, 1) in their places where they were `taken` (n,)."""
    place = (which[taken], chain[taken])
    pairs = ((at.z, new.z), (at.v, new.v), (at.value, new.value), (at.gradient, new.gradient))
    return Trajectory(*(old.index_put(place, part[taken, 0]) for old, part in pairs))
