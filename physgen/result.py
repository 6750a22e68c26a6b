"""The result: draws from the posterior of every observation, how far to trust them, and what made them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from torch import Tensor

from .space import Space
from .status import Status

if TYPE_CHECKING:

    pass


@dataclass(frozen=True, eq=False)
class Result:
    """What an inversion returns.

    Attributes
    ----------
    samples : Tensor (chain, draw, *batch, n)
        Draws in the units of the causes; NaN for an observation that could not be inverted at all.
    status : integer Tensor (*batch)
        Codes of `physgen.status.Status`.
    stats : mapping of str to Tensor (*batch, *own)
        Such as latent_mean, latent_covariance, averaging_kernel (latent coordinates), dofs, information_content,
        k_hat, ess, rhat, chi2, log_evidence.
    causes : Space
        What the last axis of `samples` holds.
    y : Tensor (*batch, m)
        The observations.
    conditions : mapping of str to Tensor (*batch, *own)
    observables, condition_space : Space, optional
        Names, units and coordinates of `y` and of the conditions.
    settings : mapping
        The method's name and settings, plain values.
    dims : tuple of str
        A name for each axis of the batch; ``observation`` by default.
    coords : mapping
        xarray-style coordinates of those dims: name -> values, or name -> (dims, values[, attributes]).
    provenance : mapping
        What another laboratory needs to repeat the answer, plain values.
    """

    samples: Tensor
    status: Tensor
    stats: Mapping[str, Tensor]
    causes: Space
    y: Tensor
    conditions: Mapping[str, Tensor] = field(default_factory=dict)
    observables: Space | None = None
    condition_space: Space | None = None
    settings: Mapping[str, Any] = field(default_factory=dict)
    dims: tuple[str, ...] = ()
    coords: Mapping[str, Any] = field(default_factory=dict)
    provenance: Mapping[str, Any] = field(default_factory=dict)

    @property
    def trusted(self) -> Tensor:
        """Which observations may be used as they are, boolean ``(*batch)``."""
        return self.status == Status.TRUSTED

    @property
    def draws(self) -> Tensor:
        """Chains and draws on one axis: ``(chain * draw, *batch, n)``."""
        return self.samples.flatten(0, 1)

    def labelled(self, *dims: str, **coords: Any) -> Result:
        """The same result with names for the axes of the batch, and coordinates along them."""
        return replace(self, dims=dims, coords=coords)
