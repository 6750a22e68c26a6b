"""Variational inference against closed forms, and what it says where it fails."""

import math
import re

import pytest
import torch

from physgen.black_box import blackbox
from physgen.inversions.variational import FAMILIES, Variational
from physgen.noise import GaussianNoise, Noise, PoissonNoise
from physgen.priors import Gamma, Gaussian, Independent, Normal, Prior
from physgen.problem import Problem
from physgen.space import Space
from physgen.status import Status


class White(Prior):
    """k standard normal causes."""

    capabilities = frozenset()

    def __init__(self, k):
        self.causes, self.latent_dim = Space(*(f"x{i}" for i in range(k))), k

    def decode(self, z, /):
        return z


def linear(k, noise=0.3, extra=3):
    A = torch.randn(k + extra, k, generator=torch.Generator().manual_seed(k), dtype=torch.float64)
    problem = Problem(lambda x: x @ A.mT, White(k), GaussianNoise(noise))
    y = problem.simulate(1, seed=1)[1]
    covariance = torch.linalg.inv(torch.eye(k) + A.mT @ A / noise**2)
    S = A @ A.mT + noise**2 * torch.eye(k + extra)
    evidence = torch.distributions.MultivariateNormal(torch.zeros(k + extra), S).log_prob(y[0])
    return problem, y, (y @ A / noise**2) @ covariance, covariance, float(evidence)


@pytest.mark.parametrize("k", [2, 20, 200, 300])
def test_geometric_is_exact_where_the_problem_is_linear(k):
    problem, y, mean, covariance, _ = linear(k)
    draws = 2000 if k < 300 else 400
    result = Variational(correct=False, draws=draws, tolerance=1e-6)(problem, y)
    sd = covariance.diagonal().sqrt()
    assert float(((result.stats["latent_mean"] - mean) / sd).abs().max()) < 1e-4
    # in the posterior's own axes the draws are independent, with chi-square sums of squares; pairs count once
    white = torch.linalg.solve_triangular(
        torch.linalg.cholesky(covariance), (result.samples[0, :, 0] - mean).mT, upper=False
    )
    square = white.square().mean(1)
    assert float(square.mean() - 1) == pytest.approx(0, abs=4 * math.sqrt(4 / draws / k))
    assert float((square - 1).abs().max()) < 5 * math.sqrt(4 / draws)
    ratio = result.samples[0, :, 0].std(0) / sd
    print(f"{k} latents: sd ratio {ratio.mean():.4f} on average")
    assert float(ratio.mean()) == pytest.approx(1, abs=0.03)
    assert result.status.tolist() == [Status.APPROXIMATE]


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("k", [2, 20])
def test_corrected_draws_follow_the_posterior(family, k):
    if (family, k) == ("mean-field", 20):
        pytest.skip("correlations of 0.99 leave too few effective draws to be precise")
    problem, y, mean, covariance, evidence = linear(k)
    result = Variational(family=family, draws=4000, steps=100)(problem, y)
    assert result.status.tolist() == [Status.TRUSTED]
    x, sd, ess = result.samples[0, :, 0], covariance.diagonal().sqrt(), float(result.stats["ess"][0])
    ratio = x.std(0) / sd
    shift = float(((x.mean(0) - mean) / sd).abs().max()) * ess**0.5
    error = float(result.stats["log_evidence"][0]) - evidence
    print(f"{family} {k}: mean {shift:.2f} standard errors, sd ratio {ratio.min():.3f} to {ratio.max():.3f}", error)
    assert shift < 4
    assert float((ratio - 1).abs().max()) < max(0.03, 4 / math.sqrt(2 * ess))
    assert abs(error) < 0.05


def test_the_bound_of_a_full_matrix_is_the_evidence_where_the_posterior_is_normal():
    problem, y, mean, _, evidence = linear(5)
    result = Variational(family="full-rank", correct=False, steps=200)(problem, y)
    assert float(result.stats["evidence_lower_bound"][0]) == pytest.approx(evidence, abs=1e-3)
    lower = Variational(family="mean-field", correct=False, steps=200)(problem, y)
    assert float(lower.stats["evidence_lower_bound"][0]) < evidence
    assert torch.allclose(lower.stats["latent_mean"], mean, atol=0.02)


@pytest.mark.parametrize("family", FAMILIES)
def test_counts_with_a_gamma_prior(family):
    problem = Problem(lambda x: x, Independent(rate=Gamma(2.0, 1.5)), PoissonNoise(4.0))
    y = torch.tensor([[3.0]])
    result = Variational(family=family, draws=4000, steps=200)(problem, y)
    shape, rate = 2.0 + 3.0, problem_rate() + 4.0
    x, ess = result.samples[0, :, 0, 0], float(result.stats["ess"][0])
    mean, sd = shape / rate, math.sqrt(shape) / rate
    assert result.status.tolist() == [Status.TRUSTED]
    assert abs(float(x.mean()) - mean) < 4 * sd / math.sqrt(ess)
    assert abs(float(x.std()) / sd - 1) < 0.05


