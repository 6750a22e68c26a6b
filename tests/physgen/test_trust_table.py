"""The table and the picture of trust, what a file holds of it, and that chunks do not change it."""

from __future__ import annotations

import importlib
from dataclasses import dataclass, field

import netCDF4
import numpy as np
import pytest
import torch
import xarray as xr

import physgen as pg
from physgen.diagnostics.trust import Trust
from physgen.diagnostics.trust_assessment import Judge
from physgen.inversions import OptimalEstimation
from physgen.io import invert_to_netcdf
from physgen.method_codes import CODES
from physgen.result import Result
from physgen.status import Status
from physgen.trust_picture import COLOURS, trust_picture
from physgen.trust_table import counts, judged, read_table, table_of, trust

DEPTHS = torch.tensor([0.3, 0.6, 0.9, 1.2])


def beer_lambert(x, *, path):
    return x[..., 1:] * torch.exp(-x[..., :1] * path[..., None] / DEPTHS.to(x))


PRIOR = pg.Independent(depth=pg.LogNormal(0.3, 0.5), albedo=pg.Uniform(0, 1))
PROBLEM = pg.Problem(beer_lambert, PRIOR, pg.GaussianNoise(0.02))
METHOD = OptimalEstimation(draws=60)
PATH = torch.linspace(1, 2, 24)


def observed():
    _, y = PROBLEM.simulate(24, seed=1, path=PATH)
    y[3] = torch.tensor([0.1, 0.9, 0.1, 0.9])  # no such thing
    y[5] = torch.nan
    return y


@pytest.fixture(scope="module")
def result():
    torch.set_default_dtype(torch.float64)
    return METHOD(PROBLEM, observed(), conditions={"path": PATH})


def test_table_holds_the_verdict_and_what_is_behind_it(result):
    labelled = result.labelled("pixel", lon=torch.linspace(16, 17, 24), lat=torch.linspace(48, 49, 24))
    table = trust(PROBLEM, labelled, simulations=800)
    assert table.sizes["pixel"] == 24
    assert list(table.cause.values) == ["depth", "albedo"]
    for name in ("status", "k_hat", "ess", "prior_sensitivity", "likelihood_sensitivity", "predictive_p", "range_p"):
        assert name in table
    assert Trust(int(table.trust[3])) is Trust.OUTSIDE_THE_MODEL
    assert Trust(int(table.trust[5])) is Trust.NOT_CONVERGED
    assert counts(table)[Trust.TRUSTED] >= 18
    assert table.trust.attrs["flag_values"].tolist() == [0, 1, 2, 3, 4, 5]
    assert table.trust.attrs["flag_meanings"].split()[5] == "outside_the_model"
    assert table.trust.attrs["advice"].count("\n") == 5


def test_a_file_keeps_it(result, tmp_path):
    stored = judged(PROBLEM, result, settings={"simulations": 800})
    path = stored.to_netcdf(tmp_path / "posterior.nc")
    table = read_table(path)
    assert (
        xr.testing.assert_equal(table.drop_vars("cause", errors="ignore"), table_of(stored).drop_vars("cause")) is None
    )
    again = Result.from_netcdf(path)
    assert torch.equal(again.stats["trust"], stored.stats["trust"])
    with xr.open_dataset(path, group="sample_stats") as stats:
        assert stats.trust.attrs["flag_meanings"].split() == [t.meaning for t in Trust]
        assert stats.status.attrs["flag_meanings"].split() == [s.meaning for s in Status]


def test_answered_by_has_names():
    coded = METHOD(PROBLEM, observed()[:2], conditions={"path": 1.0})
    coded.stats["answered_by"] = torch.tensor([1, 8])
    attrs = coded.to_datatree()["sample_stats"]["answered_by"].attrs
    assert dict(zip(attrs["flag_meanings"].split(), attrs["flag_values"].tolist(), strict=True)) == dict(CODES)
    assert importlib.import_module("physgen.inversions.escalation").CODES is CODES


