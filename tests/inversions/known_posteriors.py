"""Problems whose posterior is known in closed form, to which every inversion is held."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
from scipy import special, stats
from torch import Tensor

from physgen.black_box import blackbox
from physgen.noise import GaussianNoise, PoissonNoise
from physgen.priors import Gamma, Gaussian, Independent, Normal, Uniform
from physgen.problem import Problem


@dataclass(frozen=True, eq=False)
class Known:
    """A problem, one observation (m,), mean and sd (n,) of the causes under its posterior, and the log evidence."""

    problem: Problem
    y: Tensor
    mean: Tensor
    sd: Tensor
    log_evidence: float


def _problem(function, prior, noise, black_box):
    """`function` takes arrays and tensors alike."""
    return Problem(blackbox(function) if black_box else function, prior, noise)


def linear_gaussian(k: int, *, noise: float = 0.2, seed: int = 0, black_box: bool = False) -> Known:
    """x ~ N(x_a, S_a) correlated, y = A x + N(0, noise^2), m = k / 2 + 2 observables (Rodgers 2000, eqs 2.27, 2.30)."""
    g = np.random.default_rng(seed)
    m = k // 2 + 2
    A = g.normal(size=(m, k)) / math.sqrt(k)
    distance = np.abs(np.arange(k)[:, None] - np.arange(k))
    S_a, x_a = 0.5**distance, np.linspace(-1, 1, k)
    y = A @ g.multivariate_normal(x_a, S_a) + noise * g.normal(size=m)
    S_y = A @ S_a @ A.T + noise**2 * np.eye(m)
    gain = S_a @ A.T @ np.linalg.inv(S_y)
    covariance = S_a - gain @ A @ S_a
    A_t = torch.as_tensor(A)
    problem = _problem(
        lambda x: x @ (A.T if isinstance(x, np.ndarray) else A_t.to(x).mT),
        Gaussian(x_a, S_a),
        GaussianNoise(noise),
        black_box,
    )
    evidence = stats.multivariate_normal(A @ x_a, S_y).logpdf(y)
    mean, sd = x_a + gain @ (y - A @ x_a), np.sqrt(np.diag(covariance))
    return Known(problem, torch.as_tensor(y), torch.as_tensor(mean), torch.as_tensor(sd), float(evidence))


def poisson_gamma(*, black_box: bool = False) -> Known:
    """rate ~ Gamma(a, b), three counts over the exposures t: the posterior is Gamma(a + sum y, b + sum t)."""
    a, b, t, y = 2.0, 0.5, np.array([1.0, 2.0, 0.5]), np.array([3.0, 4.0, 0.0])
    prior = Independent(rate=Gamma(a, 1 / b))
    problem = _problem(lambda x: x * _like(t, x), prior, PoissonNoise(), black_box)
    shape, rate = a + y.sum(), b + t.sum()
    counts = (y * np.log(t) - special.gammaln(y + 1)).sum()
    evidence = a * np.log(b) - special.gammaln(a) + counts + special.gammaln(shape) - shape * np.log(rate)
    return _one(problem, y, shape / rate, math.sqrt(shape) / rate, evidence)


def mixture(*, black_box: bool = False) -> Known:
    """x ~ N(0.1, 1), y = |x| + N(0, s^2): two components, each a normal cut off at 0, of unequal weight."""
    mean, s, y = 0.1, 0.3, 1.2
    problem = _problem(abs, Independent(x=Normal(mean, 1.0)), GaussianNoise(s), black_box)
    weights, firsts, seconds = [], [], []
    for sign in (1, -1):
        variance = 1 / (1 + 1 / s**2)
        centre = variance * (mean + sign * y / s**2)
        low, high = (0, np.inf) if sign > 0 else (-np.inf, 0)
        sd = math.sqrt(variance)
        cut = stats.truncnorm((low - centre) / sd, (high - centre) / sd, centre, sd)
        inside = stats.norm.cdf(sign * centre / sd)
        weights.append(stats.norm.pdf(sign * y, mean, math.sqrt(1 + s**2)) * inside)
        firsts.append(cut.mean())
        seconds.append(cut.var() + cut.mean() ** 2)
    share = np.array(weights) / sum(weights)
    first, second = share @ firsts, share @ seconds
    return _one(problem, [y], first, math.sqrt(second - first**2), math.log(sum(weights)))


def truncated(*, black_box: bool = False) -> Known:
    """x uniform on (0, 2), y = x + N(0, s^2) at -0.2: a normal cut off well above its centre."""
    s, y = 0.3, -0.2
    problem = _problem(lambda x: x * 1.0, Independent(x=Uniform(0.0, 2.0)), GaussianNoise(s), black_box)
    cut = stats.truncnorm((0 - y) / s, (2 - y) / s, y, s)
    evidence = math.log((stats.norm.cdf((2 - y) / s) - stats.norm.cdf((0 - y) / s)) / 2)
    return _one(problem, [y], cut.mean(), cut.std(), evidence)


KNOWN = {
    "linear-2": lambda **box: linear_gaussian(2, **box),
    "linear-20": lambda **box: linear_gaussian(20, **box),
    "linear-200": lambda **box: linear_gaussian(200, **box),
    "poisson-gamma": poisson_gamma,
    "mixture": mixture,
    "truncated": truncated,
}
"""Name -> a function of ``black_box`` that returns a `Known`."""


def deviation(draws: Tensor, known: Known, ess: float) -> dict[str, float]:
    """How far draws (S, n) of `ess` effective ones are from the known posterior.

    Returns
    -------
    dict of float
        mean : largest error of a mean, in Monte-Carlo standard errors
        low, high : the smallest and the largest ratio of sd to the known one
    """
    error = (draws.mean(0) - known.mean).abs() / known.sd * math.sqrt(ess)
    ratio = draws.std(0) / known.sd
    return {"mean": float(error.amax()), "low": float(ratio.amin()), "high": float(ratio.amax())}


def _one(problem, y, mean, sd, evidence) -> Known:
    y = torch.as_tensor(np.asarray(y, dtype=float))
    return Known(problem, y, torch.tensor([float(mean)]), torch.tensor([float(sd)]), float(evidence))


def _like(value: np.ndarray, x):
    return value if isinstance(x, np.ndarray) else torch.as_tensor(value).to(x)
