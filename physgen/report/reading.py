"""A result's file, read in slices: statistics of every observation, and draws of a few."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import netCDF4
import numpy as np
import xarray as xr

from .. import __version__
from ..datatree import DRAWS
from ..netcdf_file import rectangles
from ..status import Status
from ..summary import CauseSummary, statistics_of_draws

_BLOCK = 1_000_000  # draws held at once: 8 MB in float64, and some copies
_CACHE = 2 << 20  # bytes of each variable that the library keeps: two stored blocks
_SHOWN = 4  # observations that are drawn one by one, of many
_ALL_SHOWN = 6  # so many are all drawn
_KEPT = 400  # observations of which some draws are kept
_KEPT_DRAWS = 16_000  # of all of them together
_SHOWN_DRAWS = 400  # of each that is drawn
_OWN = 4096  # elements of the statistics of one observation that are loaded, at most


@dataclass(frozen=True, eq=False)
class Drawn:
    """Draws of some observations.

    Attributes
    ----------
    index : integer ndarray (S,)
        Which, counted along the batch.
    draws : mapping of str to ndarray (D, S, *own)
        By cause.
    observed, conditions : mapping of str to ndarray (S, *own)
        Blocks of observables, and conditions.
    """

    index: np.ndarray
    draws: Mapping[str, np.ndarray]
    observed: Mapping[str, np.ndarray]
    conditions: Mapping[str, np.ndarray]


@dataclass(frozen=True, eq=False)
class Answer:
    """What the report needs of a file.

    Attributes
    ----------
    path : Path
    attributes : mapping of the file
    dims, shape : tuple of the batch
    coords : mapping of str to xarray.DataArray
        Along the batch, times decoded.
    status : integer ndarray (N,)
        Codes of `physgen.status.Status`.
    stats : mapping of str to ndarray (N, *own)
        Those of the observations.
    causes : tuple of CauseSummary
        Statistics (N,) of each cause that is a number.
    fields : mapping of str to xarray.DataArray
        Causes with dimensions of their own: (D, shown, *own) draws, units and coordinates.
    kept, shown : Drawn
        Draws of observations spread over those that can be used, and of the few that are drawn one by one.
    prior : mapping of str to ndarray (D,)
        Draws of the group `prior`, if another program has written one.
    total_draws : int
    """

    path: Path
    attributes: Mapping[str, Any]
    dims: tuple[str, ...]
    shape: tuple[int, ...]
    coords: Mapping[str, xr.DataArray]
    status: np.ndarray
    stats: Mapping[str, np.ndarray]
    causes: tuple[CauseSummary, ...]
    fields: Mapping[str, xr.DataArray]
    kept: Drawn
    shown: Drawn
    prior: Mapping[str, np.ndarray]
    total_draws: int

    @property
    def count(self) -> int:
        """Number of observations."""
        return int(self.status.size)

    @property
    def usable(self) -> np.ndarray:
        """Which observations may be used as they are, boolean (N,): by `trust` where it is stored, else by status."""
        trust = self.stats.get("trust")
        return self.status == Status.TRUSTED if trust is None else (trust == 0) & (self.status == Status.TRUSTED)

    def cause(self, name: str) -> CauseSummary:
        """The cause of that name."""
        return next(c for c in self.causes if c.name == name)

    def name(self, index: int) -> str:
        """What the coordinates say of an observation, or its number."""
        if not self.dims:
            return "the observation"
        place = np.unravel_index(index, self.shape)
        said = []
        for dim, at in zip(self.dims, place, strict=True):
            along = [c for c in self.coords.values() if c.dims == (dim,)]
            along.sort(key=lambda c: (c.name != dim, c.dtype.kind not in "OUSM"))  # its own, then a time or a text
            said.append(f"{along[0].name} {_word(along[0].values[at])}" if along else f"{dim} {at}")
            said += [_word(c.values[at]) for c in along[1:2] if c.dtype.kind in "OUS"]
        whole = [c for c in self.coords.values() if c.dims == self.dims] if len(self.dims) > 1 else []
        said += [f"{c.name} {_word(c.values[place])}" for c in whole[:2]]
        return ", ".join(said)


def _word(value: Any) -> str:
    if isinstance(value, np.datetime64):
        return np.datetime_as_string(value, unit="m").removesuffix("T00:00").replace("T", " ")
    if isinstance(value, float | np.floating):
        return f"{float(value):.6g}"
    return str(value)


def read_answer(path: str | Path) -> Answer:
    """Read a result's file, a slice of the observations at a time.

    Parameters
    ----------
    path : path
        Written by `physgen invert` or `Result.to_netcdf`.

    Raises
    ------
    ValueError
        If the file is missing, damaged, no result of physgen, or of a newer version.
    """
    path = Path(path)
    if not path.is_file():
        raise ValueError(f"No result at {path}. Check the path.")
    with _small_caches():
        return _opened(path)


@contextmanager
def _small_caches() -> Iterator[None]:
    """The library would keep up to 64 MB of every variable of a file that is opened: slices are read once."""
    size, elements, preemption = netCDF4.get_chunk_cache()
    netCDF4.set_chunk_cache(_CACHE, elements, preemption)
    try:
        yield
    finally:
        netCDF4.set_chunk_cache(size, elements, preemption)


def _opened(path: Path) -> Answer:
    """Checked and read."""
    try:
        # a cause may well have the units of a time: only coordinates are decoded
        tree = xr.open_datatree(path, engine="netcdf4", decode_times=False, decode_timedelta=False, cache=False)
    except Exception as error:  # netCDF4 and xarray raise many kinds on a damaged file
        raise ValueError(f"The file {path} is not netCDF, or damaged. Give a result of physgen invert.") from error
    with tree:
        _check(tree, path)
        try:
            return _read(tree, path)
        except (OSError, RuntimeError, KeyError, IndexError) as error:
            raise ValueError(f"The file {path} is damaged or cut short ({error}). Invert again.") from error


def _check(tree: xr.DataTree, path: Path) -> None:
    groups = ("posterior", "sample_stats", "observed_data")
    missing = [g for g in groups if g not in tree.children]
    if "sample_stats" in tree.children and "status" not in tree["sample_stats"].data_vars:
        missing.append("status")
    if missing:
        raise ValueError(f"The file {path} has no {' and no '.join(missing)}. Give a result of physgen invert.")
    written = str(tree.attrs.get("inference_library_version", __version__))
    if _release(written) > _release(__version__):
        raise ValueError(
            f"The file {path} was written by physgen {written}, and this is {__version__}. Update physgen to read it."
        )
    absent = [a for a in ("spaces", "settings") if a not in tree.attrs]
    if absent or tree.attrs.get("inference_library", "physgen") != "physgen":
        raise ValueError(
            f"The file {path} comes from another program or version (no {', '.join(absent) or 'physgen'}). "
            "Invert again with this one."
        )
    codes = np.unique(tree["sample_stats"].to_dataset()["status"].values)
    unknown = [int(c) for c in codes if int(c) not in set(Status)]
    if unknown:
        raise ValueError(f"The file {path} holds the status {unknown[0]}, unknown here. Update physgen to read it.")


def _release(version: str) -> tuple[int, ...]:
    """Major and minor number."""
    return tuple(int(n) for n in re.findall(r"\d+", version)[:2])


def _read(tree: xr.DataTree, path: Path) -> Answer:
    groups = {str(k): v.to_dataset() for k, v in tree.children.items()}
    status = groups["sample_stats"]["status"]
    dims, shape = tuple(map(str, status.dims)), tuple(status.shape)
    stats = _stats(groups["sample_stats"], dims)
    codes = np.asarray(status.values, dtype=int).reshape(-1)
    blocks = _causes({str(k): v for k, v in tree.attrs.items()}, groups["posterior"])
    kept, shown = _choose(codes, stats)
    reader = _Pass(groups["posterior"], dims, shape, blocks)
    causes, kept_draws, shown_draws = reader.run(kept, shown)
    fields = {
        name: _field(groups["posterior"][variable], dims, shown_draws[name])
        for name, variable in blocks.items()
        if shown_draws[name].ndim > 2
    }
    return Answer(
        path=path,
        attributes={str(k): v for k, v in tree.attrs.items()},
        dims=dims,
        shape=shape,
        coords=_coords(groups, dims),
        status=codes,
        stats=stats,
        causes=causes,
        fields=fields,
        kept=Drawn(kept, kept_draws, *_data(groups, dims, shape, kept)),
        shown=Drawn(shown, shown_draws, *_data(groups, dims, shape, shown)),
        prior=_prior(groups.get("prior"), blocks),
        total_draws=reader.total,
    )


def _causes(attributes: Mapping[str, Any], posterior: xr.Dataset) -> dict[str, str]:
    """Name of each cause, in the order of the spaces -> name of its variable."""
    named = {str(a.attrs.get("block", n)): str(n) for n, a in posterior.data_vars.items()}
    order = [str(b["name"]) for b in json.loads(attributes["spaces"])["causes"]]
    if set(order) != set(named):
        raise KeyError(f"the causes {sorted(set(order) ^ set(named))} are described or stored, not both")
    return {name: named[name] for name in order}


def _stats(dataset: xr.Dataset, dims: tuple[str, ...]) -> dict[str, np.ndarray]:
    """Statistics (N, *own); those with two dimensions of their own (matrices) stay where they are."""
    out = {}
    for name, array in dataset.data_vars.items():
        own = [d for d in array.dims if d not in dims]
        size = int(np.prod([array.sizes[d] for d in own]))
        if set(dims) <= set(array.dims) and name != "status" and len(own) <= 1 and size <= _OWN:
            values = np.asarray(array.transpose(*dims, *own).values)
            out[str(array.attrs.get("block", name))] = values.reshape(-1, *values.shape[len(dims) :])
    return out


def _choose(status: np.ndarray, stats: Mapping[str, np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """Observations spread over those that are trusted; and the few that are drawn one by one, in their order.

    Of many: such as fit best, as most, and as badly as hardly any, among the trusted; and the worst of the others.
    """
    good = np.flatnonzero(status == Status.TRUSTED)
    pool = good if len(good) else np.arange(len(status))
    kept = pool[np.unique(np.linspace(0, len(pool) - 1, min(len(pool), _KEPT)).round().astype(int))]
    if len(status) <= _ALL_SHOWN:
        return kept, np.arange(len(status))
    misfit = stats.get("chi2", np.arange(len(status), dtype=float)) / np.maximum(stats.get("measured", 1), 1)
    misfit = np.where(np.isfinite(misfit), misfit, -np.inf)
    order = pool[np.argsort(misfit[pool], kind="stable")]
    few = list(order[np.unique((np.array([0.05, 0.5, 0.95]) * (len(order) - 1)).round().astype(int))])
    others = np.setdiff1d(np.flatnonzero(np.isfinite(misfit)), pool)
    if len(others):
        few.append(others[np.argmax(misfit[others])])
    return kept, np.array(list(dict.fromkeys(int(i) for i in few))[:_SHOWN])


@dataclass(frozen=True, eq=False)
class _Pass:
    """One pass over the draws of all observations."""

    posterior: xr.Dataset
    dims: tuple[str, ...]
    shape: tuple[int, ...]
    blocks: Mapping[str, str]

    @property
    def total(self) -> int:
        """Draws of one observation, of all chains."""
        return int(np.prod([self.posterior.sizes[d] for d in DRAWS]))

    def run(
        self, kept: np.ndarray, shown: np.ndarray
    ) -> tuple[tuple[CauseSummary, ...], dict[str, np.ndarray], dict[str, np.ndarray]]:
        causes, of_kept, of_shown = [], {}, {}
        elements = sum(int(np.prod(self._own(v))) for v in self.blocks.values())
        few = max(8, min(_KEPT_DRAWS // max(len(kept), 1), _BLOCK // max(len(kept) * elements, 1)))
        at_kept = _spread(self.total, few)
        at_shown = _spread(self.total, _SHOWN_DRAWS)
        for name, variable in self.blocks.items():
            array = self.posterior[variable]
            parts: list[tuple[np.ndarray, ...]] = []
            order, found_kept, found_shown = [], [], []
            for index, block in self._slices(array):
                order.append(index)
                if block.ndim == 2:
                    parts.append(statistics_of_draws(np.ascontiguousarray(block.T)))
                found_kept.append(_picked(index, block[at_kept], kept))
                found_shown.append(_picked(index, block[at_shown], shown))
            of_kept[name], of_shown[name] = _joined(found_kept, kept), _joined(found_shown, shown)
            if parts:
                back = np.argsort(np.concatenate(order))
                columns = (np.concatenate(c)[back] for c in zip(*parts, strict=True))
                units, words = (str(array.attrs.get(k, "")) for k in ("units", "long_name"))
                causes.append(CauseSummary(name, units, words, *columns))
        return tuple(causes), of_kept, of_shown

    def _own(self, variable: str) -> tuple[int, ...]:
        array = self.posterior[variable]
        return tuple(array.sizes[d] for d in array.dims if d not in (*DRAWS, *self.dims))

    def _slices(self, array: xr.DataArray) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """Numbers (n,) of some observations, and their draws (D, n, *own), until all have been."""
        own = [d for d in array.dims if d not in (*DRAWS, *self.dims)]
        array = array.transpose(*DRAWS, *self.dims, *own)
        each = self.total * max(int(np.prod([array.sizes[d] for d in own])), 1)
        numbers = np.arange(int(np.prod(self.shape))).reshape(self.shape)
        for cut in rectangles(self.shape, max(1, _BLOCK // each)):
            values = np.asarray(array.isel(dict(zip(self.dims, cut, strict=True))).values)
            index = numbers[cut].reshape(-1)
            yield index, values.reshape(self.total, len(index), *(array.sizes[d] for d in own))


def _spread(count: int, most: int) -> np.ndarray:
    return np.unique(np.linspace(0, count - 1, min(count, most)).round().astype(int))


def _picked(index: np.ndarray, block: np.ndarray, wanted: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The wanted among some observations, and their draws."""
    here = np.isin(index, wanted)
    return index[here], block[:, here].copy()


