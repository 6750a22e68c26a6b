"""Build soil_coefficients.nc: what each of the 4,168 measured soils has for coefficients in the basis of soils.nc.

The decomposition is that of soils.py, of the same spectra: coefficients of mean 0, variance 1 and no correlation over
the soils, though neither independent nor normal. `site` numbers the places (latitude and longitude) where soils were
taken, so that horizons of one profile can be kept together; a soil without a place is a site of its own.

    python data/build/soil_coefficients.py icraf_isric_soils.npz data/soil_coefficients.nc
"""

from __future__ import annotations

import numpy as np
import xarray as xr
from soils import RANK, decompose
from write import arguments, write


def sites(latitude: np.ndarray, longitude: np.ndarray) -> np.ndarray:
    """A number for each place, in the order of first appearance."""
    both = enumerate(zip(latitude, longitude, strict=True))
    place = [(a, b) if np.isfinite(a + b) else (i, None) for i, (a, b) in both]
    number = {p: k for k, p in enumerate(dict.fromkeys(place))}
    return np.array([number[p] for p in place], np.int16)


def main() -> None:
    """Decompose, number the sites, write."""
    a = arguments(__doc__, "measured")
    with np.load(a.measured) as library:
        r = library["reflectance_x10000"] / 1e4
        latitude, longitude = (library[n].astype(float) for n in ("latitude", "longitude"))
    _, _, score = decompose(r)
    site, one = sites(latitude, longitude), {"units": "1"}
    print(f"{len(site)} soils of {site.max() + 1} sites")
    variables = {
        f"soil_{k + 1}": ("soil", score[:, k], one | {"long_name": f"soil coefficient {k + 1}"}) for k in range(RANK)
    }
    variables["site"] = ("soil", site, one | {"long_name": "number of the place where the soil was taken"})
    for name, values, units in (("latitude", latitude, "degrees_north"), ("longitude", longitude, "degrees_east")):
        variables[name] = ("soil", values, {"long_name": name, "units": units})
    dataset = xr.Dataset(
        variables,
        attrs={
            "title": "Coefficients of measured soils in the basis of soils.nc",
            "source": "4,168 spectra of the ICRAF-ISRIC library in PyPI earthlib 1.1.0",
            "licence": "MIT",
            "citation": "ICRAF-ISRIC Soil VNIR Spectral Library (World Agroforestry Centre and ISRIC, 2010)",
            "comment": "see data/build/soil_coefficients.py",
        },
    )
    small = {n: {"dtype": "float32"} for n in variables if n != "site"}
    write(dataset, a.output, "soil_coefficients.py", [a.measured], small)


if __name__ == "__main__":
    main()
