"""What is read of a file: the figures are those of its draws, whatever the slices; and memory is that of a slice."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

import netCDF4
import numpy as np
import pytest

from physgen.datatree import attributes, datasets
from physgen.netcdf_file import Labels, define, fill, rectangles
from physgen.report import reading
from physgen.space import Block, Coordinate, Space
from physgen.summary import statistics_of_draws

from .results import made_up, written


@pytest.mark.parametrize("batch", [(), (7,), (3, 5)])
def test_statistics_are_those_of_the_draws(batch: tuple[int, ...], tmp_path: Path) -> None:
    result = made_up(batch, draws=51)
    answer = reading.read_answer(written(tmp_path, result))
    draws = result.draws.double().numpy().reshape(51, -1, 2)
    for j, cause in enumerate(answer.causes):
        low, middle, high = np.quantile(draws[..., j], [0.05, 0.5, 0.95], axis=0)
        np.testing.assert_allclose(cause.low, low, rtol=1e-12)
        np.testing.assert_allclose(cause.median, middle, rtol=1e-12)
        np.testing.assert_allclose(cause.high, high, rtol=1e-12)
        np.testing.assert_allclose(cause.sd, draws[..., j].std(0), rtol=1e-9)
        np.testing.assert_array_equal(answer.shown.draws[cause.name], draws[:, answer.shown.index, j])


def test_slices_do_not_show_and_are_small(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    radius = {"radius": Coordinate("radius", (1.0, 2.0, 3.0))}
    causes = Space("a", Block("b", shape=(3,), dims=("radius",), coordinates=radius))
    path = written(tmp_path, made_up((13, 11), causes=causes))
    whole = reading.read_answer(path)
    sizes = []
    slices = reading._Pass._slices

    def watched(self, array):
        for index, block in slices(self, array):
            sizes.append(block.size)
            yield index, block

    monkeypatch.setattr(reading, "_BLOCK", 600)
    monkeypatch.setattr(reading._Pass, "_slices", watched)
    sliced = reading.read_answer(path)
    assert max(sizes) <= 600
    assert len(sizes) > 20
    np.testing.assert_array_equal(whole.causes[0].median, sliced.causes[0].median)
    np.testing.assert_array_equal(whole.kept.observed["y"], sliced.kept.observed["y"])
    for name in ("a", "b"):
        np.testing.assert_array_equal(whole.shown.draws[name], sliced.shown.draws[name])


def test_an_observation_without_draws_stays_nan(tmp_path: Path) -> None:
    result = made_up((4,))
    result.samples[:, :, 2] = float("nan")
    answer = reading.read_answer(written(tmp_path, result))
    assert np.isnan(answer.causes[0].median).tolist() == [False, False, True, False]


@pytest.mark.parametrize("kind", [np.float32, np.float64])
def test_quantiles_by_sorting(kind: type) -> None:
    draws = np.random.default_rng(0).normal(size=(50, 37)).astype(kind)
    draws[3, 5] = np.nan
    wanted = np.quantile(draws.astype(np.float64), [0.5, 0.05, 0.95], axis=-1)
    np.testing.assert_allclose(statistics_of_draws(draws)[:3], wanted, rtol=1e-12, atol=1e-15)


def test_names_of_observations(tmp_path: Path) -> None:
    coords = {"time": np.array(["2018-04-01T10:30", "2018-06-01"], dtype="datetime64[ns]"), "plot": [7, 9, 11]}
    result = made_up(
        (2, 3), dims=("time", "plot"), coords={**coords, "species": ("plot", np.array(["oak", "ash", "fir"]))}
    )
    answer = reading.read_answer(written(tmp_path, result))
    assert answer.name(0) == "time 2018-04-01 10:30, plot 7, oak"
    assert answer.name(5) == "time 2018-06-01, plot 11, fir"


MEASURE = """
import resource, sys, time
import torch
from physgen.report import write_report
torch.set_num_threads(1)
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
started = time.process_time()
page = write_report(sys.argv[1])
peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
print(time.process_time() - started, (peak - before) / 1024, page.stat().st_size / 1e6)
"""


@pytest.mark.slow
def test_a_hundred_thousand_observations(tmp_path: Path) -> None:
    """100,000 observations x 200 draws x 14 causes, 1.1 GB of draws: time, memory and size of the page."""
    count, step = 100_000, 4000
    causes = Space(*(Block(f"cause_{i}", "m") for i in range(14)))
    path = tmp_path / "large.nc"
    some = made_up((step,), draws=200, causes=causes)
    rng = np.random.default_rng(0)
    coords = {n: ("observation", rng.uniform(45, 50, count)) for n in ("latitude", "longitude")}
    labels = Labels.of((), coords, (count,))
    some = type(some)(**{**some.__dict__, "samples": some.samples.float()})
    groups = datasets(some)
    started = time.process_time()
    with netCDF4.Dataset(path, "w") as file:
        define(file, groups, labels, attributes(some))
        for cut in rectangles((count,), step):
            n = cut[0].stop - cut[0].start
            fill(file, {k: d.isel(observation=slice(0, n)) for k, d in groups.items()}, labels, cut)
    print(f"made in {time.process_time() - started:.0f} s")
    done = subprocess.run([sys.executable, "-c", MEASURE, str(path)], capture_output=True, text=True, check=True)
    seconds, memory, size = map(float, done.stdout.split())
    print(f"{seconds:.0f} s of processor time, {memory:.0f} MB more memory at its peak, {size:.2f} MB of page")
    assert size < 5
    assert memory < 250  # MB, of 1,120 MB of draws
