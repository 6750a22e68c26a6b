"""Observations in a netCDF file."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr

from .observations import block_labels, label_text
from .recipe import ObservationsSection, RecipeError
from .registry import nearest
from .selection import positions
from .space import Block


class NetcdfSource:
    """A netCDF file, after the recipe's selection; values are read from the disk when they are asked for.

    Parameters
    ----------
    path : Path
    section : ObservationsSection
    place : str
        What an error begins with.

    Raises
    ------
    RecipeError
        If the file is damaged, or the recipe names what it does not hold.
    """

    def __init__(self, path: Path, section: ObservationsSection, place: str) -> None:
        self.path, self.section, self.place = path, section, place
        try:
            self.dataset = xr.open_dataset(path, engine="netcdf4")
        except Exception as error:  # netCDF4 and xarray raise many kinds on a damaged file
            raise self._damaged(error) from error
        for name, wanted in section.select.items():
            self._select(name, wanted)
        self.dims: tuple[str, ...] = ()

    def block(self, block: Block | None, missing: Sequence[str]) -> np.ndarray:
        """Values ``(*batch, size)`` of a block of observables; see `Source`."""
        columns = self.section.columns
        if columns is not None:
            return self._from_variables(block, missing)
        array = self._array(self._variable_name(block))
        labels = block_labels(block) if block is not None else None
        own = self._element_dims(array, block)
        array = self._batch_first(array, own)
        values = self._load(array)
        lead = values.shape[: values.ndim - len(own)]
        if block is None:
            return values.reshape(*lead, -1)
        if len(own) == 1 and labels is not None:
            found = self._labels(array, own[0], labels)
            if found is not None:
                return _ordered(values, labels, found, missing, f"{self.place}: {self.path.name}")
        if values.shape[len(lead) :] != block.shape:
            raise RecipeError(
                f"{self.place}: {array.name!r} has the shape {values.shape[len(lead) :]} along {own}. "
                f"The forward model's {block.name!r} has the shape {block.shape}."
            )
        return values.reshape(*lead, block.size)

    def variable(self, name: str) -> tuple[np.ndarray, str]:
        """Values of the batch's shape, and their units; see `Source`."""
        array = self._array(name)
        outside = [d for d in array.dims if d not in self.dims]
        if outside:
            raise RecipeError(
                f"{self.place}: {name!r} has the dimension {outside[0]!r}. The observations have {list(self.dims)}."
            )
        like = xr.DataArray(
            np.empty(()), dims=()
        ).expand_dims({d: self.dataset.sizes[d] for d in self.dims})
        spread = array.reset_coords(drop=True).broadcast_like(like).transpose(*self.dims)
        values = self._load(spread)
        if values.dtype.kind not in "biuf":
            raise RecipeError(f"{self.place}: {name!r} is not numeric. Name a variable that holds numbers.")
        return values.astype(np.float64), str(array.attrs.get("units", ""))

    def coordinates(self) -> dict[str, Any]:
        """Coordinates of the batch; see `Source`."""
        for name in self.section.coordinates:
            self._array(name)
        wanted = [*self.dataset.coords, *self.section.coordinates]
        kept = {n: self.dataset[n] for n in wanted if self.dataset[n].ndim and set(self.dataset[n].dims) <= set(self.dims)}
        return {str(n): (tuple(map(str, a.dims)), self._load(a), dict(a.attrs)) for n, a in kept.items()}

    def _select(self, name: str, wanted: Any) -> None:
        place = f"{self.place}, select"
        if name in self.dataset.variables:
            along = self.dataset[name]
            if along.ndim != 1:
                raise RecipeError(f"{place}: {name!r} has {along.ndim} dimensions. Select by a variable that has one.")
            dim, values = along.dims[0], self._load(along)
        elif name in self.dataset.dims:
            dim, values = name, np.arange(self.dataset.sizes[name])
        else:
            known = [*map(str, self.dataset.dims), *map(str, self.dataset.variables)]
            raise RecipeError(f"{place}: Unknown name {name!r}. {nearest(name, known, 'The file has')}")
        self.dataset = self.dataset.isel({dim: positions(values, wanted, name, place)})

    def _variable_name(self, block: Block | None) -> str:
        chosen = self.section.variable
        if isinstance(chosen, str):
            return chosen
        if block is None:
            raise RecipeError(
                f"{self.place}: Missing key 'variable'. The forward model does not name its observables, so say "
                "which variable holds them."
            )
        return str((chosen or {}).get(block.name, block.name))

    def _array(self, name: str) -> xr.DataArray:
        if name not in self.dataset.variables:
            hint = nearest(name, map(str, self.dataset.variables), "The file has")
            raise RecipeError(f"{self.place}: {self.path.name} has no variable {name!r}. {hint}")
        return self.dataset[name]

    def _element_dims(self, array: xr.DataArray, block: Block | None) -> tuple[str, ...]:
        """The dimensions of `array` that run over the elements of the observable."""
        if self.section.dimension is not None:
            own: tuple[str, ...] = (self.section.dimension,) if block is None or block.shape else ()
        else:
            own = block.dims if block is not None else ()
            if block is None:
                raise RecipeError(
                    f"{self.place}: Missing key 'dimension'. Say which of {list(array.dims)} runs over the observables."
                )
        for dim in own:
            if dim not in array.dims:
                hint = nearest(dim, map(str, array.dims), f"{array.name!r} has")
                raise RecipeError(f"{self.place} dimension: {array.name!r} has no dimension {dim!r}. {hint}")
        return own

    def _batch_first(self, array: xr.DataArray, own: tuple[str, ...]) -> xr.DataArray:
        """Batch dimensions leading, in the order of the first variable that is read."""
        batch = tuple(str(d) for d in array.dims if d not in own)
        self.dims = self.dims or batch
        if set(batch) != set(self.dims):
            raise RecipeError(
                f"{self.place}: {array.name!r} has the dimensions {list(batch)} besides the observables. "
                f"All need the same, {list(self.dims)}."
            )
        return array.transpose(*self.dims, *own)

    def _labels(self, array: xr.DataArray, dim: str, wanted: Sequence[str]) -> list[str] | None:
        """The file's labels along `dim`: of its coordinates, the one that shares most with the forward model's."""
        lists = [
            [label_text(v) for v in self._load(c)] for c in array.coords.values() if c.dims == (dim,)
        ]
        return max(lists, key=lambda found: len(set(found) & set(wanted)), default=None)

    def _from_variables(self, block: Block | None, missing: Sequence[str]) -> np.ndarray:
        columns = self.section.columns
        labels = (block_labels(block) if block is not None else None) or ()
        if isinstance(columns, dict):
            names = [columns.get(label, label) for label in labels] if labels else list(columns.values())
        else:
            names = list(labels) if set(columns) >= set(labels) - set(missing) and labels else list(columns)
        parts: list[np.ndarray | None] = []
        for name, label in zip(names, labels or names, strict=False):
            lacking = label in missing
            parts.append(None if lacking else self._load(self._batch_first(self._array(name), ())))
        return _stacked(parts)

    def _load(self, array: xr.DataArray) -> np.ndarray:
        try:
            return np.asarray(array.values)
        except Exception as error:
            raise self._damaged(error) from error

    def _damaged(self, error: Exception) -> RecipeError:
        text = str(error).splitlines()[0][:80] if str(error) else type(error).__name__
        return RecipeError(f"{self.place}: The file {self.path.name} is damaged or cut short ({text}). Fetch it again.")
