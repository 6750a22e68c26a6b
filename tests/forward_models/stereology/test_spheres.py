"""Wicksell's equations against closed forms, quadrature, and spheres that are cut one by one."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
import torch
from scipy import special, stats

from physgen.forward_models.stereology.microscope import Microscope, log_number
from physgen.forward_models.stereology.size_families import family
from physgen.forward_models.stereology.spheres import section_cdf, section_density, section_moment, sphere_density

R = np.array([1e-4, 0.01, 0.3, 0.9, 1.0, 2.0, 5.0, 8.0])
CLOSED = {
    "exponential": ("exponential", [1.0], R * special.k0(R)),
    "gamma of shape 2": ("gamma", [2.0, 1.0], R**2 * special.k1(R) / 2),
    "rayleigh": ("rayleigh", [1.0], R * np.exp(-(R**2) / 2)),
    "single": ("single", [10.0], R / (10 * np.sqrt(100 - R**2))),
    "uniform from 0": ("uniform", [1e-300, 10.0], 2 * R / 100 * np.arccosh(10 / R)),
}
CASES = [
    ("lognormal", [1.0, 1.3]),
    ("lognormal", [2.0, 2.5]),
    ("gamma", [0.7, 1.0]),
    ("gamma", [20.0, 0.05]),
    ("weibull", [3.0, 1.2]),
    ("normal", [1.0, 0.4]),
    ("normal", [-1.0, 1.0]),
    ("exponential", [0.8]),
    ("rayleigh", [0.7]),
    ("pareto", [0.6, 3.5]),
    ("uniform", [0.4, 1.7]),
    ("lognormal+gamma", [0.3, 0.7, 1.2, 9.0, 0.2]),
]
IDS = [f"{name} {theta}" for name, theta in CASES]


EDGES = {"uniform": (0.4, 1.7), "pareto": (0.6,)}
"""Where a density breaks off."""


def quadrature(f, low, high, breaks=()):
    """Gauss-Legendre on pieces between the breaks, by nodes that crowd at the ends, where f may have a kink."""
    x, w = (torch.as_tensor(a) for a in np.polynomial.legendre.leggauss(800))
    t, w = 0.5 * (1 + x), 0.5 * w
    # t^3 (10 - 15 t + 6 t^2), with its slope
    place, slope = t**3 * (10 - 15 * t + 6 * t**2), 30 * (t * (1 - t)) ** 2
    total, ends = 0.0, [low, *breaks, high]
    for a, b in itertools.pairwise(ends):
        total += float((w * slope * (b - a) * f(a + (b - a) * place)).sum())
    return total


@pytest.mark.parametrize("name", CLOSED)
def test_densities_in_closed_form(name):
    sizes, theta, expected = CLOSED[name]
    g = section_density(torch.as_tensor(R), sizes, torch.tensor(theta))
    np.testing.assert_allclose(g, expected, rtol=1e-10)


@pytest.mark.parametrize(("name", "theta"), CASES, ids=IDS)
def test_density_is_the_integral_over_the_spheres_that_are_met(name, theta):
    sizes, theta = family(name), torch.tensor(theta)
    mean = float(sizes.moment(1, theta))
    for r in (0.05, 0.5, 1.1):
        breaks = [math.acosh(e / r) for e in EDGES.get(name, ()) if e > r]
        expected = r / mean * quadrature(lambda u, r=r: sizes.density(r * torch.cosh(u), theta), 0, 14, breaks)
        assert float(section_density(torch.tensor([r]), sizes, theta)) == pytest.approx(expected, rel=1e-8)


@pytest.mark.parametrize(("name", "theta"), CASES, ids=IDS)
def test_distribution_function_is_the_integral_of_the_density(name, theta):
    theta = torch.tensor(theta)
    for r in (0.3, 0.9, 1.5):
        breaks = [b for b in EDGES.get(name, ()) if b < r]
        expected = quadrature(lambda x: section_density(x, name, theta), 0, r, breaks)
        assert float(section_cdf(torch.tensor([r]), name, theta)) == pytest.approx(expected, rel=1e-8)


@pytest.mark.parametrize(
    ("k", "m"), [(1, math.pi / 4), (2, 2 / 3), (3, 3 * math.pi / 16), (4, 8 / 15), (-1, math.pi / 2)]
)
def test_moments_have_their_constants(k, m):
    s = math.log(1.4)
    # E[R^k] = exp(k^2 s^2 / 2) for the geometric mean 1
    expected = m * math.exp(((k + 1) ** 2 - 1) * s**2 / 2)
    theta = torch.tensor([1.0, 1.4])
    assert float(section_moment(k, "lognormal", theta)) == pytest.approx(expected, rel=1e-14)

    g = quadrature(lambda x: (x * (k + 1)).exp() * section_density(x.exp(), "lognormal", theta), -25, 4)
    assert g == pytest.approx(expected, rel=1e-8)


def test_spheres_come_back_from_their_sections():
    R = torch.tensor([0.2, 0.7, 1.0, 1.8, 3.0])
    exponential = sphere_density(R, lambda r: r * _K0.apply(r), 1.0, high=45.0, steps=200)
    torch.testing.assert_close(exponential, torch.exp(-R), rtol=1e-9, atol=0)
    rayleigh = sphere_density(R, lambda r: r * torch.exp(-r.square() / 2), math.sqrt(math.pi / 2), high=9.0)
    torch.testing.assert_close(rayleigh, R * torch.exp(-R.square() / 2), rtol=1e-10, atol=0)


class _K0(torch.autograd.Function):
    """K0, with its slope -K1, which torch does not know."""

    @staticmethod
    def forward(ctx, x):
        ctx.save_for_backward(x)
        return torch.special.modified_bessel_k0(x)

    @staticmethod
    def backward(ctx, gradient):
        return -gradient * torch.special.modified_bessel_k1(ctx.saved_tensors[0])


SEEN = [
    {},
    {"thickness": 0.8},
    {"smallest": 0.5},
    {"cap_angle": 30.0},
    {"thickness": 0.8, "smallest": 0.6},
    {"thickness": 0.5, "smallest": 0.4, "cap_angle": 25.0},
]


@pytest.mark.parametrize("seen", SEEN, ids=lambda s: " ".join(s) or "plane")
@pytest.mark.parametrize(("name", "theta"), [("lognormal", [1.0, 1.5]), ("gamma", [3.0, 0.4]), ("uniform", [0.4, 1.7])])
def test_profiles_of_spheres_that_are_placed_at_random(name, theta, seen):
    """Spheres are thrown into a layer around a slab, and looked at one by one."""
    rng, count = np.random.default_rng(3), 100_000
    draw = {
        "lognormal": lambda: stats.lognorm(np.log(1.5)).rvs(count, random_state=rng),
        "gamma": lambda: stats.gamma(3, scale=0.4).rvs(count, random_state=rng),
        "uniform": lambda: rng.uniform(0.4, 1.7, count),
    }
    size, t = draw[name](), seen.get("thickness", 0.0)
    top = size.max()
    z = rng.uniform(-top, t + top, count)
    beyond = np.maximum(np.maximum(-z, z - t), 0)
    r = np.sqrt(np.maximum(size**2 - beyond**2, 0))
    visible = (beyond < size) & (r > seen.get("smallest", 0.0))
    visible &= (beyond == 0) | (r >= size * math.sin(math.radians(seen.get("cap_angle", 0.0))))
    microscope = Microscope(**{k: torch.tensor(v) for k, v in seen.items()})
    expected = count / (t + 2 * top) * float(log_number(family(name), torch.tensor(theta), microscope).exp())
    assert abs(visible.sum() - expected) < 4 * math.sqrt(expected)  # four standard deviations of a count
    found = np.sort(r[visible])
    cdf = section_cdf(torch.as_tensor(found), name, torch.tensor(theta), microscope).numpy()
    # a Kolmogorov-Smirnov distance that chance exceeds once in ten thousand
    assert stats.kstest(cdf, "uniform").pvalue > 1e-4
    g = section_density(torch.as_tensor(found[::500]), name, torch.tensor(theta), microscope).numpy()
    shift = 1e-5 * found[::500]
    ends = [
        section_cdf(torch.as_tensor(found[::500] + s * shift), name, torch.tensor(theta), microscope).numpy()
        for s in (-1, 1)
    ]
    inner = found[::500] - shift > seen.get("smallest", 0.0)
    np.testing.assert_allclose(((ends[1] - ends[0]) / (2 * shift))[inner], g[inner], rtol=2e-4)


def test_a_cap_angle_of_zero_loses_nothing():
    theta, r = torch.tensor([[1.0, 1.5]]), torch.tensor([[0.2, 1.0, 3.0]])
    none = section_density(r, "lognormal", theta)
    zero = section_density(r, "lognormal", theta, Microscope(cap_angle=torch.tensor([0.0])))
    torch.testing.assert_close(zero, none, rtol=1e-9, atol=0)


def test_no_detection_limit_is_a_limit_of_zero():
    theta, r = torch.tensor([[1.0, 1.5]]), torch.tensor([[0.2, 1.0, 3.0]])
    zero = Microscope(smallest=torch.tensor([0.0]), thickness=torch.tensor([0.3]))
    none = Microscope(thickness=torch.tensor([0.3]))
    assert torch.equal(section_density(r, "gamma", theta, zero), section_density(r, "gamma", theta, none))


@pytest.mark.parametrize("name", ["lognormal", "gamma", "weibull", "normal", "pareto", "uniform", "lognormal+normal"])
@pytest.mark.parametrize("seen", [{}, {"thickness": 0.7, "smallest": 0.3, "cap_angle": 20.0}], ids=["plane", "all"])
def test_gradients_by_the_parameters(name, seen):
    theta = {
        "lognormal": [1.0, 1.4],
        "gamma": [2.3, 0.5],
        "weibull": [2.2, 1.1],
        "normal": [1.0, 0.5],
        "pareto": [0.8, 3.2],
        "uniform": [0.4, 2.6],
        "lognormal+normal": [0.4, 0.6, 1.3, 1.5, 0.3],
    }[name]
    microscope = Microscope(**{k: torch.tensor(v) for k, v in seen.items()})
    r = torch.tensor([0.45, 0.9, 1.6, 2.3])

    def log_density(theta):
        return section_density(r, name, theta, microscope).log()

    assert torch.autograd.gradcheck(log_density, torch.tensor(theta, requires_grad=True), eps=1e-6, atol=1e-6)
