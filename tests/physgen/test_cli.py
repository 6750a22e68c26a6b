"""The command line: what it writes, and how it ends."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xarray as xr
from typer.testing import CliRunner, Result

from physgen import __version__
from physgen.cli import app

MODEL = """
import torch
from physgen.space import Block, Coordinate, Space

class Linear:
    causes = Space(Block("a", "m"), Block("b", "1"))
    observables = Space(Block("signal", "V", (-50, 50), shape=(3,), dims=("channel",),
                              coordinates={"channel": Coordinate("channel", ("x", "y", "z"))}))

    def __call__(self, x, offset):
        a, b = x[..., 0], x[..., 1]
        return torch.stack([a, b, a + b], -1) + offset[..., None]

class Broken(Linear):
    def __call__(self, x, offset):
        raise KeyError("secret")
"""
RECIPE = """
note = "a test"
seed = 5
[forward]
model = "my_linear:Linear"
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
draws = 400
[observations]
file = "observed.nc"
[observations.conditions]
offset = "offset"
[output]
file = "posterior.nc"
picture = "posterior.png"
[simulate]
n = 3
"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "my_linear.py").write_text(MODEL)
    (tmp_path / "recipe.toml").write_text(RECIPE)
    times = np.array(["2020-01-01", "2020-02-01"], dtype="datetime64[ns]")
    signal = np.array([[[1, 2, 3.2], [2, 2, 4.5]], [[0, 1, 1], [np.nan] * 3]]) + 10
    dataset = xr.Dataset({"signal": (("time", "plot", "channel"), signal), "offset": ("time", [10.0, 10.0])})
    dataset.assign_coords(time=times, channel=["x", "y", "z"]).to_netcdf(tmp_path / "observed.nc")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def call(*arguments: object) -> Result:
    return CliRunner().invoke(app, [str(a) for a in arguments])


def refused(result: Result, words: str) -> None:
    """Exit code 2, the words on stderr, in two sentences and without a traceback."""
    assert result.exit_code == 2, result.output
    assert words in result.stderr
    assert "Traceback" not in result.output
    assert result.stderr.startswith("Error: ")
    assert result.stderr.rstrip().endswith((".", "?"))
    assert len(result.stderr.strip().splitlines()) == 1


def test_invert_writes_posterior_and_picture(folder: Path) -> None:
    done = call("invert", "recipe.toml", "--out", "out")
    assert done.exit_code == 0, done.output
    assert (folder / "out" / "posterior.png").read_bytes()[:4] == b"\x89PNG"
    tree = xr.open_datatree(folder / "out" / "posterior.nc")
    posterior = tree["posterior"].to_dataset()
    assert posterior["a"].attrs["units"] == "m"
    assert tree["sample_stats"]["status"].values.ravel().tolist()[3] == 9  # all-NaN: no data
    # closed form: S = (S_a^-1 + K^T K / 0.25)^-1, mean = x_a + S K^T (y - offset - K x_a) / 0.25
    K = np.array([[1, 0], [0, 1], [1, 1.0]])
    S = np.linalg.inv(np.eye(2) / 4 + K.T @ K / 0.25)
    mean = np.array([1, 2]) + S @ K.T @ (np.array([1, 2, 3.2]) - K @ [1, 2]) / 0.25
    draws = np.stack([posterior[n].isel(time=0, plot=0).values.ravel() for n in "ab"])
    standard_error = np.sqrt(np.diag(S) / draws.shape[1])
    assert (np.abs(draws.mean(1) - mean) < 5 * standard_error).all()
    np.testing.assert_allclose(np.cov(draws), S, rtol=0.3)
    assert [p.name for p in (folder / "out").iterdir() if p.name.startswith(".")] == []


def test_seed_on_the_command_line_wins(folder: Path) -> None:
    draws = []
    for out, arguments in (("1", []), ("2", []), ("3", ["--seed", 6]), ("4", ["--seed", 5])):
        assert call("invert", "recipe.toml", "--out", out, *arguments).exit_code == 0
        with xr.open_datatree(folder / out / "posterior.nc") as tree:
            draws.append(tree["posterior"]["a"].isel(time=0, plot=0).values)
    np.testing.assert_array_equal(draws[0], draws[1])
    np.testing.assert_array_equal(draws[0], draws[3])
    assert (draws[0] != draws[2]).any()


