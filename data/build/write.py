"""One way to write every file of this folder: netCDF-4, compressed, labelled, the same bytes at every run."""

from __future__ import annotations

import argparse
import hashlib
from pathlib import Path

import xarray as xr

REQUIRED = ("title", "source", "licence", "citation")


def arguments(description: str | None, *sources: str) -> argparse.Namespace:
    """Parse one positional path per source file, then the output path."""
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name in sources:
        parser.add_argument(name, type=Path)
    parser.add_argument("output", type=Path)
    return parser.parse_args()


def digest(*paths: Path) -> str:
    """Names and the start of the sha256 of the source files, for the attribute `history`."""
    return ", ".join(f"{p.name} (sha256 {hashlib.sha256(p.read_bytes()).hexdigest()[:16]})" for p in paths)


def write(dataset: xr.Dataset, output: Path, script: str, sources: list[Path], encoding: dict | None = None) -> None:
    """Check the labels of `dataset` and write it.

    Parameters
    ----------
    dataset : xarray.Dataset
        With the global attributes ``title``, ``source``, ``licence`` and ``citation``; every variable with
        ``long_name``, every number with ``units``.
    output : Path
        The netCDF file.
    script : str
        Name of the build script, for the attribute ``history``. No time of day goes in: a rerun gives the same bytes.
    sources : list of Path
        The files read.
    encoding : dict, optional
        Encoding by variable, beside compression.

    Raises
    ------
    ValueError
        If a label is missing.
    """
    missing = [a for a in REQUIRED if a not in dataset.attrs]
    missing += [f"{n}.long_name" for n, v in dataset.variables.items() if "long_name" not in v.attrs]
    numbers = [n for n, v in dataset.variables.items() if v.dtype.kind in "fiu" and n != "time"]
    missing += [f"{n}.units" for n in numbers if "units" not in dataset[n].attrs]
    if missing:
        raise ValueError(f"Missing labels {missing}. Every variable needs a long_name and every number its units.")
    dataset.attrs["history"] = f"built by data/build/{script} from {digest(*sources)}"
    dataset.attrs["Conventions"] = "CF-1.11"
    merged = {
        n: {"zlib": True, "complevel": 9, "shuffle": True} for n in dataset.variables if dataset[n].dtype.kind in "fiu"
    }
    for name, entry in (encoding or {}).items():
        merged[name] = merged.get(name, {}) | entry
    for name in dataset.variables:
        if "_FillValue" not in merged.get(name, {}):
            merged.setdefault(name, {})["_FillValue"] = None
    dataset.to_netcdf(output, engine="netcdf4", format="NETCDF4", encoding=merged)
    print(f"{output}: {output.stat().st_size / 1024:.0f} KiB, {dict(dataset.sizes)}")
