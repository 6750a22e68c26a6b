"""Plane sections of triangle meshes: area, perimeter and aspect of everything that one plane cuts.

A plane crosses a triangle in a segment; the oriented segments of all triangles are the boundary of the section, so that
its area and moments are sums over segments (Green's theorem) with no need to join them into loops: several pieces and
holes come out right by themselves. The vertex that lies alone on its side of the plane names the two crossed edges.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

_BLOCK = 1 << 19  # vertices times planes that are held at once
_LONE = (0, 0, 1, 2, 2, 1, 0, 0)  # which corner is alone, by the code s_0 + 2 s_1 + 4 s_2 of the corners' sides
_ORIENTATION = (0, 1, 1, -1, 1, -1, -1, 0)  # of the segment from edge (lone, next) to (lone, last)


class Cut(NamedTuple):
    """What planes show of bodies: area, perimeter, aspect ``(*batch, s)`` and sides (of convex polyhedra, else None).

    The aspect is the major over the minor axis of the ellipse with the section's second moments, at least 1.
    """

    area: Tensor
    perimeter: Tensor
    aspect: Tensor
    sides: Tensor | None = None


class _Segments(NamedTuple):
    """Oriented pieces of boundary: which section ``(N,)``, sign, ends in the plane's own coordinates."""

    section: Tensor
    sign: Tensor
    ax: Tensor
    ay: Tensor
    bx: Tensor
    by: Tensor


