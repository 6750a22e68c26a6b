"""The maximum of the likelihood of profiles, by Fisher scoring."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from physgen.space import Block

from .section_noise import SectionSizes
from .size_families import family

_ITERATIONS, _HALVINGS = 60, 12
_TOLERANCE = 1e-8  # of the squared distance to the maximum, in standard deviations


@dataclass(frozen=True, eq=False)
class SectionFit:
    """Maximum-likelihood parameters of the radius of the spheres.

    Attributes
    ----------
    theta : Tensor (p,)
        As `Spheres` predicts them; lengths of radii, in um.
    covariance : Tensor (p, p)
        The inverse of the Fisher information there.
    log_prob : float
        The logarithm of the likelihood.
    iterations : int
    """

    theta: Tensor
    covariance: Tensor
    log_prob: float
    iterations: int


def fit_sections(y: Tensor, noise: SectionSizes, start: Sequence[float] | Tensor, **conditions: Any) -> SectionFit:
    """Climb from `start` to the maximum of the likelihood of one list of sizes.

    A peer of the usual fits; for what the sizes leave open, take a posterior.

    Parameters
    ----------
    y : Tensor (m,)
        As the noise takes them.
    noise : SectionSizes
    start : sequence of float (p,)
        Parameters inside their supports, such as half the median of the diameters and 1.5 for log-normal spheres.
    **conditions
        Of the noise.

    Raises
    ------
    ValueError
        See `SectionSizes`; and if the climb ends nowhere, as it does where the likelihood has no maximum.
    """
    bends = [_bend(block) for block in family(noise.sizes).causes] + [_bend(Block("n", "1", (0, math.inf)))]
    given = {name: torch.as_tensor(value).to(y) for name, value in conditions.items()}
    theta = torch.as_tensor(start).to(y)
    here = noise.whiten(y, theta, **given)
    for iteration in range(1, _ITERATIONS + 1):
        # a step s = L^-T r of theta has the squared length r^T r in standard deviations
        step = torch.linalg.solve_triangular(here.factor, here.residual[:, None], upper=True)[:, 0]
        if float(here.residual.square().sum()) < _TOLERANCE:
            inverse = torch.linalg.inv(here.factor)
            return SectionFit(theta, inverse @ inverse.mT, float(here.log_prob), iteration)  # type: ignore[arg-type]
        for halving in range(_HALVINGS):
            new = torch.stack([b(t, s * 0.5**halving) for b, t, s in zip(bends, theta, step, strict=False)])
            there = noise.whiten(y, new, **given)
            if bool(there.log_prob > here.log_prob):  # type: ignore[operator]
                theta, here = new, there
                break
        else:
            break
    raise ValueError(
        f"No maximum was found, the last point being {[round(t, 4) for t in theta.tolist()]}. "
        "Start elsewhere, or take a family that the sizes support."
    )


def _bend(block: Block) -> Any:
    """A step that stays in the support: of ln(x - low) where there is a lower end, of the logit where there are two."""
    low, high = block.support

    def move(x: Tensor, s: Tensor) -> Tensor:
        if math.isinf(low):
            return x + s
        if math.isinf(high):
            return low + (x - low) * torch.exp((s / (x - low)).clamp(-1, 1))
        logit = torch.log((x - low) / (high - x)) + (s * (high - low) / ((x - low) * (high - x))).clamp(-2, 2)
        return low + (high - low) * torch.sigmoid(logit)

    return move
