"""The grid against closed forms, and what it says where it cannot see the posterior."""

import math

import pytest
import torch

from physgen.inversions import Grid
from physgen.noise import GaussianNoise
from physgen.priors import Gaussian, Independent, Normal, Uniform
from physgen.problem import Problem
from physgen.status import Status

from .known_posteriors import KNOWN, deviation

SMALL = ("linear-2", "poisson-gamma", "mixture", "truncated")


@pytest.mark.parametrize("name", SMALL)
@pytest.mark.parametrize("black_box", [False, True])
def test_closed_forms(name, black_box):
    known = KNOWN[name](black_box=black_box)
    result = Grid(draws=20000)(known.problem, known.y, seed=1)
    found = deviation(result.draws, known, 20000)
    evidence = float(result.stats["log_evidence"]) - known.log_evidence
    print(f"{name}: mean {found['mean']:.2f} standard errors, sd {found['low']:.4f} to {found['high']:.4f}", end="")
    print(f", log evidence {evidence:+.1e}, error stated {float(result.stats['grid_error']):.1e}")
    assert bool(result.trusted)
    assert found["mean"] < 4
    assert found["low"] > 0.97
    assert found["high"] < 1.03
    assert abs(evidence) < (1e-8 if name == "linear-2" else 1e-3)


def test_moments_in_latent_space_are_exact_where_all_is_normal():
    noise = torch.tensor([1.0, 0.5, 0.1])
    problem = Problem(lambda x: x, Gaussian([0.0, 0.0, 0.0], torch.eye(3)), GaussianNoise(noise))
    result = Grid(draws=10)(problem, torch.tensor([1.0, -1.0, 0.3]))
    variance = 1 / (1 + noise**-2)
    wanted = variance * torch.tensor([1.0, -1.0, 0.3]) / noise**2
    assert bool(result.trusted)
    assert torch.allclose(result.stats["latent_mean"], wanted, atol=1e-9)
    assert torch.allclose(result.stats["latent_covariance"], torch.diag(variance), atol=1e-9)


@pytest.mark.parametrize("noise", [1e-2, 1e-4, 1e-6])
def test_a_posterior_much_narrower_than_a_cell_of_the_first_pass_is_found(noise):
    # a ridge: the sum is known to `noise`, the difference is not known at all
    both = Independent(a=Normal(0, 1), b=Normal(0, 1))
    problem = Problem(lambda x: x.sum(-1, keepdim=True), both, GaussianNoise(noise))
    known = float(torch.distributions.Normal(0.0, math.sqrt(2 + noise**2)).log_prob(torch.tensor(0.7)))
    result = Grid(draws=4000)(problem, torch.tensor([0.7]))
    right = abs(float(result.stats["log_evidence"]) - known) < 0.05
    print(f"noise {noise:g}: {Status(int(result.status)).name}, {float(result.stats['log_evidence']) - known:+.3f} nat")
    assert right or not bool(result.trusted)  # a ridge across the box is beyond any grid, and the grid says so
    one = Problem(lambda x: x * 1.0, Independent(a=Normal(0, 1)), GaussianNoise(noise))
    result = Grid(draws=4000)(one, torch.tensor([0.7]))
    known = float(torch.distributions.Normal(0.0, math.sqrt(1 + noise**2)).log_prob(torch.tensor(0.7)))
    assert bool(result.trusted)
    assert abs(float(result.stats["log_evidence"]) - known) < 1e-3
    assert float(result.stats["latent_covariance"].squeeze().sqrt()) == pytest.approx(noise, rel=1e-2)


def test_mass_at_the_edge_is_noticed():
    # the observation pulls the latent to 8 prior standard deviations
    problem = Problem(lambda x: x * 1.0, Independent(a=Normal(0, 1)), GaussianNoise(0.1))
    result = Grid(draws=10)(problem, torch.tensor([8.0]))
    assert int(result.status) == Status.GRID_TOO_COARSE
    assert float(result.stats["edge_mass"]) > 0.01
    assert bool(Grid(draws=10, reach=12.0)(problem, torch.tensor([8.0])).trusted)


def test_a_grid_too_coarse_is_noticed():
    comb = Problem(lambda x: torch.sin(400 * x), Independent(a=Uniform(0, 1)), GaussianNoise(0.01))
    result = Grid(draws=10, points=101)(comb, torch.tensor([0.9]))
    assert int(result.status) == Status.GRID_TOO_COARSE
    assert float(result.stats["grid_error"]) > 0.02


def test_four_latents_are_refused_with_the_methods_that_can():
    k = 4
    problem = Problem(lambda x: x, Gaussian(torch.zeros(k), torch.eye(k)), GaussianNoise(0.1))
    with pytest.raises(ValueError, match="SliceSampler or Ensemble, or Hamiltonian"):
        Grid()(problem, torch.zeros(k))
    with pytest.raises(ValueError, match="points"):
        Grid(points=5000)(Problem(lambda x: x, Gaussian([0.0, 0.0], torch.eye(2)), GaussianNoise(0.1)), torch.zeros(2))


@pytest.mark.parametrize(
    "setting",
    [
        {"draws": 0},
        {"points": 8},
        {"reach": 0.0},
        {"passes": 1},
        {"accept_error": 0.0},
        {"accept_edge": -1.0},
        {"chunk": 0},
    ],
)
def test_settings_out_of_range(setting):
    with pytest.raises(ValueError, match=next(iter(setting))):
        Grid(**setting)
