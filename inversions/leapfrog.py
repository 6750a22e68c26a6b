"""Trajectories of Hamiltonian dynamics, of many chains of many observations."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from physgen.small_matrices import product

Slope = Callable[[Tensor, Tensor], tuple[Tensor, Tensor]]


@dataclass(frozen=True, eq=False)
class Trajectory:
    """Where chains are: position and velocity (B, C, k), log density (B, C) and its gradient (B, C, k).

    The velocity is standard normal in the coordinates in which the metric is I.
    """

    z: Tensor
    v: Tensor
    value: Tensor
    gradient: Tensor

    @property
    def energy(self) -> Tensor:
        """The Hamiltonian (B, C)."""
        return 0.5 * (self.v * self.v).sum(-1) - self.value

    def select(self, rows: Tensor | tuple[Tensor, Tensor]) -> Trajectory:
        """Some of the observations, or of their chains: (rows, chains)."""
        return Trajectory(self.z[rows], self.v[rows], self.value[rows], self.gradient[rows])

    def where(self, chosen: Tensor, other: Trajectory) -> Trajectory:
        """These chains where `chosen` (B, C), and others elsewhere."""
        wide = chosen[..., None]
        z, v = torch.where(wide, self.z, other.z), torch.where(wide, self.v, other.v)
        value = torch.where(chosen, self.value, other.value)
        return Trajectory(z, v, value, torch.where(wide, self.gradient, other.gradient))

    def at(self, v: Tensor) -> Trajectory:
        """The same places with another velocity."""
        return Trajectory(self.z, v, self.value, self.gradient)

    def put(self, rows: Tensor, other: Trajectory) -> Trajectory:
        """These chains, with those of `other` at some of the observations."""
        if len(rows) == len(self.z):
            return other
        pairs = ((self.z, other.z), (self.v, other.v), (self.value, other.value), (self.gradient, other.gradient))
        return Trajectory(*(old.index_copy(0, rows, new) for old, new in pairs))


def trajectory(slope: Slope, start: Trajectory, factor: Tensor | None, step: Tensor, leaps: Tensor) -> Trajectory:
    """Leapfrog steps (Neal 2011, eqs 5.18 to 5.20), as many as each observation needs.

    Parameters
    ----------
    slope : callable
        ``slope(z, which)``: log density (b, C) and gradient (b, C, k) of the observations `which` (b,).
    start : Trajectory
    factor : Tensor (B, k, k), optional
        Lower triangular L; the metric is (L L^T)^-1, or I.
    step : Tensor (B,)
    leaps : integer Tensor (B,)

    Returns
    -------
    Trajectory
        With the velocity that it ends with.
    """
    now, active = start, torch.arange(len(start.z), device=start.z.device)
    for done in range(int(leaps.max())):
        active = active[leaps[active] > done]
        every = len(active) == len(start.z)
        L = factor if factor is None or every else factor[active]
        here = now if every else now.select(active)
        now = now.put(active, leap(slope, here, L, step[active][:, None, None], active))
    return now


def leap(slope: Slope, p: Trajectory, factor: Tensor | None, step: Tensor, which: Tensor) -> Trajectory:
    """One leapfrog step of the observations `which`; the step (b, 1 or C, 1) is negative backwards in time.

    A trajectory that has left the support keeps the density 0, wherever it comes to: that is as reversible, and what
    it gained or lost of the energy outside would say nothing of the step.
    """
    half = p.v + 0.5 * step * _push(p.gradient, factor)
    z = p.z + step * (half if factor is None else product(half, factor.mT))
    value, gradient = slope(z, which)
    value = torch.where(torch.isneginf(p.value), p.value, value)
    return Trajectory(z, half + 0.5 * step * _push(gradient, factor), value, gradient)


def _push(gradient: Tensor, factor: Tensor | None) -> Tensor:
    """The gradient in the coordinates in which the metric is I."""
    return gradient if factor is None else product(gradient, factor)


def halton(number: int) -> float:
    """The jitter of trajectory `number`, on (0, 2) with mean 1: twice the van der Corput sequence in base 2."""
    value, place, number = 0.0, 0.5, number + 1
    while number:
        number, bit = divmod(number, 2)
        value += bit * place
        place *= 0.5
    return 2 * value
