"""Objectives of an autoencoder: sums of weighted terms, of which the named methods are presets."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import torch
from torch import Tensor

from .autoencoder_terms import (
    Step,
    adversarial_correlation,
    contrast,
    dimension_wise_kl,
    dip_i,
    dip_ii,
    kl,
    label,
    mutual_information,
    reconstruction,
    spike_slab,
    total_correlation,
)
from .physics_terms import physics_augment, physics_cleanse, physics_switch

TERMS: Mapping[str, Callable[[Step], Tensor]] = {
    "reconstruction": reconstruction,
    "kl": kl,
    "mutual_information": mutual_information,
    "total_correlation": total_correlation,
    "adversarial_correlation": adversarial_correlation,
    "dimension_wise_kl": dimension_wise_kl,
    "dip_i": dip_i,
    "dip_ii": dip_ii,
    "contrast": contrast,
    "spike_slab": spike_slab,
    "label": label,
    "physics_switch": physics_switch,
    "physics_cleanse": physics_cleanse,
    "physics_augment": physics_augment,
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


def factor_vae(gamma: float = 10.0) -> Objective:
    """The evidence lower bound, and a critic's total correlation weighted by gamma (Kim & Mnih 2018, eq. 2)."""
    return Objective({"reconstruction": 1.0, "kl": 1.0, "adversarial_correlation": gamma})


def dip_vae(kind: str = "i", weight: float = 10.0) -> Objective:
    """The evidence lower bound and a covariance near I: "i" of the means, "ii" of the codes (Kumar et al. 2018)."""
    return Objective({"reconstruction": 1.0, "kl": 1.0, f"dip_{kind}": weight})


def ivae(
    reconstruction: float = 100.0,
    mutual_information: float = 1.0,
    total_correlation: float = 0.0,
    dimension_wise_kl: float = 10.0,
) -> Objective:
    """The parts of the bound, weighted as published for identifiable autoencoders (Khemakhem et al. 2020, their code).

    For a decoder with a `ConditionalBase`. The bound itself, all weights 1, has been measured to lose the sources.
    """
    return Objective(
        {
            "reconstruction": reconstruction,
            "mutual_information": mutual_information,
            "total_correlation": total_correlation,
            "dimension_wise_kl": dimension_wise_kl,
        }
    )


def contrastive_ivae(weight: float = 100.0) -> Objective:
    """The evidence lower bound, and the code's information about the conditions weighted by `weight`.

    For a decoder with a `ConditionalBase`. The bound alone is ruled by how the causes bend, which codes of a wrong
    mixture serve as well, and was measured to lose the sources that this finds.
    """
    return Objective({"reconstruction": 1.0, "kl": 1.0, "contrast": weight})


def sparse_vae(weight: float = 1.0) -> Objective:
    """The evidence lower bound and the prior of the decoder's mask (Moran et al. 2022, eq. 5)."""
    return Objective({"reconstruction": 1.0, "kl": 1.0, "spike_slab": weight})
