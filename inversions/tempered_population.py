"""Particles on their way from the prior to the posterior: weighting, resampling, moves."""

from __future__ import annotations

import math
from copy import copy
from dataclasses import dataclass, fields

import torch
from torch import Tensor

from physgen.problem import log_normal
from physgen.random import normal, uniform
from physgen.small_matrices import product, triangular_inverse

from .gradient import Target
from .leapfrog import Trajectory, halton, trajectory
from .markov import mean_of, metric

_STAGES = 1 << 7  # of the random numbers of one temperature
_FEWEST = 5  # moves at each temperature
_GOOD = (0.3, 0.25, 0.7)  # share accepted that the scale aims at: autoregressive, random walk, Hamiltonian
_TAIL = 0.05  # share of the particles in each tail, which must forget as well
_PLATEAU = 0.05  # by which a correlation falls in the second half of the moves: less, and what is left are modes
_LOST = 50.0  # error of a trajectory's energy, in nats, that no stable step makes
_LENGTH = 1.5  # of Hamiltonian trajectories, in standard deviations: a quarter of a period


@dataclass(eq=False)
class Population:
    """G populations of N particles for each of B observations.

    Attributes
    ----------
    target : Target
    which : integer Tensor (B,)
        Observations of the target.
    index : integer Tensor (B,)
        Their numbers.
    z : Tensor (B, G, N, k)
    log_likelihood : Tensor (B, G, N)
        Log posterior density minus log N(z).
    beta, log_evidence, accepted : Tensor (B, G)
        Inverse temperature; logarithm of the evidence so far; share of the moves that were accepted.
    scale : Tensor (B, G, 3)
        Of each kind of move.
    steps : integer Tensor (B, G)
        Temperatures.
    forgot : boolean Tensor (B,)
        Whether the last moves went on until all particles had forgotten where they were, but for their mode.
    diverged : Tensor (B,)
        Share of the last moves whose trajectories lost their energy.
    seed, stage : int
    gradient : bool
        Whether moves are Hamiltonian.
    """

    target: Target
    which: Tensor
    index: Tensor
    z: Tensor
    log_likelihood: Tensor
    beta: Tensor
    log_evidence: Tensor
    scale: Tensor
    accepted: Tensor
    steps: Tensor
    forgot: Tensor
    diverged: Tensor
    seed: int
    stage: int
    gradient: bool

    @staticmethod
    def of(target: Target, z: Tensor, index: Tensor, *, seed: int, stage: int, gradient: bool) -> Population:
        """The beginning: particles (B, G, N, k) drawn from the prior."""
        which, zero = torch.arange(len(z), device=z.device), z.new_zeros(z.shape[:2])
        scale = zero[..., None] + zero.new_tensor([0.5, 1.0, z.shape[-1] ** -0.25])
        steps = torch.zeros(z.shape[:2], dtype=torch.int64, device=z.device)
        forgot = torch.zeros(len(z), dtype=torch.bool, device=z.device)
        counts = scale, zero.clone(), steps, forgot, zero[:, 0].clone()
        out = Population(target, which, index, z, zero, zero, zero.clone(), *counts, seed, stage, gradient)
        out.log_likelihood = out._log_likelihood(z)
        return out

    def select(self, rows: Tensor) -> Population:
        """Those of some of the observations."""
        out = copy(self)
        for f in fields(self):
            value = getattr(self, f.name)
            if isinstance(value, Tensor):
                setattr(out, f.name, value[rows])
        return out

    def put(self, rows: Tensor, other: Population) -> None:
        """Write those of some of the observations back."""
        for f in fields(self):
            value = getattr(self, f.name)
            if isinstance(value, Tensor):
                value[rows] = getattr(other, f.name)

    def heat(self, temperature: int, share: float) -> None:
        """Raise beta until the weights are worth `share` of the particles, and resample."""
        low, high = torch.zeros_like(self.beta), 1 - self.beta
        step = high
        for _ in range(40):
            enough = _effective(step[..., None] * self.log_likelihood) >= share * self.z.shape[2]
            low, high = torch.where(enough, step, low), torch.where(enough, high, step)
            step = torch.where(enough & (step == high), step, 0.5 * (low + high))
        going = self.beta < 1
        log_weight = torch.where(step[..., None] > 0, step[..., None] * self.log_likelihood, 0)
        self.log_evidence = self.log_evidence + torch.logsumexp(log_weight, -1) - math.log(self.z.shape[2])
        self.beta = torch.where(step >= 1 - self.beta, 1.0, self.beta + step)
        self._resample(log_weight, going, temperature)
        self.steps = self.steps + going

    def move(self, temperature: int, *, correlation: float, most: int) -> None:
        """Moves that leave the tempered posterior as it is, until no particle remembers where it was.

        Nor those in the tails: where some are stuck, as in the neck of a funnel, all others may well move. Particles in
        modes apart from each other never forget in which they are: the correlation then falls to a plateau.
        """
        k = self.z.shape[-1]
        flat = self.z.flatten(0, 1)
        factor, centre = metric(flat).reshape(*self.beta.shape, k, k), mean_of(flat).reshape(*self.beta.shape, k)
        begun, rows = self.z.clone(), torch.arange(len(self.z), device=self.z.device)
        total, moves = torch.zeros_like(self.beta), torch.zeros_like(self.beta)
        self.diverged = torch.zeros_like(self.diverged)
        self.forgot, half = torch.zeros_like(self.forgot), torch.ones_like(centre)
        for number in range(most):
            here = self.select(rows)
            stage = self.stage + _STAGES * temperature + 2 * number + 2
            kind = 2 if self.gradient else number % 2
            share = here._move(kind, factor[rows], centre[rows], stage)
            here.scale[..., kind] *= torch.exp((share - _GOOD[kind]) / (1 + number) ** 0.5)
            here.scale[..., 0].clamp_(max=1.0)
            self.put(rows, here)
            total[rows] += share
            moves[rows] += 1
            if number + 1 >= _FEWEST:  # energy comes to its equilibrium later than positions forget
                memory = _memory(begun[rows], here.z)
                forgot = (memory < correlation).all(-1).all(-1)
                if number + 1 == max(_FEWEST, most // 2):
                    half[rows] = memory
                plateau = (memory < correlation) | (half[rows] - memory < _PLATEAU)
                self.forgot[rows] = plateau.all(-1).all(-1) if number + 1 == most else forgot
                rows = rows[~forgot]
            if not len(rows):
                break
        self.accepted, self.diverged = total / moves, self.diverged / moves[:, 0]

    def _move(self, kind: int, factor: Tensor, centre: Tensor, stage: int) -> Tensor:
        """One move of every particle; the share (B, G) that was accepted."""
        shape, dtype = tuple(self.z.shape[1:]), self.z.dtype
        eps = normal(shape, self.index, seed=self.seed, stage=stage, dtype=dtype)
        u = uniform(shape[:-1], self.index, seed=self.seed, stage=stage + 1, dtype=dtype)
        scale = self.scale[..., kind]
        if kind == 2:
            z, odds = self._trajectories(factor, eps, scale, stage)
        else:
            z, odds = self._proposals(kind, factor, centre, eps, scale)
        if kind == 2:
            self.diverged = self.diverged + ((odds < -_LOST) & torch.isfinite(odds)).to(dtype).mean((1, 2))
        odds = torch.nan_to_num(odds, nan=-torch.inf)
        log_likelihood = self._log_likelihood(z)
        before, after = self._tempered(self.z, self.log_likelihood), self._tempered(z, log_likelihood)
        odds = odds + (0.0 if kind == 2 else after - before)
        yes = (torch.log(u) < odds) & torch.isfinite(log_likelihood)
        self.z = torch.where(yes[..., None], z, self.z)
        self.log_likelihood = torch.where(yes, log_likelihood, self.log_likelihood)
        return _mean(yes.to(dtype))

    def _proposals(
        self, kind: int, factor: Tensor, centre: Tensor, eps: Tensor, scale: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Proposals, and log q(z | z') - log q(z' | z).

        Kind 0 is autoregressive about the particles' mean, reversible under the normal distribution that has their
        moments (Cotter, Roberts, Stuart & White 2013, section 4.2, with that in place of the prior); kind 1 a random
        walk of the scale of Roberts, Gelman & Gilks (1997).
        """
        step = product(eps, factor.mT)
        if kind == 1:
            length = 2.38 / self.z.shape[-1] ** 0.5 * scale[..., None, None]
            return self.z + length * step, torch.zeros_like(eps[..., 0])
        s, away = scale[..., None, None], self.z - centre[..., None, :]
        after = (1 - s * s).clamp(min=0).sqrt() * away + s * step
        white = triangular_inverse(factor).mT
        before, then = product(away, white).square().sum(-1), product(after, white).square().sum(-1)
        return centre[..., None, :] + after, 0.5 * (then - before)

    def _trajectories(self, factor: Tensor, v: Tensor, scale: Tensor, stage: int) -> tuple[Tensor, Tensor]:
        """Ends of trajectories, and the decrease of the energy."""
        z, k = self.z.flatten(0, 1), self.z.shape[-1]
        beta, which = self.beta.flatten(), self.which.repeat_interleave(self.z.shape[1])

        def slope(z: Tensor, rows: Tensor) -> tuple[Tensor, Tensor]:
            value, gradient = self.target.slope(z.flatten(0, 1), which[rows].repeat_interleave(z.shape[1]))
            b = beta[rows][:, None]
            value, gradient = value.reshape(z.shape[:2]), gradient.reshape(z.shape)
            return b * value + (1 - b) * log_normal(z), b[..., None] * gradient - (1 - b)[..., None] * z

        now = Trajectory(z, v.flatten(0, 1), *slope(z, torch.arange(len(z), device=z.device)))
        jitter = 0.5 + 0.5 * halton(stage // 2)
        leaps = torch.ceil(jitter * _LENGTH / scale.flatten()).clamp(1, 64).to(torch.int64)
        end = trajectory(slope, now, factor.reshape(-1, k, k), scale.flatten(), leaps)
        return end.z.reshape(self.z.shape), (now.energy - end.energy).reshape(self.z.shape[:-1])

    def _log_likelihood(self, z: Tensor) -> Tensor:
        which = self.which.repeat_interleave(z.shape[1] * z.shape[2])
        return self.target.value(z.reshape(-1, z.shape[-1]), which).reshape(z.shape[:-1]) - log_normal(z)

    def _tempered(self, z: Tensor, log_likelihood: Tensor) -> Tensor:
        return self.beta[..., None] * log_likelihood + log_normal(z)

    def _resample(self, log_weight: Tensor, going: Tensor, temperature: int) -> None:
        """Systematic resampling of each population (Kitagawa 1996)."""
        batch, groups, count, k = self.z.shape
        stage = self.stage + _STAGES * temperature
        offset = uniform((groups,), self.index, seed=self.seed, stage=stage, dtype=torch.float64)
        cumulative = torch.softmax(log_weight.to(torch.float64), -1).cumsum(-1)
        ladder = (torch.arange(count, dtype=torch.float64, device=self.z.device) + offset[..., None]) / count
        place = torch.searchsorted(cumulative, (ladder * cumulative[..., -1:]).contiguous()).clamp(max=count - 1)
        place = torch.where(going[..., None], place, torch.arange(count, device=self.z.device))
        self.z = self.z.gather(2, place[..., None].expand(batch, groups, count, k))
        self.log_likelihood = self.log_likelihood.gather(2, place)


def _effective(log_weight: Tensor) -> Tensor:
    """Effective number (B, G) of weights (B, G, N)."""
    return 1 / torch.softmax(torch.nan_to_num(log_weight, nan=-torch.inf), -1).square().sum(-1)


def _mean(x: Tensor) -> Tensor:
    return x.cumsum(-1)[..., -1] / x.shape[-1]


def _memory(before: Tensor, after: Tensor) -> Tensor:
    """The largest of the correlations (B, G, k) of the latents, and of whether they are in either tail."""
    count = before.shape[2]
    place = min(count - 1, round(_TAIL * count))
    ordered = before.sort(2).values
    low, high = ordered[:, :, place : place + 1], ordered[:, :, count - 1 - place : count - place]
    parts = [_correlation(before, after)]
    for one in (lambda z: z < low, lambda z: z > high):
        parts.append(_correlation(one(before).to(before.dtype), one(after).to(before.dtype)))
    return torch.stack(parts).amax(0)


def _correlation(before: Tensor, after: Tensor) -> Tensor:
    """Correlation (B, G, k) over the particles between two times."""
    a, b = (x - x.cumsum(2)[:, :, -1:] / x.shape[2] for x in (before, after))
    covariance, first, second = ((x * y).cumsum(2)[:, :, -1] for x, y in ((a, b), (a, a), (b, b)))
    return covariance / (first * second).clamp(min=1e-300).sqrt()
