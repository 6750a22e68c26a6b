"""Build gbov_lai.nc: leaf area index of NEON plots from up-looking hemispherical photographs.

Rows kept: quality flag `up_flag` 0 and a positive clumping-corrected value by the method of Miller or of Warren Wilson
(-999 becomes NaN). Nothing is averaged or corrected. Up-looking photographs miss what lies below the camera.

    python data/build/gbov_lai.py gbov_lai.csv data/gbov_lai.nc
"""

from __future__ import annotations

import csv

import numpy as np
import xarray as xr
from write import arguments, write

COLUMNS = {
    "lai_miller": ("LAI_Miller_up", "leaf area index, clumping-corrected, method of Miller"),
    "lai_miller_sd": ("LAI_Miller_up_err", "standard error of lai_miller"),
    "lai_warren": ("LAI_Warren_up", "leaf area index, clumping-corrected, method of Warren Wilson"),
    "lai_warren_sd": ("LAI_Warren_up_err", "standard error of lai_warren"),
}


def main() -> None:
    """Select, sort by time and plot, write."""
    a = arguments(__doc__, "gbov")
    with a.gbov.open(newline="") as lines:
        rows = [r for r in csv.DictReader(lines) if float(r["up_flag"]) == 0]
    rows = [r for r in rows if float(r["LAI_Miller_up"]) > 0 or float(r["LAI_Warren_up"]) > 0]
    rows.sort(key=lambda r: (float(r["system:time_start"]), r["PLOT_ID"]))
    variables = {}
    for name, (column, long_name) in COLUMNS.items():
        value = np.array([float(r[column]) for r in rows])
        variables[name] = ("row", np.where(value > 0, value, np.nan), {"long_name": long_name, "units": "m2 m-2"})
    site, site_index = np.unique([r["Site"] for r in rows], return_inverse=True)
    igbp, igbp_index = np.unique([r["IGBP_class"] for r in rows], return_inverse=True)
    for name, index, words in (("site", site_index, site), ("igbp", igbp_index, igbp)):
        attrs = {"long_name": f"index into {name}_name", "units": "1"}
        variables[name] = ("row", index.astype("int16"), attrs)
        variables[f"{name}_name"] = (
            f"{name}_index",
            list(words),
            {"long_name": {"site": "NEON site", "igbp": "IGBP land cover class"}[name]},
        )
    time = np.array([int(float(r["system:time_start"])) for r in rows], "datetime64[ms]").astype("datetime64[ns]")
    variables["time"] = ("row", time, {"long_name": "time of the photographs", "standard_name": "time"})
    plot = np.unique([r["PLOT_ID"] for r in rows], return_inverse=True)[1].astype("int16")
    variables["plot"] = ("row", plot, {"long_name": "index of the plot, in the order of the names", "units": "1"})
    for name, unit in (("latitude", "degrees_north"), ("longitude", "degrees_east")):
        variables[name] = ("row", np.array([float(r[name]) for r in rows]), {"long_name": name, "units": unit})
    for i, word in enumerate(igbp):
        lai = variables["lai_miller"][1][igbp_index == i]
        print(f"{word:40s} {(igbp_index == i).sum():5d} rows, median {np.nanmedian(lai):.2f}")
    dataset = xr.Dataset(
        variables,
        attrs={
            "title": "Leaf area index of NEON plots from hemispherical photographs, 2013-2019",
            "source": "Copernicus GBOV, in rfernand387/LEAF-Toolbox",
            "licence": "MIT (LEAF-Toolbox); GBOV: open Copernicus policy",
            "citation": "Brown et al. 2020, Remote Sens. Environ. 247:111935 (GBOV, Copernicus Global Land Service)",
        },
    )
    encoding = {n: {"dtype": "float32"} for n in [*COLUMNS, "latitude", "longitude"]}
    encoding["time"] = {"units": "minutes since 2013-01-01", "dtype": "int32", "calendar": "standard"}
    write(dataset, a.output, "gbov_lai.py", [a.gbov], encoding)


if __name__ == "__main__":
    main()
