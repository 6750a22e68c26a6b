"""`physgen check`: simulated under the recipe's conditions, inverted, checked, resumed, written, read, printed."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import xarray as xr
from typer.testing import CliRunner, Result

from physgen import check_job
from physgen.check_job import _inverted, _simulate, check_to_json, read_calibration
from physgen.cli import app
from physgen.recipe import load_recipe

MODEL = """
import torch
from physgen.inversions import OptimalEstimation
from physgen.space import Block, Space

class Tilted:
    causes = Space(Block("a", "m"), Block("b", "1"))
    conditions = Space(Block("tilt", "degree", (0, 90)))
    observables = Space(Block("signal", "V", (-50, 50), shape=(3,), dims=("channel",)))

    def __call__(self, x, tilt):
        slope = torch.cos(torch.deg2rad(tilt))
        a, b = x[..., 0], x[..., 1]
        return torch.stack([slope * a, b, a + b], -1)

class TooNarrow:
    '''Draws drawn together about their mean.'''
    def __init__(self, scale):
        self.inner, self.scale = OptimalEstimation(draws=100), scale

    def __call__(self, problem, y, **more):
        from dataclasses import replace
        found = self.inner(problem, y, **more)
        mean = found.samples.mean((0, 1))
        return replace(found, samples=mean + self.scale * (found.samples - mean))
"""
RECIPE = """
note = "a test"
seed = 5
[forward]
model = "tilted:Tilted"
[prior]
model = "gaussian"
mean = [1.0, 2.0]
covariance = [[4.0, 0.0], [0.0, 4.0]]
causes = ["a", "b"]
[noise]
model = "gaussian"
absolute = 0.5
[inversion]
method = "optimal-estimation"
draws = 100
[observations]
file = "observed.nc"
[observations.conditions]
tilt = "tilt"
"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "tilted.py").write_text(MODEL)
    (tmp_path / "recipe.toml").write_text(RECIPE)
    (tmp_path / "narrow.toml").write_text(
        RECIPE.replace('method = "optimal-estimation"\ndraws = 100', 'method = "tilted:TooNarrow"\nscale = 0.6')
    )
    g = np.random.default_rng(0)
    signal = g.normal(2, 2, (6, 4, 3))
    signal[0, :, 2] = np.nan  # what is missing in the observations is missing in what is simulated
    signal[5, 3] = np.nan
    signal[5, 2] = 1e3  # out of range: lends its conditions to none
    tilt = np.array([10.0, 20, 30, 40, 50, 60])
    xr.Dataset({"signal": (("time", "plot", "channel"), signal), "tilt": ("time", tilt)}).to_netcdf(
        tmp_path / "observed.nc"
    )
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(check_job, "calibration", quick(check_job.calibration))
    return tmp_path


def quick(whole: Callable[..., Any]) -> Callable[..., Any]:
    """The same checks with fewer exchanges."""
    return lambda replications, **settings: whole(replications, times=199, **settings)


def call(*arguments: object) -> Result:
    return CliRunner().invoke(app, [str(a) for a in arguments])


def test_simulated_under_conditions_and_gaps_of_the_observations(folder: Path) -> None:
    job = load_recipe("recipe.toml").build()
    made = _simulate(job, 400)
    assert made.y.shape == (400 + 22, 3)
    assert made.truth.shape == (400, 2)
    tilt = made.conditions["tilt"]
    gaps = np.isnan(made.y[:, 2])
    np.testing.assert_array_equal(gaps, tilt == 10)
    assert set(tilt[:400]) == {10, 20, 30, 40, 50, 60}
    assert abs((tilt[:400] == 60).mean() - 2 / 22) < 0.06
    # the noise is the recipe's
    predicted = job.problem.forward(made.truth, torch.as_tensor(tilt[:400], dtype=made.truth.dtype)).numpy()
    assert np.nanstd(made.y[:400] - predicted) == pytest.approx(0.5, rel=0.1)
    np.testing.assert_array_equal(made.y[400:404], job.observations.y.reshape(-1, 3)[:4])


