"""Spherical harmonics, their slopes, quadrature and rotation."""

import math

import numpy as np
import pytest
import torch
from scipy.special import sph_harm_y

from physgen.forward_models.stereology.harmonics import (
    degree_of,
    harmonics,
    harmonics_gradient,
    to_complex,
    to_real,
)
from physgen.forward_models.stereology.harmonics_quadrature import (
    at_nodes,
    project,
    rotate,
    slopes_at_nodes,
    sphere_rule,
)

DEGREE = 16


def directions(count, seed=0):
    u = np.random.default_rng(seed).normal(size=(count, 3))
    return torch.from_numpy(u / np.linalg.norm(u, axis=1, keepdims=True))


def coefficients(degree, seed=1):
    rng = np.random.default_rng(seed)
    count = (degree + 1) * (degree + 2) // 2
    a = rng.normal(size=count) + 1j * rng.normal(size=count)
    zonal = [n * (n + 1) // 2 for n in range(degree + 1)]
    a[zonal] = a[zonal].real
    return torch.from_numpy(a)


def test_series_is_scipys():
    u, a = directions(30), coefficients(DEGREE)
    theta, phi = np.arccos(u[:, 2].numpy()), np.arctan2(u[:, 1].numpy(), u[:, 0].numpy())
    expected = np.zeros(30)
    for n in range(DEGREE + 1):
        for m in range(-n, n + 1):
            value = complex(a[n * (n + 1) // 2 + abs(m)])
            expected += ((value if m >= 0 else (-1) ** m * value.conjugate()) * sph_harm_y(n, m, theta, phi)).real
    torch.testing.assert_close(harmonics(u, DEGREE) @ to_real(a), torch.from_numpy(expected), rtol=0, atol=1e-12)


def test_coefficients_return():
    a = coefficients(7)
    torch.testing.assert_close(to_complex(to_real(a)), a, rtol=1e-15, atol=1e-15)
    c = torch.from_numpy(np.random.default_rng(0).normal(size=(3, 64)))
    torch.testing.assert_close(to_real(to_complex(c)), c, rtol=1e-15, atol=1e-15)


def test_basis_is_orthonormal():
    rule = sphere_rule(2 * DEGREE)
    y = harmonics(rule.u, DEGREE)
    torch.testing.assert_close((y * rule.weight[:, None]).mT @ y, torch.eye(289, dtype=y.dtype), rtol=0, atol=1e-12)


def test_slopes_are_finite_differences_at_the_poles_too():
    u = torch.cat([directions(10), torch.tensor([[0.0, 0, 1], [0, 0, -1]], dtype=torch.float64)])
    slope = harmonics_gradient(u, 9)
    rng = np.random.default_rng(3)
    along = torch.from_numpy(rng.normal(size=u.shape))
    along = torch.nn.functional.normalize(along - (along * u).sum(-1, keepdim=True) * u, dim=-1)
    step = 1e-5

    def moved(t):
        return harmonics(u * math.cos(t) + along * math.sin(t), 9)

    numeric = (moved(step) - moved(-step)) / (2 * step)
    torch.testing.assert_close((slope * along[:, None]).sum(-1), numeric, rtol=0, atol=2e-8)
    torch.testing.assert_close((slope * u[:, None]).sum(-1), torch.zeros_like(numeric), rtol=0, atol=1e-12)


def test_slopes_carry_the_degree():
    # the integral of |grad Y_nm|^2 over the sphere is n (n + 1)
    slopes = slopes_at_nodes(torch.eye(100, dtype=torch.float64), 18)
    found = (slopes.square().sum(-1) * sphere_rule(18).weight).sum(-1)
    expected = torch.tensor([float(n * (n + 1)) for n in range(10) for _ in range(2 * n + 1)], dtype=torch.float64)
    torch.testing.assert_close(found, expected, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("reflected", [False, True])
def test_rotation_turns_the_function(reflected):
    q, _ = np.linalg.qr(np.random.default_rng(5).normal(size=(3, 3)))
    q *= np.linalg.det(q) * (-1 if reflected else 1)
    rotation = torch.from_numpy(q)
    u, c = directions(20), to_real(coefficients(6))
    expected = harmonics(u @ rotation, 6) @ c  # r(R^T u)
    torch.testing.assert_close(harmonics(u, 6) @ rotate(c, rotation), expected, rtol=0, atol=1e-12)


def test_projection_is_the_inverse_of_evaluation():
    c = to_real(coefficients(8))
    torch.testing.assert_close(project(at_nodes(c, 16), 8, 16), c, rtol=0, atol=1e-13)


@pytest.mark.parametrize(("count", "real"), [(2, False), (154, False), (288, True), (0, False)])
def test_count_without_a_degree_is_refused(count, real):
    with pytest.raises(ValueError, match="Invalid number of coefficients"):
        degree_of(count, real=real)
