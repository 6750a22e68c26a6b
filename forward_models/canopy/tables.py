"""The figures of the canopy model, read from the netCDF files of `data/`.

Everything is float64 on the grid of 400 to 2500 nm at 1 nm; `interpolate` carries it to other wavelengths.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from importlib import resources
from typing import Any

import numpy as np
import torch
from torch import Tensor

FIRST, LAST = 400.0, 2500.0
"""Ends of the wavelength grid, nm; its step is 1 nm."""

_SHARED = {"cab": "cab", "car": "car", "ant": "ant", "cbrown": "cbrown", "cw": "cw"}
_LEAF = {  # version: suffix of the refractive index, absorption variable by constituent
    "D": ("", {**_SHARED, "cm": "cm"}),
    "PRO": ("", {**_SHARED, "prot": "prot", "cbc": "cbc"}),
    "5": ("_5", {"cab": "cab_5", "car": "car_5", "cbrown": "cbrown_5", "cw": "cw", "cm": "cm_5"}),
    "4": ("_5", {"cab": "cab_4", "cw": "cw", "cm": "cm_5"}),
}
_SENSORS = {
    "sentinel-2a": "sentinel_2a",
    "sentinel-2b": "sentinel_2b",
    "landsat-8": "landsat_8",
    "landsat-9": "landsat_9",
    "emit": "emit",
}


@dataclass(frozen=True, eq=False)
class LeafTable:
    """Optical constants of leaf material.

    Attributes
    ----------
    wavelength : Tensor (w,)
        nm.
    refractive_index : Tensor (w,)
    absorption : Tensor (constituent, w)
        Per unit of each constituent: cm2 ug-1 (pigments), 1 (brown pigments), cm-1 (water), cm2 g-1 (others).
    constituents : tuple of str
        Names of the absorbing constituents, as causes are named.
    """

    wavelength: Tensor
    refractive_index: Tensor
    absorption: Tensor
    constituents: tuple[str, ...]

    def at(self, wavelengths: Tensor) -> LeafTable:
        """The same table at other wavelengths (w',) in nm, linearly interpolated."""
        index = interpolate(self.refractive_index, wavelengths)
        return LeafTable(
            check_wavelengths(wavelengths), index, interpolate(self.absorption, wavelengths), self.constituents
        )


@dataclass(frozen=True, eq=False)
class SoilTable:
    """Soil reflectance on the grid.

    Attributes
    ----------
    dry, wet : Tensor (w,)
        Reflectance of a dry and of a wet soil.
    mean : Tensor (w,)
        Mean logit of the reflectance of the measured soils.
    basis : Tensor (10, w)
        Change of the logit per unit of each coefficient; coefficients have mean 0, variance 1 and no correlation.
    quantile, z : Tensor (10, q), (q,)
        Quantiles of each coefficient at standard normal quantiles `z`.
    rmse : Tensor (10,)
        Reconstruction error of reflectance with components up to that one.
    water : Tensor (w,)
        Absorption of liquid water, cm-1.
    """

    dry: Tensor
    wet: Tensor
    mean: Tensor
    basis: Tensor
    quantile: Tensor
    z: Tensor
    rmse: Tensor
    water: Tensor


@dataclass(frozen=True, eq=False)
class SensorTable:
    """Bands of a sensor: names, centres and widths (nm), responses (band, 2101) or None where only widths are known."""

    bands: tuple[str, ...]
    centre: Tensor
    fwhm: Tensor
    response: Tensor | None


def grid() -> Tensor:
    """The wavelengths 400, 401, ..., 2500 nm."""
    return torch.arange(FIRST, LAST + 1, dtype=torch.float64)


def check_wavelengths(wavelengths: Sequence[float] | Tensor) -> Tensor:
    """Wavelengths as a float64 tensor (w,).

    Raises
    ------
    ValueError
        If there is none, or one lies outside 400 to 2500 nm.
    """
    w = torch.as_tensor(wavelengths, dtype=torch.float64)
    if w.ndim != 1 or w.numel() == 0:
        raise ValueError(f"Invalid wavelengths of shape {tuple(w.shape)}. Give a list of at least one, in nm.")
    outside = w[~((w >= FIRST) & (w <= LAST))]
    if outside.numel():
        raise ValueError(f"Invalid wavelength {outside[0].item():g} nm. Must lie within {FIRST:g} to {LAST:g} nm.")
    return w


def interpolate(values: Tensor, wavelengths: Sequence[float] | Tensor) -> Tensor:
    """Linear interpolation of `values` (*, 2101) on the grid at `wavelengths` (w,) in nm: (*, w).

    Raises
    ------
    ValueError
        If a wavelength lies outside 400 to 2500 nm.
    """
    position = check_wavelengths(wavelengths) - FIRST
    left = position.floor().long().clamp(max=int(LAST - FIRST) - 1)
    fraction = (position - left).to(values)
    return values[..., left] * (1 - fraction) + values[..., left + 1] * fraction


@cache
def leaf_table(version: str = "D") -> LeafTable:
    """Optical constants of a version of PROSPECT.

    Parameters
    ----------
    version : {"4", "5", "D", "PRO"}

    Raises
    ------
    ValueError
        If the version is unknown.

    References
    ----------
    Féret et al. 2008, Remote Sens. Environ. 112:3030 (4, 5); 2017, 193:204 (D); 2021, 252:112173 (PRO).
    """
    suffix, variables = _LEAF[_known("PROSPECT version", version, _LEAF)]
    data = _read("prospect.nc")
    absorption = torch.stack([_tensor(data[f"absorption_{v}"]) for v in variables.values()])
    return LeafTable(grid(), _tensor(data[f"refractive_index{suffix}"]), absorption, tuple(variables))


@cache
def soil_table() -> SoilTable:
    """Dry and wet soil, and the basis of measured soils (see `data/build/soils.py`)."""
    data = _read("soils.nc")
    names = ("dry", "wet", "mean", "basis", "quantile", "z", "rmse")
    water = _tensor(_read("prospect.nc")["absorption_cw"])
    return SoilTable(**{n: _tensor(data[n]) for n in names}, water=water)


@cache
def sensor_table(name: str) -> SensorTable:
    """Bands of a sensor.

    Parameters
    ----------
    name : {"sentinel-2a", "sentinel-2b", "landsat-8", "landsat-9", "emit"}

    Raises
    ------
    ValueError
        If the sensor is unknown.
    """
    key, data = _SENSORS[_known("sensor", name, _SENSORS)], _read("sensors.nc")
    response = _tensor(data[f"response_{key}"]) if f"response_{key}" in data else None
    bands = tuple(str(b) for b in data[f"band_{key}"])
    return SensorTable(bands, _tensor(data[f"centre_{key}"]), _tensor(data[f"fwhm_{key}"]), response)


def sensor_names() -> tuple[str, ...]:
    """The sensors that `sensor_table` knows."""
    return tuple(_SENSORS)


@cache
def solar_irradiance() -> Tensor:
    """Solar irradiance above the atmosphere (2101,), W m-2 nm-1 (Coddington et al. 2021, TSIS-1 HSRS)."""
    return _tensor(_read("solar.nc")["irradiance"])


@cache
def canopy_spectra() -> Tensor:
    """Principal spectra of simulated canopies (k, 2101), on which `quadrature` fits its weights."""
    return _tensor(_read("canopy_spectra.nc")["spectrum"])


def gbov_lai() -> dict[str, np.ndarray]:
    """Measured leaf area index of NEON plots: the variables of `data/gbov_lai.nc` as arrays, by name.

    References
    ----------
    Brown et al. 2020, Remote Sens. Environ. 247:111935.
    """
    return dict(_read("gbov_lai.nc"))


def _known(what: str, name: str, table: dict[str, Any]) -> str:
    if name not in table:
        raise ValueError(f"Unknown {what} {name!r}. Must be one of {', '.join(table)}.")
    return name


@cache
def _read(file: str) -> dict[str, np.ndarray]:
    import xarray as xr  # here, so that the model itself starts without it

    with resources.as_file(resources.files("physgen") / "data" / file) as path, xr.open_dataset(path) as data:
        return {str(n): v.values for n, v in data.variables.items()}


def _tensor(values: np.ndarray) -> Tensor:
    return torch.tensor(values, dtype=torch.float64)
