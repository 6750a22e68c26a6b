"""Observations in a netCDF file."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr

from .observations import block_labels, chosen_columns, label_text
from .recipe import ObservationsSection, RecipeError
from .registry import nearest
from .selection import positions
from .space import Block


class NetcdfSource:
    """A netCDF file after the recipe's selection; values are read from the disk when they are asked for.

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
        self.dims: tuple[str, ...] = ()
        try:
            self.dataset = xr.open_dataset(path, engine="netcdf4")
        except Exception as error:  # netCDF4 and xarray raise many kinds on a damaged file
            raise self._damaged(error) from error
        for name, wanted in section.select.items():
            self._select(name, wanted)

    def block(self, block: Block | None) -> tuple[np.ndarray, list[str] | None]:
        """Values ``(*batch, n)`` of a block of observables, and their labels; see `Source`."""
        if self.section.columns is not None:
            return self._columns(block)
        array = self._array(self._variable_name(block))
        own = self._element_dims(array, block)
        array = self._batch_first(array, own)
        values = self._load(array)
        lead = values.shape[: values.ndim - len(own)]
        if block is not None and len(own) == len(block.shape) > 1 and values.shape[len(lead) :] != block.shape:
            raise RecipeError(
                f"{self.place}: {array.name!r} has the shape {values.shape[len(lead) :]} along {own}. "
                f"The forward model's {block.name!r} has {block.shape}."
            )
        labels = self._labels(array, own[0], block) if len(own) == 1 else None
        return values.reshape(*lead, -1), labels

    def variable(self, name: str) -> tuple[np.ndarray, str]:
        """Numbers of the batch's shape, and their units; see `Source`."""
        array = self._array(name)
        outside = [d for d in array.dims if d not in self.dims]
        if outside:
            raise RecipeError(
                f"{self.place}: {name!r} has the dimension {outside[0]!r}. The observations have {list(self.dims)}."
            )
        values = self._load(array.transpose(*(d for d in self.dims if d in array.dims)))
        if values.dtype.kind not in "biuf":
            raise RecipeError(f"{self.place}: {name!r} does not hold numbers. Name a variable that does.")
        spread = [slice(None) if d in array.dims else None for d in self.dims]
        shape = tuple(self.dataset.sizes[d] for d in self.dims)
        whole = np.broadcast_to(values.astype(np.float64)[tuple(spread)], shape)
        return np.array(whole), str(array.attrs.get("units", ""))

    def coordinates(self) -> dict[str, Any]:
        """Coordinates of the batch; see `Source`."""
        for name in self.section.coordinates:
            self._array(name)
        arrays = [self.dataset[n] for n in [*self.dataset.coords, *self.section.coordinates]]
        kept = [a for a in arrays if a.ndim and set(a.dims) <= set(self.dims)]
        return {str(a.name): (tuple(map(str, a.dims)), self._load(a), dict(a.attrs)) for a in kept}

    def close(self) -> None:
        """Close the file."""
        self.dataset.close()

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
                f"{self.place}: Missing key 'variable'. The forward model does not name its observables, so the "
                "recipe must say which variable holds them."
            )
        return str((chosen or {}).get(block.name, block.name))

    def _array(self, name: str) -> xr.DataArray:
        if name not in self.dataset.variables:
            hint = nearest(name, map(str, self.dataset.variables), "The file has")
            raise RecipeError(f"{self.place}: {self.path.name} has no variable {name!r}. {hint}")
        return self.dataset[name]

    def _element_dims(self, array: xr.DataArray, block: Block | None) -> tuple[str, ...]:
        """The dimensions of `array` that run over the elements of the observable."""
        own: tuple[str, ...] = block.dims if block is not None else ()
        if self.section.dimension is not None and (block is None or block.shape):
            own = (self.section.dimension,)
        if block is None and not own:
            dims = ", ".join(map(str, array.dims))
            raise RecipeError(f"{self.place}: Missing key 'dimension'. Say which of {dims} runs over the observables.")
        for dim in own:
            if dim not in array.dims:
                hint = nearest(dim, map(str, array.dims), "It has")
                raise RecipeError(f"{self.place}, dimension: {array.name!r} has no dimension {dim!r}. {hint}")
        return own

    def _batch_first(self, array: xr.DataArray, own: tuple[str, ...] = ()) -> xr.DataArray:
        """Batch dimensions leading, in the order of the first variable that is read."""
        batch = tuple(str(d) for d in array.dims if d not in own)
        self.dims = self.dims or batch
        if set(batch) != set(self.dims):
            raise RecipeError(
                f"{self.place}: {array.name!r} has the dimensions {list(batch)} besides the observables. "
                f"All observables need the same, {list(self.dims)}."
            )
        return array.transpose(*self.dims, *own)

    def _labels(self, array: xr.DataArray, dim: str, block: Block | None) -> list[str] | None:
        """The file's labels along `dim`: of its coordinates, the one that shares most with the forward model's."""
        wanted = set((block_labels(block) if block is not None else None) or ())
        lists = [[label_text(v) for v in self._load(c)] for c in array.coords.values() if c.dims == (dim,)]
        return max(lists, key=lambda found: len(set(found) & wanted), default=None)

    def _columns(self, block: Block | None) -> tuple[np.ndarray, list[str]]:
        names = chosen_columns(self.section, block)
        parts = [self._load(self._batch_first(self._array(name))) for name in names.values()]
        return np.stack(parts, axis=-1), list(names)

    def _load(self, array: xr.DataArray) -> np.ndarray:
        try:
            return np.asarray(array.values)
        except Exception as error:
            raise self._damaged(error) from error

    def _damaged(self, error: Exception) -> RecipeError:
        text = str(error).splitlines()[0][:80] if str(error) else type(error).__name__
        return RecipeError(f"{self.place}: The file {self.path.name} is damaged or cut short ({text}). Fetch it again.")
