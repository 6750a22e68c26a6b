"""Replications of problems whose posterior is known, exact or wrong on purpose: what checks are tried on.

A wrong posterior is the exact one with each cause's normal score z replaced by shift + scale z: narrower or wider, or
shifted by so many posterior standard deviations, whatever the posterior's form. Or it is the prior, whatever was
measured; or it has the exact one's marginal distributions without their correlation.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from ..random import normal, single_stream, uniform
from .replications import Replications

_STAGE = (1 << 45) + (1 << 20)


@dataclass(frozen=True)
class Fault:
    """What is wrong with a posterior; nothing, by default.

    Attributes
    ----------
    scale, shift : float
        Width relative to the exact posterior, and by how many of its standard deviations it is shifted.
    prior : bool
        Whether it is the prior.
    uncorrelated : bool
        Whether its causes are independent of each other.
    """

    scale: float = 1.0
    shift: float = 0.0
    prior: bool = False
    uncorrelated: bool = False


FAULTS = {
    "exact": Fault(),
    "0.8 sd": Fault(scale=0.8),
    "1.25 sd": Fault(scale=1.25),
    "shift 0.3 sd": Fault(shift=0.3),
    "the prior": Fault(prior=True),
    "uncorrelated": Fault(uncorrelated=True),
}
"""Those that the table of ``docs/calibration.md`` is made of."""


def known_replications(
    problem: str, n: int, draws: int, *, fault: Fault = FAULTS["exact"], seed: int = 0
) -> Replications:
    """Truths, observations and posterior draws of a problem in closed form.

    Parameters
    ----------
    problem : {"angles", "sizes", "shares"}
        Three correlated Gaussian causes seen at an angle (a condition); two log-normal sizes of which products are
        measured; two shares within 0 and 1, measured with an error that varies and that can point outside.
    n, draws : int
        Replications, and draws of each.
    fault : Fault
    seed : int

    Raises
    ------
    ValueError
        If the problem is unknown.
    """
    if problem not in PROBLEMS:
        raise ValueError(f"Unknown problem {problem!r}. Choose from {', '.join(PROBLEMS)}.")
    found = PROBLEMS[problem](n, draws, fault, seed)
    drawn = found.draws
    if fault.prior:
        drawn = found.prior((draws, n), 9)
    if fault.uncorrelated:  # draws are independent: those of another number have the same distribution
        drawn = torch.stack([column.roll(7 * j, 0) for j, column in enumerate(drawn.unbind(-1))], -1)
    true, densities = found.density(found.truth), found.density(drawn)
    return Replications(
        found.truth,
        drawn,
        found.names,
        y=found.y,
        conditions=found.conditions,
        log_prob_truth=true[0],
        log_prob_draws=densities[0],
        log_likelihood_truth=true[1],
        log_likelihood_draws=densities[1],
        prior_sd=found.prior_sd,
    )


@dataclass(frozen=True, eq=False)
class _Known:
    """One problem's truths, draws, observations; log posterior and log likelihood of causes; draws of the prior."""

    truth: Tensor
    draws: Tensor
    names: tuple[str, ...]
    y: Tensor
    conditions: dict[str, Tensor]
    density: Callable[[Tensor], tuple[Tensor, Tensor]]
    prior: Callable[[tuple[int, ...], int], Tensor]
    prior_sd: Tensor