def _joined(parts: list[tuple[np.ndarray, np.ndarray]], wanted: np.ndarray) -> np.ndarray:
    index = np.concatenate([p[0] for p in parts])
    places = {int(i): n for n, i in enumerate(index)}
    joined: np.ndarray = np.concatenate([p[1] for p in parts], axis=1)[:, [places[int(i)] for i in wanted]]
    return joined


def _data(
    groups: Mapping[str, xr.Dataset], dims: tuple[str, ...], shape: tuple[int, ...], wanted: np.ndarray
) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
    """Observables and conditions of some observations."""
    found = []
    for group in ("observed_data", "constant_data"):
        dataset = groups.get(group, xr.Dataset())
        arrays = {str(a.attrs.get("block", n)): a for n, a in dataset.data_vars.items()}
        found.append({n: _taken(a, dims, shape, wanted) for n, a in arrays.items() if set(dims) <= set(a.dims)})
    return found[0], found[1]


def _taken(array: xr.DataArray, dims: tuple[str, ...], shape: tuple[int, ...], wanted: np.ndarray) -> np.ndarray:
    """Values (S, *own) of some observations, read a slice at a time."""
    array = array.transpose(*dims, ...)
    own = array.shape[len(dims) :]
    numbers, parts = np.arange(int(np.prod(shape))).reshape(shape), []
    for cut in rectangles(shape, max(1, _BLOCK // max(int(np.prod(own)), 1))):
        index = numbers[cut].reshape(-1)
        if np.isin(index, wanted).any():
            values = np.asarray(array.isel(dict(zip(dims, cut, strict=True))).values).reshape(1, len(index), *own)
            parts.append(_picked(index, values, wanted))
    return _joined(parts, wanted)[0] if parts else np.zeros((0, *own))


def _field(array: xr.DataArray, dims: tuple[str, ...], draws: np.ndarray) -> xr.DataArray:
    """Draws of a cause with dimensions of its own, with its coordinates."""
    own = [str(d) for d in array.dims if d not in (*DRAWS, *dims)]
    coords = {str(k): v.load() for k, v in array.coords.items() if v.dims and set(v.dims) <= set(own)}
    return xr.DataArray(draws, dims=("draw_", "shown_", *own), coords=coords, attrs=dict(array.attrs))


def _prior(dataset: xr.Dataset | None, blocks: Mapping[str, str]) -> dict[str, np.ndarray]:
    """Draws of the group `prior`, if another program has written one."""
    if dataset is None:
        return {}
    return {n: np.asarray(dataset[v].values).reshape(-1) for n, v in blocks.items() if v in dataset}


def _coords(groups: Mapping[str, xr.Dataset], dims: tuple[str, ...]) -> dict[str, xr.DataArray]:
    found: dict[Any, xr.Variable] = {}
    for dataset in groups.values():
        for name, c in dataset.coords.items():
            if c.dims and set(c.dims) <= set(dims):
                found.setdefault(name, c.variable)
    decoded = xr.decode_cf(xr.Dataset(coords=found)).coords
    return {str(k): v.load() for k, v in decoded.items()}
