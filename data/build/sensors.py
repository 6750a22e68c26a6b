"""Build sensors.nc: spectral responses of Sentinel-2A/2B MSI and Landsat-8/9 OLI, centres and widths of EMIT.

Responses are put on the 1-nm grid of 400 to 2500 nm by linear interpolation (the sources have steps of 1 nm, Landsat's
in micrometres), zero outside the wavelengths given; values below 0 become 0 (a few of Landsat's are).
What a band sees outside 400-2500 nm is dropped (`outside` stores the share; none of these bands reaches so far) and
each band is scaled to sum to one. The thermal bands 10 and 11 of Landsat are left out. Centre: the mean
wavelength under the response; width: between the outermost half-maximum crossings.

EMIT: the bands with a width (the others are not used) that lie within 400-2500 nm, a full width to either side of the
centre, ascending; the names are the indices of the source file.

    python data/build/sensors.py srf emit_wavelengths.txt data/sensors.nc
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import xarray as xr
from write import arguments, write

WAVELENGTH = np.arange(400.0, 2501.0)
MSI = {
    f"B{b:0>2}" if b != "8A" else "B8A": f"band_{b}"
    for b in ["1", "2", "3", "4", "5", "6", "7", "8", "8A", "9", "10", "11", "12"]
}
OLI = {f"B{b}": f"band_{b}" for b in range(1, 10)}
SENSORS = {
    "sentinel_2a": ("sentinel-2a", "Sentinel-2A MSI", MSI, 1.0),
    "sentinel_2b": ("sentinel-2b", "Sentinel-2B MSI", MSI, 1.0),
    "landsat_8": ("landsat-8", "Landsat-8 OLI", OLI, 1000.0),
    "landsat_9": ("landsat-9", "Landsat-9 OLI-2", OLI, 1000.0),
}
NM = {"units": "nm"}


def read_band(path: Path, to_nm: float) -> tuple[np.ndarray, float]:
    """Response on the 1-nm grid, scaled to sum to one, and the share of it that lay outside the grid."""
    w, response = np.loadtxt(path, skiprows=1).T
    w, response = np.round(w * to_nm, 6), np.maximum(response, 0.0)
    inside = (w >= WAVELENGTH[0]) & (w <= WAVELENGTH[-1])
    on_grid = np.interp(WAVELENGTH, w, response, left=0.0, right=0.0)
    return on_grid / on_grid.sum(), float(response[~inside].sum() / response.sum())


def width(response: np.ndarray) -> float:
    """Distance in nm between the outermost half-maximum crossings."""
    half = response.max() / 2
    i, j = np.flatnonzero(response >= half)[[0, -1]]
    left = i - (response[i] - half) / (response[i] - response[i - 1])
    right = j + (response[j] - half) / (response[j] - response[j + 1])
    return float(right - left)


def sensor_variables(key: str, folder: Path, name: str, bands: dict[str, str], to_nm: float) -> dict:
    """Variables of one sensor with measured responses."""
    rows, outside = zip(*(read_band(folder / file, to_nm) for file in bands.values()), strict=True)
    response, dim = np.array(rows), f"band_{key}"
    named = {
        f"response_{key}": ((dim, "wavelength"), response, {"long_name": f"spectral response of {name}", "units": "1"}),
        f"centre_{key}": (dim, response @ WAVELENGTH, NM | {"long_name": f"mean wavelength of {name}"}),
        f"fwhm_{key}": (dim, [width(r) for r in rows], NM | {"long_name": f"full width at half maximum of {name}"}),
        f"outside_{key}": (
            dim,
            np.array(outside),
            {"long_name": f"share of the response of {name} outside 400-2500 nm", "units": "1"},
        ),
        dim: (dim, list(bands), {"long_name": f"band of {name}"}),
    }
    for band, c, f, o in zip(bands, response @ WAVELENGTH, map(width, rows), outside, strict=True):
        print(f"{name:16s} {band:4s} centre {c:8.2f} nm, width {f:7.2f} nm, outside {o:.1e}")
    return named


def emit_variables(path: Path) -> dict:
    """Centres and widths of EMIT, ascending, in nm."""
    index, centre, fwhm = np.loadtxt(path).T
    centre, fwhm = centre * 1000, fwhm * 1000
    keep = np.flatnonzero((fwhm > 0) & (centre - fwhm >= WAVELENGTH[0]) & (centre + fwhm <= WAVELENGTH[-1]))
    keep = keep[np.argsort(centre[keep])]
    print(f"EMIT {keep.size} bands, {centre[keep[0]]:.2f} to {centre[keep[-1]]:.2f} nm")
    return {
        "centre_emit": ("band_emit", centre[keep], NM | {"long_name": "centre wavelength of EMIT"}),
        "fwhm_emit": ("band_emit", fwhm[keep], NM | {"long_name": "full width at half maximum of EMIT"}),
        "band_emit": ("band_emit", [f"{i:.0f}" for i in index[keep]], {"long_name": "band of EMIT"}),
    }


def main() -> None:
    """Read every sensor and write."""
    a = arguments(__doc__, "responses", "emit")
    variables, sources = emit_variables(a.emit), [a.emit]
    for key, (folder, name, bands, to_nm) in SENSORS.items():
        variables |= sensor_variables(key, a.responses / folder, name, bands, to_nm)
        sources += [a.responses / folder / file for file in bands.values()]
    dataset = xr.Dataset(
        variables,
        coords={"wavelength": ("wavelength", WAVELENGTH, NM | {"long_name": "wavelength"})},
        attrs={
            "title": "Spectral responses of Sentinel-2A/2B MSI and Landsat-8/9 OLI; centres and widths of EMIT",
            "source": "PyPI pyrsr 0.8.0 (ESA S2-SRF COPE-GSEG-EOPG-TN-15-0007 3.0, 2017; NASA Ball_BA_RSR v1.2, 2014; "
            "NASA L9_OLI2_Ball_BA_RSR v1.0, 2021); EMIT: emit-sds/emit-sds-l1b",
            "licence": "Apache-2.0",
            "citation": "ESA 2017, COPE-GSEG-EOPG-TN-15-0007; Barsi et al. 2014, Remote Sens. 6:10232; "
            "Green et al. 2020, IEEE Aerospace Conference (EMIT)",
        },
    )
    single = {n: {"dtype": "float32"} for n in variables if n.startswith(("response", "outside"))}
    write(dataset, a.output, "sensors.py", sources, single)


if __name__ == "__main__":
    main()
