"""Free-form sphere sizes: the logarithm of the density is a cubic spline of the logarithm of the size."""

from __future__ import annotations

import math
from functools import cached_property

import numpy as np
import torch
from torch import Tensor

from physgen.space import Block

from .section_grid import SectionGrid, chord_matrix, columns
from .sizes import DROP, Sizes, spread

_FINE = 6  # points of a sum for each knot
_MARGIN = 6  # knot spacings beyond either end, where the density has fallen by exp(-18)
_GRID_FINE, _GRID_MARGIN = 8, 10  # the same for sections, whose likelihood looks further into the tails
_GRID_RADII = 6  # radii of the grid of sections for each knot


class FreeSizes(Sizes):
    """f(R) R = exp(spline(ln R)) / Z between two radii; beyond them it falls as a normal density of one knot spacing.

    theta holds the values of the spline at K knots, equally spaced in ln R; a number added to all of them changes
    nothing, as Z normalises. Natural at both ends.

    Parameters
    ----------
    low, high : float
        The first and the last knot, as radii in um.
    knots : int
        K.

    Raises
    ------
    ValueError
        If low >= high, low <= 0, or there are fewer than 6 knots.
    """

    steps = 64
    tolerance = 2e-5  # a spline is no analytic function: its interpolant converges as a power of the degree

    def __init__(self, low: float, high: float, knots: int = 40) -> None:
        if not 0 < low < high < math.inf:
            raise ValueError(f"Invalid range of sizes from {low:g} to {high:g}. Must be positive, and increase.")
        if knots < 6:
            raise ValueError(f"Invalid number of knots {knots}. Must be at least 6.")
        self.low, self.high, self.knots = float(low), float(high), int(knots)
        self.causes = (Block("log_density", "1", long_name="log density of ln(size)", shape=(knots,)),)
        self.lengths = (False,) * knots

    def __repr__(self) -> str:
        return f"FreeSizes({self.low:g}, {self.high:g}, {self.knots})"

    @property
    def spacing(self) -> float:
        """Of the knots, in ln R."""
        return math.log(self.high / self.low) / (self.knots - 1)

    def log_density(self, R: Tensor, theta: Tensor) -> Tensor:
        s = R.log()
        log_Z = self._log_sum(theta, 0)
        return self._spline(s, theta) - s - spread(log_Z, R)

    def log_moment(self, k: float, theta: Tensor) -> Tensor:
        return self._log_sum(theta, k) - self._log_sum(theta, 0)

    def span(self, r: Tensor, theta: Tensor) -> tuple[Tensor, Tensor]:
        reach, s = math.sqrt(2 * DROP) * self.spacing, r.log()
        high = torch.sqrt((s - math.log(self.high)).clamp(min=0).square() + reach**2)
        return r.clamp(min=self.low * math.exp(-reach)), self.high * torch.exp(high)

    def quantile(self, z: Tensor, theta: Tensor, *, biased: bool = False) -> Tensor:
        """By interpolation of the cumulative sum over a fine grid."""
        s, share = self._shares(theta.detach(), 1 if biased else 0)
        flat = z.reshape(*share.shape[:-1], -1)
        below = share.cumsum(-1)
        p = torch.special.ndtr(flat).contiguous()
        i = torch.searchsorted(below.contiguous(), p).clamp(max=len(s) - 1)
        part = (p - below.gather(-1, i)) / share.gather(-1, i).clamp(min=torch.finfo(p.dtype).tiny)
        return torch.exp(s[i] + (s[1] - s[0]) * (part.clamp(-1, 0) + 0.5)).reshape(z.shape)

    def typical(self, theta: Tensor, *, biased: bool = False) -> tuple[Tensor, Tensor]:
        """The knots, and one spacing beyond."""
        s = math.log(self.low) + self.spacing * torch.arange(-1, self.knots + 1, dtype=theta.dtype, device=theta.device)
        s = s.expand(*theta.shape[:-1], len(s))
        weight = torch.softmax(self._spline(s, theta.detach()) + (s if biased else 0), -1)
        return s.exp(), weight

    def _shares(self, theta: Tensor, k: float) -> tuple[Tensor, Tensor]:
        """A fine grid of ln R ``(Q,)``, and the share ``(*, Q)`` of R^k f at each of its points."""
        s = self._grid.to(theta)
        return s, torch.softmax(self._spline(s.expand(*theta.shape[:-1], len(s)), theta) + k * s, -1)

    def _log_sum(self, theta: Tensor, k: float) -> Tensor:
        """ln of the integral of exp(spline) R^k over ln R, by the trapezoid rule."""
        s = self._grid.to(theta)
        basis, offset = (a.to(theta) for a in self._grid_basis)
        values = columns(basis, theta.reshape(-1, self.knots)) + (offset + k * s)
        return torch.logsumexp(values, -1).reshape(theta.shape[:-1]) + math.log(self.spacing / _FINE)

    def _spline(self, s: Tensor, theta: Tensor) -> Tensor:
        """The logarithm of the density of s = ln R, up to a constant; `s` is ``(*, ...)`` for theta ``(*, K)``."""
        lead = theta.shape[:-1]
        t = ((s - math.log(self.low)) / self.spacing).reshape(*lead, -1)
        inside = t.clamp(0, self.knots - 1)
        first = inside.detach().floor().clamp(max=self.knots - 2)
        u, c = inside - first, (theta[..., None, :] * self._matrix.to(theta)).sum(-1)
        i, v = first.long(), 1 - u
        # the four cubic B-splines that are not zero there
        basis = (v**3, 4 - 6 * u**2 + 3 * u**3, 4 - 6 * v**2 + 3 * v**3, u**3)
        value = sum(b * c.gather(-1, i + j) for j, b in enumerate(basis)) / 6
        return (value - 0.5 * (t - inside).square()).reshape(s.shape)

    @cached_property
    def section_grid(self) -> SectionGrid:
        """What makes likelihoods of sections fast; float64."""
        h, reach = self.spacing, _GRID_MARGIN * self.spacing
        count = _GRID_FINE * (self.knots - 1 + 2 * _GRID_MARGIN)
        s = math.log(self.low) - reach + h / _GRID_FINE * torch.arange(count + 1, dtype=torch.float64)
        small = 0.5 * self.low
        end = self.high * math.exp(reach - h)
        radii = math.ceil(_GRID_RADII / h * math.log(end / small + 1))
        x = torch.linspace(math.log(small), math.log(end + small), radii, dtype=torch.float64)
        r = (x.exp() - small).clamp(min=1e-9 * small)
        chord = chord_matrix(r, s, torch.maximum(r, s[0].exp()))
        cell = (r + small) * (x[1] - x[0])
        return SectionGrid(r, cell, *self._basis(s), chord, *self._basis(r.log()), h / _GRID_FINE, small)

    def _basis(self, s: Tensor) -> tuple[Tensor, Tensor]:
        """The spline at s ``(P,)`` as a matrix ``(P, K)`` on theta, and what is added to that, ``(P,)``."""
        eye = torch.eye(self.knots, dtype=s.dtype, device=s.device)
        zero = self._spline(s, torch.zeros_like(eye[0]))
        return (self._spline(s.expand(self.knots, -1), eye) - zero).mT.contiguous(), zero

    @cached_property
    def _grid_basis(self) -> tuple[Tensor, Tensor]:
        return self._basis(self._grid)

    @cached_property
    def _grid(self) -> Tensor:
        count = _FINE * (self.knots - 1 + 2 * _MARGIN)
        steps = torch.arange(count + 1, dtype=torch.float64) / _FINE - _MARGIN
        return math.log(self.low) + self.spacing * steps

    @cached_property
    def _matrix(self) -> Tensor:
        """From the values at the knots to the coefficients of B-splines, (K + 2, K)."""
        K = self.knots
        system = np.zeros((K + 2, K + 2))
        for k in range(K):
            system[k, k : k + 3] = np.array([1, 4, 1]) / 6
        system[K, :3] = system[K + 1, -3:] = 1, -2, 1  # no curvature at the ends
        return torch.as_tensor(np.linalg.inv(system)[:, :K])
