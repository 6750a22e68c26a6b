"""Summaries of a result's file against direct computation, and the picture of every kind of batch."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import xarray as xr

from physgen.picture import chosen, draw, picture
from physgen.status import Status
from physgen.summary import summarise

TIMES = np.array(["2018-06-01", "2018-04-01", "2018-05-01"], dtype="datetime64[ns]")


def written(
    folder: Path, shape: dict[str, int], coords: dict[str, object], status: np.ndarray | None = None, vague: int = 1
) -> Path:
    """A result with a cause that the data resolve (`sharp`), and some that they do not."""
    rng = np.random.default_rng(3)
    sizes, dims = tuple(shape.values()), ("chain", "draw", *shape)
    centre = np.linspace(1, 5, int(np.prod(sizes))).reshape(sizes)
    variables = {}
    for i in range(vague):
        variables[f"vague{i}"] = (dims, 1.0 + rng.standard_normal((1, 60, *sizes)), {"units": "1"})
    variables["sharp"] = (dims, centre + 0.1 * rng.standard_normal((1, 60, *sizes)), {"units": "m2 m-2"})
    status = np.zeros(sizes, dtype=np.int8) if status is None else status
    for _, values, _ in variables.values():
        values[..., status == Status.NO_DATA] = np.nan
    groups = {
        "posterior": xr.Dataset(variables, coords),
        "sample_stats": xr.Dataset({"status": (tuple(shape), status)}, coords),
    }
    path = folder / "result.nc"
    xr.DataTree.from_dict(groups).to_netcdf(path)
    return path


@pytest.mark.parametrize("block", [1, 10**9])
def test_summary_equals_numpy_whatever_the_blocks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, block: int) -> None:
    monkeypatch.setattr("physgen.summary._BLOCK", block)
    status = np.array([[0, 0], [2, 9], [0, 0]], dtype=np.int8)
    path = written(tmp_path, {"time": 3, "plot": 2}, {"time": TIMES}, status, vague=0)
    with xr.open_datatree(path) as tree:
        draws = tree["posterior"]["sharp"].values.reshape(60, 3, 2)
    summary = summarise(path)
    (cause,) = summary.causes
    np.testing.assert_allclose(cause.median, np.median(draws, 0))
    np.testing.assert_allclose(cause.low, np.quantile(draws, 0.05, 0))
    np.testing.assert_allclose(cause.high, np.quantile(draws, 0.95, 0))
    np.testing.assert_allclose(cause.sd, draws.std(0))
    assert np.isnan(cause.median[1, 1])
    assert summary.counts() == {Status.TRUSTED: 4, Status.HEAVY_TAILS: 1, Status.NO_DATA: 1}
    assert summary.trusted.tolist() == [[True, True], [False, False], [True, True]]


def test_causes_that_the_data_resolve_are_chosen(tmp_path: Path) -> None:
    found = chosen(summarise(written(tmp_path, {"plot": 40}, {}, vague=7)))
    assert len(found) == 6
    assert found[-1].name == "sharp"  # the last of eight


def test_series_shows_the_medians_in_the_order_of_time(tmp_path: Path) -> None:
    species = ("plot", ["oak", "oak", "pine", "pine"])
    path = written(tmp_path, {"time": 3, "plot": 4}, {"time": TIMES, "species": species}, vague=0)
    figure = draw(summarise(path))
    panel = figure.axes[0]
    assert panel.get_ylabel() == "sharp (m$^{2}$ m$^{-2}$)"
    lines = {line.get_label(): line for line in panel.get_lines()}
    assert {"median of oak", "median of pine"} <= set(lines)
    with xr.open_datatree(path) as tree:
        want = tree["posterior"]["sharp"].median(("chain", "draw")).sortby("time").isel(plot=slice(2)).median("plot")
    np.testing.assert_allclose(lines["median of oak"].get_ydata(), want)


@pytest.mark.parametrize(
    ("shape", "coords"),
    [
        ({"observation": 1}, {}),
        ({"observation": 700}, {}),
        ({"time": 3}, {"time": TIMES}),
        ({"plot": 4, "time": 3}, {"time": TIMES}),
        ({"y": 20, "x": 30}, {}),
        ({"y": 20, "x": 30}, {"x": np.arange(30) * 10.0}),
        ({"a": 2, "b": 3, "c": 2}, {}),
        ({}, {}),
    ],
    ids=lambda value: "x".join(map(str, value)) if isinstance(value, dict) else None,
)
def test_every_kind_of_batch_is_drawn(tmp_path: Path, shape: dict[str, int], coords: dict[str, object]) -> None:
    out = picture(written(tmp_path, shape, coords), tmp_path / "picture.png")
    assert out.read_bytes()[:4] == b"\x89PNG"
    assert sorted(p.name for p in tmp_path.iterdir()) == ["picture.png", "result.nc"]


def test_nothing_trusted_is_drawn_too(tmp_path: Path) -> None:
    status = np.full(5, int(Status.NO_DATA), dtype=np.int8)
    summary = summarise(written(tmp_path, {"observation": 5}, {}, status))
    assert chosen(summary) == []
    assert draw(summary).axes[0].get_title() == "status: 0.0 % trusted"


def test_failed_picture_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from matplotlib.figure import Figure

    path = written(tmp_path, {"observation": 5}, {})

    def fails(*_: object, **__: object) -> None:
        raise OSError("No space left on device")

    monkeypatch.setattr(Figure, "savefig", fails)
    with pytest.raises(OSError, match="No space"):
        picture(path, tmp_path / "picture.png")
    assert [p.name for p in tmp_path.iterdir()] == ["result.nc"]
