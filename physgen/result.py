"""The result: draws from the posterior of every observation, how far to trust them, and what made them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from torch import Tensor

from .space import Space
from .status import Status

if TYPE_CHECKING:
    from pathlib import Path

    import xarray


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

    def __repr__(self) -> str:
        chains, draws = self.samples.shape[:2]
        counts = Counter(Status(code).meaning for code in self.status.flatten().tolist())
        return (
            f"Result of {self.settings.get('method', 'an inversion')}: {chains * draws} draws of "
            f"{', '.join(self.causes.names)}; observations: {self.status.numel()}\n"
            f"status: {', '.join(f'{number} {meaning}' for meaning, number in counts.most_common())}"
        )

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

    def to_datatree(self) -> xarray.DataTree:
        """The result in the ArviZ schema, which `arviz_stats` and `arviz_base` read.

        Returns
        -------
        xarray.DataTree
            Groups `posterior` (dims chain, draw, the batch's, a cause's own; one variable for each cause),
            `sample_stats` (status and statistics), `observed_data`, and `constant_data` (conditions, if there are
            any), with units and other CF attributes; provenance in the attributes of the root. Arrays on the CPU
            share their memory with the result.

        Raises
        ------
        ValueError
            If `dims` or `coords` do not fit the observations.
        """
        from .datatree import to_datatree

        return to_datatree(self)

    def to_netcdf(self, path: str | Path) -> Path:
        """Write the tree of `to_datatree` to a netCDF-4 file, which appears whole or not at all.

        Parameters
        ----------
        path : path
            A file of that name is replaced.

        Returns
        -------
        Path

        Raises
        ------
        ValueError
            If `dims` or `coords` do not fit the observations.
        OSError
            If the file cannot be written.
        """
        from .netcdf_file import write

        return write(self, path)

    @staticmethod
    def from_netcdf(path: str | Path) -> Result:
        """The result in a file of `to_netcdf` or `physgen invert`, all of it in memory.

        Tuples in `settings` and `provenance` come back as lists, `coords` as (dims, values, attributes), and `dims`
        as the file names them.

        Raises
        ------
        FileNotFoundError
            If there is no such file.
        ValueError
            If it is damaged, or not a result.
        """
        from .netcdf_file import read

        return read(path)
