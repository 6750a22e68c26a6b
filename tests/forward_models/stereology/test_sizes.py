"""The families of sphere sizes against the same distributions in SciPy."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from scipy import stats

from physgen.forward_models.stereology.size_families import FAMILIES, family
from physgen.forward_models.stereology.sizes_free import FreeSizes
from physgen.forward_models.stereology.sizes_mixture import MixtureSizes

TABLE = {
    "lognormal": ([2.0, 1.6], stats.lognorm(math.log(1.6), scale=2.0)),
    "gamma": ([2.5, 0.8], stats.gamma(2.5, scale=0.8)),
    "weibull": ([1.7, 2.0], stats.weibull_min(1.7, scale=2.0)),
    "normal": ([1.0, 0.8], stats.truncnorm(-1.0 / 0.8, math.inf, loc=1.0, scale=0.8)),
    "exponential": ([1.3], stats.expon(scale=1.3)),
    "rayleigh": ([1.3], stats.rayleigh(scale=1.3)),
    "pareto": ([0.7, 4.5], stats.pareto(4.5, scale=0.7)),
    "uniform": ([0.5, 2.0], stats.uniform(0.5, 1.5)),
}
R = np.array([0.1, 0.6, 1.0, 1.9, 3.0])
Z = np.array([-3.0, -1.0, 0.0, 0.5, 2.0, 4.0])


@pytest.mark.parametrize("name", TABLE)
def test_density_and_distribution_function(name):
    theta, peer = torch.tensor(TABLE[name][0]), TABLE[name][1]
    np.testing.assert_allclose(family(name).density(torch.as_tensor(R), theta), peer.pdf(R), rtol=1e-12)
    np.testing.assert_allclose(family(name).cdf(torch.as_tensor(R), theta), peer.cdf(R), rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("name", TABLE)
@pytest.mark.parametrize("k", [1, 2, 3])
def test_moments(name, k):
    theta, peer = torch.tensor(TABLE[name][0]), TABLE[name][1]
    assert float(family(name).moment(k, theta)) == pytest.approx(peer.moment(k), rel=1e-9)


@pytest.mark.parametrize("name", TABLE)
def test_quantiles(name):
    theta, peer = torch.tensor(TABLE[name][0]), TABLE[name][1]
    p = stats.norm.cdf(Z)
    np.testing.assert_allclose(family(name).quantile(torch.as_tensor(Z), theta), peer.ppf(p), rtol=1e-6)


@pytest.mark.parametrize("name", [*TABLE, "lognormal+gamma", "free"])
def test_biased_quantiles_are_those_of_the_spheres_that_a_plane_meets(name):
    sizes, theta = made(name)
    found = sizes.quantile(torch.as_tensor(Z[:5]), theta, biased=True)
    # E[R; R <= q] / E[R] by the mean of many equal shares of the spheres
    z = torch.special.ndtri((torch.arange(4_000) + 0.5) / 4_000)
    R = sizes.quantile(z, theta)
    below = torch.stack([(R * (q >= R)).sum() for q in found]) / R.sum()
    np.testing.assert_allclose(below, stats.norm.cdf(Z[:5]), atol=5e-3)


@pytest.mark.parametrize("name", [*TABLE, "lognormal+gamma", "free"])
@pytest.mark.parametrize("biased", [False, True])
def test_typical_sizes_have_the_mean_logarithm_of_all(name, biased):
    sizes, theta = made(name)
    R, weight = sizes.typical(theta, biased=biased)
    assert float(weight.sum()) == pytest.approx(1, abs=1e-12)
    z = torch.special.ndtri((torch.arange(4_000) + 0.5) / 4_000)
    expected = float(sizes.quantile(z, theta, biased=biased).log().mean())
    assert float((weight * R.log()).sum()) == pytest.approx(expected, abs=0.01)


def made(name):
    if name == "free":
        knots = torch.linspace(-2, 2, 30)
        return FreeSizes(0.2, 8.0, 30), -(knots**2) + 0.3 * torch.sin(4 * knots)
    if "+" in name:
        return family(name), torch.tensor([0.4, 2.0, 1.3, 2.5, 0.3])
    return family(name), torch.tensor(TABLE[name][0])


def test_a_mixture_is_the_weighted_sum_of_its_parts():
    sizes, r = family("lognormal + gamma + rayleigh"), torch.as_tensor(R)
    theta = torch.tensor([0.5, 0.25, 2.0, 1.6, 2.5, 0.8, 1.3])
    shares = [0.5, 0.5 * 0.25, 0.5 * 0.75]  # the second weight is a share of the rest
    parts = [("lognormal", [2.0, 1.6]), ("gamma", [2.5, 0.8]), ("rayleigh", [1.3])]
    for what in ("density", "cdf"):
        each = [getattr(family(name), what)(r, torch.tensor(own)) for name, own in parts]
        expected = sum(w * v for w, v in zip(shares, each, strict=True))
        torch.testing.assert_close(getattr(sizes, what)(r, theta), expected, rtol=1e-12, atol=1e-14)
    assert sizes.names[:3] == ("weight_1", "weight_2", "geometric_mean_1")


def test_free_sizes_follow_a_lognormal_whose_logarithm_they_are_given():
    # ln of a normal density is a parabola, which a natural cubic spline follows but for its ends
    free, theta = FreeSizes(0.1, 10.0, 41), torch.tensor([1.0, 1.5])
    s = torch.linspace(math.log(0.1), math.log(10.0), 41)
    values = -0.5 * (s / math.log(1.5)).square() + 7.0
    r = torch.as_tensor(R)
    torch.testing.assert_close(free.density(r, values), family("lognormal").density(r, theta), rtol=1e-6, atol=0)
    # the ends of a natural spline are straight, and hold 1e-5 of the third moment
    torch.testing.assert_close(free.moment(3, values), family("lognormal").moment(3, theta), rtol=1e-5, atol=0)
    chord = free.log_chord(r, values) - family("lognormal").log_chord(r, theta)
    assert float(chord.abs().max()) < 1e-5


def test_families_are_known_by_name():
    assert set(TABLE) | {"single"} == set(FAMILIES)
    assert isinstance(family("lognormal+lognormal"), MixtureSizes)
    with pytest.raises(ValueError, match=r"Unknown sizes 'log-normal'. Must be one of lognormal, .*"):
        family("log-normal")
    with pytest.raises(TypeError, match=r"Invalid sizes of type int. Give .*"):
        family(3)
    with pytest.raises(ValueError, match=r"Invalid range of sizes from 2 to 1. .*"):
        FreeSizes(2.0, 1.0)
    with pytest.raises(TypeError, match=r"single size have no density of sizes. Take .*"):
        family("single").log_density(torch.ones(1), torch.ones(1))