def test_right_method_passes_and_the_file_says_all(folder: Path) -> None:
    done = call("check", "recipe.toml", "--n", 120, "--out", "out")
    assert done.exit_code == 0, done.output
    assert "Verdict: passes." in " ".join(done.output.split())
    assert [p.name for p in (folder / "out").iterdir()] == ["calibration.json"]
    content = read_calibration("out/calibration.json")
    assert content["passed"]
    assert content["simulations"] == 120
    assert content["trusted"] > 100
    assert {c["name"] for c in content["checks"]} >= {"SBC ranks", "TARP", "marginal coverage"}
    assert content["recipe"] == RECIPE
    assert content["provenance"]["note"] == "a test"
    assert content["causes"]["a"]["units"] == "m"
    assert set(content["sensitivity"]["causes"]) == {"a", "b"}
    assert content["sensitivity"]["causes"]["a"]["words"].count(". ") >= 1
    assert content["coverage_of_all"]["n"] == 120


def test_wrong_method_fails_and_is_recalibrated(folder: Path) -> None:
    done = call("check", "narrow.toml", "--n", 120, "--out", "out")
    assert done.exit_code == 0, done.output
    words = " ".join(done.output.split())
    assert "Verdict: fails." in words
    assert "They are no posterior intervals" in words
    content = read_calibration("out/calibration.json")
    assert not content["passed"]
    assert "object" in content["verdict"]
    assert all(0.3 < m < 2.0 for m in content["conformal"]["margin_in_posterior_sd"].values())


def test_the_same_seed_gives_the_same_file(folder: Path) -> None:
    job = load_recipe("recipe.toml").build()
    contents = [check_to_json(job, folder, n=60)[1] for _ in range(2)]
    other = check_to_json(load_recipe("recipe.toml").build(6), folder, n=60)[1]
    assert contents[0]["checks"] == contents[1]["checks"] != other["checks"]


def test_interrupted_work_resumes(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    job = load_recipe("recipe.toml").build()
    whole = check_to_json(job, folder, n=100)[1]
    (folder / "calibration.json").unlink()
    told: list[int] = []

    def stop(done: int, total: int) -> None:
        told.append(done)
        if done >= 64:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        check_to_json(job, folder, n=100, progress=stop)
    assert not (folder / "calibration.json").exists()
    # between inversion and checks: what is inverted is kept
    work = folder / "calibration_draws.nc"
    _inverted(job, _simulate(job, 100), work, False)
    before = work.read_bytes()
    monkeypatch.setattr(check_job, "invert_to_netcdf", None)
    assert check_to_json(job, folder, n=100)[1]["checks"] == whole["checks"]
    assert not work.exists()
    assert before


def test_other_work_left_behind_is_not_taken(folder: Path) -> None:
    job, other = load_recipe("recipe.toml").build(), load_recipe("recipe.toml").build(6)
    work = folder / "calibration_draws.nc"
    found = _inverted(other, _simulate(other, 60), work, False)
    again = _inverted(job, _simulate(job, 60), work, False)
    assert not torch.equal(found.samples, again.samples)


def test_bad_input(folder: Path) -> None:
    for arguments, words in (
        (
            ("--n", 5),
            "Too few simulations: 5. At least 20 are needed, and 300 see a posterior that is a fifth too narrow.",
        ),
        (("--n", 0), "--n"),
    ):
        done = call("check", "recipe.toml", *arguments)
        assert done.exit_code == 2
        assert words in " ".join(done.stderr.replace("│", " ").split())
    (folder / "bare.toml").write_text(RECIPE.partition("[inversion]")[0])
    done = call("check", "bare.toml")
    assert done.exit_code == 2
    assert "Missing table [inversion]. An inversion needs it." in done.stderr


def test_reading_refuses_what_is_none(folder: Path) -> None:
    with pytest.raises(ValueError, match=r"No calibration at nothing.json. Make it with physgen check."):
        read_calibration("nothing.json")
    (folder / "x.json").write_text("{}")
    with pytest.raises(ValueError, match=r"x.json is damaged or no calibration. Make it anew with physgen check."):
        read_calibration("x.json")
    (folder / "x.json").write_text(json.dumps({"physgen_calibration": 9}))
    with pytest.raises(ValueError, match=r"x.json has the format 9, this physgen reads 1. Make it anew"):
        read_calibration("x.json")
