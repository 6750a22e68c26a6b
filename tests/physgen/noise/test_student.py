import numpy as np
import pytest
import torch
from scipy import stats

from physgen.noise import GaussianNoise, StudentTNoise

f = torch.tensor([[0.2, 0.5, 1.4], [0.9, -0.3, 0.1]], dtype=torch.float64)
y = torch.tensor([0.25, 0.3, 9.0], dtype=torch.float64)
sigma = np.sqrt(0.1**2 + (0.3 * f.numpy()) ** 2)


@pytest.mark.parametrize("df", [0.7, 1.0, 4.0, 300.0])
def test_log_density_is_scipys(df):
    expected = stats.t(df, f.numpy(), sigma).logpdf(y.numpy()).sum(-1)
    np.testing.assert_allclose(StudentTNoise(df, 0.1, 0.3).log_prob(y, f), expected, rtol=1e-12)


def test_df_of_each_band():
    df = torch.tensor([1.5, 4.0, 20.0], dtype=torch.float64)
    expected = stats.t(df.numpy(), f.numpy(), 0.1).logpdf(y.numpy()).sum(-1)
    np.testing.assert_allclose(StudentTNoise(df, 0.1).log_prob(y, f), expected, rtol=1e-12)


def test_many_degrees_of_freedom_are_gaussian():
    """The difference is of order z^4 / (4 df), at |z| <= 2."""
    t, gaussian = StudentTNoise(1e6, 0.1, 0.3), GaussianNoise(0.1, 0.3)
    near = f + torch.tensor([-1.0, 0.5, 2.0], dtype=torch.float64) * torch.from_numpy(sigma)
    np.testing.assert_allclose(t.log_prob(near, f), gaussian.log_prob(near, f), atol=1e-5)
    np.testing.assert_allclose(t.whiten(near, f).residual, gaussian.whiten(near, f).residual, atol=1e-5)
    np.testing.assert_allclose(t.whiten(near, f).scale, gaussian.whiten(near, f).scale, rtol=1e-5)


def test_information_by_quadrature():
    """E[s^2], the score s being the gradient of scipy's density by central differences."""
    df, g, h = 3.0, 0.8, 1e-5

    def density(f):
        return stats.t(df, f, np.sqrt(0.1**2 + (0.3 * f) ** 2))

    # the trapezoidal rule in x = g + sinh(v) / 4, exponentially accurate for such smooth tails
    v, step = np.linspace(-30, 30, 4001, retstep=True)
    x = g + np.sinh(v) / 4
    score = (density(g + h).logpdf(x) - density(g - h).logpdf(x)) / (2 * h)
    expected = (density(g).pdf(x) * score**2 * np.cosh(v) / 4).sum() * step
    one = torch.ones(1, dtype=torch.float64)
    assert StudentTNoise(df, 0.1, 0.3).whiten(one, g * one).scale.item() ** 2 == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize("df", [1.0, 2.5, 30.0])
def test_samples_follow_scipys_distribution(df):
    s = StudentTNoise(df, 0.1).sample(torch.full((20_000,), 0.5, dtype=torch.float64), seed=4)
    assert stats.kstest(s.numpy(), stats.t(df, 0.5, 0.1).cdf).pvalue > 1e-3


def test_standard_deviation_needs_df_above_2():
    expected = (y.numpy() - f.numpy()) / stats.t(5, 0, sigma).std()
    np.testing.assert_allclose(StudentTNoise(5, 0.1, 0.3).standardise(y, f), expected, rtol=1e-12)
    with pytest.raises(TypeError, match="no standard deviation"):
        StudentTNoise(2.0, 0.1).standardise(y, f)


def test_an_outlier_is_forgiven():
    """The score falls off beyond the scale, where that of a Gaussian grows."""
    far = torch.tensor([1.0, 10.0, 100.0], dtype=torch.float64)
    whitener = StudentTNoise(4.0, 0.1).whiten(far, torch.zeros(3, dtype=torch.float64))
    score = whitener.scale * whitener.residual
    np.testing.assert_allclose(score, 5 * far / (4 * 0.01 + far**2), rtol=1e-13)


@pytest.mark.parametrize(
    ("settings", "error", "match"),
    [
        ((0.0,), ValueError, "Invalid df 0. Must be finite and greater than 0"),
        ((float("inf"),), ValueError, "Invalid df inf"),
        ((4.0, -1.0), ValueError, "Invalid scale -1"),
        ((4.0, 0.0), ValueError, "both 0"),
        (([4.0, 4.0], [0.1, 0.1, 0.1]), ValueError, "df 2, scale 3"),
        (("four",), TypeError, "Invalid df 'four'"),
    ],
)
def test_bad_settings(settings, error, match):
    with pytest.raises(error, match=match):
        StudentTNoise(*settings)
