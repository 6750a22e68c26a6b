"""Abduction of a decoder: latents that give back observed features exactly."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from ..random import normal, single_stream
from .bases import NormalBase
from .prior import Prior
from .support_map import SupportMap

ABDUCTION_STAGE = 1 << 41  # of the codes that are drawn


def can_abduct(prior: Prior) -> bool:
    """Whether `abduct` knows how: "encode", or a `code` with a normal base and a noise of each cause behind it."""
    if "encode" in prior.capabilities:
        return True
    has_noise = prior.latent_dim == getattr(prior, "code_dim", 0) + prior.causes.size
    return hasattr(prior, "code") and has_noise and isinstance(getattr(prior, "base", NormalBase()), NormalBase)


def abduct(prior: Prior, x: Tensor, *, seed: int, **conditions: Any) -> Tensor:
    """Latents ``(*, k)`` whose `decode` is x ``(*, n)``.

    By "encode" where the prior has it. A decoder has many such latents: the code is drawn from its approximate
    posterior, and the noise is what is then left of x, element by element, so that `decode` gives x back whatever the
    encoder is worth (Pearl 2009, section 7.1, step 1).

    Raises
    ------
    TypeError
        If the prior has neither.
    """
    if "encode" in prior.capabilities:
        return prior.encode(x, **conditions)
    if not can_abduct(prior):
        raise TypeError(
            f"{type(prior).__name__} has no 'encode' and no code with a normal base. Use a Decoder, or a Flow."
        )
    mean, sd = prior.code(x, **conditions)  # type: ignore[attr-defined]
    eps = normal(tuple(mean.shape), single_stream(), seed=seed, stage=ABDUCTION_STAGE, dtype=mean.dtype).to(mean.device)
    code = mean + sd * eps
    at_0, at_1 = (_on_lines(prior, code, n, conditions) for n in (0.0, 1.0))
    noise = (_encoded(prior, x) - at_0) / (at_1 - at_0)
    return torch.cat([code, noise], -1)


def _on_lines(prior: Prior, code: Tensor, noise: float, conditions: dict[str, Any]) -> Tensor:
    z = torch.nn.functional.pad(code, (0, prior.causes.size), value=noise)
    return _encoded(prior, prior.decode(z, **conditions))


def _encoded(prior: Prior, x: Tensor) -> Tensor:
    """Causes on whole lines ``(*, n)``, on which the noise acts linearly."""
    return SupportMap(prior.causes).encode(x.reshape(-1, x.shape[-1]).mT).mT.reshape(x.shape)
