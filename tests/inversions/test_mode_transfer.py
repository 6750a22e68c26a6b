"""A mode carried over to another prior: exact where all is linear and Gaussian, and a better start where it is not."""

from __future__ import annotations

import torch

from physgen.inversions.conditional_laplace import given
from physgen.inversions.levenberg_marquardt import maximise
from physgen.inversions.mode_transfer import transferred
from physgen.noise import GaussianNoise, PoissonNoise
from physgen.priors.smooth_field import SmoothField
from physgen.problem import Problem

GRID = torch.linspace(0, 1, 12, dtype=torch.float64)
WEIGHTS = torch.rand(9, 12, dtype=torch.float64, generator=torch.Generator().manual_seed(3))
HERE, THERE = torch.tensor([0.0, 0.0], dtype=torch.float64), torch.tensor([0.7, -1.2], dtype=torch.float64)


def measure(x):
    return x @ WEIGHTS.to(x).mT


def two(noise, **settings):
    """The posteriors of three observations with the hyper-parameters at one place and at another, and modes of one."""
    problem = Problem(measure, SmoothField(GRID, **settings), noise)
    _, y = problem.simulate(3, seed=4)
    posterior, places = problem.condition(y), problem.prior.hyper_latents
    old, new = (given(posterior, places, values) for values in (HERE, THERE))
    start = torch.zeros(3, 12, dtype=torch.float64)
    return old, new, maximise(old, start, iterations=50, tolerance=1e-16).z


def test_it_is_the_mode_where_all_is_linear_and_gaussian():
    old, new, mode = two(GaussianNoise(0.3))
    factor = new.problem.prior._factor
    a = WEIGHTS @ factor / 0.3
    exact = torch.linalg.solve(a.mT @ a + torch.eye(12, dtype=a.dtype), a.mT @ (new.y / 0.3)[..., None])[..., 0]
    torch.testing.assert_close(transferred(old, mode, new), exact, rtol=1e-6, atol=1e-8)
    assert float((mode - exact).abs().max()) > 0.1


def test_of_counts_and_an_exponential_it_is_a_better_start_than_the_latents():
    old, new, mode = two(PoissonNoise(20.0), log=True)
    best = maximise(new, mode, iterations=50, tolerance=1e-16).log_prob
    assert bool((best - new.log_prob(transferred(old, mode, new)) < 0.7 * (best - new.log_prob(mode))).all())


def test_the_latents_are_kept_where_a_number_is_not_finite():
    old, new, mode = two(GaussianNoise(0.3))
    far = mode.clone()
    far[1] = torch.inf
    carried = transferred(old, far, new)
    assert bool(torch.isfinite(carried[[0, 2]]).all())
    assert torch.equal(carried[1], far[1])
