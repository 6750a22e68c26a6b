"""The matrix of what each latent moves: the effect of an intervention on every generated feature."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

from ..priors.prior import Prior
from .dci import disentanglement
from .sample_table import sample_table
from .traversal import Decode

Features = Callable[[Tensor], Tensor]
"""Causes ``(N, n)`` to features ``(N, f)``."""

_FEWEST = 20


class Effects(NamedTuple):
    """What interventions do to features, in units of each feature's standard deviation under the prior.

    Attributes
    ----------
    mean : Tensor (k, f)
        Mean change: its sign says which way the feature goes.
    size : Tensor (k, f)
        Mean absolute change; larger than that of `mean` where the way depends on the other latents.
    controllability : Tensor ()
        1 if each latent moves one feature only, 0 if all alike: the disentanglement of `size`.
    """

    mean: Tensor
    size: Tensor
    controllability: Tensor


def intervention_effects(decode: Decode, z: Tensor, *, step: float = 1.0, features: Features | None = None) -> Effects:
    """Set each latent to +step and to -step, whatever it was, and compare what is generated.

    Latents are independent, so that setting one is an intervention: nothing else about them changes (Pearl 2009,
    *Causality*, section 3.2). In the linear case x = W z the effect on feature j of latent i is 2 step W_ji / sd_j.

    Parameters
    ----------
    decode : callable
        Latents ``(N, k)`` to causes ``(N, n)``.
    z : Tensor (N, k)
        Draws of N(0, I), at least 20, over which the other latents vary.
    step : float
        Greater than 0.
    features : callable, optional
        ``(N, n) -> (N, f)``: what is looked at; the causes themselves by default.

    Returns
    -------
    Effects

    Raises
    ------
    ValueError, TypeError
        If draws are too few or not finite, the step is not positive, or no latent moves any feature.
    """
    z = sample_table("latents", z, _FEWEST)
    if not step > 0:
        raise ValueError(f"Invalid step {step:g}. Must be greater than 0.")

    def see(latents: Tensor) -> Tensor:
        x = decode(latents)
        return sample_table("features", x if features is None else features(x)).to(z)

    sd = see(z).std(0)
    scale = torch.where(sd > 0, sd, 1)
    changes = [(see(_set(z, i, step)) - see(_set(z, i, -step))) / scale for i in range(z.shape[1])]
    mean = torch.stack([c.mean(0) for c in changes])
    size = torch.stack([c.abs().mean(0) for c in changes])
    return Effects(mean, size, disentanglement(size))


def do_effects(prior: Prior, *, draws: int = 1000, seed: int = 0, features: Features | None = None) -> Tensor:
    """Effect of setting each cause of a structural prior one standard deviation above its mean.

    Parameters
    ----------
    prior : Prior
        With the capability "do", scalar causes and no conditions.
    draws : int
        At least 20. The same latents serve with and without the intervention.
    seed : int
    features : callable, optional
        ``(N, n) -> (N, f)``; the causes themselves by default.

    Returns
    -------
    Tensor (n, f)
        Change of each feature's mean in units of its standard deviation. Causes upstream of the one that is set
        have exactly 0.

    Raises
    ------
    TypeError
        If the prior has no "do".
    ValueError
        If draws are too few, or a value lies outside a cause's support.
    """
    if "do" not in prior.capabilities:
        raise TypeError(f"{type(prior).__name__} has no 'do'. Use intervention_effects, which sets latents.")
    x = sample_table("draws", prior.sample(draws, seed=seed), _FEWEST)

    def see(x: Tensor) -> Tensor:
        return x if features is None else sample_table("features", features(x))

    before = see(x)
    sd = torch.where(before.std(0) > 0, before.std(0), 1)
    level = (x.mean(0) + x.std(0)).tolist()
    after = [see(prior.do(**{n: v}).sample(draws, seed=seed)) for n, v in zip(prior.causes.names, level, strict=True)]
    return torch.stack([(a - before).mean(0) / sd for a in after])


def _set(z: Tensor, latent: int, value: float) -> Tensor:
    out = z.clone()
    out[:, latent] = value
    return out
