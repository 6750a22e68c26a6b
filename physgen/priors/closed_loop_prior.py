"""A prior learned on top of another: its causes are those of the other, its latents are distributed as was learned."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from ..conditions import takes
from .prior import Prior
from .standard_normal import log_density
from .storage import nested_prior, nested_state, storable


@storable("updated")
class Updated(Prior):
    """x = g(h(z)): the map g of a given prior, and h, learned, the distribution of its latents u = h(z).

    Supports, dependences and units stay those of the given prior; what changes is how often it makes what. Where h is
    the identity, it is the given prior.

    Parameters
    ----------
    prior : Prior
        g, with its conditions. Not weighted.
    latents : Prior
        h: its causes are the latents of `prior`; without conditions.

    Attributes
    ----------
    capabilities : frozenset of str
        "encode" if both have it; "log_prob" if the given prior has both and h has "log_prob".

    Raises
    ------
    TypeError, ValueError
        If one is no prior, `prior` is weighted, or the numbers of latents differ.
    """

    def __init__(self, prior: Prior, latents: Prior) -> None:
        if not isinstance(prior, Prior) or not isinstance(latents, Prior):
            raise TypeError("Invalid parts of an updated prior. Give a Prior, and a Prior of its latents.")
        if "log_factor" in prior.capabilities or "log_factor" in latents.capabilities:
            raise TypeError("A weighted prior cannot be updated. Update the prior inside, then select or shift.")
        if latents.causes.size != prior.latent_dim or takes(latents, "decode").required:
            raise ValueError(
                f"The prior has {prior.latent_dim} latents, and what was learned has {latents.causes.size} causes. "
                "Learn the distribution of the latents of this prior, without conditions."
            )
        self.prior, self.latents = prior, latents
        self.causes, self.takes, self.latent_dim = prior.causes, takes(prior, "decode"), latents.latent_dim
        encodes = {"encode"} & prior.capabilities & latents.capabilities
        dense = "log_prob" in latents.capabilities and {"log_prob", "encode"} <= prior.capabilities
        self.capabilities = frozenset(encodes | ({"log_prob"} if dense else set()))
        self.intervened = prior.intervened

    def __repr__(self) -> str:
        return f"Updated({self.prior!r}, {self.latents!r})"

    def decode(self, z: Tensor, /, **conditions: Any) -> Tensor:
        return self.prior.decode(self.latents.decode(z), **conditions)

    def encode(self, x: Tensor, /, **conditions: Any) -> Tensor:
        self._need("encode")
        return self.latents.encode(self.prior.encode(x, **conditions))

    def log_prob(self, x: Tensor, /, **conditions: Any) -> Tensor:
        """log p(x) = log p_g(x) - log N(u) + log p_h(u), u = g^-1(x); -inf outside the support."""
        self._need("log_prob")
        u = self.prior.encode(x, **conditions)
        inside = torch.isfinite(u).all(-1)
        safe = torch.where(inside[..., None], u, 0.0)
        change = self.latents.log_prob(safe) - log_density(safe).sum(-1)
        return torch.where(inside, self.prior.log_prob(x, **conditions) + change, -torch.inf)

    def state(self) -> tuple[dict[str, Tensor], dict[str, Any]]:
        """Tensors and plain values that `from_state` makes the same prior of."""
        tensors, settings, parts = nested_state(self.prior, "prior")
        more, own, rest = nested_state(self.latents, "latents")
        return tensors | more, settings | own | {"parts": parts | rest}

    @classmethod
    def from_state(cls, tensors: Mapping[str, Tensor], settings: Mapping[str, Any], **parts: Any) -> Updated:
        """The prior of `state`."""
        return cls(*(nested_prior(tensors, settings, parts, name) for name in ("prior", "latents")))

    def _need(self, capability: str) -> None:
        if capability not in self.capabilities:
            raise self._lacks(capability)
