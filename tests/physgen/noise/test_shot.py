import numpy as np
import pytest
import torch
from scipy import stats

from physgen.noise import ShotNoise

F = torch.tensor([-50.0, 0.0, 4.0, 900.0], dtype=torch.float64)
Y = torch.tensor([1.0, -2.0, 9.0, 880.0], dtype=torch.float64)


def variance(f, shot=2.2, absolute=3.0):
    c = absolute**2 / shot
    return absolute**2 + shot * 0.5 * (f + np.sqrt(f**2 + c**2))


def test_log_density_is_scipys():
    f = F.numpy()
    expected = stats.norm(f, variance(f) ** 0.5).logpdf(Y.numpy()).sum()
    assert float(ShotNoise(2.2, 3.0).log_prob(Y, F)) == pytest.approx(expected, rel=1e-12)


def test_the_variance_is_the_detectors_own_below_zero_and_that_of_counts_far_above():
    noise, n = ShotNoise(2.2, 3.0), 40_000
    sd = (noise.sample(F.expand(n, 4), seed=1) - F).std(0)
    np.testing.assert_allclose(sd, variance(F.numpy()) ** 0.5, rtol=5 / (2 * n) ** 0.5)
    assert float(sd[0]) == pytest.approx(3, rel=0.03)
    assert float(sd[3]) == pytest.approx((9 + 2.2 * 900) ** 0.5, rel=0.03)


def test_the_information_in_closed_form():
    h = 1e-5
    slope = (variance(F.numpy() + h) - variance(F.numpy() - h)) / (2 * h)
    expected = 1 / variance(F.numpy()) + 0.5 * (slope / variance(F.numpy())) ** 2
    np.testing.assert_allclose(ShotNoise(2.2, 3.0).whiten(Y, F).scale ** 2, expected, rtol=1e-7)


@pytest.mark.parametrize("settings", [{"shot": 0.0}, {"absolute": 0.0}, {"shot": -1.0}])
def test_settings_are_checked(settings):
    with pytest.raises(ValueError, match=r"Invalid (shot|absolute) .*\. Must be finite and greater than 0\."):
        ShotNoise(**settings)
