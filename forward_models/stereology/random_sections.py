"""Isotropic uniform random sections: what planes of every position and direction show of a body."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor

from physgen.random import uniform

from .bodies import StarBody
from .bodies_cut import Cut

STAGE = 1 << 36
"""The first stage of the random numbers of sections; round r of the rejection takes STAGE + r."""

_ROUNDS = 1000


class Solid(Protocol):
    """A connected body: `Mesh` (also of `box` and `convex_polyhedron`), `Ellipsoid`, or a plug-in's own."""

    @property
    def batch(self) -> tuple[int, ...]:
        """Shape of the batch of bodies."""

    @property
    def diameter(self) -> Tensor:
        """The largest caliper ``(*batch)``."""

    def extent(self, n: Tensor, /) -> tuple[Tensor, Tensor]:
        """The least and the largest n . x ``(*batch, s)`` over the body."""

    def cut(self, n: Tensor, p: Tensor, /) -> Cut:
        """Sections by the planes n . x = p."""


@dataclass(frozen=True, eq=False)
class Sections:
    """Isotropic uniform random sections of each body of a batch.

    Attributes
    ----------
    area, perimeter : Tensor (*batch, s)
        Of all pieces that one plane cuts, together; in the units of the body's length, squared and plain.
    aspect : Tensor (*batch, s)
        Major over minor axis of the ellipse with the section's second moments, at least 1.
    sides : Tensor (*batch, s) or None
        Number of sides, of convex polyhedra.
    weight : Tensor (*batch, s)
        1. Its gradient is that of the log density of the plane: wide directions are met more often, and which are wide
        changes with the shape. Means ``(weight * q).sum(-1) / weight.sum(-1)`` have the gradient of E[q].
    normal : Tensor (*batch, s, 3)
    offset : Tensor (*batch, s)
        The planes normal . x = offset.
    """

    area: Tensor
    perimeter: Tensor
    aspect: Tensor
    sides: Tensor | None
    weight: Tensor
    normal: Tensor
    offset: Tensor

    def mean(self, quantity: Tensor) -> Tensor:
        """Mean ``(*batch)`` of a quantity ``(*batch, s)`` of the sections, with the gradient of its expectation."""
        return (self.weight * quantity).sum(-1) / self.weight.sum(-1)


def random_sections(body: StarBody | Solid, count: int, *, seed: int = 0, index: Any = None) -> Sections:
    """Cut bodies by isotropic uniform random planes: E[area] = V / H and E[perimeter] = pi S / (4 H).

    All planes that hit the body are equally likely in the sense of the invariant measure dp dn (Miles 1972; Baddeley &
    Jensen 2005, section 2.3): the direction n is met with a density proportional to the body's caliper w(n), by
    rejection from isotropic directions; the position p is uniform over the caliper. For a given seed, area, perimeter
    and aspect are differentiable in the body at a fixed direction and a fixed fraction of the caliper; `Sections.mean`
    adds what the change of the direction's density does.

    Parameters
    ----------
    body : StarBody, Mesh, Ellipsoid or another Solid
        One, or a batch. A star-shaped body is cut as the mesh of its `resolution`.
    count : int
        Planes for each body.
    seed : int
        The planes are a function of seed and index; those of a smaller count come first in a larger one.
    index : integer array_like (*batch), optional
        Numbers of the bodies; 0, 1, 2, ... by default.

    Returns
    -------
    Sections

    Raises
    ------
    ValueError
        If the count is not a positive integer, or the numbers of the bodies do not fit.
    """
    if isinstance(count, bool) or not isinstance(count, int) or count < 1:
        raise ValueError(f"Invalid count of sections {count!r}. It must be a positive integer.")
    solid = body.mesh() if isinstance(body, StarBody) else body
    normal, fraction, low, high = _directions(solid, count, seed, _streams(solid.batch, index))
    if solid.extent(normal[..., :1, :])[0].requires_grad:
        low, high = solid.extent(normal)
    width = high - low
    offset = low + fraction.to(width) * width
    return Sections(*solid.cut(normal, offset), width / width.detach(), normal, offset)


def _streams(batch: tuple[int, ...], index: Any) -> Tensor:
    if index is None:
        return torch.arange(math.prod(batch)).reshape(batch)
    numbers = torch.as_tensor(index)
    if numbers.is_floating_point() or tuple(numbers.shape) != batch:
        raise ValueError(f"Invalid index of shape {tuple(numbers.shape)}. Give one integer for each body: {batch}.")
    return numbers


def _directions(solid: Solid, count: int, seed: int, streams: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Normals ``(*batch, count, 3)``, density proportional to the caliper; uniform numbers, and both ends of it."""
    with torch.no_grad():
        widest = solid.diameter.detach()[..., None]
        column, drawn = torch.arange(count, device=widest.device), None
        for attempt in range(_ROUNDS):
            u = uniform((int(column[-1]) + 1, 4), streams, seed=seed, stage=STAGE + attempt).to(widest.device)
            u = u[..., column, :]
            n = _isotropic(u).to(widest.dtype)
            low, high = solid.extent(n)
            hit = u[..., 2] * widest < high - low
            found = (n, u[..., 3], low, high)
            if drawn is None:
                drawn, pending = tuple(q.clone() for q in found), ~hit
            else:
                hit = hit & pending[..., column]
                for kept, new in zip(drawn, found, strict=True):
                    where = hit.reshape(hit.shape + (1,) * (new.ndim - hit.ndim))
                    axis = hit.ndim - 1
                    kept.index_copy_(axis, column, torch.where(where, new, kept.index_select(axis, column)))
                pending[..., column] &= ~hit
            column = torch.nonzero(pending.reshape(-1, count).any(0))[:, 0]
            if not len(column):
                return drawn[0], drawn[1], drawn[2], drawn[3]
    raise ValueError("Invalid body, thinner than a thousandth of its length in nearly every direction. Scale its axes.")


def _isotropic(u: Tensor) -> Tensor:
    z, phi = 2 * u[..., 0] - 1, 2 * math.pi * u[..., 1]
    sine = torch.sqrt(1 - z * z)
    return torch.stack([sine * torch.cos(phi), sine * torch.sin(phi), z], -1)