def _angles(n: int, draws: int, fault: Fault, seed: int) -> _Known:
    """x ~ N(0, S_a), y = A(angle) x + N(0, 0.4^2); Rodgers (2000), eqs 2.27 and 2.30."""
    S_a = torch.tensor([[1.0, 0.5, 0.2], [0.5, 2.0, -0.3], [0.2, -0.3, 0.7]], dtype=torch.float64)

    def prior(shape: tuple[int, ...], stage: int) -> Tensor:
        return _normal((*shape, 3), seed, stage) @ torch.linalg.cholesky(S_a).mT

    x, angle = prior((n,), 0), math.pi * _uniform((n,), seed, 1)
    c, s, one = torch.cos(angle), torch.sin(angle), torch.ones(n, dtype=torch.float64)
    A = torch.stack([c, s, 0 * one, -s, c, 0.5 * one, one, one, one, 0 * one, 0.3 * one, c], -1).reshape(n, 4, 3)
    y = torch.einsum("nij,nj->ni", A, x) + 0.4 * _normal((n, 4), seed, 2)
    precision = torch.linalg.inv(S_a) + A.mT @ A / 0.4**2
    S = torch.linalg.inv(precision)
    mean = torch.einsum("nij,nkj,nk->ni", S, A, y) / 0.4**2
    z = torch.einsum("nij,snj->sni", torch.linalg.cholesky(S), _normal((draws, n, 3), seed, 3))
    drawn = mean + fault.shift * S.diagonal(dim1=-2, dim2=-1).sqrt() + fault.scale * z

    def density(x: Tensor) -> tuple[Tensor, Tensor]:
        off, left = x - mean, (y - torch.einsum("nij,...nj->...ni", A, x)) / 0.4
        return -0.5 * torch.einsum("...ni,nij,...nj->...n", off, precision, off), -0.5 * left.square().sum(-1)

    names = ("east", "north", "up")
    return _Known(x, drawn, names, y, {"angle": angle}, density, prior, S_a.diagonal().sqrt())


def _sizes(n: int, draws: int, fault: Fault, seed: int) -> _Known:
    """log x ~ N(0, 0.5^2) for both; measured are the log of x_1 x_2^2 and that of x_2, with errors 0.3 and 0.5."""

    def prior(shape: tuple[int, ...], stage: int) -> Tensor:
        return torch.exp(0.5 * _normal((*shape, 2), seed, stage))

    x = prior((n,), 0)
    B = torch.tensor([[1.0, 2.0], [0.0, 1.0]], dtype=torch.float64)
    error = torch.tensor([0.3, 0.5], dtype=torch.float64)
    y = x.log() @ B.mT + error * _normal((n, 2), seed, 1)
    precision = 4 * torch.eye(2, dtype=torch.float64) + B.mT @ torch.diag(error**-2) @ B
    S = torch.linalg.inv(precision)
    mean = (y / error.square()) @ B @ S
    z = _normal((draws, n, 2), seed, 2) @ torch.linalg.cholesky(S).mT
    drawn = torch.exp(mean + fault.shift * S.diagonal().sqrt() + fault.scale * z)

    def density(x: Tensor) -> tuple[Tensor, Tensor]:
        off = x.log() - mean
        return -0.5 * ((off @ precision) * off).sum(-1), -0.5 * ((y - x.log() @ B.mT) / error).square().sum(-1)

    sd = torch.full((2,), math.sqrt(math.exp(0.25) * (math.exp(0.25) - 1)), dtype=torch.float64)
    return _Known(x, drawn, ("length", "width"), y, {}, density, prior, sd)


def _shares(n: int, draws: int, fault: Fault, seed: int) -> _Known:
    """x ~ U(0, 1) for both, y = x + N(0, error^2) with errors within 0.05 to 0.6: normals cut off at 0 and 1."""

    def prior(shape: tuple[int, ...], stage: int) -> Tensor:
        return _uniform((*shape, 2), seed, stage)

    x, error = prior((n,), 0), 0.05 + 0.55 * _uniform((n,), seed, 1)[:, None]
    y = x + error * _normal((n, 2), seed, 2)
    low, high = torch.special.ndtr((0 - y) / error), torch.special.ndtr((1 - y) / error)
    share = torch.special.ndtr(fault.shift + fault.scale * _normal((draws, n, 2), seed, 3))
    drawn = (y + error * torch.special.ndtri(low + (high - low) * share)).clamp(0, 1)

    def density(x: Tensor) -> tuple[Tensor, Tensor]:
        likelihood = -0.5 * ((y - x) / error).square().sum(-1)
        return likelihood, likelihood

    sd = torch.full((2,), 12**-0.5, dtype=torch.float64)
    return _Known(x, drawn, ("first", "second"), y, {"error": error[:, 0]}, density, prior, sd)


def _normal(shape: tuple[int, ...], seed: int, stage: int) -> Tensor:
    return normal(shape, single_stream(), seed=seed, stage=_STAGE + stage)


def _uniform(shape: tuple[int, ...], seed: int, stage: int) -> Tensor:
    return uniform(shape, single_stream(), seed=seed, stage=_STAGE + stage)


PROBLEMS = {"angles": _angles, "sizes": _sizes, "shares": _shares}
