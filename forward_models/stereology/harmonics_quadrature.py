"""Quadrature over the unit sphere, and the basis of spherical harmonics at its nodes, made once."""

from __future__ import annotations

import math
from functools import lru_cache
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from .harmonics import degree_of, harmonics, harmonics_gradient


class SphereRule(NamedTuple):
    """Nodes u ``(d, 3)`` on the unit sphere and weights ``(d,)`` that add up to 4 pi."""

    u: Tensor
    weight: Tensor


@lru_cache(maxsize=16)
def sphere_rule(degree: int) -> SphereRule:
    """The product of a Gauss-Legendre rule in cos(theta) and a uniform one in phi, exact up to that degree.

    It has ``degree // 2 + 1`` rings of ``degree + 1`` nodes; float64, on the CPU.
    """
    with torch.inference_mode(False):
        z, w = np.polynomial.legendre.leggauss(degree // 2 + 1)
        phi = 2 * math.pi * (np.arange(degree + 1) + 0.5) / (degree + 1)
        sine = np.sqrt(1 - z * z)
        u = np.stack(np.broadcast_arrays(sine[:, None] * np.cos(phi), sine[:, None] * np.sin(phi), z[:, None]), -1)
        weight = np.repeat(w, degree + 1) * 2 * math.pi / (degree + 1)
        return SphereRule(torch.from_numpy(u.reshape(-1, 3).copy()), torch.from_numpy(weight))


@lru_cache(maxsize=16)
def _basis(degree: int, exact: int) -> Tensor:
    with torch.inference_mode(False):
        return harmonics(sphere_rule(exact).u, degree)


@lru_cache(maxsize=4)
def _basis_gradient(degree: int, exact: int) -> Tensor:
    with torch.inference_mode(False):
        return harmonics_gradient(sphere_rule(exact).u, degree)


def at_nodes(c: Tensor, exact: int) -> Tensor:
    """Values ``(*, d)`` at the nodes of `sphere_rule(exact)` of series with real coefficients ``(*, (L + 1)^2)``."""
    return c @ _basis(degree_of(c.shape[-1], real=True), exact).to(c).mT


def slopes_at_nodes(c: Tensor, exact: int) -> Tensor:
    """Gradients ``(*, d, 3)`` on the sphere at those nodes."""
    return torch.einsum("...n,dni->...di", c, _basis_gradient(degree_of(c.shape[-1], real=True), exact).to(c))


def project(values: Tensor, degree: int, exact: int) -> Tensor:
    """Real coefficients ``(*, (L + 1)^2)`` of the function with these values ``(*, d)`` at the nodes.

    Exact where the function is a series of degree ``exact - degree`` at most; else its projection, up to aliasing.
    """
    return (values * sphere_rule(exact).weight.to(values)) @ _basis(degree, exact).to(values)


def rotate(c: Tensor, rotation: Tensor) -> Tensor:
    """Real coefficients of the turned functions r'(u) = r(R^T u), exactly.

    Parameters
    ----------
    c : Tensor (*, (L + 1)^2)
    rotation : Tensor (*, 3, 3)
        R, orthogonal; of determinant -1 it reflects too.

    Returns
    -------
    Tensor (*, (L + 1)^2)
    """
    degree = degree_of(c.shape[-1], real=True)
    u = sphere_rule(2 * degree).u.to(c) @ rotation  # rows u^T R = (R^T u)^T
    return project((harmonics(u, degree) @ c[..., None])[..., 0], degree, 2 * degree)
