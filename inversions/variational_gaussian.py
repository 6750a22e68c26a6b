"""Gaussian approximations of many posteriors at once, by stochastic gradients of the evidence lower bound."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from physgen.random import normal
from physgen.small_matrices import product

from .gradient import Target
from .markov import mean_of

_LATE = 0.75  # of the steps, after which the bound and the gradient are averaged
_FLAT = 0.1  # mean gradient, in nats for one standard deviation, at which the search has ended
_DECAY = 0.9, 0.99  # of the moments of the gradient


@dataclass(frozen=True, eq=False)
class GaussianFit:
    """N(mean, factor factor^T) of B observations.

    Attributes
    ----------
    mean : Tensor (B, k)
    factor : Tensor (B, k, k) or (B, k)
        Lower triangular, or the standard deviations of independent latents.
    bound : Tensor (B,)
        Evidence lower bound in nats.
    converged : boolean Tensor (B,)
    """

    mean: Tensor
    factor: Tensor
    bound: Tensor
    converged: Tensor

    def draw(self, eps: Tensor) -> Tensor:
        """Latents (B, S, k) of standard normal numbers (B, S, k)."""
        return self.mean[:, None] + _stretch(self.factor, eps)

    @property
    def covariance(self) -> Tensor:
        """(B, k, k)."""
        if self.factor.ndim == 2:
            return torch.diag_embed(self.factor.square())
        return product(self.factor, self.factor.mT)


def fit_gaussian(
    target: Target,
    mean: Tensor,
    factor: Tensor,
    *,
    steps: int,
    samples: int,
    rate: float,
    seed: int,
    index: Tensor,
    stage: int,
) -> GaussianFit:
    """Maximise the evidence lower bound over mean and factor, from those that are given.

    Draws z = mean + L e (Kingma & Welling 2014) come in antithetic pairs, and the gradient is that of the path alone
    (Roeder, Wu & Duvenaud 2017, eq. 8), which vanishes for each draw where the posterior is Gaussian and met. Steps are
    taken in the coordinates e in which the approximation is standard normal, so that the scale of the posterior does
    not matter: along the natural gradient with a full matrix, with Adam (Kingma & Ba 2015) without.

    Parameters
    ----------
    target : Target
        Of B observations.
    mean : Tensor (B, k)
    factor : Tensor (B, k, k) or (B, k)
        Lower triangular; or the standard deviations of latents that are to be independent.
    steps, samples, rate
        Steps of the search, draws of each, and length of the first ones in standard deviations.
    seed, index, stage
        Decide the random numbers: one stage for each step.
    """
    batch, k = mean.shape
    ascent = _Natural(samples / (samples + k)) if factor.ndim == 3 else _Independent(mean)
    bound, slope, late = mean.new_zeros(batch), torch.zeros_like(mean), 0
    which = torch.arange(batch, device=mean.device).repeat_interleave(samples)
    for step in range(steps):
        half = normal((samples // 2, k), index, seed=seed, stage=stage + step, dtype=mean.dtype)
        eps = torch.cat([half, -half], 1)
        z = mean[:, None] + _stretch(factor, eps)
        value, gradient = target.slope(z.flatten(0, 1), which)
        u = _pull(factor, gradient.reshape(z.shape)) + eps  # the gradient of log p - log q along the path
        length = rate * (0.5 + 0.5 * math.cos(math.pi * step / steps)) + 1e-3 * rate
        if step >= _LATE * steps:
            late += 1
            bound = bound + mean_of(value.reshape(batch, samples) - _log_density(factor, eps))
            slope = slope + mean_of(u)
        mean, factor = ascent(mean, factor, u, eps, length)
    slope = slope / max(late, 1)
    flat = (slope.square().cumsum(-1)[:, -1] / k).sqrt() <= _FLAT
    return GaussianFit(mean, factor, bound / max(late, 1), flat)


class _Natural:
    """Steps along the natural gradient, of which 16 draws of 200 latents know a small part: `share`."""

    def __init__(self, share: float) -> None:
        self.share = share

    def __call__(self, mean: Tensor, factor: Tensor, u: Tensor, eps: Tensor, length: float) -> tuple[Tensor, Tensor]:
        """Mean and factor after a step, from the gradients u (B, S, k) at the draws eps."""
        length, k = 10 * length * self.share, mean.shape[-1]
        move = length * mean_of(u)
        change = length * torch.tril(product(u.mT, eps)) / eps.shape[1]
        change = change - 0.5 * torch.diag_embed(change.diagonal(dim1=-2, dim2=-1))
        # far from the posterior the gradient is large, and means its direction only
        move = move * (k**0.5 / _norm(move)).clamp(max=1)[:, None]
        change = change * (0.5 / _norm(change.flatten(1))).clamp(max=1)[:, None, None]
        mean = mean + _stretch(factor, move[:, None])[:, 0]
        return mean, product(factor, _near_identity(change))


class _Independent:
    """Steps of Adam in mean and standard deviations."""

    def __init__(self, like: Tensor) -> None:
        self.by_mean, self.by_sd = _Adam(like), _Adam(like)

    def __call__(self, mean: Tensor, sd: Tensor, u: Tensor, eps: Tensor, length: float) -> tuple[Tensor, Tensor]:
        """Mean and standard deviations after a step, from the gradients u (B, S, k) at the draws eps."""
        mean = mean + length * sd * self.by_mean(mean_of(u))
        return mean, sd * (length * self.by_sd(mean_of(u * eps))).exp()


def _norm(x: Tensor) -> Tensor:
    return x.square().cumsum(-1)[:, -1].sqrt().clamp(min=1e-30)


class _Adam:
    """Directions of ascent: the mean of the gradients over the root of their mean square."""

    def __init__(self, like: Tensor) -> None:
        self.first, self.second, self.count = torch.zeros_like(like), torch.zeros_like(like), 0

    def __call__(self, gradient: Tensor) -> Tensor:
        a, b = _DECAY
        self.count += 1
        self.first = a * self.first + (1 - a) * gradient
        self.second = b * self.second + (1 - b) * gradient.square()
        root = (self.second / (1 - b**self.count)).sqrt()
        return self.first / (1 - a**self.count) / (root + 1e-8)


def _stretch(factor: Tensor, eps: Tensor) -> Tensor:
    """L e (B, S, k) of e (B, S, k)."""
    return factor[:, None] * eps if factor.ndim == 2 else product(eps, factor.mT)


def _pull(factor: Tensor, gradient: Tensor) -> Tensor:
    """L^T g (B, S, k) of g (B, S, k)."""
    return factor[:, None] * gradient if factor.ndim == 2 else product(gradient, factor)


def _near_identity(change: Tensor) -> Tensor:
    """A lower triangular matrix (B, k, k) near I + change, with a positive diagonal."""
    return torch.tril(change, -1) + torch.diag_embed(change.diagonal(dim1=-2, dim2=-1).exp())


def _log_density(factor: Tensor, eps: Tensor) -> Tensor:
    """Log density (B, S) of the approximation at its draws of standard normal numbers (B, S, k)."""
    sd = factor if factor.ndim == 2 else factor.diagonal(dim1=-2, dim2=-1)
    log_det = sd.log().cumsum(-1)[:, -1:]
    return -0.5 * eps.square().cumsum(-1)[..., -1] - log_det - 0.5 * sd.shape[-1] * math.log(2 * math.pi)
