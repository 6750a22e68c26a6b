"""Metric Gaussian variational inference of one observation, by products with the Jacobian alone."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from physgen.random import normal
from physgen.small_matrices import cholesky

from .conjugate_gradients import Product, conjugate_gradients
from .geometric_vi_products import Linearised, blocks
from .gradient import Target

DENSE = 256  # latents up to which the precision may be held as a matrix
_AGREE = 0.02  # posterior standard deviations, root mean square, by which the centre may move in the last round
_HALVINGS = 12
_INEXACT = 0.1  # error of a Newton step, as a fraction of it
_SUFFICIENT = 1e-4  # of the expected decrease, for a step to be taken (Nocedal & Wright 2006, eq. 3.6a)


@dataclass(frozen=True)
class Effort:
    """How far the optimisation goes: see `Variational`."""

    tolerance: float
    pairs: int
    rounds: int
    newton_steps: int
    products: int


@dataclass(frozen=True, eq=False)
class Fit:
    """The centre (k,) of the posterior of one observation, steps taken, and whether it was reached."""

    centre: Tensor
    steps: int
    converged: bool


def fit(target: Target, start: Tensor, effort: Effort, *, seed: int, index: Tensor, stage: int) -> Fit:
    """Find the centre m of N(m, (I + A^T A)^-1) that is nearest to the posterior (Knollmuller & Ensslin 2019).

    First the mode; then, in turn, displacements drawn around the centre, and the centre at which the displaced points
    have the lowest mean energy: the Kullback-Leibler divergence from the posterior, but for a constant (their eqs 26
    to 30). The random numbers are those of the first round in every round, so that the turns converge.

    Parameters
    ----------
    target : Target
        Of one observation.
    start : Tensor (k,)
    effort : Effort
    seed, index, stage
        Decide the random numbers: two stages for each pair.
    """
    found = mode(target, start, effort)
    steps = found.steps
    for _ in range(effort.rounds):
        drawn = displacements(target, found.centre, effort.pairs, effort=effort, seed=seed, index=index, stage=stage)
        both = torch.cat([drawn.d, -drawn.d])
        new = _minimise(target, found.centre, both, effort, effort.tolerance * drawn.scale)
        steps += new.steps
        moved = new.centre - found.centre
        distance = math.sqrt(float(moved @ _precision(target, new.centre, moved)))
        found = new
        if new.converged and distance <= max(_AGREE, 2 * effort.tolerance) * drawn.scale:
            return replace(new, steps=steps)
    return replace(found, steps=steps, converged=False)


@dataclass(frozen=True, eq=False)
class Drawn:
    """Displacements d (count, k), whether all systems were solved, and the root of the degrees of freedom for signal.

    These are the mean of |A d|^2, at least 1: errors are shared out over so many directions, since in the others the
    data say nothing and the prior is followed in any case.
    """

    d: Tensor
    solved: bool
    scale: float


def displacements(
    target: Target, centre: Tensor, count: int, *, effort: Effort, seed: int, index: Tensor, stage: int
) -> Drawn:
    """Draws d ``(count, k)`` of N(0, (I + A^T A)^-1), A at the centre, and whether all systems were solved.

    Perturb and optimise (Papandreou & Yuille 2010): b = e + A^T u, with e and u standard normal, has the covariance
    I + A^T A = D^-1, and D b the covariance D.
    """
    parts, solved, dofs, size = [], True, 0.0, blocks(count, target.posterior)
    small = factor_of(target, centre) if len(centre) <= DENSE else None
    for first in range(0, count, size):
        stages = range(stage + 2 * first, stage + 2 * min(first + size, count), 2)
        local = Linearised(target.posterior, centre.expand(len(stages), -1))
        own: dict[str, Any] = {"seed": seed, "dtype": centre.dtype}
        e = torch.cat([normal(centre.shape, index, stage=s, **own) for s in stages])
        u = torch.cat([normal(local.residual.shape[1:], index, stage=s + 1, **own) for s in stages])
        b = e + local.pull(u)
        if small is not None:  # one small matrix is cheaper, and exact
            parts.append(torch.cholesky_solve(b.mT, small).mT)
        else:
            accuracy = {"tolerance": effort.tolerance, "relative": effort.tolerance, "most": effort.products}
            d, good, _ = conjugate_gradients(local.precision, b, **accuracy)  # type: ignore[arg-type]
            parts.append(d)
            solved &= bool(good.all())
        dofs += float(local.push(parts[-1]).square().sum())
    return Drawn(torch.cat(parts), solved, math.sqrt(max(1.0, dofs / count)))


def factor_of(target: Target, centre: Tensor) -> Tensor:
    """Cholesky factor ``(k, k)`` of I + A^T A at the centre, for few latents."""
    identity = torch.eye(len(centre), dtype=centre.dtype, device=centre.device)
    local = Linearised(target.posterior, centre.expand(len(centre), -1))
    precision = local.precision(identity)
    return cholesky(0.5 * (precision + precision.mT))


def mode(target: Target, start: Tensor, effort: Effort) -> Fit:
    """The mode nearest to a start (k,), or the place where the search for it ended."""
    return _minimise(target, start, torch.zeros_like(start)[None], effort, effort.tolerance)


def energies(target: Target, z: Tensor) -> Tensor:
    """Minus the log density ``(S,)`` at z ``(S, k)``; inf where there is none."""
    parts = z.split(blocks(len(z), target.posterior))
    return -torch.cat([target.value(part, torch.zeros(len(part), dtype=torch.int64)) for part in parts])


def _minimise(target: Target, centre: Tensor, offsets: Tensor, effort: Effort, bound: float) -> Fit:
    """The centre at which the mean energy of the displaced points is least, by Newton's method.

    The Hessian is the mean of I + A^T A over the points: positive definite wherever they are. The centre is reached
    when the next step would be shorter than `bound`, in posterior standard deviations.
    """
    possible = torch.isfinite(energies(target, centre + offsets))
    offsets = offsets[possible] if bool(possible.any()) else torch.zeros_like(offsets[:1])
    for step in range(effort.newton_steps):
        value, gradient = _slope(target, centre + offsets)
        local, count = Linearised(target.posterior, centre + offsets), len(offsets)

        def product(v: Tensor, local: Linearised = local, count: int = count) -> Tensor:
            return v + local.pull(local.push(v.expand(count, -1))).mean(0, keepdim=True)

        near = _near(target, centre) if len(centre) <= DENSE else None
        accuracy = {"tolerance": 0.3 * bound, "relative": _INEXACT, "most": effort.products}
        move, _, _ = conjugate_gradients(product, -gradient[None], near=near, **accuracy)  # type: ignore[arg-type]
        del local
        decrease = -float(move[0] @ gradient)
        rounding = 16 * torch.finfo(value.dtype).eps * abs(float(value))
        if not decrease > max(bound**2, rounding):
            return Fit(centre, step, math.isfinite(decrease))
        shorter = _search(target, centre, offsets, move[0], float(value) + rounding, decrease)
        if shorter is None:
            return Fit(centre, step, False)
        centre = shorter
    return Fit(centre, effort.newton_steps, False)


def _search(
    target: Target, centre: Tensor, offsets: Tensor, move: Tensor, value: float, decrease: float
) -> Tensor | None:
    """The first of the moves of length 1, 1/2, 1/4, ... that lowers the mean energy enough."""
    length = 1.0
    for _ in range(_HALVINGS):
        there = centre + length * move
        if float(energies(target, there + offsets).mean()) <= value - _SUFFICIENT * length * decrease:
            return there
        length *= 0.5
    return None


def _slope(target: Target, z: Tensor) -> tuple[Tensor, Tensor]:
    """Mean energy ``()`` of points z ``(S, k)`` and its gradient ``(k,)``."""
    parts = z.split(blocks(len(z), target.posterior))
    pairs = [target.slope(part, torch.zeros(len(part), dtype=torch.int64)) for part in parts]
    return -torch.cat([p[0] for p in pairs]).mean(), -torch.cat([p[1] for p in pairs]).mean(0)


def _near(target: Target, centre: Tensor) -> Product:
    """The covariance at the centre, for few latents: what the mean over displaced points is near to."""
    factor = factor_of(target, centre)
    return lambda v: torch.cholesky_solve(v.mT, factor).mT


def _precision(target: Target, centre: Tensor, v: Tensor) -> Tensor:
    return Linearised(target.posterior, centre[None]).precision(v[None])[0]
