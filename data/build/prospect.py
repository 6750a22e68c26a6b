"""Build prospect.nc: refractive index and specific absorption of leaf constituents, 400 to 2500 nm at 1 nm.

Figures are copied digit by digit as float64. The raw rrtm tables hold one constituent a line, name first; a line
shorter than 2,101 values (pigments, brown pigment) ends where absorption ends and is continued with zeros.

    python data/build/prospect.py prospect_d_pro_coefficients.txt rrtm_prospect4_raw.dat rrtm_prospect5_raw.dat \
        rrtm_refractive_4.dat data/prospect.nc
"""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import xarray as xr
from write import arguments, write

WAVELENGTH = np.arange(400.0, 2501.0)
# variable: (column of the D/PRO table, long name, units)
COLUMNS = {
    "refractive_index": ("nrefrac", "refractive index of leaf material, PROSPECT-D and PRO", "1"),
    "absorption_cab": ("sac_chl", "specific absorption of chlorophyll a+b, PROSPECT-D and PRO", "cm2 ug-1"),
    "absorption_car": ("sac_car", "specific absorption of carotenoids, PROSPECT-D and PRO", "cm2 ug-1"),
    "absorption_ant": ("sac_ant", "specific absorption of anthocyanins, PROSPECT-D and PRO", "cm2 ug-1"),
    "absorption_cbrown": ("sac_brown", "specific absorption of brown pigments, PROSPECT-D and PRO", "1"),
    "absorption_cw": ("sac_ewt", "specific absorption of water, all versions", "cm-1"),
    "absorption_cm": ("sac_lma", "specific absorption of dry matter, PROSPECT-D", "cm2 g-1"),
    "absorption_prot": ("sac_prot", "specific absorption of proteins, PROSPECT-PRO", "cm2 g-1"),
    "absorption_cbc": ("sac_cbc", "specific absorption of carbon-based constituents, PROSPECT-PRO", "cm2 g-1"),
}
RAW = {
    "absorption_cab_5": ("5", "Cab", "specific absorption of chlorophyll a+b, PROSPECT-5", "cm2 ug-1"),
    "absorption_car_5": ("5", "Car", "specific absorption of carotenoids, PROSPECT-5", "cm2 ug-1"),
    "absorption_cbrown_5": ("5", "Brown", "specific absorption of brown pigments, PROSPECT-5", "1"),
    "absorption_cm_5": ("5", "Cm", "specific absorption of dry matter, PROSPECT-4 and 5", "cm2 g-1"),
    "absorption_cab_4": ("4", "Cab", "specific absorption of chlorophyll a+b, PROSPECT-4", "cm2 ug-1"),
}


def read_raw(path: Path) -> dict[str, np.ndarray]:
    """One array of 2,101 values per line of a raw table, by the name that starts the line ("" when none does)."""
    tables = {}
    for line in path.read_text().splitlines():
        words = [w for w in re.split(r"[,\s]+", line) if w]
        name = words.pop(0) if words[0][0].isalpha() else ""
        values = np.zeros(WAVELENGTH.size)
        values[: len(words)] = [float(w) for w in words]
        tables[name] = values
    return tables


def main() -> None:
    """Read the four tables, check that what the versions share is equal, write."""
    a = arguments(__doc__, "d_pro", "raw_4", "raw_5", "refractive_4")
    table = np.genfromtxt(a.d_pro, names=True)
    raw = {"4": read_raw(a.raw_4), "5": read_raw(a.raw_5)}
    for version in raw.values():  # water is the same in every version, dry matter in 4 and 5
        np.testing.assert_array_equal(version["Cw"], table["sac_ewt"])
        np.testing.assert_array_equal(version["Cm"], raw["5"]["Cm"])
    np.testing.assert_array_equal(table["lambda"], WAVELENGTH)
    data = {n: ("wavelength", table[c], {"long_name": long, "units": u}) for n, (c, long, u) in COLUMNS.items()}
    for n, (version, key, long, u) in RAW.items():
        data[n] = ("wavelength", raw[version][key], {"long_name": long, "units": u})
    data["refractive_index_5"] = (
        "wavelength",
        read_raw(a.refractive_4)[""],
        {"long_name": "refractive index of leaf material, PROSPECT-4 and 5", "units": "1"},
    )
    dataset = xr.Dataset(
        data,
        coords={"wavelength": ("wavelength", WAVELENGTH, {"long_name": "wavelength", "units": "nm"})},
        attrs={
            "title": "Optical constants of the PROSPECT leaf model, versions 4, 5, D and PRO",
            "source": "jbferet/prospect (D and PRO), ashiklom/rrtm (4 and 5)",
            "licence": "MIT",
            "citation": "Féret et al. 2008, Remote Sens. Environ. 112:3030 (4, 5); Féret et al. 2017, Remote Sens. "
            "Environ. 193:204 (D); Féret et al. 2021, Remote Sens. Environ. 252:112173 (PRO)",
        },
    )
    write(dataset, a.output, "prospect.py", [a.d_pro, a.raw_4, a.raw_5, a.refractive_4])


if __name__ == "__main__":
    main()
