import numpy as np
import pytest
import torch
from scipy import stats

from physgen.noise import PoissonNoise

f = torch.tensor([[0.2, 0.5, 40.0], [0.9, 3.0, 1e4]], dtype=torch.float64)
y = torch.tensor([0.0, 2.0, 300.0], dtype=torch.float64)


def test_log_probability_is_scipys():
    expected = stats.poisson(7 * f.numpy() + 0.5).logpmf(y.numpy()).sum(-1)
    np.testing.assert_allclose(PoissonNoise(7.0, 0.5).log_prob(y, f), expected, rtol=1e-13)


def test_probabilities_add_up_to_one():
    counts = torch.arange(200, dtype=torch.float64)[:, None]
    p = PoissonNoise(3.0).log_prob(counts, torch.tensor([9.0], dtype=torch.float64)).exp()
    assert p.sum().item() == pytest.approx(1, abs=1e-14)


def test_nothing_expected():
    noise = PoissonNoise()
    zero = torch.zeros(1, dtype=torch.float64, requires_grad=True)
    value = noise.log_prob(torch.zeros(1), zero)
    (gradient,) = torch.autograd.grad(value, zero)
    assert value.item() == 0
    assert gradient.item() == -1
    assert noise.log_prob(torch.ones(1), zero).item() == -torch.inf
    assert noise.standardise(torch.zeros(1), zero).item() == 0
    assert noise.sample(zero).item() == 0
    whitener = noise.whiten(torch.zeros(1), zero.detach())
    assert torch.isfinite(whitener.scale).all()
    assert (whitener.scale * whitener.residual).item() == pytest.approx(-1)


def test_a_negative_rate_is_undefined_unless_unmeasured():
    noise, g = PoissonNoise(), torch.tensor([-1.0, 2.0], dtype=torch.float64)
    assert noise.log_prob(torch.tensor([0.0, 2.0]), g).isnan()
    assert noise.log_prob(torch.tensor([torch.nan, 2.0]), g).item() == pytest.approx(stats.poisson(2).logpmf(2))


def test_information_in_closed_form():
    whitener = PoissonNoise(7.0, 0.5).whiten(y, f)
    rate = 7 * f.numpy() + 0.5
    np.testing.assert_allclose(whitener.scale**2, 49 / rate, rtol=1e-13)
    np.testing.assert_allclose(whitener.residual, (y.numpy() - rate) / np.sqrt(rate), rtol=1e-12, atol=1e-13)


@pytest.mark.parametrize("rate", [0.02, 3.0, 80.0])
def test_samples_follow_scipys_distribution(rate):
    n = 20_000
    s = PoissonNoise(rate).sample(torch.ones(n, dtype=torch.float64), seed=3).numpy()
    distribution = stats.poisson(rate)
    edges = np.unique(distribution.ppf(np.linspace(0.05, 0.95, 15)))  # bins k <= edge, and the rest
    expected = n * np.diff(distribution.cdf(edges), prepend=0, append=1)
    found = np.diff(np.searchsorted(np.sort(s), edges, side="right"), prepend=0, append=n)
    assert stats.chisquare(found, expected).pvalue > 1e-3


def test_samples_of_large_counts():
    """Beyond 1e9 counts a Gaussian with skewness stands in for the quantile; both sides of the border fit."""
    for rate in (0.99e9, 1.01e9, 1e13):
        s = PoissonNoise(rate).sample(torch.ones(500, dtype=torch.float64))
        z = (s - rate).numpy() / rate**0.5
        assert torch.equal(s, s.round())
        assert stats.kstest(z, stats.norm.cdf).pvalue > 1e-3


def test_counts_must_be_whole():
    for bad in (-1.0, 0.5):
        with pytest.raises(ValueError, match=f"Invalid count {bad:g}. Counts must be whole"):
            PoissonNoise().log_prob(torch.tensor([bad, 1.0]), torch.ones(2))


@pytest.mark.parametrize(
    ("settings", "error", "match"),
    [
        ((0.0,), ValueError, "Invalid exposure 0. Must be finite and greater than 0"),
        ((1.0, -1.0), ValueError, "Invalid background -1"),
        (([1.0, 1.0], [1.0, 1.0, 1.0]), ValueError, "exposure 2, background 3"),
        (("long",), TypeError, "Invalid exposure 'long'"),
    ],
)
def test_bad_settings(settings, error, match):
    with pytest.raises(error, match=match):
        PoissonNoise(*settings)