def test_chunks_do_not_change_the_answer(tmp_path):
    tables = []
    for chunk in (24, 5):
        path = invert_to_netcdf(
            METHOD, PROBLEM, observed(), tmp_path / f"{chunk}.nc", conditions={"path": PATH}, chunk=chunk, trust=True
        )
        tables.append(read_table(path))
    assert "trust" in tables[0]
    xr.testing.assert_allclose(*tables, rtol=1e-9)
    assert np.array_equal(tables[0].trust, tables[1].trust)
    assert np.array_equal(tables[0].range_p, tables[1].range_p, equal_nan=True)


@dataclass(frozen=True)
class Stopped:
    """OptimalEstimation, interrupted before a chunk: -1, before none."""

    before: int = field(compare=False)
    calls: list[int] = field(default_factory=list, compare=False)
    method: OptimalEstimation = METHOD

    def __call__(self, problem, y, *, conditions, seed, index, progress):
        if len(self.calls) == self.before:
            raise KeyboardInterrupt
        self.calls.append(int(index.numel()))
        return self.method(problem, y, conditions=conditions, seed=seed, index=index)


def groups(path):
    """Everything in a file but when it was made."""
    with xr.open_datatree(path, engine="netcdf4") as tree:
        tree.load()
    for name in ("created_at", "ended", "started"):
        tree.attrs.pop(name, None)
    return tree


JOB = {"conditions": {"path": PATH}, "chunk": 8, "seed": 2, "trust": True}


@pytest.fixture(scope="module")
def complete(tmp_path_factory):
    """The file of work that nothing interrupted."""
    torch.set_default_dtype(torch.float64)
    return invert_to_netcdf(METHOD, PROBLEM, observed(), tmp_path_factory.mktemp("whole") / "complete.nc", **JOB)


def test_interrupted_work_is_resumed_to_the_same_file(complete, tmp_path):
    path, first, again = tmp_path / "r.nc", Stopped(2), Stopped(-1)
    with pytest.raises(KeyboardInterrupt):
        invert_to_netcdf(first, PROBLEM, observed(), path, **JOB)
    assert sum(first.calls) == 16
    invert_to_netcdf(again, PROBLEM, observed(), path, **JOB)
    assert sum(again.calls) == 8
    xr.testing.assert_identical(groups(path), groups(complete))
    assert {Trust.TRUSTED, Trust.OUTSIDE_THE_MODEL, Trust.NOT_CONVERGED} <= set(counts(read_table(path)))


def test_resumed_in_other_chunks_the_answers_are_the_same(complete, tmp_path):
    path = tmp_path / "r.nc"
    with pytest.raises(KeyboardInterrupt):
        invert_to_netcdf(Stopped(2), PROBLEM, observed(), path, **(JOB | {"chunk": 4}))
    invert_to_netcdf(Stopped(-1), PROBLEM, observed(), path, **(JOB | {"chunk": 16}))
    xr.testing.assert_allclose(groups(path), groups(complete), rtol=1e-9)
    assert np.array_equal(read_table(path).trust, read_table(complete).trust)


@pytest.mark.parametrize(("where", "name"), [(Judge, "judge"), (netCDF4.Dataset, "sync")])
def test_interrupted_before_the_verdict_or_while_writing(where, name, complete, tmp_path, monkeypatch):
    calls, unpatched = [], getattr(where, name)

    def stopped(self, *given):
        calls.append(1)
        if len(calls) == 2:
            raise KeyboardInterrupt
        return unpatched(self, *given)

    path = tmp_path / "r.nc"
    with monkeypatch.context() as patch:
        patch.setattr(where, name, stopped)
        with pytest.raises(KeyboardInterrupt):
            invert_to_netcdf(METHOD, PROBLEM, observed(), path, **JOB)
    assert not path.exists()
    invert_to_netcdf(METHOD, PROBLEM, observed(), path, **JOB)
    xr.testing.assert_identical(groups(path), groups(complete))


