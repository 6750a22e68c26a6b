"""Step size and trajectory length of Hamiltonian chains, learned across the chains of each observation."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from .markov import mean_of
from .step_size import SHORTEN, StepSize, mean_acceptance, often_excluded

_RATE, _BETA2 = 0.025, 0.95  # of Adam without momentum, on the logarithm of the length
_FIRST, _LONGEST = 0.4, 4.0  # of it: a quarter of the period of a standard normal is pi / 2


@dataclass
class Adaptation:
    """State of the adaptation of B observations.

    The step size follows dual averaging of the harmonic mean of the acceptance, the length of trajectories the
    gradient of the ChEES criterion (Hoffman, Radul & Sountsov 2021, eqs 4 and 5): the expected squared change of the
    squared distance from the centre.
    """

    step: StepSize
    log_length: Tensor
    smooth_length: Tensor
    second: Tensor
    updates: int = 0

    @staticmethod
    def of(z: Tensor, *, accept: float) -> Adaptation:
        """The beginning, for positions (B, C, k) with a metric that nearly whitens them."""
        zero = torch.zeros(len(z), dtype=z.dtype, device=z.device)
        return Adaptation(StepSize.of(z, aim=accept), zero + _FIRST, zero + _FIRST, zero)

    @property
    def now(self) -> tuple[Tensor, Tensor]:
        """Step size and trajectory length (B,) to try next."""
        return self.step.now, self.log_length.exp()

    @property
    def settled(self) -> tuple[Tensor, Tensor]:
        """Averages of both over the updates since the last restart."""
        return self.step.settled, self.smooth_length.exp()

    def restart(self) -> None:
        """Begin anew, as lengths are in units of the metric, and that has changed."""
        self.step.restart()
        self.log_length = self.log_length.clamp(min=_FIRST)

    def select(self, rows: Tensor) -> Adaptation:
        """That of some of the observations."""
        step = self.step.select(rows)
        return Adaptation(step, self.log_length[rows], self.smooth_length[rows], self.second[rows], self.updates)

    def update(self, before: Tensor, after: Tensor, v: Tensor, accept: Tensor, jitter: Tensor) -> None:
        """Learn from one trajectory of every chain.

        Parameters
        ----------
        before, after : Tensor (B, C, k)
            Where the trajectories began and where they ended, accepted or not, in coordinates in which the metric is I.
        v : Tensor (B, C, k)
            Velocity at the end.
        accept : Tensor (B, C)
            Probability of being accepted; NaN where the prior excludes the end.
        jitter : Tensor (B,)
            Share of the length that was gone.
        """
        self.step.update(mean_acceptance(accept, aim=self.step.aim, harmonic=True))
        self._lengthen(before, after, v, torch.nan_to_num(accept), jitter)
        shorter = torch.maximum(self.log_length - SHORTEN, self.step.log)
        self.log_length = torch.where(often_excluded(accept), shorter, self.log_length)
        share = self.step.share
        self.smooth_length = share * self.log_length + (1 - share) * self.smooth_length

    def _lengthen(self, before: Tensor, after: Tensor, v: Tensor, accept: Tensor, jitter: Tensor) -> None:
        """One step of Adam up the criterion."""
        self.updates += 1
        good = torch.isfinite(after).all(-1) & (accept > 0)
        z = torch.where(good[..., None], after, before)
        weight = torch.where(good, accept, 0)
        total = mean_of(weight).clamp(min=1e-6)
        centre = mean_of(weight[..., None] * z) / total[:, None]
        ended, begun = z - centre[:, None], before - mean_of(before)[:, None]
        change = (ended * ended).sum(-1) - (begun * begun).sum(-1)
        along = torch.where(good, (ended * v).sum(-1), 0)
        slope = mean_of(weight * change * along) / total * jitter * self.log_length.exp()
        self.second = _BETA2 * self.second + (1 - _BETA2) * slope * slope
        corrected = self.second / (1 - _BETA2**self.updates)
        move = _RATE * torch.nan_to_num(slope / (corrected.sqrt() + 1e-12))
        # never shorter than a step, and not so long that a trajectory turns back many times
        self.log_length = torch.maximum((self.log_length + move.clamp(-0.35, 0.35)).clamp(max=_LONGEST), self.step.log)
