"""Models that users bring, each through the public interface: a function, a prior, a noise, simulated data."""

from __future__ import annotations

import math

import torch
from torch import Tensor

import physgen as pg
from physgen.noise import Noise
from physgen.problem import Problem
from physgen.random import normal, single_stream


class Likelihood(Noise):
    """A noise that is a function ``(y, parameters) -> log density``, of what the forward model returns."""

    def __init__(self, log_density):
        self.log_density = log_density

    def log_prob(self, y, prediction):
        return self.log_density(y, prediction)

    def sample(self, prediction, *, seed=0, like=None):
        raise TypeError("This noise only evaluates. Simulate with the model itself.")


def gauss(y: Tensor, mean: Tensor, sd: Tensor) -> Tensor:
    """Sum over the last axis of normal log densities."""
    return (-0.5 * ((y - mean) / sd) ** 2 - torch.log(sd) - 0.5 * math.log(2 * math.pi)).sum(-1)


def apart(one: pg.Result, two: pg.Result, power: int) -> float:
    """How far the moments of the causes in two answers to one observation are apart, in standard errors; the worst."""

    def part(result):
        x, ess = result.draws**power, result.stats["ess"]
        resampled = 1 / len(x) if result.samples.shape[0] == 1 else 0.0  # from weighted draws
        return x.mean(0), x.var(0) * (1 / ess + resampled)

    (a, error), (b, other) = part(one), part(two)
    return float(((a - b).abs() / (error + other).sqrt()).max())


def noise(*shape: int, stage: int) -> Tensor:
    return normal(shape, single_stream(), seed=11, stage=stage)


def eight_schools() -> tuple[Problem, Tensor]:
    """A hierarchy: effects of eight schools around a common mean (Rubin 1981)."""
    y = torch.tensor([28.0, 8, -3, 7, -1, 1, 18, 12], dtype=torch.float64)
    sd = torch.tensor([15.0, 10, 16, 11, 9, 11, 10, 18], dtype=torch.float64)
    effects = {f"eta_{i}": pg.Normal(0, 1) for i in range(8)}
    prior = pg.Independent(mu=pg.Normal(0, 5), tau=pg.HalfCauchy(5), **effects)
    return Problem(lambda x: x[..., :1] + x[..., 1:2] * x[..., 2:], prior, pg.GaussianNoise(sd)), y


def autoregression() -> tuple[Problem, Tensor]:
    """y_t = alpha + sum_j beta_j y_{t-j} + sigma e_t, three lags."""
    beta, eps, y = torch.tensor([0.5, -0.3, 0.2], dtype=torch.float64), noise(203, stage=1), torch.zeros(203)
    for t in range(3, 203):
        y[t] = 0.3 + (beta * y[t - 3 : t].flip(0)).sum() + 0.4 * eps[t]
    past = torch.stack([y[2 - j : 202 - j] for j in range(3)])

    def density(y, p):
        mean = p[..., :1] + p[..., 1:4] @ past.to(p)
        return gauss(y, mean, p[..., 4:])

    prior = pg.Independent(
        alpha=pg.Normal(0, 10), **{f"beta_{j}": pg.Normal(0, 10) for j in range(3)}, sigma=pg.HalfCauchy(2.5)
    )
    return Problem(lambda x: x, prior, Likelihood(density)), y[3:]


def garch() -> tuple[Problem, Tensor]:
    """Volatility that remembers: sigma_t^2 = a0 + a1 (y_{t-1} - mu)^2 + b1 sigma_{t-1}^2, b1 < 1 - a1."""
    eps, y, s2 = noise(200, stage=2), torch.zeros(200), torch.tensor(0.5)
    for t in range(200):
        s2 = 0.1 + 0.3 * (y[t - 1] - 0.5) ** 2 + 0.4 * s2 if t else s2
        y[t] = 0.5 + s2.sqrt() * eps[t]

    def density(y, p):
        mu, a0, a1, b1 = p.unbind(-1)
        s2 = [torch.full_like(mu, 0.5)]
        for t in range(1, y.shape[-1]):
            s2.append(a0 + a1 * (y[..., t - 1] - mu) ** 2 + b1 * s2[-1])
        return gauss(y, mu[..., None], torch.stack(s2, -1).sqrt())

    prior = pg.Chain(
        mu=pg.Normal(0, 5),
        a0=pg.HalfCauchy(1),
        a1=pg.Uniform(0, 1),
        b1=pg.Conditional(lambda a1: pg.Uniform(0, 1 - a1), support=(0, 1)),
    )
    return Problem(lambda x: x, prior, Likelihood(density)), y


def solve(rate, state: Tensor, times: Tensor, steps: int = 10) -> Tensor:
    """Runge-Kutta steps of the fourth order: state ``(*, d)`` at times, ``(*, len(times), d)``."""
    out, now = [], 0.0
    for time in times.tolist():
        h = (time - now) / steps
        for _ in range(steps):
            k1 = rate(state)
            k2 = rate(state + 0.5 * h * k1)
            k3 = rate(state + 0.5 * h * k2)
            state = state + h / 6 * (k1 + 2 * k2 + 2 * k3 + rate(state + h * k3))
        out.append(state)
        now = time
    return torch.stack(out, -2)


