"""The step size of gradient chains, learned across the chains of each observation."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from .markov import mean_of

SHORTEN = 0.1  # of the logarithm of the length of trajectories that leave the support too often
# About as many times are divergences with half the step: 8 on a walk of unknown noise, far more on canopies.
# One halving too few is told by the next draws; one too many doubles the price of all that follow.
_RARER = 64.0
_MOST = 4  # halvings at once
_FLOOR = 0.1  # of an acceptance in the harmonic mean
_OFTEN = 0.35  # share of the chains
_GAMMA, _T0, _KAPPA = 0.05, 10.0, 0.75  # of dual averaging


@dataclass
class StepSize:
    """Dual averaging of the logarithm of the step (Hoffman & Gelman 2014, section 3.2), for B observations.

    Attributes
    ----------
    aim : float
        Acceptance that the step aims at.
    first, log, centre, error, smooth : Tensor (B,)
        Logarithm of the step at the beginning and now, what it is drawn to, mean shortfall of the acceptance, and
        average of the logarithm.
    updates : int
        Since the last restart.
    """

    aim: float
    first: Tensor
    log: Tensor
    centre: Tensor
    error: Tensor
    smooth: Tensor
    updates: int = 0

    @staticmethod
    def of(z: Tensor, *, aim: float) -> StepSize:
        """The beginning, for positions (B, C, k) with a metric that nearly whitens them."""
        zero = torch.zeros(len(z), dtype=z.dtype, device=z.device)
        log = zero + torch.log(zero.new_tensor(z.shape[-1]) ** -0.25)
        return StepSize(aim, log, log, log + 0.7, zero, log)

    @property
    def now(self) -> Tensor:
        """Step (B,) to try next."""
        return self.log.exp()

    @property
    def settled(self) -> Tensor:
        """Average (B,) since the last restart."""
        return self.smooth.exp()

    @property
    def share(self) -> float:
        """Weight of the newest value in the averages."""
        return float(max(self.updates, 1) ** -_KAPPA)

    def restart(self) -> None:
        """Begin anew, where a new metric makes it the step that whitened coordinates ask for."""
        self.log = self.first.clone()
        self.centre, self.updates = self.log + 0.7, 0
        self.error = torch.zeros_like(self.error)

    def update(self, accept: Tensor) -> None:
        """Learn from the mean acceptance (B,) of one move."""
        self.updates += 1
        t = self.updates
        weight = 1 / (t + _T0)
        self.error = (1 - weight) * self.error + weight * (self.aim - accept)
        self.log = self.centre - t**0.5 / _GAMMA * self.error
        self.smooth = self.share * self.log + (1 - self.share) * self.smooth

    def calm(self, times: Tensor) -> None:
        """Halve the settled step as many times (B,)."""
        self.smooth = self.smooth - times.to(self.smooth.dtype) * math.log(2)

    def select(self, rows: Tensor) -> StepSize:
        """That of some of the observations."""
        first, log, centre = self.first[rows], self.log[rows], self.centre[rows]
        return StepSize(self.aim, first, log, centre, self.error[rows], self.smooth[rows], self.updates)


def mean_acceptance(accept: Tensor, *, aim: float, harmonic: bool = False) -> Tensor:
    """Mean (B,) over the chains of acceptances (B, C); `aim` where there is none.

    A NaN is left out: a trajectory that ended where the prior excludes the causes says nothing of the step.
    The harmonic mean minds the worst chains (Hoffman, Radul & Sountsov 2021, section 3), with a floor: otherwise one
    chain of many in a narrow place would set the step of all.
    """
    known = ~torch.isnan(accept)
    share = mean_of(known.to(accept.dtype))
    value = torch.where(known, accept.clamp(min=_FLOOR).reciprocal() if harmonic else accept, 0)
    mean = mean_of(value) / share
    return torch.where(share > 0, mean.reciprocal() if harmonic else mean, aim)


def often_excluded(accept: Tensor) -> Tensor:
    """For which observations (B,) many trajectories left the prior's support: they had better be shorter."""
    return mean_of(torch.isnan(accept).to(accept.dtype)) > _OFTEN


def halvings(excess: Tensor) -> Tensor:
    """Of a step (B,), that leave so many times fewer divergences."""
    return (torch.log(excess.clamp(min=1)) / math.log(_RARER)).ceil().clamp(max=_MOST)
