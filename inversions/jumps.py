"""Jumps: between two trajectories, each chain may go to one of several places drawn from what the warm-up has seen."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from .gradient import Target
from .normal_mixture import fitted
from .student_mixture import DF, StudentMixture, searched

_COMPONENTS = 4
_DEFENCE = 0.02  # share of the prior among the places, at least
_WORTH = 0.2  # share of the chains that jump at the first try, below which no further one is made
# Where as many jump, there is a trajectory at every other move only, or at every fourth.
_HALF, _QUARTER = 0.5, 0.8


@dataclass(frozen=True, eq=False)
class Jumps:
    """What the warm-up of b observations has learned of where their chains may jump to.

    Attributes
    ----------
    proposal : StudentMixture
    number : int
        Places that a chain may choose from.
    worth : boolean Tensor (b,)
        For which observations they are of use.
    every : integer Tensor (b,)
        How many moves there are from one trajectory to the next.
    """

    proposal: StudentMixture
    number: int
    worth: Tensor
    every: Tensor

    @staticmethod
    def learned(z: Tensor, number: int) -> Jumps | None:
        """From draws (b, C, S, k); None where there are too few."""
        proposal = fitted(z, _COMPONENTS, max(_DEFENCE, searched(z.shape[-1]))) if number else None
        if proposal is None:
            return None
        worth = torch.isfinite(proposal.factor).flatten(1).all(1)
        return Jumps(proposal, number, worth, torch.ones_like(worth, dtype=torch.int64))

    def where_worth(self, moved: Tensor) -> Jumps:
        """Only for those observations of which enough chains (b, C) have moved; where most have, they are the rule."""
        share = moved.to(torch.float64).mean(1)
        worth = self.worth & (share >= _WORTH)
        every = 1 + (share >= _HALF).to(torch.int64) + 2 * (share >= _QUARTER)
        return replace(self, worth=worth, every=torch.where(worth, every, 1))

    def with_trajectories(self) -> Jumps:
        """One after each trajectory."""
        return replace(self, every=torch.ones_like(self.every))

    def select(self, rows: Tensor) -> Jumps:
        """Those of some of the observations."""
        return Jumps(self.proposal.select(rows), self.number, self.worth[rows], self.every[rows])

    @property
    def numbers(self) -> tuple[tuple[int, ...], tuple[int, ...]]:
        """Shapes of the normal and the uniform numbers of one chain's jump."""
        return (self.number, self.proposal.mean.shape[-1]), (self.number * (1 + DF // 2) + 1,)

    def ends(self, target: Target, which: Tensor, z: Tensor, value: Tensor, normals: Tensor, u: Tensor) -> Tensor:
        """Where chains at z (n, C, k), of log density `value` (n, C), are after a jump: (n, C, k).

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
        return places.gather(2, chosen[..., None, None].expand(-1, -1, 1, k)).squeeze(2)
