"""Sections of spheres whose log density is linear in its parameters, on one grid that serves every parameter."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property
from hashlib import blake2b

import torch
from torch import Tensor

from .sizes import trapezoid

_POINTS = 6  # of a local interpolation by a polynomial
_STEPS = 256  # of the trapezoid rule, which is done once
_KEPT = 4096  # lists of radii whose weights are kept
_WIDE = 8  # columns of a product at least: fewer would take another way through BLAS


@dataclass(frozen=True, eq=False)
class SectionGrid:
    r"""From theta to the density of sections on a grid of radii, by two fixed matrices with an exponential between.

    With R f(R) = exp(S theta + b) / Z, the chord integral
    :math:`\int_0^\infty f(r \cosh u) \, du` is a linear map W of R f(R) on a fine grid of ln R, so that nothing is
    evaluated anew for each theta but Q exponentials. Between the radii of the grid, which are equally spaced in
    ln(r + c), ln of the integral is interpolated by polynomials through six of them; a sum over profiles then is a
    fixed weighted sum over the grid.

    Attributes
    ----------
    r : Tensor (Q,)
        Radii of sections; the first is as good as 0.
    cell : Tensor (Q,)
        dr of the trapezoid rule.
    spline, offset : Tensor (P, K), (P,)
        S and b on the grid of ln R.
    chord : Tensor (Q, P)
        W.
    spline_r, offset_r : Tensor (Q, K), (Q,)
        S and b at the radii.
    step : float
        Of the grid of ln R.
    small : float
        c.
    """

    r: Tensor
    cell: Tensor
    spline: Tensor
    offset: Tensor
    chord: Tensor
    spline_r: Tensor
    offset_r: Tensor
    step: float
    small: float

    def weights(self, radii: Tensor, mask: Tensor) -> Tensor:
        """The sum over radii ``(B, m)`` of a function is the sum over its values on the grid times these, ``(B, Q)``.

        Counting those of the mask, which must not lie beyond the grid. Kept for the next call, list by list.
        """
        keys = [blake2b(row.tobytes(), digest_size=16).digest() for row in torch.where(mask, radii, 0).cpu().numpy()]
        new = [i for i, key in enumerate(keys) if key not in self._known]
        if len(self._known) + len(new) > _KEPT:
            self._known.clear()
            new = list(range(len(keys)))
        if new:
            self._known.update(zip([keys[i] for i in new], self._weights(radii[new], mask[new]), strict=True))
        return torch.stack([self._known[key] for key in keys]).to(radii)

    def interpolate(self, values: Tensor, radii: Tensor) -> Tensor:
        """Values ``(R, m)`` at radii ``(R, m)``, of those on the grid ``(R, Q)``."""
        index, weight = self._nearest(radii)
        return (values.gather(1, index.flatten(1)).reshape(index.shape) * weight).sum(-1)

    def _weights(self, radii: Tensor, mask: Tensor) -> Tensor:
        index, weight = self._nearest(radii)
        out = radii.new_zeros(len(radii), len(self.r))
        return out.scatter_add(1, index.flatten(1), (weight * mask[..., None]).flatten(1))

    def _nearest(self, radii: Tensor) -> tuple[Tensor, Tensor]:
        """Places on the grid and weights, both ``(*, 6)``, for each radius ``(*)``."""
        begin, step = self._axis
        t = ((radii + self.small).log() - begin) / step
        first = (t.floor() - (_POINTS // 2 - 1)).clamp(0, len(self.r) - _POINTS)
        return first.long()[..., None] + torch.arange(_POINTS, device=t.device), lagrange(t - first)

    @cached_property
    def _known(self) -> dict[bytes, Tensor]:
        return {}

    def rates(self, theta: Tensor, thickness: Tensor | None) -> Tensor:
        """ln of profiles per area and radius for one sphere in the unit volume, less ln r, ``(R, Q)``.

        Of theta ``(R, K)``: ``2 integral f(r cosh u) du + t f(r) / r``; thickness t is ``(R,)``.
        """
        phi, top = self._phi(theta)
        rate = 2 * columns(self.chord, phi)
        if thickness is not None:
            rate = rate + thickness[:, None] * self._density(theta, top)
        return (rate / (self.step * phi.sum(-1, keepdim=True))).log()

    def information(self, theta: Tensor, thickness: Tensor | None, smallest: Tensor | None) -> tuple[Tensor, Tensor]:
        """Mean ``(R, K)`` and covariance ``(R, K, K)`` of the derivative of ln(rate), over the profiles seen."""
        phi, top = self._phi(theta)
        rate = 2 * columns(self.chord, phi)
        slope = 2 * torch.stack([self.chord @ (row[:, None] * self.spline) for row in phi])
        if thickness is not None:
            full = thickness[:, None] * self._density(theta, top)
            rate, slope = rate + full, slope + full[..., None] * self.spline_r
        of_Z = columns(self.spline.mT, phi) / phi.sum(-1, keepdim=True)
        slope = slope / rate.clamp(min=torch.finfo(rate.dtype).tiny)[..., None] - of_Z[:, None]
        share = rate * self.r * self.cell
        if smallest is not None:
            share = share * (self.r > smallest[:, None])
        share = share / share.sum(-1, keepdim=True).clamp(min=torch.finfo(rate.dtype).tiny)
        mean = (share[..., None] * slope).sum(1)
        centred = (slope - mean[:, None]) * share.sqrt()[..., None]
        return mean, torch.stack([row.mT @ row for row in centred])

    def _phi(self, theta: Tensor) -> tuple[Tensor, Tensor]:
        """exp(S theta + b) ``(R, P)`` in units of its largest value, and the logarithm ``(R, 1)`` of that."""
        value = columns(self.spline, theta) + self.offset
        top = value.detach().amax(-1, keepdim=True)
        return (value - top).exp(), top

    def _density(self, theta: Tensor, top: Tensor) -> Tensor:
        """f(r) / r ``(R, Q)``, in the same units."""
        return (columns(self.spline_r, theta) + (self.offset_r - 2 * self.r.log()) - top).exp()

    @property
    def _axis(self) -> tuple[float, float]:
        """The first point and the spacing in ln(r + c)."""
        ends = [math.log(float(r) + self.small) for r in (self.r[0], self.r[-1])]
        return ends[0], (ends[1] - ends[0]) / (len(self.r) - 1)


def columns(matrix: Tensor, rows: Tensor) -> Tensor:
    """``rows @ matrix^T`` ``(R, n)`` of rows ``(R, k)``, to the same bits however many rows there are."""
    missing = (-len(rows)) % _WIDE
    wide = torch.cat([rows, rows.new_zeros(missing, rows.shape[-1])]) if missing else rows
    return torch.cat([part @ matrix.mT for part in wide.split(_WIDE)])[: len(rows)]


def lagrange(t: Tensor) -> Tensor:
    """Weights ``(*, 6)`` of the values at 0, 1, ..., 5 in the polynomial through them, at t ``(*)``."""
    parts = []
    for i in range(_POINTS):
        others = [j for j in range(_POINTS) if j != i]
        scale = math.prod(i - j for j in others)
        parts.append(math.prod((t - j for j in others), start=torch.ones_like(t)) / scale)
    return torch.stack(parts, -1)


def chord_matrix(r: Tensor, s: Tensor, low: Tensor) -> Tensor:
    """W ``(Q, P)``: ``integral f(r cosh u) du`` from the values of R f(R) at equally spaced s = ln R.

    Parameters
    ----------
    r : Tensor (Q,)
    s : Tensor (P,)
        f is negligible beyond both its ends.
    low : Tensor (Q,)
        Where the integral begins, as a radius: r, or the first at which f is not negligible.
    """
    begin, end = torch.arccosh((low / r).clamp(min=1)), torch.arccosh((s[-1].exp() / r).clamp(min=1))
    u, log_weight = trapezoid(begin, end, _STEPS)
    R = r[:, None] * torch.cosh(u)
    t = (R.log() - s[0]) / (s[1] - s[0])
    first = (t.floor() - (_POINTS // 2 - 1)).clamp(0, len(s) - _POINTS)
    weight = lagrange(t - first) * (log_weight.exp() / R)[..., None]
    index = first.long()[..., None] + torch.arange(_POINTS)
    return torch.zeros(len(r), len(s), dtype=r.dtype).scatter_add(1, index.flatten(1), weight.flatten(1))
