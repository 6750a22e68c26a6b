"""Truncation far in a tail, where distribution functions under- and overflow."""

import math

import numpy as np
import pytest
import torch
from scipy import integrate, special

from physgen.priors import HalfNormal, TruncatedNormal


def share_below(x, low, high):
    """Phi(x) - Phi(low) over Phi(high) - Phi(low), by quadrature of the density scaled to its largest value."""
    peak = min(abs(low), abs(high))

    def density(t):
        return math.exp(-0.5 * (t - peak) * (t + peak))

    def mass(a, b):
        edges = np.linspace(a, b, 41)
        return sum(integrate.quad(density, *edges[i : i + 2], epsabs=0, epsrel=1e-13)[0] for i in range(40))

    return mass(low, x) / mass(low, min(high, low + 40 / peak))


@pytest.mark.parametrize(("low", "high"), [(20.0, 21.0), (60.0, 60.05), (300.0, math.inf), (4.9, 5.4), (5.1, 5.2)])
@pytest.mark.parametrize("z", [-3.0, -0.5, 0.0, 1.0, 2.5])
def test_far_tails_against_quadrature(low, high, z):
    above = TruncatedNormal(0.0, 1.0, low, high)
    x = above.decode(torch.tensor(z, dtype=torch.float64))
    # rounding of x, by up to half of 2.2e-16 low, moves the share by that times the density, about low
    assert share_below(float(x), low, high) == pytest.approx(special.ndtr(z), rel=1e-9, abs=2e-16 * low**2)
    below = TruncatedNormal(0.0, 1.0, -high, -low)
    torch.testing.assert_close(below.decode(torch.tensor(-z, dtype=torch.float64)), -x, rtol=1e-15, atol=0)


def test_the_far_tail_is_exponential():
    """Of the mass above a large a, the share above a + s / a is exp(-s), to the order 1 / a**2."""
    z = torch.linspace(-6, 6, 25, dtype=torch.float64)
    a = 1e6
    distance = TruncatedNormal(0.0, 1 / a, 1.0).decode(z) - 1.0
    exponential = -torch.special.log_ndtr(-z) / a**2
    torch.testing.assert_close(distance, exponential, rtol=1e-3, atol=4e-16)


def test_density_of_a_far_tail_integrates_to_one():
    distribution = TruncatedNormal(0.0, 1.0, 50.0, 50.2)
    x = torch.linspace(50, 50.2, 20001, dtype=torch.float64)[1:-1]
    density = distribution.log_prob(x).exp()
    assert float(torch.trapezoid(density, x)) == pytest.approx(1, rel=2e-3)  # the two end steps are missing
    ratio = distribution.log_prob(x[:1]) - distribution.log_prob(x[-1:])
    torch.testing.assert_close(ratio, 0.5 * (x[-1:] ** 2 - x[:1] ** 2), rtol=1e-10, atol=0)


def test_distances_from_a_bound_keep_their_digits():
    """x is about sqrt(pi / 2) Phi(z) where a half-normal variable is small."""
    z = torch.linspace(-30, -6, 25, dtype=torch.float64)
    expected = math.sqrt(math.pi / 2) * torch.from_numpy(special.ndtr(z.numpy()))
    torch.testing.assert_close(HalfNormal(1.0).decode(z), expected, rtol=1e-12, atol=0)


def test_the_regimes_join_smoothly():
    """Across the switch to the series near a bound, steps of x follow its slope."""
    distribution = TruncatedNormal(0.7, 1.0, 0.0, 5.0)
    z = torch.linspace(-5, -2.5, 20001, dtype=torch.float64, requires_grad=True)
    x = distribution.decode(z)
    slope = torch.autograd.grad(x.sum(), z)[0]
    trapezoid = 0.5 * (slope[1:] + slope[:-1]) * z.diff()
    torch.testing.assert_close(x.diff(), trapezoid.detach(), rtol=1e-6, atol=0)


def test_no_truncation_is_the_normal_distribution():
    z = torch.linspace(-8, 8, 33, dtype=torch.float64)
    torch.testing.assert_close(TruncatedNormal(1.0, 2.0).decode(z), 1 + 2 * z, rtol=1e-14, atol=1e-14)


def test_infinite_bounds_in_tensors_have_finite_slopes():
    low = torch.tensor([-math.inf, 0.0], dtype=torch.float64, requires_grad=True)
    mean = torch.zeros(2, dtype=torch.float64, requires_grad=True)
    z = torch.ones(2, dtype=torch.float64)
    distribution = TruncatedNormal(mean, 1.0, low)
    total = distribution.decode(z).sum() + distribution.log_prob(z).sum()
    for gradient in torch.autograd.grad(total, [low, mean]):
        assert torch.isfinite(gradient).all()
    assert torch.autograd.grad(distribution.decode(z).sum(), mean)[0][0] == 1


def test_numbers_made_in_inference_mode_serve_training_later():
    with torch.inference_mode():
        TruncatedNormal(0.123, 1.0, 0.0, 3.0).decode(torch.zeros(2))
    z = torch.zeros(2, requires_grad=True)
    TruncatedNormal(0.123, 1.0, 0.0, 3.0).decode(z).sum().backward()
    assert (z.grad > 0).all()


def test_an_invalid_element_does_not_change_the_others():
    """The regimes are chosen for the batch, and NaN must not choose."""
    low = torch.tensor([8.0, math.nan, -40.0], dtype=torch.float64)
    z = torch.full((3,), -7.0, dtype=torch.float64)
    x = TruncatedNormal(0.0, 1.0, low, 9.0).decode(z)
    alone = [TruncatedNormal(0.0, 1.0, float(v), 9.0).decode(z[:1])[0] for v in low[[0, 2]]]
    torch.testing.assert_close(x[[0, 2]], torch.stack(alone), rtol=1e-14, atol=0)
    assert torch.isnan(x[1])


def test_an_element_is_the_same_number_in_every_batch():
    """To the last bit: chunks of observations must not matter."""
    low = torch.tensor([-3.0, 0.0, 0.5, 8.0, 40.0, -60.0, 2.9999], dtype=torch.float64)[:, None]
    high = torch.tensor([3.0, 9.0, math.inf, 9.0, math.inf, -50.0, 3.0], dtype=torch.float64)[:, None]
    z = torch.linspace(-8, 8, 97, dtype=torch.float64)

    def everything(low, high, z):
        z = z.clone().requires_grad_()
        distribution = TruncatedNormal(0.0, 1.0, low, high)
        x = distribution.decode(z)
        slope = torch.autograd.grad(x.sum(), z)[0]
        return [x.detach(), slope, distribution.log_prob(x).detach(), distribution.encode(x).detach()]

    whole = everything(low, high, z.expand(7, 97))
    for i in range(7):
        for j in range(0, 97, 16):
            alone = everything(low[i], high[i], z[j : j + 1])
            for one, many in zip(alone, whole, strict=True):
                assert torch.equal(one[0], many[i, j])
