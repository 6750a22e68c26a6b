"""Profiles beneath noise: `AbelProjection`, smooth fields and `NestedLaplace` together, at 1 % of the largest F."""

import numpy as np
import pytest
import torch

from physgen.forward_models.projection import AbelProjection
from physgen.inversions.nested_laplace import NestedLaplace
from physgen.noise import GaussianNoise
from physgen.priors import LogNormal
from physgen.priors.smooth_field import SmoothField
from physgen.problem import Problem
from physgen.random import normal

N = 257
MODEL = AbelProjection(N)
FIELDS = {
    "process": {},
    "exponential": {"log": True, "centre": 0.3, "level_sd": 1.0, "amplitude": LogNormal(1.0, 0.5)},
}


class Whitened:
    """Projections in units of their noise `sigma`, one for each observation."""

    causes = MODEL.causes

    def __call__(self, x, /, sigma):
        return MODEL(x) / sigma[..., None]

    def jacobian(self, x, /, sigma):
        y, jacobian = MODEL.jacobian(x)
        return y / sigma[..., None], jacobian / sigma[..., None, None]


def posterior(x, name, seed):
    """The result for profiles x ``(B, n)``."""
    prior = SmoothField(forward=MODEL, even=True, knots=65, **FIELDS[name])
    sigma = 0.01 * MODEL(x).abs().amax(-1)
    y = MODEL(x) / sigma[:, None] + normal((N,), torch.arange(len(x)), seed=seed)
    problem = Problem(Whitened(), prior, GaussianNoise(1.0))
    return NestedLaplace(covariance=False)(problem, y, conditions={"sigma": sigma}, seed=1)


def inside(result, x):
    low, high = (torch.quantile(result.draws, q, dim=0) for q in (0.05, 0.95))
    return ((low <= x) & (x <= high)).double()


@pytest.mark.parametrize(
    ("name", "count"), [("process", 12), pytest.param("exponential", 8, marks=pytest.mark.slow)], ids=FIELDS
)
def test_a_gaussian_profile(name, count):
    r = torch.linspace(0, 1, N, dtype=torch.float64)
    f = torch.exp(-(r**2) / 0.04)
    result = posterior(f.expand(count, -1), name, seed=5)
    error = (result.draws.mean(0) - f).norm(dim=-1) / f.norm()
    assert float(error.mean()) <= 0.015
    covered = inside(result, f)
    somewhere = f > 0.01
    assert 0.80 <= float(covered[:, somewhere].mean()) <= 0.98
    print(f"{name}: error {error.tolist()}, elsewhere {float(covered[:, ~somewhere].mean()):.2f} are covered")


@pytest.mark.slow
@pytest.mark.parametrize("name", FIELDS)
def test_bands_cover_profiles_drawn_from_the_prior(name):
    """Four hundred profiles: some 5 minutes for the process and 15 for its exponential, on one free core."""
    prior = SmoothField(forward=MODEL, even=True, knots=65, **FIELDS[name])
    x = prior.sample(400, seed=3, dtype=torch.float64)
    result = posterior(x, name, seed=5)
    covered, trusted = inside(result, x), result.trusted.numpy()
    print(f"{name}: {100 * trusted.mean():.0f} % trusted, all {float(covered.mean()):.3f}")
    assert trusted.mean() >= 0.9
    assert 0.88 <= float(np.mean(covered.numpy()[trusted])) <= 0.92
