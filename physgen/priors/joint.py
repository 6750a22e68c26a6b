"""Several priors side by side: causes that are independent of each other, each group with a prior of its own."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from ..conditions import Takes, check_names, takes
from ..space import Space
from .prior import Prior

_OF_ALL = ("log_prob", "encode")


class Joint(Prior):
    """Independent priors as one: latents are those of the parts side by side, causes in any order of blocks.

    Parameters
    ----------
    *parts : Prior
        Of different causes. Each gets the conditions that it takes.
    order : sequence of str, optional
        The names of all causes in the order wanted; that of the parts by default.

    Attributes
    ----------
    capabilities : frozenset of str
        "log_prob" and "encode" if all parts have them, "log_factor" if one has, "do" if the first has: `do` refuses the
        causes of a part without.

    Raises
    ------
    TypeError, ValueError
        If a part is no prior, two share a cause, or the order does not name every cause once.

    Examples
    --------
    >>> import physgen as pg
    >>> leaf, soil = pg.Independent(cab=pg.Uniform(20, 80)), pg.Independent(soil_1=pg.Normal(0, 1))
    >>> Joint(leaf, soil, order=["soil_1", "cab"]).causes.names
    ('soil_1', 'cab')
    """

    def __init__(self, *parts: Prior, order: Sequence[str] | None = None) -> None:
        if not parts or not all(isinstance(p, Prior) for p in parts):
            raise TypeError("Invalid parts of a joint prior. Give one Prior or more.")
        self.parts = parts
        together = Space(*(b for p in parts for b in p.causes))
        names = tuple(order) if order is not None else together.names
        if sorted(names) != sorted(together.names):
            raise ValueError(f"Invalid order {list(names)}. Name each of {', '.join(together.names)} once.")
        self.causes = Space(*(together.block(n) for n in names))
        places = torch.arange(together.size)
        self._order = torch.cat([places[together.slice(n)] for n in names])
        self._back = self._order.argsort()
        self.latent_dim = sum(p.latent_dim for p in parts)
        self.intervened = frozenset().union(*(p.intervened for p in parts))
        shared = frozenset(_OF_ALL).intersection(*(p.capabilities for p in parts))
        weighted = frozenset({"log_factor"}).intersection(frozenset().union(*(p.capabilities for p in parts)))
        self.capabilities = shared | weighted | (parts[0].capabilities & {"do"})
        self.takes = Takes()
        for p in parts:
            self.takes = self.takes | takes(p, "decode")

    def __repr__(self) -> str:
        return f"Joint({', '.join(map(repr, self.parts))})"

    def decode(self, z: Tensor, /, **conditions: Any) -> Tensor:
        self._check_latents(z)
        pieces = z.split([p.latent_dim for p in self.parts], -1)
        x = self._each(lambda p, piece, own: p.decode(piece, **own), pieces, conditions)
        lead = torch.broadcast_shapes(*(part.shape[:-1] for part in x))
        return torch.cat([part.expand(*lead, part.shape[-1]) for part in x], -1)[..., self._order.to(z.device)]

    def encode(self, x: Tensor, /, **conditions: Any) -> Tensor:
        self._need("encode")
        z = self._each(lambda p, piece, own: p.encode(piece, **own), self._split(x), conditions)
        lead = torch.broadcast_shapes(*(part.shape[:-1] for part in z))
        return torch.cat([part.expand(*lead, part.shape[-1]) for part in z], -1)

    def log_prob(self, x: Tensor, /, **conditions: Any) -> Tensor:
        self._need("log_prob")
        return sum(
            self._each(lambda p, piece, own: p.log_prob(piece, **own), self._split(x), conditions), x.new_zeros(())
        )

    def log_factor(self, x: Tensor, /, **conditions: Any) -> Tensor:
        """The sum of the parts' factors."""
        return sum(
            self._each(lambda p, piece, own: p.log_factor(piece, **own), self._split(x), conditions), x.new_zeros(())
        )

    def do(self, **values: float) -> Joint:
        """The joint prior after an intervention in the parts whose causes are named.

        Raises
        ------
        TypeError
            If such a part has no "do".
        ValueError
            If a name is unknown, or a value not within the support.
        """
        self._need("do")
        for name in values:
            self.causes.block(name)
        parts = []
        for p in self.parts:
            own = {n: v for n, v in values.items() if n in p.causes}
            if own and "do" not in p.capabilities:
                raise p._lacks("do")
            parts.append(p.do(**own) if own else p)
        return Joint(*parts, order=self.causes.names)

    def _each(
        self,
        function: Callable[[Prior, Tensor, dict[str, Any]], Tensor],
        pieces: Sequence[Tensor],
        conditions: Mapping[str, Any],
    ) -> list[Tensor]:
        check_names(conditions, self.takes)
        own = [takes(p, "decode").pick(conditions) for p in self.parts]
        return [function(p, piece, c) for p, piece, c in zip(self.parts, pieces, own, strict=True)]

    def _split(self, x: Tensor) -> tuple[Tensor, ...]:
        self.causes.check(x)
        return x[..., self._back.to(x.device)].split([p.causes.size for p in self.parts], -1)

    def _check_latents(self, z: Tensor) -> None:
        if z.ndim == 0 or z.shape[-1] != self.latent_dim:
            raise ValueError(f"Invalid shape {tuple(z.shape)}. The last axis must hold the {self.latent_dim} latents.")

    def _need(self, capability: str) -> None:
        if capability not in self.capabilities:
            raise self._lacks(capability)
