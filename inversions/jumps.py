"""Jumps: between two trajectories, each chain may go to one of several places drawn from what all have seen."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from .gradient import Target
from .markov import mean_of
from .normal_mixture import fitted
from .student_mixture import DF, StudentMixture, searched

_COMPONENTS = 8
_DEFENCE = 0.02  # share of the prior among the places, at least
_WORTH = 0.2  # share of the chains that jump at the first try, below which no further one is made
# Moves that chains may wait for a jump, on average, where jumps are the rule. Those of canopies wait 1.1 to 1.5, those
# of a walk of unknown noise from 7 on, for the sake of few: two of three jump at the first try.
_WAIT = 2.0
_TRAJECTORY, _JUMP = 8, 4  # moves in which there is one trajectory where jumps are the rule, and one jump elsewhere


@dataclass(frozen=True, eq=False)
class Jumps:
    """What the moves of b observations so far have taught of where their chains may jump to.

    Attributes
    ----------
    proposal : StudentMixture
    number : int
        Places that a chain may choose from.
    worth : boolean Tensor (b,)
        For which observations they are of use.
    rule : boolean Tensor (b,)
        For which of them every move is a jump, and every eighth begins with a trajectory. Elsewhere every move is a
        trajectory, and every fourth ends with a jump.
    """

    proposal: StudentMixture
    number: int
    worth: Tensor
    rule: Tensor

    @staticmethod
    def learned(z: Tensor, number: int) -> Jumps | None:
        """From draws (b, C, S, k); None where there are too few."""
        proposal = fitted(z, _COMPONENTS, max(_DEFENCE, searched(z.shape[-1]))) if number else None
        if proposal is None:
            return None
        worth = torch.isfinite(proposal.factor).flatten(1).all(1)
        return Jumps(proposal, number, worth, torch.zeros_like(worth))

    def where_worth(self, wait: Tensor) -> Jumps:
        """Only where enough chains jump, and as the rule where none waits long; `wait` (b, C) is as `ends` has it."""
        worth = self.worth & (mean_of(wait.reciprocal()) >= _WORTH)
        return replace(self, worth=worth, rule=worth & (mean_of(wait) < _WAIT))

    def rarer(self) -> Jumps:
        """As the rule nowhere."""
        return replace(self, rule=torch.zeros_like(self.rule))

    def trajectories(self, move: int) -> tuple[Tensor, Tensor]:
        """Number (b,) of the trajectory that comes next, and whether it comes in this move; they count from 0."""
        return torch.where(self.rule, move // _TRAJECTORY, move), ~self.rule | _last(move, _TRAJECTORY)

    def due(self, move: int) -> Tensor:
        """The observations whose chains may jump in this move."""
        return torch.nonzero(self.worth & (self.rule | _last(move, _JUMP))).squeeze(-1)

    def select(self, rows: Tensor) -> Jumps:
        """Those of some of the observations."""
        return Jumps(self.proposal.select(rows), self.number, self.worth[rows], self.rule[rows])

    @property
    def numbers(self) -> tuple[tuple[int, ...], tuple[int, ...]]:
        """Shapes of the normal and the uniform numbers of one chain's jump."""
        return (self.number, self.proposal.mean.shape[-1]), (self.number * (1 + DF // 2) + 1,)

    def ends(
        self, target: Target, which: Tensor, z: Tensor, value: Tensor, normals: Tensor, u: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Where chains at z (n, C, k), of log density `value` (n, C), are after a jump.

        Of the places that are drawn and the one where the chain is, one is chosen in proportion to posterior over
        proposal: a move of iterated sampling importance resampling (Andrieu, Lee & Vihola 2018), to which the
        posterior is invariant whatever the proposal. Chains that stay keep their position to the bit.

        Parameters
        ----------
        target : Target
        which : Tensor (n,)
            The observations.
        normals, u : Tensor (n, C, number, k) and (n, C, number * (1 + DF / 2) + 1)
            Random numbers; the second are uniform.

        Returns
        -------
        tuple of Tensor
            Where they are (n, C, k); and for how many moves a chain waits for a jump where it was (n, C), by what the
            places of all chains are worth.

        References
        ----------
        Samsonov et al. (2022), *Local-global MCMC kernels: the best of both worlds*, NeurIPS: such jumps between moves
        along gradients, with proposals that are learned.
        """
        n, chains, k = z.shape
        proposal = self.proposal.select(which)
        radii, strata = u[..., 1 + self.number :].reshape(n, -1, DF // 2), u[..., 1 : 1 + self.number].reshape(n, -1)
        tried = proposal.sample(normals.reshape(n, -1, k), radii, strata)
        there = target.value(tried.flatten(0, 1), which.repeat_interleave(tried.shape[1])).reshape(n, -1)
        odds = (there - proposal.log_prob(tried)).reshape(n, chains, self.number)
        stay = (value - proposal.log_prob(z))[..., None]
        share = torch.softmax(torch.cat([odds, stay], -1), -1)
        # rounding may leave the sum below u: the last place is the one where the chain is
        chosen = (u[..., :1] > share.cumsum(-1)).sum(-1).clamp(max=self.number)
        places = torch.cat([tried.reshape(n, chains, self.number, k), z[:, :, None]], 2)
        end = places.gather(2, chosen[..., None, None].expand(-1, -1, 1, k)).squeeze(2)
        usual = torch.logsumexp(odds.flatten(1), 1) - math.log(chains)
        return end, 1 + (stay[..., 0] - usual[:, None]).exp()


def _last(move: int, of: int) -> bool:
    """Whether a move is the last one of so many."""
    return (move + 1) % of == 0
