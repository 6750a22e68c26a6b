"""Where variational approximations begin, and others where one may not be all."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, fields, replace

import torch
from torch import Tensor

from physgen.random import normal
from physgen.small_matrices import cholesky, inverse, product

from .gradient import Target

_UNEXPLAINED = 8.0  # by so much may a log density exceed what the known approximations make of it
_APART = 4.0  # centres nearer than this squared distance, in posterior standard deviations, are one
_NEGLIGIBLE = 12.0  # of the log evidence: what is lower by more holds no mass


@dataclass(frozen=True, eq=False)
class Hill:
    """One Gaussian approximation for each of b observations.

    Attributes
    ----------
    mean, covariance : Tensor (b, k), (b, k, k)
    converged : boolean Tensor (b,)
    iterations : integer Tensor (b,)
    bound : Tensor (b,)
        Evidence lower bound, or NaN.
    height, log_evidence : Tensor (b,)
        Log density at the mean, and what it makes of the evidence; -inf where there is no such hill.
    """

    mean: Tensor
    covariance: Tensor
    converged: Tensor
    iterations: Tensor
    bound: Tensor
    height: Tensor
    log_evidence: Tensor

    def distance(self, z: Tensor) -> Tensor:
        """Squared distance (b, S) of z (b, S, k) from the mean, in standard deviations of the approximation."""
        off = z - self.mean[:, None]
        return (off * product(off, inverse(cholesky(self.covariance)))).cumsum(-1)[..., -1]

    def scattered(self, rows: Tensor, like: Hill) -> Hill:
        """These, of some rows among all; elsewhere those of `like`, without mass."""
        new = {f.name: getattr(like, f.name).index_copy(0, rows, getattr(self, f.name)) for f in fields(Hill)}
        absent = torch.full_like(like.log_evidence, -torch.inf)
        new["log_evidence"] = absent.index_copy(0, rows, self.log_evidence)
        new["iterations"] = torch.zeros_like(like.iterations).index_copy(0, rows, self.iterations)
        return Hill(**new)


FitHill = Callable[[Target, Tensor, Tensor], Hill]
"""``fit(target, start (b, k), rows (b,))``: approximations of the observations `rows`, to which the target belongs."""


def candidates(target: Target, count: int, *, seed: int, index: Tensor, stage: int) -> tuple[Tensor, Tensor]:
    """Places (b, C, k) and their log densities (b, C): the prior's centre, and draws of which every other is halved.

    Parameters
    ----------
    target : Target
        Of b observations.
    count : int
        C.
    """
    pool = normal((count, target.k), index, seed=seed, stage=stage, dtype=target.posterior.y.dtype)
    pool[:, 1::2] *= 0.5
    pool[:, 0] = 0
    which = torch.arange(len(index), device=pool.device).repeat_interleave(count)
    return pool, target.value(pool.flatten(0, 1), which).reshape(pool.shape[:2])


def highest(pool: Tensor, value: Tensor) -> Tensor:
    """The candidate (b, k) of the highest log density."""
    return _pick(pool, value.argmax(1))


def find_hills(target: Target, pool: Tensor, value: Tensor, fit: FitHill, restarts: int) -> list[Hill]:
    """Approximations from the best candidate, then from those that are much likelier than what is known makes them.

    Returns
    -------
    list of Hill
        1 + `restarts` of them, of which those without mass (log_evidence -inf) are none.
    """
    every = torch.arange(len(pool), device=pool.device)
    hills = [fit(target, highest(pool, value), every)]
    for _ in range(restarts):
        known = torch.stack([_explained(pool, hill) for hill in hills]).amax(0)
        beyond = torch.nan_to_num(value - known, nan=-torch.inf, neginf=-torch.inf)
        rows = torch.nonzero(beyond.amax(1) > _UNEXPLAINED).squeeze(-1)
        if not len(rows):
            break
        start = _pick(pool, beyond.argmax(1))[rows]
        new = fit(target.select(rows), start, rows).scattered(rows, hills[0])
        for hill in hills:
            same = torch.isfinite(hill.log_evidence) & (hill.distance(new.mean[:, None])[:, 0] < _APART)
            new.log_evidence[same | ~new.converged] = -torch.inf
        hills.append(new)
    best = torch.stack([hill.log_evidence for hill in hills]).amax(0)
    for hill in hills:
        hill.log_evidence[hill.log_evidence < best - _NEGLIGIBLE] = -torch.inf
    # as many for any observations, so that what is made of them has the same bits
    none = torch.full_like(best, -torch.inf)
    absent = replace(hills[0], log_evidence=none, iterations=torch.zeros_like(hills[0].iterations))
    return hills + [absent] * (1 + restarts - len(hills))


def height(target: Target, mean: Tensor, covariance: Tensor) -> tuple[Tensor, Tensor]:
    """Log density (b,) at the mean, and the log evidence (b,) of the Gaussian of that height (Laplace's)."""
    at = target.value(mean, torch.arange(len(mean), device=mean.device))
    log_det = 2 * cholesky(covariance).diagonal(dim1=-2, dim2=-1).log().cumsum(-1)[..., -1]
    return at, at + 0.5 * log_det + 0.5 * mean.shape[-1] * math.log(2 * math.pi)


def _explained(pool: Tensor, hill: Hill) -> Tensor:
    known = torch.where(torch.isfinite(hill.log_evidence), hill.height, -torch.inf)
    return torch.nan_to_num(known[:, None] - 0.5 * hill.distance(pool), nan=-torch.inf)


def _pick(pool: Tensor, which: Tensor) -> Tensor:
    return pool.gather(1, which[:, None, None].expand(-1, 1, pool.shape[-1]))[:, 0]
