"""Objectives of an autoencoder: sums of weighted terms, of which the named methods are presets."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import torch
from torch import Tensor

from .autoencoder_terms import (
    Step,
    dimension_wise_kl,
    dip_i,
    dip_ii,
    kl,
    mutual_information,
    reconstruction,
    total_correlation,
)

TERMS: Mapping[str, Callable[[Step], Tensor]] = {
    "reconstruction": reconstruction,
    "kl": kl,
    "mutual_information": mutual_information,
    "total_correlation": total_correlation,
    "dimension_wise_kl": dimension_wise_kl,
    "dip_i": dip_i,
    "dip_ii": dip_ii,
}


@dataclass(frozen=True)
class Objective:
    """A sum of terms, which a fit makes small.

    Parameters
    ----------
    weights : mapping of str to float
        By name of the term, see `TERMS`.

    Raises
    ------
    ValueError
        If a name is unknown, a weight is not finite, or there is no reconstruction.
    """

    weights: Mapping[str, float] = field(default_factory=lambda: {"reconstruction": 1.0, "kl": 1.0})

    def __post_init__(self) -> None:
        unknown = sorted(self.weights.keys() - TERMS.keys())
        if unknown:
            raise ValueError(f"Unknown term {', '.join(map(repr, unknown))}. The terms are {', '.join(TERMS)}.")
        if not all(math.isfinite(w) for w in self.weights.values()):
            raise ValueError(f"Invalid weights {dict(self.weights)}. Each must be finite.")
        if not self.weights.get("reconstruction", 0) > 0:
            raise ValueError("Invalid objective without reconstruction. Give it a weight above 0.")

    def __call__(self, step: Step) -> Tensor:
        """The sum, 0-d."""
        return torch.stack([weight * TERMS[name](step) for name, weight in self.weights.items()]).sum()


def beta_vae(beta: float = 4.0) -> Objective:
    """The KL divergence weighted by beta (Higgins et al. 2017, eq. 4)."""
    return Objective({"reconstruction": 1.0, "kl": beta})


def beta_tcvae(beta: float = 6.0) -> Objective:
    """Only the total correlation weighted by beta (Chen et al. 2018, eq. 4 with alpha = gamma = 1)."""
    each = {"mutual_information": 1.0, "total_correlation": beta, "dimension_wise_kl": 1.0}
    return Objective({"reconstruction": 1.0, **each})


def dip_vae(kind: str = "i", weight: float = 10.0) -> Objective:
    """The evidence lower bound and a covariance near I: "i" of the means, "ii" of the codes (Kumar et al. 2018)."""
    return Objective({"reconstruction": 1.0, "kl": 1.0, f"dip_{kind}": weight})
