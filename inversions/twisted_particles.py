"""Islands of particles that a measurement guides from noise to causes, weighed at every step: the twisted sampler."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor

from physgen.diagnostics.resampling import systematic
from physgen.problem import Posterior
from physgen.random import normal

from .guided_diffusion_steps import Guide
from .twisted_rows import rowwise
from .twisted_scatter import Level, Pilots, apply, roots

STAGES = 1 << 16  # random stages of a run
MOST_ISLANDS, FEWEST_STEPS, MOST_STEPS = 24, 10, 1000  # the largest numbers are those that these have room for
_STRIDE = 64  # of them for each step


@dataclass(frozen=True, eq=False)
class Arrived:
    """Particles of B observations, P in all of C islands, at the end of their way.

    Attributes
    ----------
    w : Tensor (B, P, n)
        Values in the frame of the prior.
    log_weight : Tensor (B, C, N)
        Unnormalised; the mean of their exponentials is an unbiased estimate of the evidence, in each island.
    eve : integer Tensor (B, P)
        Which particle each descends from.
    undefined : integer Tensor (B,)
        Evaluations that were not finite.
    """

    w: Tensor
    log_weight: Tensor
    eve: Tensor
    undefined: Tensor


class Run:
    r"""The twisted diffusion sampler (Wu et al. 2023, algorithm 1) of B observations at once, C islands of N particles.

    A step goes from the noise level t to s. Without a measurement it draws from the normal distribution of the mean
    D + r (w - D), r = s^2 / t^2, and the covariance s^2 (1 - r) + (1 - r)^2 V, V the scatter of clean values about D:
    of all normal distributions the nearest (Bao et al. 2022, eq. 10), and exact for a normal prior in steps of any
    length. With one it moves the mean by (1 - r) t^2 grad log p~(y | w) (Wu et al., eq. 8), and the weights make up
    for it: they are multiplied by p(w_s | w_t) p~(y | w_s) over p~(y | w_t) q(w_s | w_t) (eq. 11). The last of the p~
    is the likelihood itself, so that what the others are is a matter of efficiency alone.

    Wu et al. have p~(y | w) = p(y | D(w)), which at large noise is far too narrow. With `inflate`, it is normal with
    the covariance of the standardised residuals of clean values about those of D added to the noise's, the analogue of
    Rozet et al. (2024, eq. 15) with the mean over the prior in place of the Jacobian; and steps are drawn with V given
    the measurement in place of V. Where all is normal and linear, both are exact, and all weights are equal.
    """

    def __init__(
        self, posterior: Posterior, islands: int, particles: int, *, inflate: bool, seed: int, index: Tensor, stage: int
    ) -> None:
        self.posterior, self.inflate, self.seed, self.index = posterior, inflate, seed, index
        self.islands, self.particles, self.stage = islands, particles, stage
        self.n, self.dtype = posterior.problem.prior.causes.size, posterior.y.dtype
        self.pilots = Pilots(posterior, seed=seed, index=index, stage=stage + 2)
        count = islands * particles
        self.eve = torch.arange(count, device=index.device).expand(len(index), count)
        self.undefined = self.pilots.undefined
        self.base = posterior.y.new_zeros(len(index), islands)

    def __call__(self, levels: Sequence[float]) -> Arrived:
        """Go through all noise levels, and from the last to 0."""
        sigma = levels[0]
        w = math.sqrt(1 + sigma**2) * self._normal(self.stage)
        level = self.pilots.at(sigma)
        self._look(w, sigma, level)
        self.log_weight = self.log_twist
        for number, (now, after) in enumerate(pairwise((*levels, 0.0))):
            stage = self.stage + _STRIDE * (number + 1)
            self._resample(stage)
            r = (after / now) ** 2
            e, shift, before = self._normal(stage), (1 - r) * self.shift, self.log_twist
            spread = (after**2 * (1 - r) + 1e-12 * now**2, (1 - r) ** 2)
            R, _, log_q = roots(level.V_y if self.inflate else level.V, *spread)
            _, inverse, log_p = roots(level.V, *spread)
            step = shift + apply(R, e)
            odds = 0.5 * (e.square() - apply(inverse, step).square()).sum(-1) + (log_q - log_p)[:, None]
            w = self.D + r * (self.w - self.D) + step
            if after:
                level = self.pilots.at(after)
                self._look(w, after, level)
            else:
                self._end(w)
            log_weight = self.log_weight + odds + self.log_twist - before
            self.log_weight = torch.where(torch.isnan(log_weight), -torch.inf, log_weight)  # what was lost stays so
        log_weight = self.log_weight.reshape(len(w), self.islands, self.particles) + self.base[..., None]
        return Arrived(w, log_weight, self.eve, self.undefined)

    def _look(self, w: Tensor, sigma: float, level: Level) -> None:
        """Take w (B, P, n) for the particles: D, log p~ and its gradient."""

        def look(guide: Guide, some: Tensor, w: Tensor) -> tuple[Tensor, ...]:
            with torch.enable_grad():
                leaf = w.detach().requires_grad_(True)
                D = guide.denoise(leaf.flatten(0, 1), sigma)
                log_twist = self._log_twist(guide, D, w, level.bias[some], level.whiten[some])
                slope = torch.zeros_like(w)
                if log_twist.requires_grad:
                    (slope,) = torch.autograd.grad(log_twist.sum(), leaf)
            good = torch.isfinite(log_twist.detach())
            slope = torch.where(good[..., None], torch.nan_to_num(slope, posinf=0.0, neginf=0.0), 0.0)
            return D.detach().reshape(w.shape), log_twist.detach(), sigma**2 * slope, good

        self.D, log_twist, self.shift, good = rowwise(self.posterior, look, w)
        self._take(w, log_twist, good)

    def _log_twist(self, guide: Guide, D: Tensor, w: Tensor, bias: Tensor, whiten: Tensor) -> Tensor:
        """log p~ (b, p) but for a constant, which goes when the next one is divided by it."""
        if not self.inflate:
            problem, own = guide.posterior.problem, guide.posterior
            prediction = guide.predict(D)
            value = problem.noise.log_prob(own.y, prediction, **problem.noise_takes.pick(own.conditions))
            return value.reshape(w.shape[:2])
        residual = guide.residual(D).reshape(*w.shape[:2], -1) + bias[:, None]
        return -0.5 * apply(whiten, residual).square().sum(-1)

    def _end(self, w: Tensor) -> None:
        """Take w (B, P, n) for the clean values: the log likelihood."""

        def end(guide: Guide, _: Tensor, w: Tensor) -> tuple[Tensor, ...]:
            x = guide.causes(w.flatten(0, 1))
            value = guide.posterior.log_weight(x, guide.predict(w.flatten(0, 1))).reshape(w.shape[:2])
            return value, ~(torch.isnan(value) | torch.isposinf(value))

        log_likelihood, good = rowwise(self.posterior, end, w)
        self._take(w, log_likelihood, good)

    def _take(self, w: Tensor, log_twist: Tensor, good: Tensor) -> None:
        self.w, self.undefined = w, self.undefined + (~good).sum(-1)
        self.log_twist = torch.where(good, log_twist, -torch.inf)

    def _resample(self, stage: int) -> None:
        """Those islands whose weights are worth less than half their particles (Kitagawa 1996)."""
        shape = (len(self.w), self.islands, self.particles)
        log_weight = self.log_weight.reshape(shape)
        dead = torch.isneginf(log_weight).all(-1, keepdim=True)
        weight = torch.softmax(torch.where(dead, 0.0, log_weight), -1)
        poor = 1 / weight.square().sum(-1) < 0.5 * self.particles
        if not bool(poor.any()):
            return
        own = torch.arange(self.particles, device=self.w.device).expand(shape)
        parts = []
        for c in range(self.islands):
            stages = (stage + 4 + 2 * c, stage + 5 + 2 * c)
            parts.append(systematic(weight[:, c], self.particles, self.index, seed=self.seed, stages=stages))
        place = torch.where(poor[..., None], torch.stack(parts, 1), own)
        place = (place + self.particles * torch.arange(self.islands, device=self.w.device)[:, None]).flatten(1)
        mean = torch.logsumexp(log_weight, -1) - math.log(self.particles)
        self.base = torch.where(poor, self.base + mean, self.base)
        self.log_weight = torch.where(poor[..., None], 0.0, log_weight).flatten(1)
        self.log_twist, self.eve = self.log_twist.gather(1, place), self.eve.gather(1, place)
        self.w, self.D, self.shift = (
            each.gather(1, place[..., None].expand_as(each)) for each in (self.w, self.D, self.shift)
        )

    def _normal(self, stage: int) -> Tensor:
        shape = (self.islands * self.particles, self.n)
        return normal(shape, self.index, seed=self.seed, stage=stage, dtype=self.dtype)