def cut_triangles(vertices: Tensor, faces: Tensor, edges: Tensor | None, n: Tensor, p: Tensor) -> Cut:
    """Sections of closed meshes by the planes n . x = p.

    Parameters
    ----------
    vertices : Tensor (b, v, 3)
    faces : integer Tensor (f, 3)
    edges : integer Tensor (e, 2) or None
        Edges whose crossings are counted as the section's sides.
    n : Tensor (b, s, 3)
        Unit normals.
    p : Tensor (b, s)
        Distances from the origin, signed.

    Returns
    -------
    Cut
        Of tensors (b, s).
    """
    b, v, s = len(vertices), vertices.shape[1], n.shape[1]
    columns, rows = max(1, min(s, _BLOCK // v)), max(1, _BLOCK // (v * s))
    bodies = []
    for i in range(0, b, rows):
        cuts = [
            _cut_block(vertices[i : i + rows], faces, edges, n[i : i + rows, j : j + columns], q)
            for j, q in zip(range(0, s, columns), p[i : i + rows].split(columns, dim=1), strict=True)
        ]
        bodies.append([None if part[0] is None else torch.cat(part, -1) for part in zip(*cuts, strict=True)])
    area, perimeter, aspect, sides = zip(*bodies, strict=True)
    counted = None if edges is None else torch.cat(sides)
    return Cut(torch.cat(area), torch.cat(perimeter), torch.cat(aspect), counted)


def _cut_block(vertices: Tensor, faces: Tensor, edges: Tensor | None, n: Tensor, p: Tensor) -> Cut:
    """The same for as many bodies and planes as fit the cache."""
    b, s = p.shape
    height = heights(vertices, n) - p[:, None]
    above = height > 0
    found = _segments(vertices, height, above, faces, plane_axes(n))
    sides = None if edges is None else (above[:, edges[:, 0]] ^ above[:, edges[:, 1]]).sum(1)
    area, perimeter, aspect = (q.reshape(b, s) for q in _measure(found, b * s))
    return Cut(area, perimeter, aspect, sides)


def heights(vertices: Tensor, n: Tensor) -> Tensor:
    """n . x ``(b, v, s)`` of vertices ``(b, v, 3)`` along directions ``(b, s, 3)``."""
    return (vertices[0] @ n[0].mT)[None] if len(vertices) == 1 else vertices @ n.mT  # the batched product is slower


def plane_axes(n: Tensor) -> tuple[Tensor, Tensor]:
    """Two unit vectors ``(*, 3)`` that make a right-handed frame with n ``(*, 3)`` (Duff et al. 2017)."""
    x, y, z = n.unbind(-1)
    sign = torch.where(z < 0, -1.0, 1.0).to(n)
    a = -1 / (sign + z)
    c = x * y * a
    return torch.stack([1 + sign * x * x * a, sign * c, -sign * x], -1), torch.stack([c, sign + y * y * a, -y], -1)


def _segments(vertices: Tensor, height: Tensor, above: Tensor, faces: Tensor, axes: tuple[Tensor, Tensor]) -> _Segments:
    """Where the planes cross the triangles; `height` and `above` (b, v, s), `axes` (b, s, 3) each."""
    v, s = above.shape[1:]
    with torch.no_grad():
        body, column, sign, corner = _crossed(above, faces)
        row, section = body[:, None] * v + corner, body * s + column
        lone, following, last = (row * s + column[:, None]).unbind(1)
    h = height.take(lone)
    to_next, to_last = h / (h - height.take(following)), h / (h - height.take(last))
    ends = [h.new_zeros(()) for _ in range(4)]
    for k in range(3):  # a coordinate at a time: rows of three would be gathered more slowly
        x, x_next, x_last = vertices[..., k].reshape(-1).index_select(0, row.T.reshape(-1)).reshape(3, -1)
        x_a, x_b = x + to_next * (x_next - x), x + to_last * (x_last - x)
        e_1, e_2 = (e[..., k].take(section) for e in axes)
        ends = [old + new for old, new in zip(ends, (e_1 * x_a, e_2 * x_a, e_1 * x_b, e_2 * x_b), strict=True)]
    return _Segments(section, sign, *ends)


def _crossed(above: Tensor, faces: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Of every triangle that a plane crosses: body, plane, sign ``(N,)``, corners ``(N, 3)``, the lone one first.

    Few of all pairs of triangle and plane are crossed: they are looked for eight planes at a time, as one word of eight
    bytes.
    """
    side = torch.nn.functional.pad(above.view(torch.uint8), (0, -above.shape[2] % 8))
    words = side.view(torch.int64)
    one, two, three = (words.index_select(1, faces[:, corner]) for corner in range(3))
    mixed = one.bitwise_xor_(two).bitwise_or_(two.bitwise_xor_(three)).reshape(-1)
    word = torch.nonzero(mixed)[:, 0]
    row, place = torch.nonzero(mixed[word].view(torch.uint8).reshape(-1, 8)).unbind(1)
    rest, column = word // words.shape[2], word % words.shape[2] * 8
    body, face = (rest // len(faces))[row], (rest % len(faces))[row]
    column = column[row] + place

    v, s = side.shape[1:]
    corners = (body[:, None] * v + faces.index_select(0, face)) * s + column[:, None]
    kind = side.take(corners).long() @ torch.tensor([1, 2, 4], device=side.device)
    turned = torch.stack([faces.roll(-k, 1) for k in range(3)], 1).reshape(-1, 3)  # row 3 face + lone corner
    corner = turned.index_select(0, 3 * face + torch.tensor(_LONE, device=faces.device)[kind])
    return body, column, torch.tensor(_ORIENTATION, device=faces.device)[kind], corner


def _measure(found: _Segments, count: int) -> tuple[Tensor, Tensor, Tensor]:
    """Area, perimeter and aspect ``(count,)`` from the boundary of each section."""
    section, sign, ax, ay, bx, by = found

    def total(values: Tensor) -> Tensor:
        return values.new_zeros(count).index_add(0, section, values)

    length = torch.hypot(bx - ax, by - ay)
    perimeter = total(length)
    with (
        torch.no_grad()
    ):  # about a point in its midst a small section keeps its digits; the answer does not depend on it
        half = 0.5 * length / perimeter.clamp(min=torch.finfo(length.dtype).tiny)[section]
        x, y = total(half * (ax + bx))[section], total(half * (ay + by))[section]
    ax, bx, ay, by = ax - x, bx - x, ay - y, by - y
    twice = sign.to(ax) * (ax * by - bx * ay)
    area = 0.5 * total(twice)
    x, y = total((ax + bx) * twice) / 6, total((ay + by) * twice) / 6
    xx = total((ax * ax + ax * bx + bx * bx) * twice) / 12 - x * x / area
    yy = total((ay * ay + ay * by + by * by) * twice) / 12 - y * y / area
    xy = total((2 * (ax * ay + bx * by) + ax * by + bx * ay) * twice) / 24 - x * y / area
    return area, perimeter, _aspect(xx, yy, xy)


def _aspect(xx: Tensor, yy: Tensor, xy: Tensor) -> Tensor:
    """Ratio of the axes of the ellipse with these second moments; 1 for what is smaller than rounding."""
    mean = 0.5 * (xx + yy)
    spread = root_or_zero(0.25 * (xx - yy) ** 2 + xy * xy)
    ratio = (mean + spread) / (mean - spread)
    good = (mean - spread > 0) & torch.isfinite(ratio)
    return torch.sqrt(torch.where(good, ratio, torch.ones_like(ratio)))


def root_or_zero(x: Tensor) -> Tensor:
    """Square root, with value and slope 0 where x is not positive."""
    positive = x > 0
    return torch.where(positive, torch.sqrt(torch.where(positive, x, torch.ones_like(x))), torch.zeros_like(x))
