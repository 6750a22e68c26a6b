"""Grid: the posterior by brute force in one to three latents, to check the other methods by."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from physgen.diagnostics.resampling import systematic
from physgen.problem import Posterior, Problem
from physgen.progress import Progress
from physgen.random import uniform
from physgen.result import Result
from physgen.status import Status

from .batched import Layout, invert
from .gradient import Target

_STAGE = (1 << 21) + (1 << 17)  # random stages: cells (two), places within them (the fifth)
_POINTS = {1: 4001, 2: 201, 3: 61}  # along each latent
_CELLS = 1 << 24  # at most
_KEPT = 30.0  # nats below the highest cell, down to which cells count
_LEAST = 6.0  # effective cells along each latent, to which a pass is flattened before its box is drawn


@dataclass(frozen=True)
class Grid:
    """The posterior density at every point of a grid over one to three latents; the oracle of tests.

    The first pass covers all of the prior, each later one the box in which the mass of the pass before lies, with as
    many points, until the box no longer shrinks; a box that cuts off mass is widened. A posterior narrower than a cell
    is found by flattening: its log density is multiplied by a power that leaves several cells along each latent.

    Parameters
    ----------
    draws : int
        Posterior draws kept for each observation: cells by systematic resampling, a uniform place within each.
    points : int, optional
        Along each latent, at least 9; by default 4001, 201 or 61 for one, two or three latents.
    reach : float
        Of the first pass, in prior standard deviations on either side.
    passes : int
        Passes at most, each of points^k evaluations.
    accept_error : float
        Change of the log evidence when only every other point is used (the largest of the 2^k ways to choose them),
        at most, for an observation to be trusted.
    accept_edge : float
        Mass of the outermost cells, relative to the mean over the cells, at most.
    chunk : int
        Observations held at once.

    Raises
    ------
    ValueError
        If a setting is out of range.
    """

    draws: int = 1000
    points: int | None = None
    reach: float = 7.0
    passes: int = 12
    accept_error: float = 0.02
    accept_edge: float = 1e-3
    chunk: int = 256

    def __post_init__(self) -> None:
        for name, least in (("draws", 1), ("passes", 2), ("chunk", 1)):
            if getattr(self, name) < least:
                raise ValueError(f"Invalid {name} {getattr(self, name)}. Must be at least {least}.")
        if self.points is not None and self.points < 9:
            raise ValueError(f"Invalid points {self.points}. Must be at least 9 along each latent.")
        for name in ("reach", "accept_error", "accept_edge"):
            if not getattr(self, name) > 0:
                raise ValueError(f"Invalid {name} {getattr(self, name):g}. Must be above 0.")

    def __call__(
        self,
        problem: Problem,
        y: Any,
        *,
        conditions: Mapping[str, Any] | None = None,
        seed: int = 0,
        index: Any = None,
        progress: Progress = False,
    ) -> Result:
        """Invert observations ``(*batch, m)``; see `physgen.inversions.inversion.Inversion`.

        The result's `stats` are log_evidence, latent_mean and latent_covariance (of the grid, not of the draws),
        grid_error, edge_mass, rounds (passes), evaluations, and nonfinite.

        Raises
        ------
        ValueError, TypeError
            If the prior has more than three latents, or observations or conditions are of the wrong shape, names or
            range.
        """
        k = problem.prior.latent_dim
        if k not in _POINTS:
            raise ValueError(
                f"Grid needs one to three latents, and this prior has {k}. "
                "Use SliceSampler or Ensemble, or Hamiltonian where the model has a gradient."
            )
        points = self.points or _POINTS[k]
        if points**k > _CELLS:
            raise ValueError(f"Invalid points {points}. With {k} latents at most {int(_CELLS ** (1 / k))} of them.")

        def answer(posterior: Posterior, index: Tensor, advance: Callable[[int], None]) -> dict[str, Tensor]:
            found = []
            for i in range(len(index)):  # one by one: each has a grid of its own, and sums no other can disturb
                found.append(self._answer(posterior.select(slice(i, i + 1)), points, seed, index[i : i + 1]))
                advance(1)
            return {name: torch.cat([f[name] for f in found]) for name in found[0]}

        statistics: dict[str, tuple[int | str, ...]] = {"latent_mean": ("k",), "latent_covariance": ("k", "k")}
        statistics |= dict.fromkeys(("log_evidence", "grid_error", "edge_mass"), ())
        shared = (k + 3) * points**k
        layout = Layout(1, self.draws, statistics, ("rounds", "evaluations", "nonfinite"), shared=shared)
        settings = {"conditions": conditions, "seed": seed, "index": index, "progress": progress, "chunk": self.chunk}
        return invert(self, problem, y, answer, layout, **settings)

    def _answer(self, posterior: Posterior, points: int, seed: int, index: Tensor) -> dict[str, Tensor]:
        """One observation, as a batch of one."""
        target = Target(posterior)
        lattice, value, passes = _zoom(target, points, self.reach, self.passes)
        k = target.k
        spent = torch.full_like(index, passes * points**k)
        out = {"rounds": torch.full_like(index, passes), "evaluations": spent, "nonfinite": target.undefined}
        status = _status(target, value)
        if status != Status.TRUSTED:
            blank = value.new_full((), torch.nan)
            out |= {name: blank.expand(1) for name in ("log_evidence", "grid_error", "edge_mass")}
            out |= {"latent_mean": blank.expand(1, k), "latent_covariance": blank.expand(1, k, k)}
            out["samples"] = blank.expand(1, 1, self.draws, posterior.problem.prior.causes.size)
            return out | {"status": torch.full_like(index, status)}
        out |= _moments(lattice, value)
        out["grid_error"], out["edge_mass"] = _coarseness(value)[None], _edge_mass(value).amax()[None]
        good = (out["grid_error"] <= self.accept_error) & (out["edge_mass"] <= self.accept_edge)
        out["status"] = torch.where(good, int(Status.TRUSTED), int(Status.GRID_TOO_COARSE))
        z = _draw(lattice, value, self.draws, seed, index)
        out["samples"] = posterior.decode(z.transpose(0, 1)).transpose(0, 1)[:, None]
        return out


@dataclass(frozen=True, eq=False)
class _Lattice:
    """A grid over a box: the centres of `points` cells along each of k latents.

    Attributes
    ----------
    low, high : Tensor (k,)
        The box.
    points : int
    """

    low: Tensor
    high: Tensor
    points: int

    @property
    def width(self) -> Tensor:
        """Of a cell (k,)."""
        return (self.high - self.low) / self.points

    @property
    def centres(self) -> Tensor:
        """Of all cells (points^k, k), the last latent the fastest."""
        at = torch.arange(self.points, dtype=self.low.dtype, device=self.low.device) + 0.5
        axes = [low + at * width for low, width in zip(self.low, self.width, strict=True)]
        return torch.stack(torch.meshgrid(*axes, indexing="ij"), -1).reshape(-1, len(axes))


def _zoom(target: Target, points: int, reach: float, passes: int) -> tuple[_Lattice, Tensor, int]:
    """The last grid, its log densities (points, ..., points), and how many passes it took."""
    k, like = target.k, target.posterior.y
    whole = _Lattice(like.new_full((k,), -reach), like.new_full((k,), reach), points)
    lattice = whole
    for number in range(1, passes + 1):
        z = lattice.centres
        value = target.value(z, torch.zeros(len(z), dtype=torch.int64, device=z.device)).reshape((points,) * k)
        if number == passes or bool(torch.isneginf(value).all()):
            break
        new = _next(lattice, value, whole)
        shrunk = (new.high - new.low) / (lattice.high - lattice.low)
        if bool(((shrunk > 0.7) & (shrunk < 1.001)).all()):
            break
        lattice = new
    return lattice, value, number


def _next(lattice: _Lattice, value: Tensor, whole: _Lattice) -> _Lattice:
    """The box around the cells that hold mass; twice as wide where mass lies at an edge of the box."""
    flat = value - value.amax()
    at = _power(flat, _LEAST**flat.ndim) * flat > -_KEPT
    low, high = lattice.low.clone(), lattice.high.clone()
    for axis, width in enumerate(lattice.width):
        others = tuple(a for a in range(flat.ndim) if a != axis)
        used = torch.nonzero(at.any(others) if others else at).squeeze(-1)
        first, last = int(used[0]), int(used[-1])
        size = lattice.high[axis] - lattice.low[axis]
        # a cell more on either side; and where mass reaches an edge, half the box
        low[axis] += (first - 2) * width if first else -0.5 * size
        high[axis] -= (lattice.points - 3 - last) * width if last < lattice.points - 1 else -0.5 * size
    return _Lattice(torch.maximum(low, whole.low), torch.minimum(high, whole.high), lattice.points)


def _power(log_weight: Tensor, least: float) -> float:
    """The power of at most 1 that leaves at least so many effective cells, by bisection of its logarithm."""
    flat = log_weight.reshape(-1)

    def enough(power: float) -> bool:
        w = torch.softmax(torch.where(torch.isneginf(flat), flat, power * flat), 0)
        return float(1 / (w * w).sum()) >= least

    if enough(1.0):
        return 1.0
    low, high = -60.0, 0.0
    for _ in range(20):
        middle = 0.5 * (low + high)
        low, high = (middle, high) if enough(math.exp(middle)) else (low, middle)
    return math.exp(low)


def _status(target: Target, value: Tensor) -> int:
    if bool((target.undefined > 0).any()):
        return Status.MODEL_UNDEFINED
    return Status.INFEASIBLE if bool(torch.isneginf(value).all()) else Status.TRUSTED


def _moments(lattice: _Lattice, value: Tensor) -> dict[str, Tensor]:
    """Evidence, mean and covariance by the midpoint rule, as a batch of one."""
    flat, z = value.reshape(-1), lattice.centres
    total = torch.logsumexp(flat, 0)
    weight = torch.exp(flat - total)[:, None]
    mean = (weight * z).sum(0)
    covariance = ((weight * (z - mean)).mT @ (z - mean))[None]
    log_evidence = (total + torch.log(lattice.width).sum())[None]
    return {"log_evidence": log_evidence, "latent_mean": mean[None], "latent_covariance": covariance}


def _coarseness(value: Tensor) -> Tensor:
    """The largest change of the log evidence when only every other point is used along each latent."""
    k = value.ndim
    whole = torch.logsumexp(value.reshape(-1), 0)
    worst = torch.zeros_like(whole)
    for number in range(2**k):
        part = value[tuple(slice(number >> axis & 1, None, 2) for axis in range(k))]
        worst = torch.maximum(worst, (torch.logsumexp(part.reshape(-1), 0) + k * math.log(2) - whole).abs())
    return worst


def _edge_mass(value: Tensor) -> Tensor:
    """Mass in the first and the last cells along each latent (k,), as a share of the mean over the cells."""
    weight = torch.softmax(value.reshape(-1), 0).reshape(value.shape)
    ends = [weight.select(a, 0).sum() + weight.select(a, -1).sum() for a in range(value.ndim)]
    return 0.5 * len(value) * torch.stack(ends)


def _draw(lattice: _Lattice, value: Tensor, draws: int, seed: int, index: Tensor) -> Tensor:
    """Latents (1, draws, k): cells by systematic resampling, a uniform place within each."""
    weight = torch.softmax(value.reshape(1, -1), -1)
    pick = systematic(weight, draws, index, seed=seed, stages=(_STAGE, _STAGE + 1))[0]
    u = uniform((draws, value.ndim), index[0], seed=seed, stage=_STAGE + 4, dtype=value.dtype)
    return (lattice.centres[pick] + (u - 0.5) * lattice.width)[None]
