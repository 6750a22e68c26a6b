"""Star-shaped bodies r(theta, phi) given by spherical-harmonic coefficients."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property, lru_cache

import torch
from torch import Tensor

from .bodies_mesh import Mesh, geodesic_sphere
from .harmonics import degree_of, harmonics, harmonics_gradient, to_complex, to_real
from .harmonics_quadrature import at_nodes, slopes_at_nodes, sphere_rule

_LEAST_MESH = 16  # frequency of the directions among which the least radius is looked for
_LEAST_STEPS = 5


@dataclass(frozen=True, eq=False)
class StarBody:
    """Bodies all of whose points are seen from the origin: r = sum_nm a_nm Y_nm(theta, phi) (Garboczi 2002, eq. 1).

    Everything is differentiable in the coefficients.

    Parameters
    ----------
    coefficients : complex Tensor (*batch, (L + 1)(L + 2)/2)
        a_nm for m >= 0 at n (n + 1)/2 + m, orthonormal harmonics with the sign of Condon and Shortley, in any unit of
        length; a_(n,-m) = (-1)^m conj(a_nm), so that r is real.
    resolution : int
        Frequency f of the mesh that is cut: 10 f^2 + 2 vertices. Its volume is too small by some 5.8 / f^2 (relative)
        for a sphere, 2 to 4 times that for an angular particle.

    Raises
    ------
    TypeError
        If the coefficients are not a complex tensor.
    ValueError
        If their number fits no degree, one is not finite, or a radius is somewhere not positive.

    References
    ----------
    Garboczi (2002), Three-dimensional mathematical analysis of particle shape using X-ray tomography and spherical
    harmonics, *Cement and Concrete Research* 32, 1621-1638.
    """

    coefficients: Tensor
    resolution: int = 16

    def __post_init__(self) -> None:
        a = self.coefficients
        if not isinstance(a, Tensor) or not a.is_complex() or a.ndim == 0:
            raise TypeError("Invalid coefficients of a star-shaped body. Give a complex tensor, or use from_real.")
        degree_of(a.shape[-1])
        if not bool(torch.isfinite(torch.view_as_real(a.resolve_conj())).all()):
            raise ValueError("Invalid coefficients with missing or infinite values. Every one must be finite.")
        _refuse_no_radius(a)

    @classmethod
    def from_real(cls, c: Tensor, resolution: int = 16) -> StarBody:
        """Bodies of coefficients ``(*batch, (L + 1)^2)`` of the real basis."""
        return cls(to_complex(c), resolution)

    @property
    def batch(self) -> tuple[int, ...]:
        """Shape of the batch of bodies."""
        return tuple(self.coefficients.shape[:-1])

    @property
    def degree(self) -> int:
        """L, the highest degree of the series."""
        return degree_of(self.coefficients.shape[-1])

    @cached_property
    def real(self) -> Tensor:
        """Coefficients ``(*batch, (L + 1)^2)`` of the real basis."""
        return to_real(self.coefficients)

    def radius(self, u: Tensor) -> Tensor:
        """r ``(*batch, d)`` in the directions u ``(d, 3)``, unit vectors, or ``(*batch, d, 3)``, each body its own."""
        return torch.einsum("...n,...dn->...d", self.real, harmonics(u, self.degree))

    def gradient(self, u: Tensor) -> Tensor:
        """Gradient of r on the unit sphere ``(*batch, d, 3)``, tangential to it, in those directions."""
        return torch.einsum("...n,...dni->...di", self.real, harmonics_gradient(u, self.degree))

    @property
    def volume(self) -> Tensor:
        """Volume ``(*batch)``: the integral of r^3 / 3, exactly (r^3 is a series of degree 3 L)."""
        exact = 3 * self.degree
        return (at_nodes(self.real, exact) ** 3 @ sphere_rule(exact).weight.to(self.real)) / 3

    @property
    def surface(self) -> Tensor:
        """Area of the surface ``(*batch)``: the integral of r sqrt(r^2 + |grad r|^2), by a rule of degree 6 L."""
        exact = max(6 * self.degree, 8)
        r, slope = at_nodes(self.real, exact), slopes_at_nodes(self.real, exact)
        return (r * torch.sqrt(r * r + (slope * slope).sum(-1))) @ sphere_rule(exact).weight.to(r)

    @property
    def centroid(self) -> Tensor:
        """Centre of mass ``(*batch, 3)``: the integral of r^4 u / 4, over the volume."""
        exact = 4 * self.degree + 1
        rule, r = sphere_rule(exact), at_nodes(self.real, exact)
        return (r**4 * rule.weight.to(r)) @ rule.u.to(r) / 4 / self.volume[..., None]

    @property
    def second_moment(self) -> Tensor:
        """The integral of x x^T over the body, about the origin, ``(*batch, 3, 3)``: that of r^5 u u^T / 5."""
        exact = 5 * self.degree + 2
        rule, r = sphere_rule(exact), at_nodes(self.real, exact)
        u = rule.u.to(r)
        return torch.einsum("...d,di,dj->...ij", r**5 * rule.weight.to(r), u, u) / 5

    def mesh(self, resolution: int | None = None) -> Mesh:
        """The body as triangles between 10 f^2 + 2 points of its surface; f is `resolution` unless given."""
        f = self.resolution if resolution is None else resolution
        u, faces = geodesic_sphere(f)
        r = self.real @ _mesh_basis(self.degree, f).to(self.real).mT
        return Mesh(r[..., None] * u.to(r), faces.to(r.device))


def least_radius(coefficients: Tensor) -> Tensor:
    """The least r ``(*batch)`` over all directions, of complex coefficients ``(*batch, (L + 1)(L + 2)/2)``.

    The least of 2,562 directions; where that is below a third of the mean radius, lowered by a search around it with
    halved reach at every step. Not differentiable.
    """
    with torch.no_grad():
        c = to_real(coefficients.detach())
        degree, lead = degree_of(coefficients.shape[-1]), c.shape[:-1]
        c = c.reshape(-1, c.shape[-1])
        u = geodesic_sphere(_LEAST_MESH)[0].to(c)
        best, place = (c @ _mesh_basis(degree, _LEAST_MESH).to(c).mT).min(-1)
        small = best < c[:, 0] / (3 * math.sqrt(4 * math.pi))
        best[small] = torch.minimum(best[small], _search(c[small], degree, u[place[small]]))
        return best.reshape(lead)


def _search(c: Tensor, degree: int, start: Tensor) -> Tensor:
    """The least radius met by a walk from the directions `start` ``(*batch, 3)``."""
    around = geodesic_sphere(2)[0].to(c)
    reach, u = 1.2 / _LEAST_MESH, start
    for _ in range(_LEAST_STEPS):
        near = torch.nn.functional.normalize(u[..., None, :] + reach * torch.cat([0 * around[:1], around]), dim=-1)
        value, place = (harmonics(near, degree) @ c[..., None])[..., 0].min(-1)
        u = near.gather(-2, place[..., None, None].expand(*place.shape, 1, 3))[..., 0, :]
        reach = 0.5 * reach
    return value


def _refuse_no_radius(a: Tensor) -> None:
    least = least_radius(a).reshape(-1)
    bad = torch.nonzero(~(least > 0)).reshape(-1)
    if len(bad):
        which = f" of body {int(bad[0])}" if a.ndim > 1 else ""
        raise ValueError(
            f"Invalid coefficients{which}: the radius falls to {float(least[bad[0]]):.3g}. "
            "It must be positive in every direction."
        )


@lru_cache(maxsize=16)
def _mesh_basis(degree: int, frequency: int) -> Tensor:
    with torch.inference_mode(False):
        return harmonics(geodesic_sphere(frequency)[0], degree)
