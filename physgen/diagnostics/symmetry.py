"""Symmetries: whether a function does not change under a group, and coordinates that remove what is arbitrary."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from ..random import normal, single_stream

Transform = Callable[[Tensor], Tensor]


class SymmetryCheck(NamedTuple):
    """Result of `symmetry_check`.

    Attributes
    ----------
    holds : bool
        Whether every element of the group leaves the function as it is, to the tolerance.
    error : Tensor (elements,)
        Largest |f(g x) - f(x)| of each element, over the largest |f(x)|.
    """

    holds: bool
    error: Tensor


def symmetry_check(
    fn: Transform, group: Sequence[Transform | Tensor], x: Tensor, *, tolerance: float = 1e-6
) -> SymmetryCheck:
    """Whether f(g x) = f(x) for elements g of a group.

    Parameters
    ----------
    fn : callable
        A forward model, a canonical form, a network: ``(*, n)`` or any other shape to a tensor.
    group : sequence of callable or Tensor (d, d)
        Elements, each a function of x or a matrix that acts on the last axis; the generators are enough.
    x : Tensor
        Inputs to try.
    tolerance : float
        Of the relative error.

    Returns
    -------
    SymmetryCheck

    Raises
    ------
    ValueError
        If the group is empty, f changes its shape, or f(x) is not finite.
    """
    if not group:
        raise ValueError("Invalid group without an element. Give at least one transformation.")
    before = fn(x)
    if not bool(torch.isfinite(before).all()):
        raise ValueError("Invalid function: f(x) has NaN or infinite values. Try other inputs.")
    scale = before.abs().amax().clamp(min=torch.finfo(before.dtype).tiny)
    errors = []
    for g in group:
        after = fn(x @ g.to(x).mT if isinstance(g, Tensor) else g(x))
        if after.shape != before.shape:
            raise ValueError(f"Invalid function: shape {tuple(after.shape)} after a transformation. It must stay.")
        errors.append(((after - before).abs().amax() / scale).nan_to_num(nan=torch.inf))
    error = torch.stack(errors)
    return SymmetryCheck(bool((error <= tolerance).all()), error)


def random_rotations(
    count: int, dim: int = 3, *, reflections: bool = False, seed: int = 0, dtype: torch.dtype | None = None
) -> Tensor:
    """Rotations ``(count, dim, dim)`` drawn uniformly, by QR of normal matrices (Mezzadri 2007, section 5).

    With `reflections`, every second one has the determinant -1.
    """
    if count < 1 or dim < 2:
        raise ValueError(f"Invalid number of rotations {count} in {dim} dimensions. Give at least 1 in 2.")
    a = normal((count, dim, dim), single_stream(), seed=seed, dtype=dtype or torch.get_default_dtype())
    q, r = torch.linalg.qr(a)
    q = q * r.diagonal(dim1=-2, dim2=-1).sign()[:, None, :]
    wanted = torch.ones(count, dtype=q.dtype)
    if reflections:
        wanted[1::2] = -1
    q[..., 0] = q[..., 0] * (torch.linalg.det(q).sign() * wanted)[:, None]
    return q


def canonical_sign(x: Tensor) -> Tensor:
    """Choose the sign of vectors that mean the same as their negatives (an orbital, an eigenvector).

    Parameters
    ----------
    x : Tensor (*, n)

    Returns
    -------
    Tensor (*, n)
        x or -x: the first element whose magnitude exceeds half the largest is positive. That rule also decides where
        the largest peaks of both signs are equal, as in an odd orbital.
    """
    size = x.abs()
    first = (size > size.amax(-1, keepdim=True) / 2).to(torch.int8).argmax(-1, keepdim=True)
    sign = x.gather(-1, first).sign()
    return x * torch.where(sign == 0, 1, sign)


class Canonical(NamedTuple):
    """Result of `canonical_orientation`.

    Attributes
    ----------
    points : Tensor (*, N, d)
        Centred, turned into the canonical frame.
    rotation : Tensor (*, d, d)
        Orthogonal, rows the axes of that frame: points = (given - centre) @ rotation^T.
    clearness : Tensor (*)
        How far the orientation is from being arbitrary: the smallest gap between moments of inertia, or skewness
        along an axis, as a fraction. Near 0 (a sphere, a symmetric particle) there is no canonical orientation.
    """

    points: Tensor
    rotation: Tensor
    clearness: Tensor


def canonical_orientation(points: Tensor, weights: Tensor | None = None, *, reflections: bool = False) -> Canonical:
    """Turn a shape into its own frame, so that its position and orientation no longer matter.

    Axes are the principal ones, the longest first; their directions make the third moments positive. Without
    reflections the last direction follows from the others, so that mirror images stay different.

    Parameters
    ----------
    points : Tensor (*, N, d)
        Of the particle: vertices, voxels, atoms; more than d of them. Their order is kept.
    weights : Tensor (*, N), optional
        Mass or density of each, at least 0; equal by default.
    reflections : bool
        Whether a mirror image means the same.

    Returns
    -------
    Canonical

    Raises
    ------
    ValueError
        If points are too few or not finite, or weights negative or all 0.
    """
    if points.ndim < 2 or points.shape[-2] <= points.shape[-1] or not bool(torch.isfinite(points).all()):
        raise ValueError(f"Invalid points of shape {tuple(points.shape)}. Give (*, N, d), finite, with N above d.")
    w = torch.ones_like(points[..., 0]) if weights is None else weights.to(points).expand(points.shape[:-1])
    if bool((w < 0).any()) or not bool((w.sum(-1) > 0).all()):
        raise ValueError("Invalid weights. They must be at least 0, and not 0 everywhere.")
    w = (w / w.sum(-1, keepdim=True))[..., None]
    centred = points - (w * points).sum(-2, keepdim=True)
    moments, axes = torch.linalg.eigh((w * centred).mT @ centred)
    moments, axes = moments.flip(-1), axes.flip(-1)
    along = centred @ axes
    third = (w * along**3).sum(-2)
    sign = torch.where(third < 0, -1, 1).to(points)
    if not reflections:
        # the direction of the least skewed axis is the one that the others decide
        free = (third.abs() / moments.clamp(min=1e-300) ** 1.5).argmin(-1, keepdim=True)
        turn = torch.linalg.det(axes) * sign.prod(-1)
        sign = sign.scatter(-1, free, sign.gather(-1, free) * turn.sign()[..., None])
    return Canonical(
        along * sign[..., None, :], (axes * sign[..., None, :]).mT, _clearness(moments, third, reflections)
    )


def _clearness(moments: Tensor, third: Tensor, reflections: bool) -> Tensor:
    gap = (moments[..., :-1] - moments[..., 1:]).amin(-1) / moments[..., 0].clamp(min=torch.finfo(moments.dtype).tiny)
    skew = third.abs() / moments.clamp(min=torch.finfo(moments.dtype).tiny) ** 1.5
    # in a proper frame one direction follows from the others
    needed = skew if reflections else skew.sort(-1).values[..., 1:]
    return torch.minimum(gap, needed.amin(-1))