@pytest.mark.parametrize("first", [True, False])
def test_work_with_verdicts_and_work_without_do_not_mix(first, tmp_path):
    job = {"conditions": {"path": PATH[:8]}, "chunk": 4, "path": tmp_path / "r.nc"}
    with pytest.raises(KeyboardInterrupt):
        invert_to_netcdf(Stopped(1), PROBLEM, observed()[:8], trust=first, **job)
    second = Stopped(-1)
    with pytest.raises(ValueError, match="belongs to another job: its trust differ"):
        invert_to_netcdf(second, PROBLEM, observed()[:8], trust=not first, **job)
    assert not second.calls
    invert_to_netcdf(second, PROBLEM, observed()[:8], trust=first, **job)
    assert ("trust" in groups(tmp_path / "r.nc")["sample_stats"]) == first


def test_a_problem_that_cannot_be_simulated_is_still_inverted(tmp_path):
    class Silent(pg.GaussianNoise):
        def sample(self, prediction, *, seed=0, like=None):
            raise ValueError("No sampler here. Write one.")

    silent = pg.Problem(beer_lambert, PRIOR, Silent(0.02))
    with pytest.warns(UserWarning, match="Observations are not compared with simulated ones. No sampler here"):
        path = invert_to_netcdf(METHOD, silent, observed()[:4], tmp_path / "s.nc", conditions={"path": 1.0}, trust=True)
    table = read_table(path)
    assert np.isnan(table.range_p).all()
    assert Trust(int(table.trust[3])) is Trust.POOR_FIT


def test_files_and_results_without_it_are_errors(result, tmp_path):
    path = result.to_netcdf(tmp_path / "old.nc")
    with pytest.raises(ValueError, match=r"says nothing of trust\. Invert again"):
        read_table(path)
    with pytest.raises(ValueError, match=r"The result says nothing of trust\. Call trust"):
        table_of(result)
    with pytest.raises(ValueError, match=r"No result at .*nothing\.nc\. Check the path"):
        read_table(tmp_path / "nothing.nc")
    with pytest.raises(ValueError, match="Unknown format of the picture"):
        trust_picture(path, tmp_path / "map.docx")


CODE = np.array([0] * 14 + [1, 2, 3, 4, 5, 0], dtype=np.int8)
TIMES = np.array(["2018-04-01", "2018-05-01", "2018-06-01", "2018-07-01", "2018-08-01"], dtype="datetime64[ns]")
LAYOUTS = {
    "rows": xr.DataArray(CODE, dims="observation"),
    "places": xr.DataArray(CODE, dims="p", coords={"x": ("p", np.arange(20.0)), "y": ("p", np.arange(20) % 5.0)}),
    "map": xr.DataArray(CODE.reshape(4, 5), dims=("y", "x"), coords={"x": np.arange(5.0), "y": np.arange(4.0)}),
    "times": xr.DataArray(CODE.reshape(5, 4), dims=("time", "plot"), coords={"time": TIMES}),
    "cube": xr.DataArray(CODE.reshape(5, 2, 2), dims=("a", "b", "c")),
}


@pytest.mark.parametrize("layout", LAYOUTS)
def test_picture_of_every_layout(layout, tmp_path):
    table = xr.Dataset({"trust": LAYOUTS[layout]})
    out = trust_picture(table, tmp_path / f"{layout}.png")
    assert out.stat().st_size > 5000


def test_colours_are_told_apart_without_hue():
    from matplotlib.colors import to_rgb

    grey = [float(np.dot(to_rgb(COLOURS[t]), (0.2126, 0.7152, 0.0722))) for t in COLOURS]
    assert min(np.diff(sorted(grey))) > 0.02
    assert COLOURS.keys() == set(Trust)