def test_show_says_causes_status_and_provenance(folder: Path) -> None:
    assert call("invert", "recipe.toml").exit_code == 0
    shown = call("show", "posterior.nc")
    assert shown.exit_code == 0, shown.output
    for words in ("3 trusted observations", "no data", "25.0 %", "There is nothing to infer", "a test", "seed"):
        assert words in " ".join(shown.output.split()), words


def test_simulate_writes_what_the_library_draws(folder: Path) -> None:
    from physgen.recipe import load_recipe

    done = call("simulate", "recipe.toml", "--n", 50, "--seed", 11)
    assert done.exit_code == 0, done.output
    with xr.open_dataset(folder / "simulated.nc") as got:
        x, y = load_recipe(folder / "recipe.toml").problem().simulate(50, seed=11, offset=10.0)
        np.testing.assert_array_equal(got["signal"], y)
        np.testing.assert_array_equal(got["a"], x[:, 0])
        assert got["a"].attrs["units"] == "m"
        assert got["channel"].values.tolist() == ["x", "y", "z"]
        assert set(got["offset"].values) == {10.0}
        assert got.attrs["seed"] == 11


def test_simulated_observations_can_be_inverted(folder: Path) -> None:
    assert call("simulate", "recipe.toml").exit_code == 0
    text = RECIPE.replace("observed.nc", "simulated.nc")
    (folder / "again.toml").write_text(text)
    done = call("invert", "again.toml")
    assert done.exit_code == 0, done.output
    with xr.open_datatree(folder / "posterior.nc") as tree, xr.open_dataset(folder / "simulated.nc") as truth:
        a = tree["posterior"]["a"]
        assert a.sizes["observation"] == 3
        # sd of a is at most the prior's 2 and at least 0.35: five of them bound the error
        assert (abs(a.mean(("chain", "draw")) - truth["a"]) < 5 * a.std(("chain", "draw"))).all()


ODD_PLUGINS = ("builtins:UnicodeDecodeError", "collections:Counter", "builtins:open", "sys:nothing", "math:pi")


def test_models_lists_every_part_even_with_a_broken_plugin(monkeypatch: pytest.MonkeyPatch) -> None:
    from physgen import registry

    real = registry.entries

    def entries(kind: str) -> tuple[registry.Entry, ...]:
        absent = registry.Entry("absent-plugin", kind, "no_such_module_here:x", "acme")
        # none of these is a part: a class with and without settings, a function, nothing, a number
        return (*real(kind), absent, *(registry.Entry(n, kind, f"{n}", "acme") for n in ODD_PLUGINS))

    monkeypatch.setattr("physgen.catalogue.entries", entries)
    monkeypatch.setenv("COLUMNS", "200")
    done = call("models")
    assert done.exit_code == 0, done.output
    text = " ".join(done.output.split())
    for words in (
        "gaussian",
        "optimal-estimation",
        "built in",
        "acme",
        "cannot be imported",
        *ODD_PLUGINS,
        "absolute = 0.01",
    ):
        assert words in text


def test_version_and_help() -> None:
    assert call("--version").output == f"physgen {__version__}\n"
    assert "invert" in call("--help").output


