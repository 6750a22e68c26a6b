"""The posterior of every observation in a few numbers, read from a result's file block by block."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr

from .status import Status

_BLOCK = 32_000_000  # draws held at once: 256 MB in float64


@dataclass(frozen=True, eq=False)
class CauseSummary:
    """One cause: statistics over the draws, each ``(*batch)``, NaN where an observation has no draws.

    Attributes
    ----------
    name, units, long_name : str
    median, low, high : ndarray
        Median, and the ends of the central 90 % interval.
    sd : ndarray
        Standard deviation.
    """

    name: str
    units: str
    long_name: str
    median: np.ndarray
    low: np.ndarray
    high: np.ndarray
    sd: np.ndarray


@dataclass(frozen=True, eq=False)
class Summary:
    """All causes of a result.

    Attributes
    ----------
    causes : tuple of CauseSummary
        One for each element of each cause.
    status : ndarray (*batch)
        Codes of `physgen.status.Status`.
    dims : tuple of str
        The batch's.
    coords : mapping of str to xarray.DataArray
        Coordinates of the batch.
    attributes : mapping
        The file's own.
    """

    causes: tuple[CauseSummary, ...]
    status: np.ndarray
    dims: tuple[str, ...]
    coords: Mapping[str, xr.DataArray]
    attributes: Mapping[str, Any]

    @property
    def trusted(self) -> np.ndarray:
        """Which observations are trusted, boolean ``(*batch)``."""
        return self.status == Status.TRUSTED

    def counts(self) -> dict[Status, int]:
        """How many observations have each status that occurs, in the order of the codes."""
        codes, counts = np.unique(self.status, return_counts=True)
        return {Status(int(code)): int(count) for code, count in zip(codes, counts, strict=True)}


def summarise(path: str | Path) -> Summary:
    """Summarise a result's file.

    Parameters
    ----------
    path : path
        Written by `physgen invert` or `Result.to_netcdf`.

    Returns
    -------
    Summary

    Raises
    ------
    ValueError
        If the file is missing, damaged, or not a result.
    """
    path = Path(path)
    if not path.is_file():
        raise ValueError(f"No result at {path}. Check the path.")
    try:
        tree = xr.open_datatree(path, engine="netcdf4")
    except Exception as error:  # netCDF4 and xarray raise many kinds on a damaged file
        raise ValueError(f"The file {path} is not netCDF, or damaged. Give a result of physgen invert.") from error
    with tree:
        if not {"posterior", "sample_stats"} <= set(tree.children) or "status" not in tree["sample_stats"]:
            raise ValueError(f"The file {path} holds no posterior with a status. Give a result of physgen invert.")
        status = tree["sample_stats"].to_dataset()["status"].load()
        posterior = tree["posterior"].to_dataset()
        causes = [c for a in posterior.data_vars.values() for c in _causes(a, tuple(map(str, status.dims)))]
        coords = {str(n): c.load() for n, c in status.coords.items() if c.ndim}
        dims = tuple(map(str, status.dims))
        attributes = {str(k): v for k, v in tree.attrs.items()}
        return Summary(tuple(causes), np.asarray(status.values, dtype=int), dims, coords, attributes)


def _causes(array: xr.DataArray, batch: tuple[str, ...]) -> list[CauseSummary]:
    """One summary for each element of a cause."""
    own = [str(d) for d in array.dims if d not in ("chain", "draw", *batch)]
    array = array.transpose(*own, *batch, "chain", "draw")
    units, long_name = str(array.attrs.get("units", "")), str(array.attrs.get("long_name", ""))
    found = []
    for index in np.ndindex(*(array.sizes[d] for d in own)):
        name = f"{array.name}[{','.join(map(str, index))}]" if own else str(array.name)
        element = array.isel(dict(zip(own, index, strict=True)))
        found.append(CauseSummary(name, units, long_name, *_statistics(element, batch)))
    return found


def _statistics(array: xr.DataArray, batch: tuple[str, ...]) -> tuple[np.ndarray, ...]:
    """Median, 5 % and 95 % quantile and standard deviation over chain and draw, each ``(*batch)``."""
    if not batch:
        return statistics_of_draws(np.asarray(array.values).reshape(-1))
    rows = array.sizes[batch[0]]
    size = max(1, int(_BLOCK // max(array.size // max(rows, 1), 1)))
    parts = []
    for start in range(0, rows, size):
        values = np.asarray(array.isel({batch[0]: slice(start, start + size)}).values)
        parts.append(statistics_of_draws(values.reshape(*values.shape[:-2], -1)))
    return tuple(np.concatenate(column) for column in zip(*parts, strict=True))


def statistics_of_draws(draws: np.ndarray) -> tuple[np.ndarray, ...]:
    """Median, 5 % and 95 % quantile and standard deviation of draws ``(*batch, draw)``, each ``(*batch)`` in float64.

    An observation that could not be inverted has only NaN, and stays NaN here.
    """
    ordered = np.sort(draws, axis=-1)  # several times faster than the partitions of np.quantile
    last = draws.shape[-1] - 1
    out = []
    for q in (0.5, 0.05, 0.95):
        below = int(q * last)
        low, high = (ordered[..., i].astype(np.float64) for i in (below, min(below + 1, last)))
        out.append(low + (q * last - below) * (high - low))
    broken = np.isnan(ordered[..., -1])  # NaN is sorted to the end
    return (*(np.where(broken, np.nan, v) for v in out), draws.std(axis=-1, dtype=np.float64))
