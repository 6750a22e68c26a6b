"""The prior: a map x = g(z, conditions) from standard normal latents z to causes x."""

from __future__ import annotations

import abc
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from ..conditions import check_names, takes
from ..random import normal, single_stream, uniform
from ..space import Space

_REJECTION_ROUNDS = 1000


class Prior(abc.ABC):
    """Which causes nature makes: x = g(z, conditions) with z ~ N(0, I).

    A subclass gives `causes`, `latent_dim`, `capabilities` and `decode`, and the methods of the capabilities that it
    states. Every inversion reads ``log N(z) + log_factor(g(z)) + log p(y | F(g(z)))`` and nothing else of a prior.

    Attributes
    ----------
    causes : Space
        What x holds, with units and supports.
    latent_dim : int
        Length k of z; it may differ from the number n of causes.
    capabilities : frozenset of str
        Of {"log_prob", "encode", "score", "do", "log_factor"}.
    intervened : frozenset of str
        Causes that `do` has set.
    """

    causes: Space
    latent_dim: int
    capabilities: frozenset[str] = frozenset()
    intervened: frozenset[str] = frozenset()

    @abc.abstractmethod
    def decode(self, z: Tensor, /, **conditions: Tensor) -> Tensor:
        """Causes ``(*, n)`` of latents ``(*, k)``."""

    def encode(self, x: Tensor, /, **conditions: Tensor) -> Tensor:
        """Latents ``(*, k)`` of causes ``(*, n)``: the inverse of `decode`. Capability "encode"."""
        raise self._lacks("encode")

    def log_prob(self, x: Tensor, /, **conditions: Tensor) -> Tensor:
        """Log density ``(*)`` of causes ``(*, n)``; -inf outside the support. Capability "log_prob"."""
        raise self._lacks("log_prob")

    def log_factor(self, x: Tensor, /, **conditions: Tensor) -> Tensor:
        """What a weighted prior adds to log N(z), ``(*)``, bounded above by 0. Capability "log_factor"."""
        return x.new_zeros(x.shape[:-1])

    def do(self, **values: float) -> Prior:
        """The prior after setting causes by intervention (Pearl 2009, section 3.2). Capability "do"."""
        raise self._lacks("do")

    def sample(
        self, shape: tuple[int, ...] | int, *, seed: int = 0, dtype: torch.dtype | None = None, **conditions: Tensor
    ) -> Tensor:
        """Draw causes.

        Parameters
        ----------
        shape : tuple of int or int
            Of the draws, leading the conditions' own batch if they have one: the result is ``(*shape, n)`` and every
            condition must broadcast against ``shape`` from the right.
        seed : int
            The draws are a function of it.
        dtype : torch.dtype, optional
            `torch.get_default_dtype()` by default.
        **conditions : Tensor or float
            Those that the prior takes.

        Returns
        -------
        Tensor (*shape, n)
            A weighted prior (capability "log_factor") is drawn by rejection.

        Raises
        ------
        RuntimeError
            If a weighted prior accepts too few draws.
        """
        z = self.sample_latents(shape, seed=seed, dtype=dtype, **conditions)
        return self.decode(z, **self._own(conditions, z))

    def sample_latents(
        self, shape: tuple[int, ...] | int, *, seed: int = 0, dtype: torch.dtype | None = None, **conditions: Tensor
    ) -> Tensor:
        """Draw latents ``(*shape, k)``: standard normal, or by rejection where the prior is weighted.

        Parameters and errors are those of `sample`.
        """
        shape = (shape,) if isinstance(shape, int) else tuple(shape)
        dtype = dtype or torch.get_default_dtype()

        def standard(stage: int) -> Tensor:
            return normal((*shape, self.latent_dim), single_stream(), seed=seed, stage=stage, dtype=dtype)

        z = standard(0)
        if "log_factor" not in self.capabilities:
            return z
        own = self._own(conditions, z)
        pending = torch.ones(shape, dtype=torch.bool)
        for attempt in range(_REJECTION_ROUNDS):
            proposal = standard(2 * attempt)
            log_u = torch.log(uniform(shape, single_stream(), seed=seed, stage=2 * attempt + 1, dtype=dtype))
            accepted = pending & (log_u < self.log_factor(self.decode(proposal, **own), **own))
            z = torch.where(accepted[..., None], proposal, z)
            pending = pending & ~accepted
            if not bool(pending.any()):
                return z
        raise RuntimeError(
            f"The weighted prior rejected {int(pending.sum())} of {pending.numel()} draws {_REJECTION_ROUNDS} times. "
            "Widen the selection, or condition the prior so that it reaches it."
        )

    def _own(self, conditions: Mapping[str, Any], like: Tensor) -> dict[str, Tensor]:
        """The conditions that `decode` takes, as tensors of the dtype and device of `like`."""
        taken = takes(self, "decode")
        check_names(conditions, taken)
        return {k: torch.as_tensor(v, dtype=like.dtype, device=like.device) for k, v in taken.pick(conditions).items()}

    def _lacks(self, capability: str) -> TypeError:
        return TypeError(
            f"{type(self).__name__} has no {capability!r}. Its capabilities are {sorted(self.capabilities) or 'none'}."
        )
