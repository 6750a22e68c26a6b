"""The grid of a free form: the same chord integral, sums and information as by quadrature, for every theta at once."""

from __future__ import annotations

import pytest
import torch

from physgen.forward_models.stereology.microscope import Microscope, log_number, log_profiles
from physgen.forward_models.stereology.section_grid import columns, lagrange
from physgen.forward_models.stereology.section_noise import SectionSizes
from physgen.forward_models.stereology.size_families import family
from physgen.forward_models.stereology.sizes_free import FreeSizes

KNOTS = torch.linspace(-2, 2, 40, dtype=torch.float64)
THETA = torch.stack([-(KNOTS**2), -(KNOTS**2) + 0.4 * torch.sin(5 * KNOTS), 1.5 * torch.sin(7 * KNOTS)])
SIZES = FreeSizes(1.0, 100.0, 40)


class Slow(FreeSizes):
    """The same family by quadrature, section by section."""

    steps = 1000
    section_grid = None


SLOW = Slow(1.0, 100.0, 40)


@pytest.mark.parametrize("thickness", [None, 9.0])
def test_rates_are_those_of_the_quadrature(thickness):
    t = None if thickness is None else torch.full((3,), thickness, dtype=torch.float64)
    r = torch.logspace(-2, 1.9, 60, dtype=torch.float64).expand(3, -1)
    grid = SIZES.section_grid
    found = grid.interpolate(grid.rates(THETA, t), r)
    expected = log_profiles(r, SLOW, THETA, Microscope(thickness=t)) - r.log()
    # a cubic spline bends anew at each knot, which polynomials across it cannot follow
    torch.testing.assert_close(found, expected, rtol=0, atol=2e-4)


def test_a_lognormal_given_as_a_free_form_has_its_sections():
    sizes, theta = FreeSizes(0.1, 40.0, 61), torch.tensor([2.0, 1.5], dtype=torch.float64)
    s = torch.linspace(0, 1, 61, dtype=torch.float64) * torch.log(torch.tensor(400.0)) + torch.log(torch.tensor(0.1))
    values = family("lognormal").log_density(s.exp(), theta) + s
    r = torch.logspace(-2, 0.9, 40, dtype=torch.float64)
    grid = sizes.section_grid
    found = grid.interpolate(grid.rates(values[None], None), r[None])[0] + r.log()
    torch.testing.assert_close(found, log_profiles(r, family("lognormal"), theta, Microscope()), rtol=0, atol=2e-5)


def test_the_likelihood_is_the_sum_over_the_profiles():
    noise = SectionSizes(SIZES, profiles=3000)
    y = noise.sample(THETA, seed=1)
    y[1, 2000:] = torch.nan
    each = noise.pointwise(y, THETA)
    assert (each[1, 2000:] == 0).all()
    torch.testing.assert_close(noise.log_prob(y, THETA), each.sum(-1), rtol=0, atol=1e-8)
    slow = SectionSizes(SLOW).pointwise(y[:, :200], THETA)
    torch.testing.assert_close(each[:, :200], slow, rtol=0, atol=2e-3)


def test_a_profile_beyond_the_grid_counts_too():
    noise, theta = SectionSizes(SIZES, least=1), torch.zeros(40, dtype=torch.float64)
    y = torch.tensor([20.0, 3.0 * float(SIZES.section_grid.r[-1])], dtype=torch.float64)
    expected = sum(SectionSizes(SLOW, least=1).pointwise(one[None], theta)[0] for one in y)
    assert float(noise.log_prob(y, theta)) == pytest.approx(float(expected), rel=1e-3)


def test_the_information_is_the_covariance_of_the_score():
    theta, noise = THETA[1], SectionSizes(SIZES, profiles=400)
    y = noise.sample(theta.expand(500, -1), seed=5)
    whitener = noise.whiten(y, theta.expand(500, -1))
    score = (whitener.factor.mT @ whitener.residual[..., None])[..., 0]
    # along the directions that are known best; the standard error of a variance is sqrt(2 / 500) of it
    _, vectors = torch.linalg.eigh(whitener.factor[0].mT @ whitener.factor[0])
    known = whitener.factor[0] @ vectors[:, -8:]
    ratio = (score @ vectors[:, -8:]).var(0) / known.square().sum(0)
    assert float((ratio - 1).abs().max()) < 5 * (2 / 500) ** 0.5


def test_lost_caps_are_no_matter_for_the_grid():
    seen = {"cap_angle": torch.tensor(20.0, dtype=torch.float64)}
    y = torch.linspace(2, 60, 50, dtype=torch.float64)
    found = SectionSizes(SIZES).log_prob(y, THETA[1], **seen)
    assert float(found) == pytest.approx(float(SectionSizes(SLOW).log_prob(y, THETA[1], **seen)), abs=1e-2)


def test_rows_are_the_same_to_the_last_bit_however_many_there_are():
    noise = SectionSizes(SIZES, profiles=300)
    y = noise.sample(THETA, seed=1)
    whole = noise.log_prob(y, THETA)
    for row in range(3):
        assert torch.equal(noise.log_prob(y[row], THETA[row]), whole[row])
        many = noise.log_prob(y[row], THETA[row].expand(70, -1))
        assert (many == whole[row]).all()
    matrix = torch.randn(30, 40, dtype=torch.float64)
    assert torch.equal(columns(matrix, THETA)[1:2], columns(matrix, THETA[1:2]))


def test_polynomials_of_degree_five_are_interpolated_exactly():
    t, at = torch.tensor([0.3, 2.5, 4.9], dtype=torch.float64), torch.arange(6, dtype=torch.float64)
    torch.testing.assert_close(lagrange(t) @ (at - 2) ** 5, (t - 2) ** 5, rtol=1e-12, atol=1e-12)


def test_the_number_of_profiles_agrees_with_the_density():
    grid = SIZES.section_grid
    total = (grid.rates(THETA, None).exp() * grid.r * grid.cell).sum(-1)
    # by the trapezoid rule, whose first cell begins where the rate does
    torch.testing.assert_close(total.log(), log_number(SIZES, THETA, Microscope()), rtol=0, atol=2e-3)
