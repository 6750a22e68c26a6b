"""A result's netCDF file: its groups and variables, and reading and writing it whole."""

from __future__ import annotations

import itertools
import math
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import netCDF4
import xarray as xr

from .datatree import DRAWS, attributes, batch_coordinates, batch_dims, datasets, from_datatree
from .result import Result
from .writing import whole_file

Cut = tuple[slice, ...]
"""A hyper-rectangle of the batch."""

_STORED = 1 << 20  # bytes of a variable that are compressed together, at most
_TOGETHER = 1 << 12  # observations that are compressed together, at most: chunk after chunk must not rewrite them


def write(result: Result, path: str | Path) -> Path:
    """Write a result; see `Result.to_netcdf`."""
    path = check_target(path)
    labels = Labels.of(result.dims, result.coords, tuple(result.status.shape))
    groups = datasets(result)
    try:
        with whole_file(path) as temporary, netCDF4.Dataset(temporary, "w") as file:
            define(file, groups, labels, attributes(result))
            fill(file, groups, labels, tuple(slice(0, n) for n in labels.batch))
    except (OSError, RuntimeError) as error:  # netCDF4 raises both
        raise OSError(f"Cannot write {path} ({error}). Check that the disk has room.") from error
    return path


def read(path: str | Path) -> Result:
    """Read a result; see `Result.from_netcdf`."""
    path = Path(path)
    if not path.exists():
        raise FileNotFoundError(f"No file {path}. Check the path.")
    try:
        # times are decoded among the coordinates only: a cause may well have the units of a time
        with xr.open_datatree(path, engine="netcdf4", decode_times=False, decode_timedelta=False) as tree:
            tree.load()
    except (OSError, RuntimeError, ValueError, AttributeError) as error:
        raise ValueError(f"The file {path} is not netCDF, damaged or cut short ({error}). Fetch it again.") from error
    try:
        return from_datatree(tree)
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError(
            f"The file {path} holds no result of physgen ({error}). Give one that it has written."
        ) from error


def check_target(path: str | Path) -> Path:
    """The path, if a file can be written there.

    Raises
    ------
    OSError
        If it is a folder, or lies in none that can be written into.
    """
    path = Path(path)
    if path.is_dir():
        raise IsADirectoryError(f"Cannot write {path}, which is a folder. Give the name of a file.")
    try:
        with tempfile.TemporaryFile(dir=path.parent):
            return path
    except OSError as error:
        raise type(error)(
            f"Cannot write into the folder {path.parent} ({error.strerror}). Choose one that exists and is writable."
        ) from error


def rectangles(batch: tuple[int, ...], limit: int) -> Iterator[Cut]:
    """Hyper-rectangles that cover a batch, in order.

    Parameters
    ----------
    batch : tuple of int
        Shape.
    limit : int
        Elements of one at most.

    Yields
    ------
    tuple of slice
        One for each axis.
    """
    shape = tile(batch, limit)
    starts = (range(0, n, step) for n, step in zip(batch, shape, strict=True))
    for corner in itertools.product(*starts):
        yield tuple(slice(i, min(i + step, n)) for i, step, n in zip(corner, shape, batch, strict=True))


def tile(batch: tuple[int, ...], limit: int) -> tuple[int, ...]:
    """Shape of a hyper-rectangle of at most `limit` elements: whole trailing axes, then a power of two, then ones.

    With a power of two a small tile's edges are among those of a large one or the reverse, so that a chunk of
    observations fills stored blocks whole.
    """
    shape: list[int] = []
    for n in reversed(batch):
        fit = max(n, 1) if n <= limit else 1 << (max(limit, 1).bit_length() - 1)
        shape.append(fit)
        limit = limit // fit if fit == n else 1
    return tuple(reversed(shape))


@dataclass(frozen=True, eq=False)
class Labels:
    """The batch in a file: its shape, names of its axes, and coordinates along them."""

    batch: tuple[int, ...]
    dims: tuple[str, ...]
    coords: Mapping[str, xr.Variable]

    @staticmethod
    def of(dims: tuple[str, ...], coords: Mapping[str, Any], batch: tuple[int, ...]) -> Labels:
        """Checked; `ValueError` if they do not fit together."""
        return Labels(batch, batch_dims(dims, batch), batch_coordinates(coords, dims, batch))

    @property
    def sizes(self) -> dict[str, int]:
        """Length of each axis."""
        return dict(zip(self.dims, self.batch, strict=True))

    def at(self, dims: tuple[str, ...], cut: Cut) -> Any:
        """Where the values of a chunk lie in a variable with the dimensions `dims`."""
        own = dict(zip(self.dims, cut, strict=True))
        return tuple(own.get(d, slice(None)) for d in dims) or ...


