"""The learned transform: that it is smooth, exact for its own density, and near the truth."""

import numpy as np
import pytest
import scipy.stats as st
import torch

from physgen.priors import Empirical
from physgen.priors.rational_spline import RationalSpline


def test_spline_passes_through_its_points_and_has_continuous_second_derivatives():
    rng = np.random.default_rng(0)
    z, u = np.cumsum(rng.uniform(0.2, 1, 12)), np.cumsum(rng.uniform(0.05, 2, 12))
    spline = RationalSpline.through(z, u)
    np.testing.assert_allclose(spline(torch.from_numpy(z)), u, rtol=1e-14)

    def second(at):
        at = at.requires_grad_()
        return torch.autograd.grad(spline.slope(at).sum(), at)[0]

    knots, step = torch.from_numpy(z), 1e-9
    left, right = second(knots - step), second(knots + step)
    torch.testing.assert_close(left, right, rtol=1e-5, atol=1e-6)
    assert right[[0, -1]].abs().max() < 1e-5  # joins straight lines


def test_spline_of_a_straight_line_is_the_line():
    z = np.array([-2.0, -0.5, 0.1, 3.0])
    at = torch.linspace(-5, 5, 21, dtype=torch.float64)
    torch.testing.assert_close(RationalSpline.through(z, 3 * z + 1)(at), 3 * at + 1)


@pytest.mark.parametrize(
    ("truth", "bounds"),
    [(st.norm(3, 2), ()), (st.lognorm(0.6), (0.0,)), (st.beta(2, 3), (0.0, 1.0)), (st.gamma(2), (0.0,))],
)
def test_density_approaches_the_truth(truth, bounds):
    distribution = Empirical(truth.rvs(20000, random_state=3), *bounds)
    x = torch.from_numpy(truth.ppf(np.linspace(0.01, 0.99, 99)))
    error = distribution.log_prob(x) - torch.from_numpy(truth.logpdf(x))
    assert error.abs().max() < 0.25
    assert error.pow(2).mean().sqrt() < 0.05
    quantiles = distribution.decode(torch.from_numpy(st.norm.ppf([0.1, 0.5, 0.9])))
    np.testing.assert_allclose(truth.cdf(quantiles), [0.1, 0.5, 0.9], atol=0.01)


def test_density_integrates_to_one():
    distribution = Empirical(st.gamma(3).rvs(300, random_state=4), 0, 30)
    x = distribution.decode(torch.linspace(-8, 8, 20001, dtype=torch.float64))
    assert float(torch.trapezoid(distribution.log_prob(x).exp(), x)) == pytest.approx(1, abs=1e-6)


def test_repeated_values_keep_the_map_increasing():
    sample = np.concatenate([np.full(300, 1.0), np.linspace(0.5, 3, 100)])
    distribution = Empirical(sample)
    z = torch.linspace(-4, 4, 81, dtype=torch.float64)
    x = distribution.decode(z)
    assert (x.diff() > 0).all()
    torch.testing.assert_close(distribution.encode(x), z, rtol=0, atol=1e-9)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Empirical(np.ones(50)), "at least 10 different values"),
        (lambda: Empirical([*range(20), np.nan]), "all of them finite"),
        (lambda: Empirical(np.arange(20.0), 0), "strictly within 0 to inf"),
    ],
)
def test_unusable_samples_are_refused(make, message):
    with pytest.raises(ValueError, match=message):
        make()
