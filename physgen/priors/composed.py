"""Two priors, one behind the other: the causes of the first are conditions of the second."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from ..conditions import Takes, check_names, takes
from ..space import Space
from .composed_abduction import abduct
from .prior import Prior
from .storage import nested_prior, nested_state, storable


@storable("composed")
class Composed(Prior):
    """x = (c, f) with c = inner(z_c) and f = outer(z_f; c), z = (z_c, z_f).

    With a structural causal model of labelled concepts inside and a decoder of features outside, an intervention on a
    concept goes on to the concepts that it acts on, and to the features (`do`); see `scm_vae`, `causal_vae` and
    `causal_gan`. It has "log_prob" and "encode" if both parts do, and "do" if the inner part does; `counterfactual`
    needs an outer part with a code at least.

    Parameters
    ----------
    inner : Prior
        Of the concepts c.
    outer : Prior
        Of the features f; those of its conditions that are causes of `inner` are taken from there, others stay
        conditions.

    Attributes
    ----------
    causes : Space
        Those of `inner`, then those of `outer`.
    takes : Takes

    Raises
    ------
    TypeError
        If a part is no prior, or the outer one is weighted.
    ValueError
        If `outer` takes none of the causes of `inner`, or one that is no scalar, or both have a cause of one name.
    """

    def __init__(self, inner: Prior, outer: Prior) -> None:
        _check(inner, outer)
        inside, outside = takes(inner, "decode"), takes(outer, "decode")
        self.inner, self.outer = inner, outer
        self.bound = tuple(n for n in inner.causes.names if n in outside.names)
        own = frozenset(self.bound)
        self.takes = inside | Takes(outside.required - own, outside.optional - own)
        self.causes = Space(*inner.causes, *outer.causes)
        self.latent_dim = inner.latent_dim + outer.latent_dim
        both = inner.capabilities & outer.capabilities & {"log_prob", "encode"}
        self.capabilities = both | (inner.capabilities & {"do", "log_factor"})
        self.intervened = inner.intervened | outer.intervened
        self._inside, self._outside = inside, outside

    def __repr__(self) -> str:
        return f"Composed({self.inner!r}, {self.outer!r})"

    def decode(self, z: Tensor, /, **conditions: Any) -> Tensor:
        if z.ndim == 0 or z.shape[-1] != self.latent_dim:
            k, m = self.inner.latent_dim, self.outer.latent_dim
            raise ValueError(
                f"Invalid shape {tuple(z.shape)}. The last axis must hold the {self.latent_dim} latents: "
                f"{k} of the inner prior and {m} of the outer one."
            )
        check_names(conditions, self.takes)
        z_c, z_f = z.split([self.inner.latent_dim, self.outer.latent_dim], -1)
        c = self.inner.decode(z_c, **self._inside.pick(conditions))
        return _join(c, self.outer.decode(z_f, **self._seen(c, conditions)))

    def encode(self, x: Tensor, /, **conditions: Any) -> Tensor:
        """Latents ``(*, k)`` of concepts and features ``(*, n)``."""
        self._need("encode")
        c, f = self._parts(x, conditions)
        z_c = self.inner.encode(c, **self._inside.pick(conditions))
        return _join(z_c, self.outer.encode(f, **self._seen(c, conditions)))

    def log_prob(self, x: Tensor, /, **conditions: Any) -> Tensor:
        """log p(c) + log p(f | c) ``(*)``; -inf outside the support."""
        self._need("log_prob")
        c, f = self._parts(x, conditions)
        own = self._inside.pick(conditions)
        first = self.inner.log_prob(c, **own)
        # the outer prior must see a possible value, or its NaN would hide the -inf
        middle = self.inner.decode(c.new_zeros(*c.shape[:-1], self.inner.latent_dim), **own)
        safe = torch.where(torch.isneginf(first)[..., None], middle, c)
        return first + self.outer.log_prob(f, **self._seen(safe, conditions))

    def log_factor(self, x: Tensor, /, **conditions: Any) -> Tensor:
        """That of the inner prior ``(*)``."""
        c, _ = self._parts(x, conditions)
        return self.inner.log_factor(c, **self._inside.pick(conditions))

    def do(self, **values: float) -> Composed:
        """The prior after an intervention on concepts, which features follow; on features if the outer prior has "do".

        The layout of the latents stays; "log_prob" and "encode" are lost.

        Raises
        ------
        ValueError, TypeError
            As the "do" of the part whose cause is named; and if that part has none.
        """
        self._need("do")
        known = {n: v for n, v in values.items() if n not in self.outer.causes}
        features = {n: v for n, v in values.items() if n in self.outer.causes}
        unknown = [n for n in known if n not in self.inner.causes]
        if unknown:
            self.causes.block(unknown[0])
        if features and "do" not in self.outer.capabilities:
            raise ValueError(
                f"The feature {', '.join(map(repr, features))} cannot be set: {type(self.outer).__name__} has no 'do'. "
                f"Set some of {', '.join(self.inner.causes.names)}."
            )
        inner = self.inner.do(**known) if known else self.inner
        return Composed(inner, self.outer.do(**features) if features else self.outer)

    def abduct(self, x: Tensor, /, *, seed: int = 0, **conditions: Any) -> Tensor:
        """Latents ``(*, k)`` that give back concepts and features ``(*, n)`` exactly.

        Those of the concepts are the only ones. Of a decoder's code they are a draw from its approximate posterior, of
        which `seed` gives another.

        Raises
        ------
        TypeError
            If the inner prior has no "encode", or the outer one neither that nor a code.
        """
        c, f = self._parts(x, conditions)
        if "encode" not in self.inner.capabilities:
            raise self.inner._lacks("encode")
        z_c = self.inner.encode(c, **self._inside.pick(conditions))
        return _join(z_c, abduct(self.outer, f, seed=seed, **self._seen(c, conditions)))

    def counterfactual(self, x: Tensor, values: Mapping[str, float], /, *, seed: int = 0, **conditions: Any) -> Tensor:
        """What observed concepts and features ``(*, n)`` would have been if some concepts had been set.

        Abduction, action, prediction (Pearl 2009, theorem 7.1.7). With no values it gives x back. Parameters and errors
        are those of `abduct` and `do`.
        """
        return self.do(**values).decode(self.abduct(x, seed=seed, **conditions), **conditions)

    def state(self) -> tuple[dict[str, Tensor], dict[str, Any]]:
        """Tensors and plain values that `from_state` makes the same prior of."""
        inner, outer = nested_state(self.inner, "inner"), nested_state(self.outer, "outer")
        return inner[0] | outer[0], inner[1] | outer[1] | {"parts": inner[2] | outer[2]}

    @classmethod
    def from_state(cls, tensors: Mapping[str, Tensor], settings: Mapping[str, Any], **parts: Any) -> Composed:
        """The prior of `state`."""
        return cls(*(nested_prior(tensors, settings, parts, name) for name in ("inner", "outer")))

    def _parts(self, x: Tensor, conditions: Mapping[str, Any]) -> tuple[Tensor, Tensor]:
        self.causes.check(x)
        check_names(conditions, self.takes)
        c, f = x.split([self.inner.causes.size, self.outer.causes.size], -1)
        return c, f

    def _seen(self, c: Tensor, conditions: Mapping[str, Any]) -> dict[str, Any]:
        """What the outer prior is given."""
        own = {n: c[..., self.inner.causes.slice(n).start] for n in self.bound}
        return self._outside.pick(conditions) | own

    def _need(self, capability: str) -> None:
        if capability not in self.capabilities:
            raise self._lacks(capability)


def _check(inner: Prior, outer: Prior) -> None:
    for name, part in (("inner", inner), ("outer", outer)):
        if not isinstance(part, Prior):
            raise TypeError(f"Invalid {name} part of type {type(part).__name__}. Give a prior.")
    if "log_factor" in outer.capabilities:
        raise TypeError("Invalid outer prior with a log_factor. Weight the composed prior instead.")
    seen = [b for b in inner.causes if b.name in takes(outer, "decode").names]
    if not seen:
        taken = ", ".join(sorted(takes(outer, "decode").names)) or "none"
        raise ValueError(
            f"The outer prior takes none of {', '.join(inner.causes.names)}; its conditions are {taken}. "
            "Fit it with the inner causes as conditions."
        )
    shaped = [b.name for b in seen if b.shape]
    if shaped:
        raise ValueError(f"The inner cause {', '.join(map(repr, shaped))} has a shape. Conditions must be scalars.")


def _join(first: Tensor, second: Tensor) -> Tensor:
    lead = torch.broadcast_shapes(first.shape[:-1], second.shape[:-1])
    return torch.cat([t.expand(*lead, t.shape[-1]) for t in (first, second)], -1)
