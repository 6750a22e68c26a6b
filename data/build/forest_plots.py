"""Build forest_plots_2018.nc: Sentinel-2 reflectance of 1,283 forest plots on 14 dates of 2018, with angles.

Columns of the source are named DATE_BAND; dates are sorted. The product of the day tells neither satellite nor angles;
they follow from the orbit, which repeats after 143 revolutions in 10 days, Sentinel-2B 5 days behind Sentinel-2A:

- Sentinel-2A took relative orbit 31 on 2017-01-05 at 01:34:42 UTC near the equator (descending; product
  S2A_MSIL1C_20170105T013442_N0204_R031_T53NMJ, the example of ESA's naming convention), hence orbit 122 at 48 N on
  2017-01-11 at about 10:06 UTC, and 5 (B) or 10 (A) days later, and so on; orbit 79 three days before each, 9:56 UTC.
  Every one of the 14 dates falls on one of the two.
- The descending node is passed at 10:30 mean local solar time with an inclination of 98.62 degrees, so the track
  crosses 48.1 N at 11:09 mean local solar time: at about 15.5 E for orbit 122, 18.0 E for orbit 79, heading 193
  degrees. The plots at 16.1 E lie some 45 km east of the first track and 140 km west of the second, both within the
  swath of 145 km to either side. From 786 km that is a view zenith of about 4 and 11 degrees, with the satellite
  towards 283 and 103 degrees. Half a minute of orbit time is 10 km, about 1 degree; the plots themselves spread over
  some 30 km.

So view angles are those of the region's centre, good to about 2 degrees, the same for all plots; the sun is computed
for the centre at those times, good to about 0.5 degree.

    python data/build/forest_plots.py sentinel2_forest_plots_2018.csv data/forest_plots_2018.nc
"""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import xarray as xr
from sun import sun_position
from write import arguments, write

LATITUDE, LONGITUDE = 48.1, 16.1
BANDS = [
    "B02_BLUE",
    "B03_GREEN",
    "B04_RED",
    "B05_RE1",
    "B06_RE2",
    "B07_RE3",
    "B08_NIR1",
    "B8A_NIR2",
    "B09_WV",
    "B11_SWI1",
    "B12_SWI2",
]
# relative orbit: a day on which Sentinel-2A flew it, time of day at 48 N, view zenith, azimuth towards the satellite
ORBITS = {
    122: (np.datetime64("2017-01-11"), np.timedelta64(606, "m"), 4.0, 283.0),
    79: (np.datetime64("2017-01-08"), np.timedelta64(596, "m"), 11.0, 103.0),
}
DEGREE = {"units": "degree"}


def overpass(day: np.datetime64) -> tuple[int, str]:
    """Relative orbit and satellite of a day; raises `ValueError` on a day with neither orbit."""
    for orbit, (first, *_) in ORBITS.items():
        phase = int((day - first) / np.timedelta64(1, "D")) % 10
        if phase in (0, 5):
            return orbit, "Sentinel-2A" if phase == 0 else "Sentinel-2B"
    raise ValueError(f"Invalid date {day}. No Sentinel-2 orbit over the plots falls on it.")


def read(path: Path) -> tuple[list[np.datetime64], dict[str, np.ndarray], list[str]]:
    """Sorted days, values (time, plot) by band or product, species."""
    with path.open(newline="") as lines:
        header, *rows = list(csv.reader(lines, delimiter=";"))
    values = {name: np.array([int(row[i]) for row in rows]) for i, name in enumerate(header[:-1])}
    dates = sorted({name[:10] for name in values})
    products = {p: np.stack([values[f"{d}_{p}"] for d in dates]) for p in [*BANDS, "LAI", "FAPAR"]}
    return [np.datetime64(d.replace(".", "-")) for d in dates], products, [row[-1] for row in rows]


