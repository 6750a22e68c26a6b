"""Boxes and convex polyhedra, as meshes that know their true edges."""

from __future__ import annotations

import itertools

import numpy as np
import torch
from scipy.spatial import ConvexHull, QhullError
from torch import Tensor

from .bodies_mesh import Mesh

_FLAT = 1e-9  # of the sine between the normals of two triangles that belong to one side


def box(sides: Tensor) -> Mesh:
    """Boxes about the origin with sides ``(*batch, 3)`` along x, y and z; differentiable in them.

    Raises
    ------
    ValueError
        If the shape is wrong, or a side is not positive and finite.
    """
    if sides.ndim == 0 or sides.shape[-1] != 3:
        raise ValueError(f"Invalid sides of shape {tuple(sides.shape)}. Give (*batch, 3).")
    if not bool((torch.isfinite(sides) & (sides > 0)).all()):
        raise ValueError("Invalid sides of a box. Each must be positive and finite.")
    corners = torch.tensor(list(itertools.product((-0.5, 0.5), repeat=3)), dtype=torch.float64)
    hull = ConvexHull(corners.numpy())
    faces, edges = _triangles(hull, sides.device)
    return Mesh(corners.to(sides) * sides[..., None, :], faces, edges)


def convex_polyhedron(points: Tensor) -> Mesh:
    """The convex hull of points ``(v, 3)``; differentiable in those that are its corners.

    Points inside are kept as vertices that no face uses.

    Raises
    ------
    ValueError
        If the shape is wrong, a coordinate is not finite, or the points do not span a volume.
    """
    if points.ndim != 2 or points.shape[-1] != 3 or not bool(torch.isfinite(points).all()):
        raise ValueError(f"Invalid points of shape {tuple(points.shape)}. Give (v, 3), every coordinate finite.")
    place = points.detach().double().cpu().numpy()
    try:
        hull = ConvexHull(place)
    except (QhullError, ValueError) as error:
        raise ValueError(
            "Invalid points that span no volume. Give at least four that do not lie in a plane."
        ) from error
    return Mesh(points, *_triangles(hull, points.device))


def _triangles(hull: ConvexHull, device: torch.device) -> tuple[Tensor, Tensor]:
    faces, edges = (torch.from_numpy(a.astype(np.int64)).to(device) for a in (_outward(hull), _edges(hull)))
    return faces, edges


def _outward(hull: ConvexHull) -> np.ndarray:
    """Triangles (f, 3) with their corners counter-clockwise from outside."""
    a, b, c = np.moveaxis(hull.points[hull.simplices], 1, 0)
    inward = (np.cross(b - a, c - a) * hull.equations[:, :3]).sum(-1) < 0
    return np.where(inward[:, None], hull.simplices[:, [0, 2, 1]], hull.simplices)


def _edges(hull: ConvexHull) -> np.ndarray:
    """Edges (e, 2) between triangles that do not lie in one plane."""
    normal, edges = hull.equations[:, :3], set()
    for face, neighbours in enumerate(hull.neighbors):
        for corner, other in enumerate(neighbours):
            if np.linalg.norm(np.cross(normal[face], normal[other])) > _FLAT:
                edges.add(tuple(sorted(np.delete(hull.simplices[face], corner).tolist())))
    return np.array(sorted(edges))
