import numpy as np
import pytest
import torch
from scipy.stats import norm

from physgen.noise import GaussianNoise

f = torch.tensor([[0.2, 0.5, 1.4], [0.9, -0.3, 0.1]], dtype=torch.float64)
y = torch.tensor([0.25, 0.3, 1.0], dtype=torch.float64)
absolute, relative = torch.tensor([0.05, 0.2, 0.1], dtype=torch.float64), 0.3
sd = np.sqrt(absolute.numpy() ** 2 + (relative * f.numpy()) ** 2)


def test_log_density_is_scipys():
    expected = norm(f.numpy(), sd).logpdf(y.numpy()).sum(-1)
    np.testing.assert_allclose(GaussianNoise(absolute, relative).log_prob(y, f), expected, rtol=1e-14)
    fixed = norm(f.numpy(), 0.01).logpdf(y.numpy()).sum(-1)
    np.testing.assert_allclose(GaussianNoise(0.01).log_prob(y, f), fixed, rtol=1e-14)


def test_only_relative():
    expected = norm(f.numpy(), 0.1 * np.abs(f.numpy())).logpdf(y.numpy()).sum(-1)
    np.testing.assert_allclose(GaussianNoise(0.0, 0.1).log_prob(y, f), expected, rtol=1e-14)


def test_information_in_closed_form():
    slope = relative**2 * f.numpy() / sd  # derivative of sd by f
    expected = 1 / sd**2 + 2 * (slope / sd) ** 2
    np.testing.assert_allclose(GaussianNoise(absolute, relative).whiten(y, f).scale ** 2, expected, rtol=1e-14)


def test_standardised_residuals():
    expected = (y.numpy() - f.numpy()) / sd
    np.testing.assert_allclose(GaussianNoise(absolute, relative).standardise(y, f), expected, rtol=1e-14)


def test_unmeasured_band_without_absolute_part_may_be_predicted_zero():
    noise = GaussianNoise(0.0, 0.1)
    g = torch.tensor([0.2, 0.0], dtype=torch.float64, requires_grad=True)
    value = noise.log_prob(torch.tensor([0.2, torch.nan], dtype=torch.float64), g)
    value.backward()
    assert value.item() == pytest.approx(norm(0.2, 0.02).logpdf(0.2))
    assert torch.isfinite(g.grad).all()


def test_settings_can_be_fitted_by_their_gradient():
    s = torch.tensor(0.3, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda s: GaussianNoise(s, 0.1).log_prob(y, f), s)


def test_lists_are_bands():
    listed = GaussianNoise([0.05, 0.2, 0.1], relative)
    assert torch.equal(listed.log_prob(y, f), GaussianNoise(absolute, relative).log_prob(y, f))


@pytest.mark.parametrize(
    ("settings", "error", "match"),
    [
        ((-0.01,), ValueError, "Invalid absolute -0.01. Must be finite and at least 0"),
        ((0.01, float("inf")), ValueError, "Invalid relative inf"),
        (([0.01, float("nan")],), ValueError, "Invalid absolute nan"),
        ((0.0,), ValueError, "both 0"),
        (([0.1, 0.0], [0.1, 0.0]), ValueError, "both 0"),
        (([0.1, 0.1], [0.1, 0.1, 0.1]), ValueError, "absolute 2, relative 3"),
        (([[0.1]],), ValueError, "shape"),
        (([],), ValueError, "shape"),
        (("1 %",), TypeError, "Invalid absolute '1 %'"),
        ((None,), TypeError, "Invalid absolute None"),
    ],
)
def test_bad_settings(settings, error, match):
    with pytest.raises(error, match=match):
        GaussianNoise(*settings)


def test_prediction_needs_an_axis():
    with pytest.raises(ValueError, match="without an axis"):
        GaussianNoise().log_prob(y, torch.tensor(1.0))
