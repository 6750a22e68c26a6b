"""Increasing rational-quadratic splines with continuous second derivatives, and their inverses in closed form.

On the interval from z_i to z_i + h, with theta = (z - z_i) / h, mean slope Delta and the slopes d_0, d_1 at its ends,

    s(theta) = u_i + h Delta (Delta theta^2 + d_0 theta (1 - theta)) / (Delta + (d_0 + d_1 - 2 Delta) theta (1 - theta))

(Gregory & Delbourgo 1982, *IMA Journal of Numerical Analysis* 2, 123-130). It increases for any positive slopes, so the
slopes are free to make the second derivative continuous (Delbourgo & Gregory 1983, same journal 3, 141-152). Outside
the knots the spline goes on as a straight line, and its second derivative vanishes there too.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

_SWEEPS = 500
_TOLERANCE = 1e-13


@dataclass(frozen=True, eq=False)
class RationalSpline:
    """An increasing, twice continuously differentiable function of one variable.

    Parameters
    ----------
    z, u, d : Tensor (K,)
        Knots, values and slopes, in float64; all increasing or positive.
    """

    z: Tensor
    u: Tensor
    d: Tensor

    @classmethod
    def through(cls, z: np.ndarray, u: np.ndarray) -> RationalSpline:
        """The spline through the points (z, u), both strictly increasing."""
        return cls(*(torch.from_numpy(np.ascontiguousarray(v)) for v in (z, u, _smooth_slopes(z, u))))

    def __call__(self, z: Tensor) -> Tensor:
        """Values of the spline, with the shape of `z`."""
        z0, h, u0, delta, d0, d1 = self._interval(z, self.z)
        theta = ((z - z0) / h).clamp(0, 1)
        bend = theta * (1 - theta)
        inside = u0 + h * delta * (delta * theta**2 + d0 * bend) / (delta + (d0 + d1 - 2 * delta) * bend)
        return inside + self._beyond(z, self.z) * torch.where(z < z0, d0, d1)

    def inverse(self, u: Tensor) -> Tensor:
        """Where the spline takes the values `u`."""
        z0, h, u0, delta, d0, d1 = self._interval(u, self.u)
        w = ((u - u0) / (h * delta)).clamp(0, 1)  # solves a theta^2 + b theta - c = 0
        kappa = d0 + d1 - 2 * delta
        a, b, c = delta - d0 + w * kappa, d0 - w * kappa, w * delta
        theta = 2 * c / (b + torch.sqrt(b * b + 4 * a * c))
        return z0 + h * theta + self._beyond(u, self.u) / torch.where(u < u0, d0, d1)

    def slope(self, z: Tensor) -> Tensor:
        """First derivative at `z`, with the shape of `z`."""
        z0, h, _, delta, d0, d1 = self._interval(z, self.z)
        theta = ((z - z0) / h).clamp(0, 1)
        bend = theta * (1 - theta)
        top = delta**2 * (d1 * theta**2 + 2 * delta * bend + d0 * (1 - theta) ** 2)
        return top / (delta + (d0 + d1 - 2 * delta) * bend) ** 2

    def _interval(self, at: Tensor, knots: Tensor) -> list[Tensor]:
        """Left knot, width, left value, mean slope and end slopes of the interval of each element of `at`."""
        right = torch.searchsorted(knots[1:-1].to(at), at.detach().contiguous(), right=True)
        h = torch.diff(self.z)
        tables = (self.z[:-1], h, self.u[:-1], torch.diff(self.u) / h, self.d[:-1], self.d[1:])
        return [t.to(at).index_select(0, right.reshape(-1)).reshape(right.shape) for t in tables]

    def _beyond(self, at: Tensor, knots: Tensor) -> Tensor:
        """Signed distance from the outermost knots, 0 between them."""
        return at - at.clamp(knots[0].to(at), knots[-1].to(at))


def _smooth_slopes(z: np.ndarray, u: np.ndarray) -> np.ndarray:
    """Slopes that make the second derivative continuous, and 0 at the ends; Gauss-Seidel iteration.

    The second derivative on the right of a knot is 2/h (Delta + d_0 - d_0 (d_0 + d_1) / Delta), its mirror image on the
    left: each condition is a quadratic in one slope, with one positive root.
    """
    h = np.diff(z)
    delta = np.diff(u) / h
    # an end has one interval: the missing one gets no weight
    inverse_h = np.concatenate([[0], 1 / h, [0]])
    stiffness = np.concatenate([[0], 1 / (h * delta), [0]])
    c = np.concatenate([[0], delta / h, [0]])
    d = np.interp(z, 0.5 * (z[1:] + z[:-1]), delta)
    for _ in range(_SWEEPS):
        before = d.copy()
        for i in range(len(d)):
            left, right = d[max(i - 1, 0)], d[min(i + 1, len(d) - 1)]
            quadratic = stiffness[i] + stiffness[i + 1]
            linear = stiffness[i] * left + stiffness[i + 1] * right - inverse_h[i] - inverse_h[i + 1]
            d[i] = 2 * (c[i] + c[i + 1]) / (linear + np.sqrt(linear**2 + 4 * quadratic * (c[i] + c[i + 1])))
        if np.max(np.abs(d / before - 1)) < _TOLERANCE:
            break
    return d