def problem_rate():
    """What `Gamma`'s second number means: its mean is 2 * 1.5 or 2 / 1.5."""
    return 1 / 1.5 if float(Independent(r=Gamma(2.0, 1.5)).sample(20000).mean()) > 2 else 1.5


def test_a_second_mode_is_found_or_said():
    problem = Problem(lambda x: x[..., :1] ** 2, White(2), GaussianNoise(0.05))
    result = Variational(draws=2000)(problem, torch.tensor([[1.0], [2.0]]))
    share = (result.samples[0, :, :, 0] > 0).double().mean(0)
    found = (share - 0.5).abs() < 0.1
    assert bool((found | (result.status != Status.TRUSTED)).all())
    assert bool(found.all())


def test_a_hard_edge_is_kept():
    class Half(White):
        capabilities = frozenset({"log_factor"})

        def log_factor(self, x, /):
            return torch.where(x[..., 0] > 0, 0.0, -torch.inf)

    problem = Problem(lambda x: x, Half(2), GaussianNoise(1.0))
    y = torch.tensor([[-0.5, 0.3]])
    for correct in (True, False):
        result = Variational(draws=500, correct=correct)(problem, y)
        assert bool((result.samples[..., 0] > 0).all())
    assert int(result.status[0]) in (Status.APPROXIMATE, Status.NOT_CONVERGED)  # its mode lies on the edge


def test_what_is_not_reached_says_so():
    A = torch.randn(300, 300, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    problem = Problem(lambda x: torch.exp(x @ A.mT / 30), White(300), PoissonNoise(50.0))
    y = problem.simulate(1, seed=1)[1]
    assert Variational(draws=4, max_steps=2)(problem, y).status.tolist() == [Status.NOT_CONVERGED]
    assert Variational(draws=4, newton_steps=1, rounds=1)(problem, y).status.tolist() == [Status.NOT_CONVERGED]
    assert Variational(draws=4)(problem, y).status.tolist() == [Status.APPROXIMATE]


class Unwhitened(Noise):
    """Gaussian noise of width 1, known by its density alone."""

    def log_prob(self, y, prediction):
        return -0.5 * (torch.nan_to_num(y - prediction) ** 2).sum(-1)

    def sample(self, prediction, *, seed=0, like=None):
        return prediction


def test_what_cannot_be_done_is_refused_with_what_can():
    y, prior = torch.zeros(1, 2), White(2)
    cases = (
        (Variational(), Problem(blackbox(lambda x: x), prior, GaussianNoise(0.1)), "SliceSampler"),
        (Variational(), Problem(lambda x: x, prior, Unwhitened()), "full-rank"),
        (Variational(family="full-rank"), Problem(lambda x: x[..., :2], White(2000), GaussianNoise(0.1)), "geometric"),
    )
    for method, problem, words in cases:
        with pytest.raises((TypeError, ValueError), match=words) as caught:
            method(problem, y)
        assert re.fullmatch(r"(?s)[A-Z].+[.?] .+[.?]", str(caught.value))


def test_a_gradient_is_enough_for_the_other_families():
    problem = Problem(lambda x: x, White(2), Unwhitened())
    result = Variational(family="full-rank", draws=2000)(problem, torch.tensor([[1.0, -2.0]]))
    assert result.status.tolist() == [Status.TRUSTED]
    assert torch.allclose(result.stats["latent_mean"], torch.tensor([[0.5, -1.0]]), atol=0.1)
    assert torch.allclose(result.stats["latent_sd"], torch.full((1, 2), 0.5**0.5), atol=0.07)


@pytest.mark.parametrize("setting", [{"draws": 1}, {"family": "flow"}, {"samples": 3}, {"rate": 0.0}, {"pairs": 0}])
def test_settings_out_of_range(setting):
    with pytest.raises(ValueError, match=next(iter(setting))):
        Variational(**setting)


def test_a_gaussian_prior_of_a_few_causes():
    covariance = torch.tensor([[1.0, 0.6], [0.6, 2.0]])
    problem = Problem(lambda x: x.sum(-1, keepdim=True), Gaussian([0.0, 1.0], covariance), GaussianNoise(0.5))
    result = Variational(draws=4000)(problem, torch.tensor([[3.0]]))
    gain = covariance.sum(1) / (covariance.sum() + 0.25)
    mean = torch.tensor([0.0, 1.0]) + gain * 2.0
    assert torch.allclose(result.samples[0, :, 0].mean(0), mean, atol=0.08)


def test_independent_causes_are_no_different():
    problem = Problem(lambda x: x, Independent(a=Normal(1.0, 2.0)), GaussianNoise(1.0))
    result = Variational(draws=4000)(problem, torch.tensor([[3.0]]))
    assert float(result.samples.mean()) == pytest.approx(1 + 0.8 * 2, abs=0.08)