def lotka_volterra() -> tuple[Problem, Tensor]:
    """Hares and lynxes: rates of growth and death, two starts, log-normal scatter of both counts."""
    times = torch.arange(1.0, 21.0)

    def model(x):
        a, b, g, d, u, v = (x[..., i : i + 1] for i in range(6))

        def rate(s):
            s = s.clamp(1e-6, 1e4)  # finite wherever the prior has mass
            return torch.cat([(a - b * s[..., 1:]) * s[..., :1], (d * s[..., :1] - g) * s[..., 1:]], -1)

        path = solve(rate, torch.cat([u, v], -1), times).clamp(1e-6, 1e4).log().flatten(-2)
        return torch.cat([path, x[..., 6:7].expand(*x.shape[:-1], 20), x[..., 7:].expand(*x.shape[:-1], 20)], -1)

    def density(y, p):
        sd = torch.stack([p[..., 40:60], p[..., 60:]], -1).flatten(-2)
        return gauss(y, p[..., :40], sd)

    rates = {"a": pg.TruncatedNormal(1, 0.5, 0, 10), "b": pg.TruncatedNormal(0.05, 0.05, 0, 1)}
    rates |= {"g": pg.TruncatedNormal(1, 0.5, 0, 10), "d": pg.TruncatedNormal(0.05, 0.05, 0, 1)}
    starts = {"u": pg.LogNormal(10, 1), "v": pg.LogNormal(10, 1)}
    prior = pg.Independent(**rates, **starts, su=pg.LogNormal(0.37, 1), sv=pg.LogNormal(0.37, 1))
    truth = torch.tensor([0.55, 0.028, 0.8, 0.024, 33.0, 6.0, 0.25, 0.25], dtype=torch.float64)
    return Problem(model, prior, Likelihood(density)), model(truth)[:40] + 0.25 * noise(40, stage=3)


def elimination() -> tuple[Problem, Tensor]:
    """A drug taken up at rate ka and eliminated as Michaelis and Menten have it, in one compartment."""
    times = torch.arange(0.5, 10.5, 0.5)

    def model(x):
        ka, vm, km = (x[..., i : i + 1] for i in range(3))

        def rate(s):
            left, c = s[..., :1], s[..., 1:]
            return torch.cat([-ka * left, ka * left - vm * c / (km + c.clamp(min=0))], -1)

        start = torch.cat([torch.full_like(ka, 10.0), torch.zeros_like(ka)], -1)
        log_c = solve(rate, start, times)[..., 1].clamp(min=1e-6).log()
        return torch.cat([log_c, x[..., 3:].expand(*x.shape[:-1], 20)], -1)

    rates = {"ka": pg.HalfCauchy(1), "vm": pg.HalfCauchy(1), "km": pg.HalfCauchy(1)}
    prior = pg.Independent(**rates, sigma=pg.HalfCauchy(1))
    truth = torch.tensor([0.75, 0.9, 0.6, 0.1], dtype=torch.float64)
    likelihood = Likelihood(lambda y, p: gauss(y, p[..., :20], p[..., 20:]))
    return Problem(model, prior, likelihood), model(truth)[:20] + 0.1 * noise(20, stage=4)


def counts_with_a_process() -> tuple[Problem, Tensor]:
    """Poisson counts whose log rate is a Gaussian process of unknown strength and length."""
    x = torch.linspace(0, 1, 15, dtype=torch.float64)
    square = (x[:, None] - x) ** 2

    def model(c):
        strength, length = c[..., 0, None, None], c[..., 1, None, None]
        K = strength**2 * torch.exp(-0.5 * square / length**2) + 1e-4 * torch.eye(15, dtype=c.dtype)
        return torch.exp(2 + (torch.linalg.cholesky(K) @ c[..., 2:, None]).squeeze(-1)).clamp(max=1e8)

    process = {f"z_{i}": pg.Normal(0, 1) for i in range(15)}
    prior = pg.Independent(strength=pg.HalfNormal(1), length=pg.LogNormal(0.3, 0.5), **process)
    y = torch.poisson(torch.exp(2 + torch.sin(6 * x)), generator=torch.Generator().manual_seed(1))
    return Problem(model, prior, pg.PoissonNoise()), y


def ordered_mixture() -> tuple[Problem, Tensor]:
    """Two normal components, the first below the second, in unknown shares."""
    first = torch.arange(200) % 10 < 4
    y = torch.where(first, -1.0 + 0.6 * noise(200, stage=5), 1.2 + 0.8 * noise(200, stage=6))

    def density(y, p):
        low, gap, s1, s2, share = p[..., None].unbind(-2)
        parts = [torch.log(share) - torch.log(s1) - 0.5 * ((y - low) / s1) ** 2]
        parts.append(torch.log1p(-share) - torch.log(s2) - 0.5 * ((y - low - gap) / s2) ** 2)
        return (torch.logaddexp(*parts) - 0.5 * math.log(2 * math.pi)).sum(-1)

    scales = {"s1": pg.HalfNormal(2), "s2": pg.HalfNormal(2)}
    prior = pg.Independent(low=pg.Normal(0, 2), gap=pg.HalfNormal(3), **scales, share=pg.Beta(5, 5))
    return Problem(lambda x: x, prior, Likelihood(density)), y


MODELS = {
    "eight schools": eight_schools,
    "autoregression": autoregression,
    "garch": garch,
    "lotka-volterra": lotka_volterra,
    "elimination": elimination,
    "counts with a process": counts_with_a_process,
    "ordered mixture": ordered_mixture,
}
