"""Guided diffusion against the closed form of a normal prior, and what it refuses."""

import re

import pytest
import torch

from physgen.black_box import blackbox
from physgen.inversions.guided_diffusion import GuidedDiffusion
from physgen.noise import GaussianNoise, PoissonNoise
from physgen.priors import Independent, Normal
from physgen.priors.diffusion import Diffusion
from physgen.problem import Problem
from physgen.status import Status

MEAN = torch.tensor([[1.0, -2.0, 0.5]], dtype=torch.float64)
COVARIANCE = torch.tensor([[2.0, 0.8, 0.1], [0.8, 1.0, -0.3], [0.1, -0.3, 0.5]], dtype=torch.float64)
A = torch.tensor([[1.0, 0.5, 0.0], [0.0, 1.0, -1.0]], dtype=torch.float64)
NOISE = 0.4


@pytest.fixture(scope="module")
def prior():
    return Diffusion.mixture([1.0], MEAN, COVARIANCE[None])


@pytest.fixture
def problem(prior):
    return Problem(lambda x: x @ A.mT.to(x), prior, GaussianNoise(NOISE))


def closed_form(y):
    gain = COVARIANCE @ A.mT @ torch.linalg.inv(A @ COVARIANCE @ A.mT + NOISE**2 * torch.eye(2))
    return MEAN[0] + gain @ (y - A @ MEAN[0]), COVARIANCE - gain @ A @ COVARIANCE


def test_moment_matching_is_exact_for_a_normal_prior(problem):
    y, draws = torch.tensor([[1.0, -1.5]]), 4000
    result = GuidedDiffusion(draws=draws, steps=200)(problem, y)
    x, (mean, covariance) = result.samples[0, :, 0], closed_form(y[0])
    sd = covariance.diagonal().sqrt()
    z = (x.mean(0) - mean) / sd * draws**0.5
    ratio = x.std(0) / sd
    print(f"mean {z.abs().max():.2f} standard errors, sd ratio {ratio.min():.3f} to {ratio.max():.3f}")
    assert bool((z.abs() < 4).all())
    assert float(ratio.min()) > 0.95  # steps of finite length lose some of the spread
    assert float(ratio.max()) < 1.03
    correlation = (covariance / sd[:, None] / sd)[0, 1]
    assert abs(float(torch.corrcoef(x.mT)[0, 1] - correlation)) < 0.05
    assert result.status.tolist() == [Status.APPROXIMATE]
    assert 0.5 < float(result.stats["chi2"]) < 4.0


def test_missing_elements_are_those_of_the_smaller_problem(problem, prior):
    full = GuidedDiffusion(draws=50, steps=20)(problem, torch.tensor([[1.0, torch.nan]]))
    one = Problem(lambda x: x @ A[:1].mT, prior, GaussianNoise(NOISE))
    assert torch.allclose(full.samples, GuidedDiffusion(draws=50, steps=20)(one, torch.tensor([[1.0]])).samples)
    assert int(full.stats["measured"]) == 1


@pytest.mark.parametrize("guidance", ["moment-matching", "dps"])
def test_an_answer_depends_on_seed_and_index_alone(problem, guidance):
    method = GuidedDiffusion(draws=10, steps=8, guidance=guidance, chunk=2)
    y = problem.simulate(3, seed=1)[1]
    whole = method(problem, y, seed=3)
    order = torch.tensor([2, 0])
    part = method(problem, y[order], seed=3, index=order)
    assert torch.equal(part.samples, whole.samples[:, :, order])
    assert not torch.equal(method(problem, y, seed=4).samples, whole.samples)
    assert bool((whole.status == Status.APPROXIMATE).all())
    assert method(problem, y.float()).samples.dtype == torch.float32


def test_dps_moves_the_draws_towards_the_measurement(problem):
    y = torch.tensor([[4.0, -4.0]])
    result = GuidedDiffusion(draws=200, guidance="dps", steps=200)(problem, y)
    x = result.samples[0, :, 0]
    prior_gap = (A @ MEAN[0] - y[0]).norm()
    assert float((x @ A.mT - y).norm(dim=-1).mean()) < 0.5 * float(prior_gap)


def test_counts_through_a_nonlinear_model(prior):
    problem = Problem(lambda x: torch.exp(0.5 * x), prior, PoissonNoise(20.0))
    truth, y = problem.simulate(3, seed=2)
    result = GuidedDiffusion(draws=100, steps=50)(problem, y)
    z = (result.samples[0].mean(0) - truth) / result.samples[0].std(0)
    assert float(z.abs().max()) < 4
    assert bool((result.samples[0].std(0) < COVARIANCE.diagonal().sqrt()).all())


def test_a_model_that_is_undefined(prior):
    problem = Problem(lambda x: torch.where(x[..., :1] > 5.0, torch.nan, x[..., :2]), prior, GaussianNoise(NOISE))
    result = GuidedDiffusion(draws=20, steps=10)(problem, torch.tensor([[20.0, 1.0], [torch.nan, torch.nan]]))
    assert result.status.tolist() == [Status.MODEL_UNDEFINED, Status.NO_DATA]
    assert bool(torch.isnan(result.samples).all())
    assert int(result.stats["nonfinite"][0]) > 0


def test_what_cannot_be_guided_is_refused(prior):
    other = Independent(a=Normal(0, 1), b=Normal(0, 1))
    y = torch.zeros(1, 2)
    for problem, words in (
        (Problem(lambda x: x, other, GaussianNoise(0.1)), "SliceSampler"),
        (Problem(blackbox(lambda x: x), prior, GaussianNoise(0.1)), "Ensemble"),
    ):
        with pytest.raises(TypeError, match=words) as caught:
            GuidedDiffusion()(problem, y)
        assert re.fullmatch(r"(?s)[A-Z].+[.?] .+[.?]", str(caught.value))


@pytest.mark.parametrize(
    "setting", [{"draws": 0}, {"steps": 0}, {"guidance": "free"}, {"churn": 2.0}, {"zeta": 0.0}, {"products": 0}]
)
def test_settings_out_of_range(setting):
    with pytest.raises(ValueError, match=next(iter(setting))):
        GuidedDiffusion(**setting)
