"""Posteriors of a hard shape whose exact draws are known, as a user writes them: for `hard_shapes.py` and the tests."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import torch
from posteriors import brownian as published
from torch import Tensor

from physgen.noise import GaussianNoise, Noise
from physgen.priors import Gaussian
from physgen.problem import Problem

_LATTICE = 20001


@dataclass(frozen=True, eq=False)
class Shape:
    """A problem and one observation of it.

    Attributes
    ----------
    problem : Problem
    y : Tensor (m,)
    exact : callable
        ``exact(count, generator)``: independent draws ``(count, n)`` of the causes from the posterior.
    mode : callable or None
        Which of the causes ``(*, n)`` lie in a mode whose mass is asked for.
    """

    problem: Problem
    y: Tensor
    exact: Callable[[int, np.random.Generator], np.ndarray]
    mode: Callable[[Tensor], Tensor] | None = None


class UnknownScale(Noise):
    """Gaussian noise whose log standard deviation is the last element of the prediction."""

    def log_prob(self, y, prediction):
        level, log_scale = prediction[..., :-1], prediction[..., -1:]
        known = ~torch.isnan(y)
        u = torch.where(known, torch.nan_to_num(y) - level, 0) * torch.exp(-log_scale)
        return torch.where(known, -0.5 * u * u - log_scale - 0.5 * math.log(2 * math.pi), 0).sum(-1)

    def sample(self, prediction, *, seed=0, like=None):
        level, log_scale = prediction[..., :-1], prediction[..., -1:]
        return level + torch.exp(log_scale) * GaussianNoise(1.0).sample(torch.zeros_like(level), seed=seed, like=like)


def banana() -> Shape:
    """a ~ N(0.5, 1), b ~ N(0, 3^2), and b - a^2 = 0 within 0.1: a thin parabola."""
    s, sd = 0.1, 3.0
    problem = Problem(lambda x: x[..., 1:] - x[..., :1] ** 2, _normal([0.5, 0.0], [1.0, sd]), GaussianNoise(s))

    def exact(count, g):
        a = _drawn(lambda a: -0.5 * (a - 0.5) ** 2 - 0.5 * a**4 / (sd**2 + s**2), -6, 6, count, g)
        variance = 1 / (1 / sd**2 + 1 / s**2)
        return np.stack([a, variance * a**2 / s**2 + math.sqrt(variance) * g.standard_normal(count)], 1)

    return Shape(problem, torch.zeros(1), exact)


def funnel() -> Shape:
    """Neal's funnel (2003): v ~ N(0, 3^2), and nine others of scale e^(v/2).

    As a problem: x_i ~ N(0, 30^2) has been measured as 0 with a noise of that scale, which is what cuts the widest
    part of the funnel off.
    """
    prior = _normal([0.0] * 10, [3.0] + [30.0] * 9)
    problem = Problem(lambda x: torch.cat([x[..., 1:], 0.5 * x[..., :1]], -1), prior, UnknownScale())

    def exact(count, g):
        v = _drawn(lambda v: -(v**2) / 18 - 4.5 * np.log(900 + np.exp(v)), -20, 20, count, g)
        sd = 1 / np.sqrt(np.exp(-v) + 1 / 900)
        return np.concatenate([v[:, None], sd[:, None] * g.standard_normal((count, 9))], 1)

    return Shape(problem, torch.zeros(9), exact)


def bridge() -> Shape:
    """A Brownian walk of 30 steps with missing middle, unknown scales of steps and noise: see `posteriors.brownian`."""
    problem, y, _ = published()
    place, seen = np.arange(1.0, 31.0), ~np.isnan(y.numpy())
    K, known = np.minimum(place[:, None], place), y.numpy()[seen]
    a, b = (c.ravel() for c in np.meshgrid(np.linspace(-4.0, 0.5, 181), np.linspace(-10, 0.5, 421), indexing="ij"))
    # K is diagonalised once: the covariance e^2a K + e^2b I of what was seen has its eigenvectors
    values, vectors = np.linalg.eigh(K[np.ix_(seen, seen)])
    variance = np.exp(2 * a)[:, None] * values + np.exp(2 * b)[:, None]
    log_weight = -0.5 * ((vectors.T @ known) ** 2 / variance + np.log(variance)).sum(1) - (a**2 + b**2) / 8
    weight = np.exp(log_weight - log_weight.max())

    def exact(count, g):
        pick = g.choice(len(a), count, p=weight / weight.sum())
        first = a[pick] + 4.5 / 180 * (g.random(count) - 0.5)
        second = b[pick] + 10.5 / 420 * (g.random(count) - 0.5)
        walk = np.exp(first)[:, None] * g.standard_normal((count, 30)).cumsum(1)
        off = known - walk[:, seen] - np.exp(second)[:, None] * g.standard_normal((count, seen.sum()))
        own = np.exp(2 * first)[:, None] * values + np.exp(2 * second)[:, None]
        walk = walk + np.exp(2 * first)[:, None] * ((off @ vectors / own) @ vectors.T @ K[seen])
        return np.concatenate([first[:, None], second[:, None], walk], 1)

    return Shape(replace(problem, noise=UnknownScale()), y, exact)


def ring() -> Shape:
    """a ~ N(0.3, 1), b ~ N(0, 1), and a^2 + b^2 = 4 within 0.2: a ring of radius 2, a little heavier to the right."""
    s, shift = 0.2, 0.3
    problem = Problem(lambda x: (x * x).sum(-1, keepdim=True), _normal([shift, 0.0], [1.0, 1.0]), GaussianNoise(s))

    def log_density(r):
        bessel = np.log(np.i0(shift * r))
        return np.log(r) - 0.5 * r**2 + bessel - 0.5 * ((r**2 - 4) / s) ** 2

    def exact(count, g):
        r = _drawn(log_density, 0.5, 4, count, g)
        angle = g.vonmises(0.0, shift * r)
        return np.stack([r * np.cos(angle), r * np.sin(angle)], 1)

    return Shape(problem, torch.tensor([4.0]), exact)


def modes(k: int = 3, *, mean: float = 0.1, narrow: float = 1.0) -> Shape:
    """x ~ N((mean, 0, ...), I), of x_0^2 known that it is 2.25 within 0.1, and the others measured: two modes.

    Where x_0 < 0 the other predictions are `narrow` times as steep, so that this mode is as much narrower in each of
    the others.
    """
    s, y = 0.1, torch.tensor([2.25] + [0.0] * (k - 1))

    def forward(x):
        factor = torch.where(x[..., :1] < 0, narrow, 1.0)
        return torch.cat([x[..., :1] ** 2, factor * x[..., 1:]], -1)

    problem = Problem(forward, _normal([mean] + [0.0] * (k - 1), [1.0] * k), GaussianNoise(s))

    def exact(count, g):
        def precision(a):
            return 1 + (np.where(a < 0, narrow, 1.0) / s) ** 2

        def log_density(a):
            return -0.5 * (a - mean) ** 2 - 0.5 * ((a**2 - 2.25) / s) ** 2 - 0.5 * (k - 1) * np.log(precision(a))

        a = _drawn(log_density, -2.5, 2.5, count, g)
        rest = g.standard_normal((count, k - 1)) / np.sqrt(precision(a))[:, None]
        return np.concatenate([a[:, None], rest], 1)

    return Shape(problem, y, exact, lambda x: x[..., 0] > 0)


def correlated(k: int = 10) -> Shape:
    """k causes, standard normal, measured along directions of their own: the covariance has the condition 1e5."""
    g = np.random.default_rng(0)
    Q = np.linalg.qr(g.standard_normal((k, k)))[0]
    size = np.sqrt(np.logspace(0, 5, k) - 1)
    A, y = size[:, None] * Q.T, size * (Q.T @ g.standard_normal(k)) + g.standard_normal(k)
    A_t = torch.as_tensor(A)
    problem = Problem(lambda x: x @ A_t.to(x).mT, _normal([0.0] * k, [1.0] * k), GaussianNoise(1.0))
    sd = 1 / np.sqrt(1 + size**2)
    mean = Q @ (sd**2 * size * y)
    return Shape(problem, torch.as_tensor(y), lambda count, g: mean + (sd * g.standard_normal((count, k))) @ Q.T)


SHAPES: dict[str, Callable[[], Shape]] = {
    "banana": banana,
    "funnel": funnel,
    "bridge": bridge,
    "ring": ring,
    "two modes": modes,
    "unequal modes": lambda: modes(4, mean=-1.0, narrow=3.0),
    "condition 1e5": correlated,
}


def _normal(mean: list[float], sd: list[float]) -> Gaussian:
    return Gaussian(torch.tensor(mean), torch.diag(torch.tensor(sd) ** 2))


def _drawn(log_density, low: float, high: float, count: int, g: np.random.Generator) -> np.ndarray:
    """Draws (count,) of a density on an interval, by its cumulative sum over a lattice."""
    edge = np.linspace(low, high, _LATTICE)
    value = log_density(0.5 * (edge[1:] + edge[:-1]))
    cumulative = np.concatenate([[0.0], np.exp(value - value.max()).cumsum()])
    return np.interp(g.random(count), cumulative / cumulative[-1], edge)
