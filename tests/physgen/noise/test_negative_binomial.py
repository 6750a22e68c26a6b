import numpy as np
import pytest
import torch
from scipy import stats

import physgen as pg
from physgen.noise import NegativeBinomialNoise, PoissonNoise

F = torch.tensor([[0.2, 0.5, 40.0], [0.9, 3.0, 1e4]], dtype=torch.float64)
Y = torch.tensor([0.0, 2.0, 300.0], dtype=torch.float64)
CASES = {"dispersion": (0.3, 0.0), "excess": (0.0, 1.2), "both": (0.05, 0.7)}


@pytest.fixture(params=CASES.values(), ids=CASES)
def shape(request):
    return request.param


def scipys(shape, mean):
    """Parameters of scipy.stats.nbinom, from mean and variance alone."""
    variance = mean * (1 + shape[1] + shape[0] * mean)
    return stats.nbinom(mean**2 / (variance - mean), mean / variance)


def test_log_probability_is_scipys(shape):
    expected = scipys(shape, 7 * F.numpy() + 0.5).logpmf(Y.numpy()).sum(-1)
    found = NegativeBinomialNoise(*shape, 7.0, 0.5).log_prob(Y, F)
    np.testing.assert_allclose(found, expected, rtol=1e-9)


def test_probabilities_add_up_to_one_with_the_mean_and_variance_that_are_promised(shape):
    mean, counts = 9.0, torch.arange(3000, dtype=torch.float64)
    noise = NegativeBinomialNoise(*shape, exposure=3.0)
    p = noise.log_prob(counts[:, None], torch.tensor([3.0], dtype=torch.float64)).exp()
    assert p.sum().item() == pytest.approx(1, abs=1e-12)
    assert (p * counts).sum().item() == pytest.approx(mean, rel=1e-10)
    variance = (p * (counts - mean) ** 2).sum().item()
    assert variance == pytest.approx(mean * (1 + shape[1] + shape[0] * mean), rel=1e-9)


def test_without_more_scatter_than_poissons_it_is_poissons():
    found = NegativeBinomialNoise(1e-10).log_prob(Y, F[:1])
    torch.testing.assert_close(found, PoissonNoise().log_prob(Y, F[:1]), rtol=1e-5, atol=0)


def test_the_information_of_a_dispersion_is_the_expected_square_of_the_score():
    mean, counts = 4.0, torch.arange(2000, dtype=torch.float64)[:, None]
    noise, f = NegativeBinomialNoise(0.6), torch.full((1,), 4.0, dtype=torch.float64)
    p = noise.log_prob(counts, f).exp()
    whitener = noise.whiten(counts, f.expand(2000, 1))
    score = (whitener.scale * whitener.residual)[:, 0]
    information = (p * score**2).sum().item()
    assert information == pytest.approx(float(whitener.scale[0, 0]) ** 2, rel=1e-9)
    assert information == pytest.approx(1 / (mean * (1 + 0.6 * mean)), rel=1e-9)


def test_the_information_of_an_excess_is_a_lower_bound_that_large_counts_reach():
    for mean, least in ((0.5, 0.5), (5.0, 0.7), (500.0, 0.99)):
        counts = torch.arange(4000, dtype=torch.float64)[:, None]
        noise, f = NegativeBinomialNoise(0.0, 1.2), torch.full((1,), mean, dtype=torch.float64)
        whitener = noise.whiten(counts, f.expand(4000, 1))
        score = (whitener.scale * whitener.residual)[:, 0]
        exact = (noise.log_prob(counts, f).exp() * score**2).sum().item()
        assert least < float(whitener.scale[0, 0]) ** 2 / exact < 1


def test_nothing_expected(shape):
    noise = NegativeBinomialNoise(*shape)
    zero = torch.zeros(1, dtype=torch.float64, requires_grad=True)
    value = noise.log_prob(torch.zeros(1), zero)
    (gradient,) = torch.autograd.grad(value, zero)
    assert value.item() == 0
    # of -r ln(1 + q), r the size and q = excess + dispersion mean: NB2's is that of Poisson
    expected = -1.0 if shape[1] == 0 else -np.log1p(shape[1]) / shape[1]
    assert gradient.item() == pytest.approx(expected)
    assert noise.log_prob(torch.ones(1), zero).item() == -torch.inf
    assert noise.standardise(torch.zeros(1), zero).item() == 0
    assert noise.sample(zero).item() == 0
    assert torch.isfinite(noise.whiten(torch.zeros(1), zero.detach()).scale).all()