def define(file: netCDF4.Dataset, groups: Mapping[str, xr.Dataset], labels: Labels, attrs: Mapping[str, Any]) -> None:
    """Make groups, dimensions and variables for the whole batch after the pattern of `groups`; write coordinates."""
    file.setncatts(attrs)
    for name, dataset in groups.items():
        group = file.createGroup(name)
        for dim, size in dataset.sizes.items():
            group.createDimension(str(dim), labels.sizes.get(str(dim), size))
        coords = {k: v for k, v in labels.coords.items() if k not in dataset.variables}
        coords |= {str(k): v.variable for k, v in dataset.coords.items()}
        for key, variable in coords.items():
            _create(group, key, variable, labels)[...] = _encoded(key, variable).values
        # a coordinate that is not its dimension's own is known by this attribute only
        beside = {k: v for k, v in coords.items() if v.dims != (k,)}
        for own, array in dataset.data_vars.items():
            its = " ".join(k for k, v in beside.items() if set(v.dims) <= set(array.dims))
            _create(group, str(own), array.variable, labels).setncatts({"coordinates": its} if its else {})


def _create(group: netCDF4.Group, name: str, variable: xr.Variable, labels: Labels) -> netCDF4.Variable:
    encoded = _encoded(name, variable)
    text = encoded.dtype.kind not in "biuf"
    attrs = dict(encoded.attrs)
    shape = tuple(labels.sizes.get(d, n) for d, n in zip(_dims(variable), variable.shape, strict=True))
    packed = {"zlib": True, "complevel": 1, "shuffle": True, "chunksizes": _stored(variable, shape, labels)}
    options: dict[str, Any] = {"fill_value": attrs.pop("_FillValue", None), **({} if text or not shape else packed)}
    kind: Any = str if text else encoded.dtype
    made = group.createVariable(name, kind, _dims(variable), **options)
    made.set_auto_maskandscale(False)
    if not text and shape:
        # the library would keep 16 MiB of every variable
        made.set_var_chunk_cache(size=2 * _STORED)
    made.setncatts(attrs)
    return made


def _encoded(name: str, variable: xr.Variable) -> xr.Variable:
    """As netCDF holds it: times as numbers, booleans as bytes, text as objects."""
    encoded = xr.conventions.encode_cf_variable(variable, name=name)
    return encoded if encoded.dtype.kind in "biuf" else encoded.astype(object)


def _stored(variable: xr.Variable, shape: tuple[int, ...], labels: Labels) -> tuple[int, ...]:
    """Shape of the blocks that are compressed: all draws of as many observations as fit."""
    block = dict(zip(_dims(variable), shape, strict=True))
    room = max(_STORED // variable.dtype.itemsize, 1)
    for dim in DRAWS:
        others = math.prod(n for d, n in block.items() if d not in labels.dims and d != dim)
        if dim in block and others * block[dim] > room:
            block[dim] = 1 if dim == "chain" else max(1, room // others)
    own = math.prod(n for d, n in block.items() if d not in labels.dims)
    ours = [d for d in block if d in labels.dims]
    block |= dict(zip(ours, tile(tuple(block[d] for d in ours), min(max(1, room // own), _TOGETHER)), strict=True))
    return tuple(max(n, 1) for n in block.values())


def fill(file: netCDF4.Dataset, groups: Mapping[str, xr.Dataset], labels: Labels, cut: Cut) -> None:
    """Write the values of a chunk; the status last, since it says that the chunk is complete."""
    for name, dataset in groups.items():
        for key, array in dataset.data_vars.items():
            if key != "status":
                at = labels.at(_dims(array.variable), cut)
                file[name][str(key)][at] = _encoded(str(key), array.variable).values
    file.sync()
    status = groups["sample_stats"]["status"].variable
    file["sample_stats"]["status"][labels.at(_dims(status), cut)] = status.values


def _dims(variable: xr.Variable) -> tuple[str, ...]:
    return tuple(map(str, variable.dims))
