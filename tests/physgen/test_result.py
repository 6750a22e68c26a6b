"""Results as labelled trees and in files: an exact way there and back, and readers that know nothing of physgen."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import netCDF4
import numpy as np
import pytest
import torch
import xarray as xr
from torch import Tensor

from physgen.datatree import from_datatree
from physgen.result import Result
from physgen.space import Block, Coordinate, Space
from physgen.status import Status

CAUSES = Space(
    Block("lai", "m2 m-2", (0, 12), "leaf area index"),
    "offset",
    Block(
        "profile",
        "kg m-3",
        (0, float("inf")),
        "density",
        shape=(3,),
        dims=("height",),
        coordinates={"height": Coordinate("height", (10.0, 20.0, 40.0), "m", "height above ground")},
    ),
)
BANDS = {
    "band": Coordinate("band", ("B2", "B3", "B4", "B8")),
    "wavelength": Coordinate("band", (492.4, 559.8, 664.6, 832.8), "nm", "centre"),
}
OBSERVABLES = Space(Block("reflectance", "1", (0, 1.5), "surface reflectance", (4,), ("band",), BANDS))
CONDITIONS = Space(Block("solar_zenith", "degree", (0, 90)), Block("not_given", "1"))


def numbers(*shape: int, seed: int = 0, dtype: torch.dtype = torch.float64) -> Tensor:
    return torch.from_numpy(np.random.default_rng(seed).uniform(0.1, 1.0, shape)).to(dtype)


def made(batch: tuple[int, ...] = (2, 3), dtype: torch.dtype = torch.float64, **changes: Any) -> Result:
    """A result with something of everything in it."""
    samples, y = numbers(2, 50, *batch, 5, dtype=dtype), numbers(*batch, 4, seed=1, dtype=dtype)
    status = torch.zeros(batch, dtype=torch.int64)
    if batch:
        samples[:, :, 0] = torch.nan
        y[0], y[..., 2] = torch.nan, torch.nan
        status[0] = Status.NO_DATA
    stats = {
        "latent_covariance": numbers(*batch, 3, 3, seed=2, dtype=dtype),
        "k_hat": torch.full(batch, -torch.inf, dtype=dtype),
        "rounds": torch.full(batch, 3),
        "restarted": status == 0,
        "own_measure": numbers(*batch, 2, seed=3, dtype=dtype),
    }
    conditions = {"solar_zenith": torch.tensor(30.0, dtype=dtype).expand(batch), "weight": numbers(*batch, 2, seed=4)}
    settings = {"method": "OptimalEstimation", "round_draws": [200, 400], "tolerance": 1e-5, "stop": float("inf")}
    provenance = {
        "seed": 2**53 + 1,
        "recipe": "[forward]\nmodel = 'canopy'  # Wälder\n",
        "inputs": [{"path": "a.nc", "sha256": "00"}],
        "git_modified": True,
        "nothing": None,
        "empty": "",
        "title": "a name that the file uses too",
        "elapsed": 0.1,
    }
    result = Result(
        samples, status, stats, CAUSES, y, conditions, OBSERVABLES, CONDITIONS, settings, provenance=provenance
    )
    return replace(result, **changes)


COORDS = {
    "row": [10, 20],
    "time": ("date", np.array(["2018-04-21", "2018-07-02", "2018-10-30"], dtype="datetime64[ns]")),
    "latitude": (("row", "date"), np.arange(6.0).reshape(2, 3), {"units": "degrees_north"}),
    "site name": ((), "Wienerwald"),
}


@pytest.fixture
def labelled() -> Result:
    return made().labelled("row", "date", **COORDS)


def same(a: Tensor, b: Tensor) -> bool:
    """Equal bit for bit, dtype included."""
    return a.dtype == b.dtype and a.shape == b.shape and bool(((a == b) | (torch.isnan(a) & torch.isnan(b))).all())


def assert_same(a: Result, b: Result) -> None:
    assert same(a.samples, b.samples)
    assert same(a.y, b.y)
    assert same(a.status, b.status)
    for of in ("stats", "conditions"):
        assert list(getattr(a, of)) == list(getattr(b, of))
        assert all(same(v, getattr(b, of)[k]) for k, v in getattr(a, of).items())
    for of in ("causes", "observables", "condition_space", "settings", "provenance"):
        assert getattr(a, of) == getattr(b, of), of


@pytest.mark.parametrize("batch", [(), (1,), (4,), (2, 3)])
@pytest.mark.parametrize("precision", [torch.float64, torch.float32])
def test_file_gives_the_result_back_exactly(batch: tuple[int, ...], precision: torch.dtype, tmp_path: Path) -> None:
    result = made(batch, precision)
    path = result.to_netcdf(tmp_path / "r.nc")
    assert_same(result, Result.from_netcdf(path))
    assert list(tmp_path.iterdir()) == [path]


def test_file_gives_dims_and_coordinates_back(labelled: Result, tmp_path: Path) -> None:
    back = Result.from_netcdf(labelled.to_netcdf(tmp_path / "r.nc"))
    assert back.dims == ("row", "date")
    assert set(back.coords) == {"row", "time", "latitude", "site_name"}
    dims, values, attrs = back.coords["latitude"]
    assert (dims, attrs["units"]) == (("row", "date"), "degrees_north")
    np.testing.assert_array_equal(values, COORDS["latitude"][1])
    np.testing.assert_array_equal(back.coords["time"][1], COORDS["time"][1])
    assert back.coords["site_name"][1] == "Wienerwald"
    # and once more, from what came back
    xr.testing.assert_identical(bare(back.to_datatree()), bare(labelled.to_datatree()))


def bare(tree: xr.DataTree) -> xr.DataTree:
    tree.attrs.pop("created_at")
    return tree


def test_plain_xarray_reads_the_tree(labelled: Result, tmp_path: Path) -> None:
    with xr.open_datatree(labelled.to_netcdf(tmp_path / "r.nc"), engine="netcdf4") as tree:
        xr.testing.assert_identical(bare(tree.load()), bare(labelled.to_datatree()))


def test_tree_gives_the_result_back(labelled: Result) -> None:
    assert_same(labelled, from_datatree(labelled.to_datatree()))


def test_schema(labelled: Result) -> None:
    tree = labelled.to_datatree()
    assert list(tree.children) == ["posterior", "sample_stats", "observed_data", "constant_data"]
    posterior = tree["posterior"].to_dataset()
    assert list(posterior.data_vars) == ["lai", "offset", "profile"]
    assert posterior["profile"].dims == ("chain", "draw", "row", "date", "height")
    assert posterior["lai"].attrs == {
        "units": "m2 m-2",
        "long_name": "leaf area index",
        "valid_min": 0.0,
        "valid_max": 12.0,
    }
    assert "valid_max" not in posterior["profile"].attrs
    assert posterior["height"].attrs["units"] == "m"
    np.testing.assert_array_equal(posterior["profile"].values, labelled.samples[..., 2:].numpy())
    observed = tree["observed_data"].to_dataset()
    assert observed["reflectance"].dims == ("row", "date", "band")
    assert observed["wavelength"].dims == ("band",)
    assert observed["reflectance"].sel(band="B8").isel(row=1, date=2) == labelled.y[1, 2, 3]
    assert tree["constant_data"]["solar_zenith"].attrs["units"] == "degree"
    for dataset in (tree[g].to_dataset() for g in tree.children):
        assert {"row", "time", "latitude", "site_name"} <= set(dataset.coords)


def test_status_is_a_flag_variable(labelled: Result, tmp_path: Path) -> None:
    with netCDF4.Dataset(labelled.to_netcdf(tmp_path / "r.nc")) as file:
        status = file["sample_stats/status"]
        assert status.dtype == np.int8
        assert status.flag_values.dtype == np.int8
        meanings = dict(zip(status.flag_values.tolist(), status.flag_meanings.split(), strict=True))
        assert meanings == {s.value: s.meaning for s in Status}
        assert Status.NO_DATA.advice in status.advice
        assert status[0, 0] == Status.NO_DATA


def test_statistics_have_readable_dims(labelled: Result) -> None:
    stats = labelled.to_datatree()["sample_stats"]
    assert stats["latent_covariance"].dims == ("row", "date", "latent", "latent_2")
    assert stats["own_measure"].dims == ("row", "date", "own_measure_dim_0")
    assert stats["k_hat"].attrs == {"units": "1", "long_name": "Pareto shape of the importance weights"}


def test_provenance_is_readable_one_by_one(labelled: Result) -> None:
    attrs = labelled.to_datatree().attrs
    assert attrs["Conventions"] == "CF-1.11"
    assert attrs["inference_library"] == "physgen"
    assert attrs["recipe"] == labelled.provenance["recipe"]
    assert attrs["seed"] == 2**53 + 1
    assert json.loads(attrs["inputs"])[0]["path"] == "a.nc"
    assert attrs["method"] == "OptimalEstimation"


def test_observations_without_names_are_called_y(tmp_path: Path) -> None:
    result = made((4,), observables=None, condition_space=None, conditions={})
    tree = result.to_datatree()
    assert tree["observed_data"]["y"].dims == ("observation", "observable")
    assert "constant_data" not in tree.children
    assert_same(result, Result.from_netcdf(result.to_netcdf(tmp_path / "r.nc")))


def test_names_that_meet_are_kept_apart(tmp_path: Path) -> None:
    """A dimension that is also a variable, and dimensions of one name and two lengths."""
    causes = Space(Block("a", shape=(2,), dims=("x",)), Block("b", shape=(3,), dims=("x",)))
    conditions = {"row": numbers(4), "latitude": numbers(4, seed=1)}
    coords = {"row": [1, 2, 3, 4], "latitude": ("row", [5.0, 6.0, 7.0, 8.0])}
    result = made((4,), causes=causes, conditions=conditions).labelled("row", **coords)
    tree = result.to_datatree()
    assert tree["posterior"]["a"].dims[-1] == "x"
    assert tree["posterior"]["b"].dims[-1] == "b_x"
    assert tree["constant_data"]["row_values"].dims == ("row",)
    back = Result.from_netcdf(result.to_netcdf(tmp_path / "r.nc"))
    assert_same(result, back)
    np.testing.assert_array_equal(back.coords["latitude"][1], [5.0, 6.0, 7.0, 8.0])


def test_time_units_of_a_cause_stay_numbers(tmp_path: Path) -> None:
    causes = Space(
        *(Block(n, u) for n, u in zip("abcde", ("days", "s", "days since 2000-01-01", "1", "1"), strict=True))
    )
    result = made((4,), causes=causes)
    assert_same(result, Result.from_netcdf(result.to_netcdf(tmp_path / "r.nc")))


def test_arviz_base_reads_the_file(labelled: Result, tmp_path: Path) -> None:
    arviz_base = pytest.importorskip("arviz_base")
    with arviz_base.convert_to_datatree(str(labelled.to_netcdf(tmp_path / "r.nc"))) as tree:
        drawn = arviz_base.extract(tree, var_names="lai", keep_dataset=False)
        assert drawn.sizes == {"row": 2, "date": 3, "sample": 100}
        expected = labelled.draws[..., 0].movedim(0, -1).numpy()
        np.testing.assert_array_equal(drawn.transpose("row", "date", "sample").values, expected)


def test_arviz_stats_summarises_the_file(labelled: Result, tmp_path: Path) -> None:
    pytest.importorskip("xarray_einstats", reason="arviz-stats is installed without its extra xarray")
    from arviz_stats import summary

    good = replace(labelled, samples=numbers(2, 50, 2, 3, 5))
    with xr.open_datatree(good.to_netcdf(tmp_path / "r.nc")) as tree:
        table = summary(tree, var_names=["lai"], round_to="none")
        assert len(table) == 6
        mean, sd = good.draws[..., 0].mean(0).reshape(-1), good.draws[..., 0].std(0, correction=0).reshape(-1)
        np.testing.assert_allclose(table["mean"].to_numpy(float), mean.numpy(), rtol=1e-12)
        np.testing.assert_allclose(table["sd"].to_numpy(float), sd.numpy(), rtol=2e-2)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"dims": ("row",)}, "Invalid dims"),
        ({"dims": ("row", "row")}, "Invalid dims"),
        ({"dims": ("chain", "row")}, "Invalid dims"),
        ({"dims": ("row", "date"), "coords": {"row": [1, 2, 3]}}, "Invalid coordinate 'row'"),
        ({"dims": ("row", "date"), "coords": {"a": ("rwo", [1, 2])}}, "Invalid coordinate 'a'"),
    ],
)
def test_labels_that_do_not_fit_are_refused(change: dict[str, Any], message: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=message):
        made(**change).to_netcdf(tmp_path / "r.nc")
    assert list(tmp_path.iterdir()) == []


def test_file_is_replaced_whole_or_not_at_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = made((4,)).to_netcdf(tmp_path / "r.nc")
    before = path.read_bytes()

    def full(*_: Any) -> None:
        raise RuntimeError("NetCDF: HDF error")

    monkeypatch.setattr("physgen.netcdf_file.fill", full)
    with pytest.raises(OSError, match=r"Cannot write .*r\.nc \(NetCDF: HDF error\)\. Check that the disk has room\."):
        made((5,)).to_netcdf(path)
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]


def test_places_where_nothing_can_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(IsADirectoryError, match="which is a folder"):
        made((4,)).to_netcdf(tmp_path)
    with pytest.raises(NotADirectoryError, match="Cannot write into the folder"):
        made((4,)).to_netcdf(tmp_path / "file" / "r.nc")
    with pytest.raises(FileNotFoundError, match="Choose one that exists and is writable"):
        made((4,)).to_netcdf(tmp_path / "nowhere" / "r.nc")


def test_files_that_are_no_result(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="No file"):
        Result.from_netcdf(tmp_path / "missing.nc")
    with pytest.raises(ValueError, match="damaged or cut short"):
        Result.from_netcdf(tmp_path)
    foreign = tmp_path / "foreign.nc"
    xr.Dataset({"a": ("x", [1.0])}).to_netcdf(foreign)
    with pytest.raises(ValueError, match=r"holds no result .*no posterior"):
        Result.from_netcdf(foreign)
    (tmp_path / "text.nc").write_text("not a file of arrays")
    with pytest.raises(ValueError, match="is not netCDF, damaged"):
        Result.from_netcdf(tmp_path / "text.nc")


@pytest.mark.parametrize("kept", [0.0, 0.01, 0.5, 0.99])
def test_file_that_is_cut_short(kept: float, tmp_path: Path) -> None:
    path = made((4,)).to_netcdf(tmp_path / "r.nc")
    whole = path.read_bytes()
    path.write_bytes(whole[: int(kept * len(whole))])
    with pytest.raises(ValueError, match="damaged or cut short"):
        Result.from_netcdf(path)


def test_it_prints_in_two_lines(labelled: Result) -> None:
    # a page of numbers is what a user met who typed its name
    status = torch.tensor([[0, 0, 5], [0, 5, 6]])
    first, second = repr(replace(labelled, status=status)).splitlines()
    assert first.startswith("Result of OptimalEstimation: ")
    assert all(name in first for name in labelled.causes.names)
    assert first.endswith("observations: 6")
    assert second == "status: 3 trusted, 2 chains_disagree, 1 chains_too_short"


def test_the_noun_loads_without_xarray() -> None:
    code = "import sys, physgen.result, physgen.problem; assert not {'xarray', 'netCDF4'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)