def test_a_negative_mean_is_undefined_unless_unmeasured(shape):
    noise, g = NegativeBinomialNoise(*shape), torch.tensor([-1.0, 2.0], dtype=torch.float64)
    assert noise.log_prob(torch.tensor([0.0, 2.0]), g).isnan()
    expected = scipys(shape, 2.0).logpmf(2)
    assert noise.log_prob(torch.tensor([torch.nan, 2.0]), g).item() == pytest.approx(expected)


@pytest.mark.parametrize("mean", [0.02, 3.0, 80.0, 2e4])
def test_samples_follow_scipys_distribution(shape, mean):
    n = 20_000
    s = NegativeBinomialNoise(*shape, exposure=mean).sample(torch.ones(n, dtype=torch.float64), seed=3).numpy()
    distribution = scipys(shape, mean)
    edges = np.unique(distribution.ppf(np.linspace(0.05, 0.95, 15)))
    expected = n * np.diff(distribution.cdf(edges), prepend=0, append=1)
    found = np.diff(np.searchsorted(np.sort(s), edges, side="right"), prepend=0, append=n)
    assert stats.chisquare(found, expected).pvalue > 1e-3


def test_an_exposure_factor_of_each_observation_is_a_larger_exposure_for_it():
    noise, t = NegativeBinomialNoise(0.3, 0.1, 2.0, 1.0), torch.tensor([0.5, 3.0], dtype=torch.float64)
    y = torch.stack([Y, Y + 1])
    found = noise.log_prob(y, F, exposure_factor=t)
    for row in range(2):
        alone = NegativeBinomialNoise(0.3, 0.1, 2 * float(t[row]), 1.0)
        torch.testing.assert_close(found[row], alone.log_prob(y[row], F[row]), rtol=1e-13, atol=0)
        whitener, other = noise.whiten(y, F, exposure_factor=t), alone.whiten(y[row], F[row])
        torch.testing.assert_close(whitener.scale[row], other.scale, rtol=1e-13, atol=0)
        torch.testing.assert_close(whitener.residual[row], other.residual, rtol=1e-12, atol=0)
        scores = noise.standardise(y, F, exposure_factor=t)[row]
        torch.testing.assert_close(scores, alone.standardise(y[row], F[row]), rtol=1e-12, atol=0)
    with pytest.raises(ValueError, match=r"Invalid exposure_factor -1\. Must be positive\."):
        noise.log_prob(y, F, exposure_factor=torch.tensor([1.0, -1.0]))


def test_a_problem_passes_the_exposure_factor_on():
    prior = pg.Independent(level=pg.LogNormal(5.0, 0.5))
    problem = pg.Problem(lambda x: x.expand(*x.shape[:-1], 4), prior, NegativeBinomialNoise(0.2))
    posterior = problem.condition(torch.ones(2, 4), exposure_factor=torch.tensor([1.0, 10.0]))
    value = posterior.log_prob(torch.zeros(2, 1))
    assert value[0] > value[1]
    x, y = problem.simulate(4000, seed=1, exposure_factor=torch.full((4000,), 10.0))
    assert float(y.mean() / x.mean()) == pytest.approx(10, rel=0.05)


@pytest.mark.parametrize("count", [-1.0, 0.5])
def test_what_is_no_count_is_an_error(count):
    with pytest.raises(ValueError, match=r"Invalid count .*\. Counts must be whole numbers, 0 or more\."):
        NegativeBinomialNoise().log_prob(torch.tensor([count]), torch.ones(1))


def test_settings_are_checked():
    with pytest.raises(ValueError, match=r"Invalid dispersion and excess, both 0\. .*"):
        NegativeBinomialNoise(0.0, 0.0)
    with pytest.raises(ValueError, match=r"Invalid exposure 0\. .*"):
        NegativeBinomialNoise(exposure=0.0)
