"""Observations from netCDF and delimited text: the same numbers however the file lays them out, or an explanation."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xarray as xr

from physgen.observations import Observations, label_text, read_observations
from physgen.recipe import ObservationsSection, RecipeError
from physgen.space import Block, Coordinate, Space

LABELS = ("B2", "B3", "B4")
OBSERVABLES = Space(
    Block("reflectance", "1", (0, 1.5), shape=(3,), dims=("band",), coordinates={"band": Coordinate("band", LABELS)})
)
CONDITIONS = Space(Block("sun", "degree", (0, 90)))
TIMES = np.array(["2018-06-10T10:00", "2018-04-01T10:00"], dtype="datetime64[ns]")


def truth() -> xr.DataArray:
    """Two times, four plots, three bands; every value tells where it belongs: time.plot.band = 0.TPB."""
    t, p, b = np.meshgrid([1, 2], [1, 2, 3, 4], [2, 3, 4], indexing="ij")
    coords = {"time": TIMES, "plot": [1, 2, 3, 4], "band": list(LABELS), "species": ("plot", list("abba"))}
    return xr.DataArray((100 * t + 10 * p + b) / 1000, coords, ("time", "plot", "band"), attrs={"units": "1"})


def cube(folder: Path, **changes: Any) -> Path:
    """The file: bands in another order, one band more, digital numbers on request, angles by time."""
    array = truth().isel(band=[2, 0, 1])
    extra = array.isel(band=[0]).assign_coords(band=["B9"]) * np.nan
    array = xr.concat([extra, array], "band").transpose(*changes.get("dims", ("band", "time", "plot")))
    dataset = xr.Dataset({"reflectance": array * changes.get("factor", 1)})
    dataset["sun"] = ("time", [30.0, 50.0], {"units": changes.get("units", "degrees")})
    dataset["cloudy"] = (("plot", "time"), np.array([[0, 0], [0, 1], [0, 0], [0, 0]]))
    dataset["clear"] = 1 - dataset["cloudy"]
    path = folder / "cube.nc"
    dataset.to_netcdf(path)
    return path


def read(folder: Path, observables: Space | None = OBSERVABLES, **keys: Any) -> Observations:
    section = ObservationsSection.model_validate({"file": "cube.nc", **keys})
    return read_observations(section, folder, observables=observables, condition_space=CONDITIONS)


@pytest.mark.parametrize("dims", [("band", "time", "plot"), ("time", "plot", "band"), ("time", "band", "plot")])
def test_order_is_by_name_and_dimension(tmp_path: Path, dims: tuple[str, ...]) -> None:
    cube(tmp_path, dims=dims)
    got = read(tmp_path, conditions={"sun": "sun"})
    assert got.dims == ("time", "plot")
    np.testing.assert_array_equal(got.y, truth().values)
    np.testing.assert_array_equal(got.conditions["sun"], [[30.0] * 4, [50.0] * 4])
    assert got.coords["species"][0] == ("plot",)
    assert list(got.coords["species"][1]) == list("abba")
    assert set(got.coords) == {"time", "plot", "species"}
    assert got.inputs == (tmp_path / "cube.nc",)


@pytest.mark.parametrize(
    ("wanted", "expected"),
    [
        ({"plot": [3, 1]}, {"plot": [2, 0]}),
        ({"species": "b"}, {"plot": [1, 2]}),
        ({"time": "2018-04-01"}, {"time": [1]}),
        ({"time": {"from": "2018-05-01"}}, {"time": [0]}),
        ({"plot": {"from": 2, "to": 3}, "time": ["2018-04-01T10:00"]}, {"plot": [1, 2], "time": [1]}),
    ],
)
def test_selection_equals_that_of_xarray(
    tmp_path: Path, wanted: dict[str, Any], expected: dict[str, list[int]]
) -> None:
    cube(tmp_path)
    got = read(tmp_path, select=wanted)
    want = truth().isel(expected)
    np.testing.assert_array_equal(got.y, want.values)
    np.testing.assert_array_equal(got.coords["plot"][1], want["plot"])


def test_scale_gaps_and_precision(tmp_path: Path) -> None:
    cube(tmp_path, factor=10_000)
    got = read(tmp_path, scale=1e-4, missing_value=1140, missing=["B3"], valid="clear", precision="float32")
    want = truth().values.copy()
    want[..., 1] = np.nan  # B3 is stated to be missing
    want[0, 0, 2] = np.nan  # 0.114 is stored as the missing value
    want[1, 1] = np.nan  # not clear
    assert got.y.dtype == np.float32
    np.testing.assert_allclose(got.y, want, rtol=1e-6)


def test_precision_follows_the_file(tmp_path: Path) -> None:
    for dtype, want in (("float32", np.float32), ("float64", np.float64), ("int16", np.float64)):
        xr.Dataset({"y": (("o", "c"), np.ones((2, 3), dtype))}).to_netcdf(tmp_path / "cube.nc")
        assert read(tmp_path, None, variable="y", dimension="c").y.dtype == want


def table(folder: Path, text: str) -> None:
    (folder / "plots.csv").write_text(text)


def test_missing_value_is_that_of_the_file_before_scaling(tmp_path: Path) -> None:
    table(tmp_path, "B2,B3,B4\n-999,2000,3000\n1000,,nan\n")
    got = read(tmp_path, file="plots.csv", missing_value=-999, scale=1e-4)
    np.testing.assert_allclose(got.y, [[math.nan, 0.2, 0.3], [0.1, math.nan, math.nan]])


def test_delimited_text_equals_netcdf(tmp_path: Path) -> None:
    flat = truth().stack(o=("time", "plot")).transpose("o", "band")
    rows = ["id;B4;kind;nir;B2;angle"]
    rows += [f"{i};{r[2]!r};{'ab'[i % 2]};{r[1]!r};{r[0]!r};{10 + i}" for i, r in enumerate(flat.values.tolist())]
    table(tmp_path, "\n".join(rows))
    keys = {"file": "plots.csv", "separator": ";", "columns": {"B2": "B2", "B3": "nir", "B4": "B4"}}
    got = read(tmp_path, **keys, conditions={"sun": "angle"}, coordinates=["id", "kind"])
    np.testing.assert_array_equal(got.y, flat.values)
    np.testing.assert_array_equal(got.conditions["sun"], 10.0 + np.arange(8))
    assert list(got.coords["kind"][1]) == list("abababab")
    chosen = read(tmp_path, **keys, select={"kind": "b", "id": {"to": 4}})
    np.testing.assert_array_equal(chosen.y, flat.values[[1, 3]])


def test_columns_give_the_order_of_a_model_without_names(tmp_path: Path) -> None:
    table(tmp_path, "a,b,c\n1,2,3\n")
    assert read(tmp_path, None, file="plots.csv", columns=["c", "a"]).y.tolist() == [[3, 1]]


def test_scalar_blocks_are_variables(tmp_path: Path) -> None:
    xr.Dataset({"b": ("o", [1.0, 2.0]), "a": ("o", [3.0, 4.0])}).to_netcdf(tmp_path / "cube.nc")
    assert read(tmp_path, Space("a", "b")).y.tolist() == [[3, 1], [4, 2]]
    assert read(tmp_path, Space("a", "c"), columns={"a": "b", "c": "a"}).y.tolist() == [[1, 3], [2, 4]]


def test_two_spectra_side_by_side(tmp_path: Path) -> None:
    wavelength = Coordinate("wavelength", (550.0, 450.0), "nm")
    blocks = [
        Block(n, shape=(2,), dims=("wavelength",), coordinates={"wavelength": wavelength})
        for n in ("reflectance", "transmittance")
    ]
    arrays = {"reflectance": ("wavelength", [1, 2]), "T": ("wavelength", [3, 4])}
    xr.Dataset(arrays, {"wavelength": [450, 550]}).to_netcdf(tmp_path / "cube.nc")
    got = read(tmp_path, Space(*blocks), variable={"transmittance": "T"})
    assert got.y.tolist() == [2, 1, 4, 3]


def test_labels_of_numbers_do_not_depend_on_their_type() -> None:
    assert label_text(550) == label_text(550.0) == label_text(np.float32(550)) == "550"


NETCDF_MISTAKES: dict[str, tuple[dict[str, Any], dict[str, Any], str]] = {
    "missing file": ({}, {"file": "cub.nc"}, r"No file .*cub\.nc\. Did you mean 'cube\.nc'\?"),
    "carried file": ({}, {"file": "physgen:forest.nc"}, r"No file .*data/forest\.nc\. "),
    "variable": ({}, {"variable": "reflektance"}, r"has no variable 'reflektance'\. Did you mean 'reflectance'\?"),
    "dimension": ({}, {"dimension": "bnad"}, r"has no dimension 'bnad'\. Did you mean 'band'\?"),
    "band lacking": ({}, {"select": {"band": ["B2", "B4"]}}, r"cube\.nc lacks 'B3' of the forward model\. .*missing"),
    "band unknown": ({}, {"select": {"band": ["B02"]}}, r"'band' has no value 'B02'\. Did you mean 'B2'\?"),
    "band stated missing unknown": ({}, {"missing": ["B8"]}, r"missing: Unknown observable 'B8'\. Did you mean 'B"),
    "column unknown": ({}, {"columns": {"B7": "x"}}, r"columns: Unknown observable 'B7'\."),
    "digital numbers": ({"factor": 10_000}, {}, r"24 of 24 values lie above .* set scale = 0\.0001\."),
    "percent": ({"factor": 100}, {}, r"set scale = 0\.01\."),
    "radians": ({"units": "rad"}, {"conditions": {"sun": "sun"}}, r"'sun' is in rad, sun in degree\."),
    "condition's variable": ({}, {"conditions": {"sun": "sum"}}, r"has no variable 'sum'\. Did you mean 'sun'\?"),
    "text as condition": ({}, {"conditions": {"sun": "species"}}, r"'species' does not hold numbers\."),
    "condition by band": ({}, {"conditions": {"sun": "band"}}, r"'band' has the dimension 'band'\."),
    "selection by unknown": ({}, {"select": {"plots": 1}}, r"Unknown name 'plots'\. Did you mean 'plot'\?"),
    "nothing selected": ({}, {"select": {"plot": {"from": 9}}}, r"Nothing of 'plot' lies in the selection\. .* 1 to 4"),
    "no such plot": ({}, {"select": {"plot": 9}}, r"'plot' has no value 9\. Its values are 1 to 4\."),
    "text for a number": ({}, {"select": {"plot": "1"}}, r"Invalid value '1' for 'plot'\. It must be a number\."),
    "no date": ({}, {"select": {"time": "June"}}, r"Invalid time 'June' for 'time'\. Write it as 2018-06-30\."),
}


@pytest.mark.parametrize(("changes", "keys", "words"), NETCDF_MISTAKES.values(), ids=NETCDF_MISTAKES)
def test_netcdf_mistake(tmp_path: Path, changes: dict[str, Any], keys: dict[str, Any], words: str) -> None:
    cube(tmp_path, **changes)
    with pytest.raises(RecipeError, match=words):
        read(tmp_path, **keys)


TEXT_MISTAKES: dict[str, tuple[str, dict[str, Any], str]] = {
    "non-numeric": ("B2,B3,B4\n1,1,1\n1,abc,1\n", {}, r"Invalid value 'abc' in column 'B3', row 3 of plots\.csv\."),
    "lacking column": ("B2,B3,B5\n1,1,1\n", {}, r"has no column 'B4'\. Did you mean 'B"),
    "separator": ("B2;B3;B4\n1;1;1\n", {}, r"Its only column is 'B2;B3;B4': set separator\."),
    "ragged": ("B2,B3,B4\n1,1,1\n1,1,1,1,1\n", {}, r"not regular \(.*line 3.*\)\. Correct that row\."),
    "no rows": ("B2,B3,B4\n", {}, r"has no rows\. Give at least one observation\."),
    "blank": ("\n\n", {}, r"not regular"),
}


@pytest.mark.parametrize(("text", "keys", "words"), TEXT_MISTAKES.values(), ids=TEXT_MISTAKES)
def test_text_mistake(tmp_path: Path, text: str, keys: dict[str, Any], words: str) -> None:
    table(tmp_path, text)
    with pytest.raises(RecipeError, match=words):
        read(tmp_path, file="plots.csv", **keys)


def test_unlabelled_dimension_is_refused(tmp_path: Path) -> None:
    xr.Dataset({"reflectance": (("o", "band"), np.ones((2, 3)))}).to_netcdf(tmp_path / "cube.nc")
    with pytest.raises(RecipeError, match=r"no labels for 'reflectance'\. The order goes by name"):
        read(tmp_path)


def test_model_without_names_needs_variable_and_dimension(tmp_path: Path) -> None:
    cube(tmp_path)
    with pytest.raises(RecipeError, match=r"Missing key 'variable'"):
        read(tmp_path, None)
    with pytest.raises(RecipeError, match=r"Missing key 'dimension'"):
        read(tmp_path, None, variable="reflectance")


@pytest.mark.parametrize("keep", [0, 3, 100, 0.5, 0.9])
def test_file_cut_short(tmp_path: Path, keep: float) -> None:
    path = cube(tmp_path)
    whole = path.read_bytes()
    path.write_bytes(whole[: int(keep if keep > 1 else keep * len(whole))] if keep != 3 else b"abc")
    words = "is empty" if keep == 0 else "is not netCDF" if keep == 3 else "damaged or cut short"
    with pytest.raises(RecipeError, match=words):
        read(tmp_path)
