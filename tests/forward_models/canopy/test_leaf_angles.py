"""Leaf inclination against root finding, quadrature of the ellipsoid, and averages over simulated leaf azimuths."""

from __future__ import annotations

import math
from itertools import pairwise

import numpy as np
import pytest
import torch
from scipy.integrate import quad
from scipy.optimize import brentq

from physgen.forward_models.canopy.leaf_angles import (
    CLASS_CENTRES,
    CLASS_EDGES,
    campbell,
    verhoef,
    volume_scattering,
)


def scalar(value: float) -> torch.Tensor:
    return torch.tensor(value, dtype=torch.float64)


def chi(ala: float) -> float:
    return math.exp(-1.6184e-5 * ala**3 + 2.1145e-3 * ala**2 - 1.2390e-1 * ala + 3.2491)


SPHERICAL = brentq(lambda ala: chi(ala) - 1.0, 40.0, 70.0, xtol=1e-14)


@pytest.mark.parametrize(
    ("a", "b"), [(0.0, 0.0), (-0.35, -0.15), (1.0, 0.0), (-1.0, 0.0), (0.0, 1.0), (0.0, -1.0), (0.4, -0.6), (-0.2, 0.8)]
)
def test_verhoef_agrees_with_root_finding(a: float, b: float) -> None:
    def cumulative(theta: float) -> float:
        x = brentq(lambda x: x - a * math.sin(x) - 0.5 * b * math.sin(2 * x) - 2 * theta, -1, 5, xtol=1e-15, rtol=1e-15)
        return 2 * (x - theta) / math.pi

    expected = np.diff([0.0, *(cumulative(math.radians(t)) for t in CLASS_EDGES[1:-1]), 1.0])
    weights = verhoef(scalar(a), scalar(b))
    torch.testing.assert_close(weights, torch.from_numpy(expected), rtol=0, atol=1e-14)
    assert weights.sum().item() == pytest.approx(1.0, abs=1e-15)


def test_verhoef_uniform_is_uniform() -> None:
    width = torch.tensor(CLASS_EDGES, dtype=torch.float64).diff()
    torch.testing.assert_close(verhoef(scalar(0.0), scalar(0.0)), width / 90, rtol=1e-14, atol=0)


@pytest.mark.parametrize("ala", [3.0, 20.0, 45.0, SPHERICAL, SPHERICAL + 1e-6, 60.0, 75.0, 89.0])
def test_campbell_agrees_with_quadrature_of_the_ellipsoid(ala: float) -> None:
    x = chi(ala)

    def density(theta: float) -> float:
        return math.sin(theta) / (math.cos(theta) ** 2 + (x * math.sin(theta)) ** 2) ** 2

    edges = np.radians(CLASS_EDGES)
    # Classes are split, as the density of nearly horizontal leaves has a peak of 2 degrees in the first.
    parts = [
        sum(quad(density, lo + (hi - lo) * i / 8, lo + (hi - lo) * (i + 1) / 8, epsrel=1e-13)[0] for i in range(8))
        for lo, hi in pairwise(edges)
    ]
    torch.testing.assert_close(
        campbell(scalar(ala)), torch.tensor(parts, dtype=torch.float64) / sum(parts), rtol=1e-10, atol=1e-13
    )


def test_campbell_sphere_is_the_cosine() -> None:
    edges = torch.deg2rad(torch.tensor(CLASS_EDGES, dtype=torch.float64))
    expected = torch.cos(edges[:-1]) - torch.cos(edges[1:])
    torch.testing.assert_close(campbell(scalar(SPHERICAL)), expected, rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize("ala", [1.0, 30.0, SPHERICAL - 1e-7, SPHERICAL, 55.0, 59.5, 70.0, 89.5])
def test_campbell_gradient(ala: float) -> None:
    h = 1e-3
    slope = (campbell(scalar(ala + h)) - campbell(scalar(ala - h))) / (2 * h)
    forward = torch.func.jacfwd(campbell)(scalar(ala))
    torch.testing.assert_close(forward, slope, rtol=1e-6, atol=1e-9)
    torch.testing.assert_close(torch.func.jacrev(campbell)(scalar(ala)), forward, rtol=1e-12, atol=1e-15)


@pytest.mark.parametrize(("a", "b"), [(0.3, 0.2), (-0.35, -0.15), (0.999, 0.0), (-0.998, 0.001), (0.0, -0.999)])
def test_verhoef_gradient_in_every_mode(a: float, b: float) -> None:
    def weights(x: torch.Tensor) -> torch.Tensor:
        return verhoef(x[..., 0], x[..., 1])

    x = torch.tensor([[a, b]] * 3, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(weights, x, check_forward_ad=True, check_batched_grad=True)
    assert torch.autograd.gradgradcheck(weights, x)
    torch.testing.assert_close(torch.func.jacfwd(weights)(x.detach()), torch.func.jacrev(weights)(x.detach()))


def test_gradients_at_the_corners_are_finite() -> None:
    corners = torch.tensor([[1.0, 0.0], [-1.0, 0.0], [0.0, 1.0], [0.0, -1.0]], dtype=torch.float64)
    assert torch.isfinite(torch.func.jacfwd(lambda x: verhoef(x[:, 0], x[:, 1]))(corners)).all()


@pytest.mark.parametrize(
    ("sun", "view", "azimuth"),
    [(30, 10, 0), (30, 10, 180), (60, 40, 73), (85, 55, 120), (0, 0, 0), (0, 30, 0), (40, 40, 0)],
)
def test_volume_scattering_is_the_average_over_leaf_azimuth(sun: float, view: float, azimuth: float) -> None:
    phi = (np.arange(200_000) + 0.5) * (2 * np.pi / 200_000)
    leaf = np.radians(CLASS_CENTRES)[:, None]
    s, o, psi = np.radians([sun, view, azimuth])
    lit = np.cos(leaf) * np.cos(s) + np.sin(leaf) * np.sin(s) * np.cos(phi)
    seen = np.cos(leaf) * np.cos(o) + np.sin(leaf) * np.sin(o) * np.cos(phi - psi)
    product = lit * seen
    expected = [abs(lit), abs(seen), np.maximum(product, 0) / np.pi, np.maximum(-product, 0) / np.pi]
    result = volume_scattering(*(torch.tensor(float(x), dtype=torch.float64) for x in (s, o, psi)))
    for mine, simulated in zip(result, expected, strict=True):
        torch.testing.assert_close(mine, torch.from_numpy(simulated.mean(1)), rtol=0, atol=1e-9)


def test_rows_do_not_mix() -> None:
    draw = torch.Generator().manual_seed(2)
    x = torch.rand(41, 2, generator=draw, dtype=torch.float64)
    assert torch.equal(campbell(90 * x[:, 0])[7:9], campbell(90 * x[7:9, 0]))
    assert torch.equal(verhoef(x[:, 0] - 0.5, x[:, 1] - 0.5)[7:9], verhoef(x[7:9, 0] - 0.5, x[7:9, 1] - 0.5))