def angles(days: list[np.datetime64]) -> dict:
    """Time, orbit, satellite and the three angles of each day."""
    orbit, satellite = zip(*(overpass(d) for d in days), strict=True)
    time = np.array([d + ORBITS[o][1] for d, o in zip(days, orbit, strict=True)])
    view, towards = np.array([ORBITS[o][2:] for o in orbit]).T
    zenith, azimuth = sun_position(time, LATITUDE, LONGITUDE)
    relative = np.abs((azimuth - towards + 180) % 360 - 180)
    computed = "computed from time and orbit, not read from the product"
    for t, o, s, z, r in zip(time, orbit, satellite, zenith, relative, strict=True):
        print(f"{t} orbit {o:3d} {s}: solar zenith {z:.2f}, relative azimuth {r:.1f}")
    return {
        "time": ("time", time.astype("datetime64[ns]"), {"standard_name": "time", "long_name": "time of overpass"}),
        "relative_orbit": (
            "time",
            np.array(orbit, "int16"),
            {"long_name": f"relative orbit, {computed}", "units": "1"},
        ),
        "platform": ("time", list(satellite), {"long_name": f"satellite, {computed}"}),
        "solar_zenith": (
            "time",
            zenith,
            DEGREE | {"standard_name": "solar_zenith_angle", "long_name": f"solar zenith angle, {computed}"},
        ),
        "view_zenith": (
            "time",
            view,
            DEGREE
            | {"standard_name": "sensor_zenith_angle", "long_name": f"view zenith angle, {computed}: +- 2 degrees"},
        ),
        "relative_azimuth": (
            "time",
            relative,
            DEGREE | {"long_name": f"azimuth between sun and satellite (0: sun behind the sensor), {computed}"},
        ),
    }


def main() -> None:
    """Read, compute the angles, write."""
    a = arguments(__doc__, "plots")
    days, products, species = read(a.plots)
    peer = "estimate of the SNAP biophysical processor, a peer's result and not a measurement"
    variables = angles(days) | {
        "reflectance": (
            ("time", "plot", "band"),
            np.stack([products[b] for b in BANDS], axis=-1) / 1e4,
            {"long_name": "surface reflectance, Sentinel-2 level 2A", "units": "1"},
        ),
        "lai_snap": (
            ("time", "plot"),
            products["LAI"] / 1e3,
            {"long_name": f"leaf area index, {peer}", "units": "m2 m-2"},
        ),
        "fapar_snap": (
            ("time", "plot"),
            products["FAPAR"] / 1e3,
            {"long_name": f"fraction of absorbed photosynthetically active radiation, {peer}", "units": "1"},
        ),
    }
    coords = {
        "band": ("band", [b.split("_")[0] for b in BANDS], {"long_name": "Sentinel-2 MSI band"}),
        "plot": ("plot", np.arange(len(species), dtype="int16"), {"long_name": "row of the source", "units": "1"}),
        "species": ("plot", species, {"long_name": "tree species that dominates the plot"}),
        "latitude": ((), LATITUDE, {"long_name": "latitude, centre of the region", "units": "degrees_north"}),
        "longitude": ((), LONGITUDE, {"long_name": "longitude, centre of the region", "units": "degrees_east"}),
    }
    dataset = xr.Dataset(
        variables,
        coords=coords,
        attrs={
            "title": "Sentinel-2 reflectance of 1,283 forest plots, Wienerwald, 2018",
            "source": "yihshe/MAGIC; angles computed here (see data/build/forest_plots.py)",
            "licence": "CC-BY-4.0",
            "citation": "She et al. 2024, MAGIC (Wienerwald forest plots); Copernicus Sentinel data 2018",
            "comment": "view zenith and relative azimuth are those of the region's centre, the same for all plots",
        },
    )
    packed = {"dtype": "int16", "_FillValue": np.int16(-32768)}
    scaled = {"reflectance": packed | {"scale_factor": 1e-4}}
    scaled |= {n: packed | {"scale_factor": 1e-3} for n in ("lai_snap", "fapar_snap")}
    scaled["time"] = {"units": "minutes since 2018-01-01", "dtype": "int32", "calendar": "standard"}
    write(dataset, a.output, "forest_plots.py", [a.plots], scaled)


if __name__ == "__main__":
    main()
