"""Closed surfaces of triangles: volume, surface, support function and the mean caliper of the convex hull."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property, lru_cache

import numpy as np
import torch
from scipy.spatial import ConvexHull
from torch import Tensor

from .bodies_cut import Cut, cut_triangles, heights

_PRODUCTS = 1 << 18  # of vertices and directions that are held at once


@dataclass(frozen=True, eq=False)
class Mesh:
    """One closed surface of triangles, or a batch of them with the same faces.

    Parameters
    ----------
    vertices : Tensor (*batch, v, 3)
        In any unit of length; the results are in its powers.
    faces : integer Tensor (f, 3)
        Places of the corners, counter-clockwise from outside.
    edges : integer Tensor (e, 2), optional
        The true edges of a convex polyhedron, not those between triangles of one side; sections then have `sides`.

    Raises
    ------
    ValueError
        If shapes are wrong or a vertex is not finite.
    """

    vertices: Tensor
    faces: Tensor
    edges: Tensor | None = None

    def __post_init__(self) -> None:
        if self.vertices.ndim < 2 or self.vertices.shape[-1] != 3 or self.faces.ndim != 2 or self.faces.shape[-1] != 3:
            shapes = f"{tuple(self.vertices.shape)} and {tuple(self.faces.shape)}"
            raise ValueError(f"Invalid vertices and faces of shapes {shapes}. Give (*batch, v, 3) and (f, 3).")
        if not bool(torch.isfinite(self.vertices).all()):
            raise ValueError("Invalid mesh with missing or infinite vertices. Every coordinate must be finite.")

    @property
    def batch(self) -> tuple[int, ...]:
        """Shape of the batch of bodies."""
        return tuple(self.vertices.shape[:-2])

    @property
    def volume(self) -> Tensor:
        """Volume ``(*batch)``, by Gauss' theorem."""
        a, b, c = self._corners()
        return (a * torch.linalg.cross(b, c)).sum((-1, -2)) / 6

    @property
    def surface(self) -> Tensor:
        """Area of the surface ``(*batch)``."""
        a, b, c = self._corners()
        return 0.5 * torch.linalg.norm(torch.linalg.cross(b - a, c - a), dim=-1).sum(-1)

    @cached_property
    def diameter(self) -> Tensor:
        """The largest caliper ``(*batch)``: the largest distance of two vertices."""
        with torch.no_grad():
            bodies = self.vertices.reshape(-1, *self.vertices.shape[-2:])
            return torch.stack([torch.cdist(v, v).amax() for v in bodies]).reshape(self.batch)

    def extent(self, n: Tensor) -> tuple[Tensor, Tensor]:
        """The least and the largest n . x ``(*batch, s)`` over the body, for unit vectors n ``(*batch, s, 3)``."""
        flat, directions = self.vertices.reshape(-1, *self.vertices.shape[-2:]), n.reshape(-1, *n.shape[-2:])
        size = max(1, _PRODUCTS // flat[..., 0].numel())
        parts = [_extent(flat, part) for part in directions.split(size, dim=1)]
        low, high = (torch.cat(ends, -1).reshape(n.shape[:-1]) for ends in zip(*parts, strict=True))
        return low, high

    def cut(self, n: Tensor, p: Tensor) -> Cut:
        """Sections by the planes n . x = p, n ``(*batch, s, 3)``, p ``(*batch, s)``; all its pieces together."""
        flat = self.vertices.reshape(-1, *self.vertices.shape[-2:])
        normals, offsets = n.reshape(-1, *n.shape[-2:]), p.reshape(len(flat), p.shape[-1])
        area, perimeter, aspect, sides = cut_triangles(flat, self.faces, self.edges, normals, offsets)
        counted = None if sides is None else sides.reshape(p.shape)
        return Cut(area.reshape(p.shape), perimeter.reshape(p.shape), aspect.reshape(p.shape), counted)

    def mean_caliper(self) -> Tensor:
        """Mean distance H ``(*batch)`` of two parallel planes that touch the convex hull, over all directions.

        H = sum over the hull's edges of length times exterior angle / (4 pi) (Santalo 1976, eq. 13.60). Not
        differentiable.
        """
        bodies = self.vertices.detach().reshape(-1, *self.vertices.shape[-2:])
        return bodies.new_tensor([_hull_caliper(v.double().cpu().numpy()) for v in bodies]).reshape(self.batch)

    def _corners(self) -> tuple[Tensor, Tensor, Tensor]:
        a, b, c = (self.vertices[..., corner, :] for corner in self.faces.unbind(-1))
        return a, b, c


def _extent(vertices: Tensor, n: Tensor) -> tuple[Tensor, Tensor]:
    """Ends ``(b, s)`` of n . x over vertices ``(b, v, 3)`` for n ``(b, s, 3)``."""
    if not (torch.is_grad_enabled() and vertices.requires_grad):
        h = heights(vertices, n)
        return h.amin(1), h.amax(1)
    with torch.no_grad():  # only the vertices that are touched need be kept for the gradient
        h = heights(vertices, n)
        touched = torch.stack([h.argmin(1), h.argmax(1)])
    low, high = ((vertices.gather(1, place[..., None].expand(-1, -1, 3)) * n).sum(-1) for place in touched.unbind())
    return low, high


def _hull_caliper(points: np.ndarray) -> float:
    hull = ConvexHull(points)
    face, other = np.repeat(np.arange(len(hull.simplices)), 3), hull.neighbors.reshape(-1)
    # neighbour j of a triangle lies opposite to its corner j
    ends = points[np.stack([hull.simplices[:, [1, 2]], hull.simplices[:, [2, 0]], hull.simplices[:, [0, 1]]], 1)]
    length = np.linalg.norm(ends[:, :, 0] - ends[:, :, 1], axis=-1).reshape(-1)
    normal = hull.equations[:, :3]
    sine = np.linalg.norm(np.cross(normal[face], normal[other]), axis=-1)
    angle = np.arctan2(sine, (normal[face] * normal[other]).sum(-1))
    return float((length * angle).sum() / 2 / (4 * math.pi))  # every edge was met twice


@lru_cache(maxsize=32)
def geodesic_sphere(frequency: int) -> tuple[Tensor, Tensor]:
    """Directions ``(10 f^2 + 2, 3)``, float64, and faces ``(20 f^2, 3)`` of an icosahedron with its edges cut in f.

    Raises
    ------
    ValueError
        If the frequency is not a positive integer.
    """
    if isinstance(frequency, bool) or not isinstance(frequency, int) or frequency < 1:
        raise ValueError(
            f"Invalid frequency {frequency!r}. The edges are cut into a whole number of parts, at least 1."
        )
    corners = _icosahedron()
    hull = ConvexHull(corners)
    f = frequency
    weights = np.array([(i, j, f - i - j) for i in range(f + 1) for j in range(f + 1 - i)])
    points = np.einsum("wk,tkc->twc", weights / f, corners[hull.simplices]).reshape(-1, 3)
    points /= np.linalg.norm(points, axis=1, keepdims=True)
    _, first, place = np.unique(np.round(points, 9), axis=0, return_index=True, return_inverse=True)
    faces = place.reshape(len(hull.simplices), -1)[:, _cells(f)].reshape(-1, 3)
    u = points[first]
    inward = np.linalg.det(u[faces]) < 0
    faces[inward] = faces[inward][:, [0, 2, 1]]
    with torch.inference_mode(False):
        return torch.from_numpy(u), torch.from_numpy(faces)


def _icosahedron() -> np.ndarray:
    golden = (1 + math.sqrt(5)) / 2
    corners = [(0, s, t * golden) for s in (-1, 1) for t in (-1, 1)]
    every = np.array([np.roll(c, shift) for c in corners for shift in range(3)])
    return every / np.linalg.norm(every, axis=1, keepdims=True)


def _cells(f: int) -> np.ndarray:
    """The f^2 small triangles of a large one, as places in the list of its (f + 1)(f + 2)/2 points."""
    start = np.cumsum([0, *(f + 1 - i for i in range(f))])  # of row i
    upright = [(start[i] + j, start[i] + j + 1, start[i + 1] + j) for i in range(f) for j in range(f - i)]
    turned = [(start[i] + j + 1, start[i + 1] + j + 1, start[i + 1] + j) for i in range(f) for j in range(f - i - 1)]
    return np.array(upright + turned)
