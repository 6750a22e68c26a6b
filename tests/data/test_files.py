"""Every netCDF file of `data/` says what it is, where it comes from and under which licence."""

from pathlib import Path

import numpy as np
import pytest
import xarray as xr

FOLDER = Path(__file__).parents[2] / "data"
FILES = sorted(FOLDER.glob("*.nc"))


def test_there_are_files_and_the_readme_lists_them_all():
    readme = (FOLDER / "README.md").read_text()
    assert len(FILES) == 12
    assert all(f"`{path.name}`" in readme for path in FILES)


@pytest.mark.parametrize("path", FILES, ids=lambda p: p.name)
def test_file_is_labelled_and_small(path):
    assert path.stat().st_size < 3_000_000
    with xr.open_dataset(path) as data:
        for name in ("title", "source", "licence", "citation", "history"):
            assert data.attrs[name], name
        assert data.attrs["Conventions"] == "CF-1.11"
        for name, variable in data.variables.items():
            assert variable.attrs.get("long_name"), name
            if variable.dtype.kind in "fiu":
                assert variable.attrs.get("units"), name


@pytest.mark.parametrize("path", FILES, ids=lambda p: p.name)
def test_script_that_the_history_names_exists(path):
    with xr.open_dataset(path) as data:
        script = data.attrs["history"].split()[2]
    assert (FOLDER.parent / script).is_file()


def test_forest_plots_are_complete():
    with xr.open_dataset(FOLDER / "forest_plots_2018.nc") as data:
        assert dict(data.sizes) == {"time": 14, "plot": 1283, "band": 11}
        assert bool((data.time.diff("time") > np.timedelta64(0)).all())
        assert bool(np.isfinite(data.reflectance).all())
        assert 0 < data.reflectance.min() < data.reflectance.max() < 1
        assert list(data.band.values) == ["B02", "B03", "B04", "B05", "B06", "B07", "B08", "B8A", "B09", "B11", "B12"]
        assert 28 < data.solar_zenith.min() < data.solar_zenith.max() < 63


def test_forest_plots_are_brighter_with_the_sun_behind_the_sensor():
    # 28 and 30 September: same trees, the two orbits; forests scatter back more than forward (hot spot)
    with xr.open_dataset(FOLDER / "forest_plots_2018.nc") as data:
        late = data.sel(time=slice("2018-09-28", "2018-09-30"))
        forward, back = (float(late.reflectance.sel(band="B08").isel(time=i).median()) for i in (0, 1))
        assert late.relative_azimuth[0] > 90 > late.relative_azimuth[1]
        assert back > 1.03 * forward
