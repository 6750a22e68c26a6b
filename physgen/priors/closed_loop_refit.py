"""How a closed loop learns a prior from posterior draws: a Gaussian or a flow of the latents of the first prior.

Pooling the posterior draws of all observations is the expectation step of Monte-Carlo EM, the fit to the pool its
maximisation step (Wei & Tanner 1990, *J. Am. Stat. Assoc.* 85, 699-704).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Protocol

import torch
from torch import Tensor

from .closed_loop_prior import Updated
from .fitting import Training
from .flow import Flow
from .gaussian import Gaussian
from .prior import Prior


class Refit(Protocol):
    """Learns a prior from posterior draws."""

    def __call__(self, prior: Prior, draws: Tensor, conditions: Mapping[str, Tensor], *, seed: int) -> Prior:
        """A prior of the causes `draws` ``(S, N, n)``, S of each of N observations under `conditions` ``(N)``.

        `prior` is the one that the loop began with.
        """


@dataclass(frozen=True)
class LatentGaussian:
    """The latents become N(m, C), m and C those of the pool and of `strength` observations of the first prior.

    Parameters
    ----------
    strength : float
        How many observations the first prior counts for (the scale of its inverse Wishart prior): it holds what the
        observations do not say, and keeps the learned prior that much too wide.

    Raises
    ------
    ValueError
        If it is negative.
    """

    strength: float = 0.0

    def __post_init__(self) -> None:
        if not 0 <= self.strength < float("inf"):
            raise ValueError(f"Invalid strength {self.strength:g}. It must not be negative.")

    def __call__(self, prior: Prior, draws: Tensor, conditions: Mapping[str, Tensor], *, seed: int) -> Updated:
        """See `Refit`; the seed is not used."""
        u, count, nu = latents(prior, draws, conditions), draws.shape[1], self.strength
        share = count / (count + nu)
        mean = share * u.mean(0)
        about_zero = share * (u.mT @ u / len(u)) + (1 - share) * torch.eye(u.shape[1]).to(u)
        return Updated(prior, Gaussian(mean, about_zero - torch.outer(mean, mean), _names(u)))


@dataclass(frozen=True)
class LatentFlow:
    """The latents become a spline flow of the pool: other shapes than a Gaussian's, from more observations.

    Parameters
    ----------
    rows : int
        Draws of the pool, at most, that each fit learns from.
    transforms : int
    hidden : tuple of int
        See `Flow.fit`.
    training : Training
    """

    rows: int = 10_000
    transforms: int = 3
    hidden: tuple[int, ...] = (24, 24)
    training: Training = field(default_factory=lambda: Training(epochs=15, weight_decay=0.1))

    def __call__(self, prior: Prior, draws: Tensor, conditions: Mapping[str, Tensor], *, seed: int) -> Updated:
        """See `Refit`."""
        each = max(1, self.rows // draws.shape[1])
        u = latents(prior, draws[:each], conditions)
        flow = Flow.fit(
            u, causes=_names(u), transforms=self.transforms, hidden=self.hidden, training=self.training, seed=seed
        )
        return Updated(prior, flow)


def latents(prior: Prior, draws: Tensor, conditions: Mapping[str, Tensor]) -> Tensor:
    """Latents ``(R, k)``, float64, of the draws ``(S, N, n)``; those on the very end of a support are left out.

    Raises
    ------
    TypeError
        If the prior has no "encode".
    """
    if "encode" not in prior.capabilities:
        raise prior._lacks("encode")
    u = prior.encode(draws.double(), **{k: v.double() for k, v in conditions.items()})
    u = u.reshape(-1, u.shape[-1])
    return u[torch.isfinite(u).all(-1)]


def _names(u: Tensor) -> list[str]:
    return [f"u{i}" for i in range(u.shape[-1])]
