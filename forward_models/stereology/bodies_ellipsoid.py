"""Ellipsoids: every plane section is an ellipse with known axes."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from .bodies_cut import Cut, root_or_zero
from .harmonics_quadrature import sphere_rule

_EXACT = 128  # degree of the rule for means over directions
_MEANS = 8  # arithmetic-geometric means: enough for axes in any ratio up to 10^6


@dataclass(frozen=True, eq=False)
class Ellipsoid:
    """Ellipsoids with their centre at the origin and their axes along x, y and z.

    Parameters
    ----------
    semi_axes : Tensor (*batch, 3)
        In any unit of length.

    Raises
    ------
    ValueError
        If the shape is wrong, or a semi-axis is not positive and finite.
    """

    semi_axes: Tensor

    def __post_init__(self) -> None:
        if self.semi_axes.ndim == 0 or self.semi_axes.shape[-1] != 3:
            raise ValueError(f"Invalid semi-axes of shape {tuple(self.semi_axes.shape)}. Give (*batch, 3).")
        if not bool((torch.isfinite(self.semi_axes) & (self.semi_axes > 0)).all()):
            raise ValueError("Invalid semi-axes of an ellipsoid. Each must be positive and finite.")

    @property
    def batch(self) -> tuple[int, ...]:
        """Shape of the batch of bodies."""
        return tuple(self.semi_axes.shape[:-1])

    @property
    def volume(self) -> Tensor:
        """Volume ``(*batch)``."""
        return 4 / 3 * math.pi * self.semi_axes.prod(-1)

    @property
    def surface(self) -> Tensor:
        """Area of the surface ``(*batch)``: the integral of the image of the unit sphere's element of area."""
        return 4 * math.pi * _mean_length(self.semi_axes.prod(-1, keepdim=True) / self.semi_axes)

    @property
    def diameter(self) -> Tensor:
        """The largest caliper ``(*batch)``."""
        return 2 * self.semi_axes.amax(-1)

    def mean_caliper(self) -> Tensor:
        """Mean distance H ``(*batch)`` of two parallel tangent planes, over all directions; differentiable.

        To 1e-9 up to axes in the ratio 1 to 10.
        """
        return 2 * _mean_length(self.semi_axes)

    def extent(self, n: Tensor) -> tuple[Tensor, Tensor]:
        """The least and the largest n . x ``(*batch, s)`` over the body, for unit vectors n ``(*batch, s, 3)``."""
        h = torch.linalg.norm(self.semi_axes[..., None, :] * n, dim=-1)
        return -h, h

    def cut(self, n: Tensor, p: Tensor) -> Cut:
        """Sections by the planes n . x = p, n ``(*batch, s, 3)``, p ``(*batch, s)``; area 0 where a plane misses.

        In coordinates that make the ellipsoid a unit ball the section is a disc of radius rho; carried back, its
        semi-axes are rho times the roots of the two eigenvalues with sum T and product D.
        """
        squares, h = (self.semi_axes**2)[..., None, :], self.extent(n)[1]
        total = squares.sum(-1) - (squares * squares * n * n).sum(-1) / h**2
        product = squares.prod(-1) / h**2
        spread = root_or_zero(0.25 * total**2 - product)
        rho = root_or_zero(1 - (p / h) ** 2)
        major = torch.sqrt(0.5 * total + spread)
        minor = torch.sqrt(product) / major
        return Cut(math.pi * rho**2 * major * minor, rho * ellipse_perimeter(major, minor), major / minor)


def ellipse_perimeter(major: Tensor, minor: Tensor) -> Tensor:
    """Perimeter of ellipses of these semi-axes, ``(*)``, by arithmetic-geometric means (Gauss; DLMF 19.8.6)."""
    a, g = major, minor
    rest, factor = 0.5 * (major**2 - minor**2), 1.0
    for _ in range(_MEANS):
        c = 0.5 * (a - g)
        a, g = 0.5 * (a + g), torch.sqrt(a * g)
        rest, factor = rest + factor * c * c, 2 * factor
    return 2 * math.pi * (major**2 - rest) / a


def _mean_length(a: Tensor) -> Tensor:
    """Mean over directions u of |a u| for diagonal a ``(*, 3)``: Carlson's R_G(a_1^2, a_2^2, a_3^2)."""
    rule = sphere_rule(_EXACT)
    u, weight = rule.u.to(a), rule.weight.to(a) / (4 * math.pi)
    return torch.linalg.norm(a[..., None, :] * u, dim=-1) @ weight
