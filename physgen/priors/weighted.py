"""A prior whose density is multiplied by a factor: what `where` and `shift` return."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from ..conditions import Takes, check_names, takes
from .prior import Prior

Factor = Callable[..., Tensor]


class Weighted(Prior):
    """p(x) exp(factor(x)), up to a constant: x = g(z) as before, and `log_factor` carries the weight.

    Draws are made by rejection, and every inversion adds `log_factor` to log N(z). "log_prob" is then up to a constant;
    "do" is lost, since an intervention after a selection is another question than a selection after an intervention:
    intervene first.

    Parameters
    ----------
    prior : Prior
    factor : callable
        ``(x, **conditions) -> (*)``, at most 0; it takes the conditions that it names.
    words : str
        How it is printed.
    """

    def __init__(self, prior: Prior, factor: Factor, words: str, taken: Takes) -> None:
        self.prior, self.factor, self._words = prior, factor, words
        self._of_prior, self._of_factor = takes(prior, "decode"), taken
        self.takes = self._of_prior | self._of_factor
        self.causes, self.latent_dim, self.intervened = prior.causes, prior.latent_dim, prior.intervened
        self.capabilities = (prior.capabilities & {"log_prob", "encode"}) | {"log_factor"}

    def __repr__(self) -> str:
        return self._words

    def decode(self, z: Tensor, /, **conditions: Any) -> Tensor:
        return self.prior.decode(z, **self._pick(conditions))

    def encode(self, x: Tensor, /, **conditions: Any) -> Tensor:
        return self.prior.encode(x, **self._pick(conditions))

    def log_prob(self, x: Tensor, /, **conditions: Any) -> Tensor:
        """Log density ``(*)``, up to a constant: the mass that the factor leaves is not known."""
        own = self.prior.log_prob(x, **self._pick(conditions))
        inside = ~torch.isneginf(own)
        # where the prior has no mass the factor need not be defined
        median = self.prior.decode(x.new_zeros(*x.shape[:-1], self.latent_dim), **self._pick(conditions))
        return own + self._factor(torch.where(inside[..., None], x, median), conditions)

    def log_factor(self, x: Tensor, /, **conditions: Any) -> Tensor:
        return self.prior.log_factor(x, **self._pick(conditions)) + self._factor(x, conditions)

    def _factor(self, x: Tensor, conditions: dict[str, Any]) -> Tensor:
        self.causes.check(x)
        return self.factor(x, **self._of_factor.pick(conditions))

    def _pick(self, conditions: dict[str, Any]) -> dict[str, Any]:
        check_names(conditions, self.takes)
        return self._of_prior.pick(conditions)