def test_start_up_imports_nothing_heavy() -> None:
    code = (
        "import sys, physgen.cli; print([m for m in ('torch', 'xarray', 'matplotlib', 'pydantic') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert done.stdout.strip() == "[]", done.stderr


RECIPE_MISTAKES = {
    "typo": ("draws = 400", "drawz = 400", "[inversion]: Unknown key 'drawz'. Did you mean 'draws'?"),
    "missing file": ("observed.nc", "obzerved.nc", "Did you mean 'observed.nc'?"),
    "model that raises": (
        "my_linear:Linear",
        "my_linear:Broken",
        "forward model failed at the prior's centre (KeyError: 'secret')",
    ),
    "misspelt condition": ("offset =", "ofset =", "Unknown condition 'ofset'. Did you mean 'offset'?"),
    "format of the picture": ("posterior.png", "posterior.pgn", "Unknown format of the picture 'posterior.pgn'."),
    "no inversion": ('[inversion]\nmethod = "optimal-estimation"\ndraws = 400\n', "", "Missing table [inversion]"),
}


@pytest.mark.parametrize(("old", "new", "words"), RECIPE_MISTAKES.values(), ids=RECIPE_MISTAKES)
def test_bad_recipe(folder: Path, old: str, new: str, words: str) -> None:
    assert RECIPE.count(old) == 1
    (folder / "recipe.toml").write_text(RECIPE.replace(old, new))
    refused(call("invert", "recipe.toml", "--out", "out"), words)
    assert not list((folder / "out").glob("*"))


def _observed(folder: Path, **changes: Any) -> None:
    with xr.open_dataset(folder / "observed.nc") as dataset:
        whole = dataset.load()
    whole.assign(**{k: v(whole) for k, v in changes.items()}).to_netcdf(folder / "observed.nc")


def _truncated(folder: Path) -> None:
    path = folder / "observed.nc"
    path.write_bytes(path.read_bytes()[:2000])


FILE_MISTAKES = {
    "empty": (lambda f: (f / "observed.nc").write_bytes(b""), "is empty."),
    "truncated": (_truncated, "damaged or cut short"),
    "text": (lambda f: (f / "observed.nc").write_text("x,y,z"), "is not netCDF"),
    "digital numbers": (lambda f: _observed(f, signal=lambda d: d["signal"] * 1e4), "set scale ="),
    "band missing": (
        lambda f: _observed(f, signal=lambda d: d["signal"].isel(channel=[0, 1]).rename(channel="short")),
        "has no dimension 'channel'",
    ),
    "wrong shape": (lambda f: _observed(f, offset=lambda d: d["signal"].isel(plot=0)), "has the dimension 'channel'"),
}


@pytest.mark.parametrize(("spoil", "words"), FILE_MISTAKES.values(), ids=FILE_MISTAKES)
def test_bad_observations(folder: Path, spoil: Any, words: str) -> None:
    spoil(folder)
    refused(call("invert", "recipe.toml", "--out", "out"), words)
    assert not list((folder / "out").glob("*"))


@pytest.mark.parametrize("command", ["invert", "simulate"])
def test_missing_recipe_and_unwritable_folder(folder: Path, command: str) -> None:
    refused(call(command, "recipes.toml"), "Did you mean 'recipe.toml'?")
    (folder / "file").touch()
    refused(call(command, "recipe.toml", "--out", "file/sub"), "Cannot write into the folder")
    assert not (folder / "posterior.nc").exists()


def test_bad_result(folder: Path) -> None:
    refused(call("show", "nothing.nc"), "No result at nothing.nc.")
    refused(call("show", "observed.nc"), "holds no posterior with a status.")
    refused(call("show", "recipe.toml"), "is not netCDF, or damaged.")


@pytest.mark.parametrize("arguments", [["invert"], ["inverd"], ["simulate", "recipe.toml", "--n", "0"]])
def test_bad_usage_ends_with_2(folder: Path, arguments: list[str]) -> None:
    assert call(*arguments).exit_code == 2


def test_interruption_says_how_to_resume(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from physgen.job import Job

    def interrupted(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(Job, "invert", interrupted)
    done = call("invert", "recipe.toml")
    assert done.exit_code == 130
    assert "Interrupted. Run the same command again to resume the work." in done.stderr


def test_unexpected_failure_has_no_traceback_unless_asked(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from physgen.job import Job

    def failing(*_: object, **__: object) -> None:
        raise KeyError("surprise")

    monkeypatch.setattr(Job, "invert", failing)
    done = call("invert", "recipe.toml")
    assert (done.exit_code, "Traceback" in done.stderr) == (1, False)
    assert "Run again with --debug" in done.stderr
    assert isinstance(call("invert", "recipe.toml", "--debug").exception, KeyError)


def test_the_command_itself_ends_with_2(folder: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "physgen", "show", "nothing.nc"],
        capture_output=True,
        text=True,
        timeout=60,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
    )
    assert (done.returncode, done.stderr) == (2, "Error: No result at nothing.nc. Check the path.\n")
