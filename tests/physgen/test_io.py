"""Inversions in chunks: the same file whatever the chunks, resumed after an interruption, in bounded memory."""

from __future__ import annotations

import itertools
import json
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import netCDF4
import numpy as np
import pytest
import torch
import xarray as xr

import physgen as pg
from physgen.io import invert_to_netcdf
from physgen.provenance import collect
from physgen.random import normal
from physgen.result import Result


@dataclass(frozen=True)
class Draws:
    """An inversion whose every number depends on the observation, its conditions, its index and the seed."""

    draws: int = 5
    calls: list[int] = field(default_factory=list, compare=False)
    interrupt_at: int = field(default=-1, compare=False)

    def __call__(
        self, problem: pg.Problem, y: Any, *, conditions: Any, seed: int, index: Any, progress: Any = False
    ) -> Result:
        if len(self.calls) == self.interrupt_at:
            raise KeyboardInterrupt
        posterior = problem.condition(y, **(conditions or {}))
        self.calls.append(int(index.numel()))
        noise = normal((self.draws, 2), index, seed=seed, dtype=posterior.y.dtype).movedim(-2, 0)[None]
        height = posterior.conditions.get("height", posterior.y.new_zeros(()))
        samples = torch.nan_to_num(posterior.y).sum(-1)[..., None] + noise + height[..., None]
        return Result(
            samples=samples,
            status=torch.as_tensor(index) % 3,
            stats={"ess": samples.mean((0, 1, -1)), "latent_mean": samples[0, 0], "odd": index % 2 == 1},
            causes=problem.prior.causes,
            y=posterior.y,
            conditions=posterior.conditions,
            observables=problem.observables,
            settings={"method": "Draws", "draws": self.draws},
        )

    def __hash__(self) -> int:
        return id(self)


def model(x: torch.Tensor, height: torch.Tensor | float = 0.0) -> torch.Tensor:
    return x.sum(-1, keepdim=True) * torch.ones(3)


def problem(noise: float = 0.1) -> pg.Problem:
    return pg.Problem(model, pg.Independent(a=pg.Normal(0, 1), b=pg.Normal(0, 1)), pg.GaussianNoise(noise))


def observed(*batch: int) -> np.ndarray:
    y = np.random.default_rng(0).normal(size=(*batch, 3))
    y[..., 1][y[..., 1] > 1] = np.nan
    return y


def heights(*batch: int) -> np.ndarray:
    return np.random.default_rng(1).uniform(size=batch)


def whole(inversion: Any, y: Any, *, seed: int = 0, conditions: Any = None) -> Result:
    """The answer in one piece."""
    batch = y.shape[:-1]
    index = torch.arange(int(np.prod(batch))).reshape(batch)
    return inversion(problem(), y, conditions=conditions, seed=seed, index=index)


def bare(path: Path) -> xr.DataTree:
    with xr.open_datatree(path, engine="netcdf4") as tree:
        tree.load()
    for name in ("created_at", "ended", "started"):
        tree.attrs.pop(name, None)
    return tree


def storage(path: Path) -> dict[str, Any]:
    """How every variable lies in the file."""
    with netCDF4.Dataset(path) as file:
        return {
            f"{g}/{n}": (v.dimensions, v.shape, str(v.dtype), v.chunking(), v.filters(), v.ncattrs())
            for g, group in file.groups.items()
            for n, v in group.variables.items()
        }


@pytest.mark.parametrize("chunk", [None, 1, 4, 5, 7, 1000])
@pytest.mark.parametrize("batch", [(), (13,), (3, 5)])
def test_chunks_do_not_change_the_file(chunk: int | None, batch: tuple[int, ...], tmp_path: Path) -> None:
    y, inversion = observed(*batch), Draws()
    dims = tuple("ab"[: len(batch)])
    coords = (
        {"a": np.arange(batch[0]) * 10.0, "t": ("a", np.arange(batch[0]).astype("datetime64[ns]"))} if batch else {}
    )
    conditions = {"height": heights(*batch)}
    one = replace(whole(inversion, y, seed=7, conditions=conditions), dims=dims, coords=coords)
    one.to_netcdf(tmp_path / "one.nc")
    job: dict[str, Any] = {"conditions": conditions, "seed": 7, "dims": dims, "coords": coords, "chunk": chunk}
    path = invert_to_netcdf(inversion, problem(), y, tmp_path / "many.nc", **job)
    assert path == tmp_path / "many.nc"
    xr.testing.assert_identical(bare(path), bare(tmp_path / "one.nc"))
    assert storage(path) == storage(tmp_path / "one.nc")
    assert torch.equal(Result.from_netcdf(path).samples, one.samples)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["many.nc", "one.nc"]
    if chunk is not None:
        assert max(inversion.calls[1:]) <= chunk


def test_first_chunk_is_small_and_none_comes_twice(tmp_path: Path) -> None:
    inversion = Draws()
    invert_to_netcdf(inversion, problem(), observed(1000), tmp_path / "r.nc")
    assert inversion.calls[0] == 64
    assert sum(inversion.calls) == 1000


@pytest.mark.parametrize("kind", ["tensor", "list", "xarray", "netcdf", "big-endian"])
def test_kinds_of_observations(kind: str, tmp_path: Path) -> None:
    y = observed(6)
    expected = whole(Draws(), y).samples
    xr.Dataset({"y": (("n", "m"), y)}).to_netcdf(tmp_path / "y.nc", encoding={"y": {"_FillValue": -9.0}})
    with netCDF4.Dataset(tmp_path / "y.nc") as file:
        given = {
            "tensor": torch.from_numpy(y),
            "list": y.tolist(),
            "xarray": xr.DataArray(y),
            "netcdf": file["y"],
            "big-endian": y.astype(">f8"),
        }[kind]
        path = invert_to_netcdf(Draws(), problem(), given, tmp_path / "r.nc", chunk=2)
    assert torch.equal(Result.from_netcdf(path).samples, expected)


def test_conditions_are_cut_with_the_observations(tmp_path: Path) -> None:
    y = observed(3, 4)
    for value in (0.5, np.full((1, 1), 0.5), torch.tensor(0.5), xr.DataArray(heights(3, 4)), heights(3, 4).tolist()):
        path = invert_to_netcdf(Draws(), problem(), y, tmp_path / "r.nc", conditions={"height": value}, chunk=4)
        height = torch.as_tensor(np.asarray(value)).expand(3, 4)
        assert torch.equal(Result.from_netcdf(path).conditions["height"], height)
    with pytest.raises(ValueError, match=r"Invalid shape \(4,\) of condition 'height'"):
        invert_to_netcdf(Draws(), problem(), y, tmp_path / "s.nc", conditions={"height": np.ones(4)})


def test_single_precision_stays(tmp_path: Path) -> None:
    y = observed(6).astype(np.float32)
    path = invert_to_netcdf(Draws(), problem(), y, tmp_path / "r.nc", chunk=2)
    assert storage(path)["posterior/a"][2] == "float32"
    assert torch.equal(Result.from_netcdf(path).samples, whole(Draws(), y).samples)


class Pieces:
    """Observations that tell how much of them is taken at once, and cannot be taken whole."""

    def __init__(self, y: np.ndarray) -> None:
        self.y, self.shape, self.most = y, y.shape, 0

    def __getitem__(self, cut: Any) -> np.ndarray:
        self.most = max(self.most, self.y[cut].shape[0])
        return self.y[cut]


def test_observations_are_only_sliced(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("physgen.io._HASHED", 30)
    y = Pieces(observed(100))
    path = invert_to_netcdf(Draws(), problem(), y, tmp_path / "r.nc", chunk=8)
    assert y.most == 8
    np.testing.assert_array_equal(Result.from_netcdf(path).y.numpy(), y.y)


@pytest.mark.parametrize("batch", [(50,), (5, 10)])
@pytest.mark.parametrize("second", [None, 4, 16])
def test_interrupted_work_is_resumed(batch: tuple[int, ...], second: int | None, tmp_path: Path) -> None:
    y = observed(*batch)
    complete = invert_to_netcdf(Draws(), problem(), y, tmp_path / "complete.nc", chunk=8)
    path, partial = tmp_path / "r.nc", tmp_path / "r.nc.partial"
    first = Draws(interrupt_at=3)
    with pytest.raises(KeyboardInterrupt):
        invert_to_netcdf(first, problem(), y, path, chunk=8)
    assert partial.exists()
    assert not path.exists()
    again, told = Draws(), []
    invert_to_netcdf(again, problem(), y, path, chunk=second, progress=lambda *state: told.append(state))
    assert sum(first.calls) + sum(again.calls) == 50
    assert told[-1] == (sum(again.calls), sum(again.calls))
    assert not partial.exists()
    xr.testing.assert_identical(bare(path), bare(complete))


def test_interrupted_before_anything_is_done_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        invert_to_netcdf(Draws(interrupt_at=0), problem(), observed(9), tmp_path / "r.nc", chunk=4)
    assert list(tmp_path.iterdir()) == []


def test_a_chunk_half_written_is_done_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    y = observed(16)
    complete = invert_to_netcdf(Draws(), problem(), y, tmp_path / "complete.nc", chunk=4)
    with monkeypatch.context() as patch:
        patch.setattr(netCDF4.Dataset, "sync", interrupting(after=2))
        with pytest.raises(KeyboardInterrupt):
            invert_to_netcdf(Draws(), problem(), y, tmp_path / "r.nc", chunk=4)
    again = Draws()
    path = invert_to_netcdf(again, problem(), y, tmp_path / "r.nc", chunk=4)
    assert sum(again.calls) == 8
    xr.testing.assert_identical(bare(path), bare(complete))


def interrupting(after: int, error: type[BaseException] = KeyboardInterrupt) -> Any:
    calls: Iterator[int] = itertools.count()

    def sync(file: netCDF4.Dataset) -> None:
        if next(calls) == after:
            raise error

    return sync


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"y": observed(20) + 1}, "observations"),
        ({"seed": 1}, "seed"),
        ({"problem": problem(0.2)}, "noise"),
        ({"inversion": Draws(draws=6)}, "inversion"),
        ({"conditions": {"height": 0.2}}, "conditions"),
        ({"dims": ("pixel",)}, "dims and coordinates"),
        ({"coords": {"x": np.arange(20.0)}}, "dims and coordinates"),
        ({"provenance": {"recipe": "b", "git_commit": "1"}}, "recipe"),
        ({"provenance": {"recipe": "a", "git_commit": "2"}}, "provenance"),
    ],
)
def test_another_job_does_not_resume(change: dict[str, Any], named: str, tmp_path: Path) -> None:
    job: dict[str, Any] = {"problem": problem(), "y": observed(20), "conditions": {"height": 0.1}, "chunk": 4}
    job |= {"path": tmp_path / "r.nc", "provenance": {"recipe": "a", "git_commit": "1", "started": "now"}}
    with pytest.raises(KeyboardInterrupt):
        invert_to_netcdf(Draws(interrupt_at=2), **job)
    changed = {"inversion": Draws(), **job, **change}
    with pytest.raises(ValueError, match=rf"belongs to another job: its {named} differ\. Delete it"):
        invert_to_netcdf(**changed)
    assert (tmp_path / "r.nc.partial").exists()
    # the first job can still be finished, and the other one be started anew
    invert_to_netcdf(Draws(), **{**job, "provenance": {**job["provenance"], "started": "later"}})
    path = invert_to_netcdf(**changed, resume=False)
    assert Result.from_netcdf(path).samples.shape[2] == 20


def test_damaged_unfinished_file(tmp_path: Path) -> None:
    (tmp_path / "r.nc.partial").write_bytes(b"\x89HDF nothing else")
    with pytest.raises(OSError, match=r"Cannot resume from .*Delete it to start anew"):
        invert_to_netcdf(Draws(), problem(), observed(5), tmp_path / "r.nc")
    invert_to_netcdf(Draws(), problem(), observed(5), tmp_path / "r.nc", resume=False)


def test_bad_input_stops_before_any_computing(tmp_path: Path) -> None:
    inversion = Draws()

    def refused(message: str, kind: type[Exception] = ValueError, y: Any = None, **others: Any) -> None:
        others = {"path": tmp_path / "r.nc", **others}
        with pytest.raises(kind, match=message):
            invert_to_netcdf(inversion, problem(), observed(5) if y is None else y, **others)

    refused("Invalid observations of shape", y=np.empty((0, 3)))
    refused("Invalid observations of shape", y=1.0)
    refused("Invalid chunk 0", chunk=0)
    refused("Invalid dims", dims=("a", "b"))
    refused("Invalid coordinate", coords={"observation": [1, 2]})
    refused("which is a folder", IsADirectoryError, path=tmp_path)
    refused("Cannot write into the folder", OSError, path="/proc/r.nc" if Path("/proc").exists() else "/nowhere/r.nc")
    refused("Cannot write into the folder", FileNotFoundError, path=tmp_path / "none" / "r.nc")
    refused("Unknown condition 'hieght'", conditions={"hieght": 1.0})
    refused("of type", TypeError, y=np.array([["a", "b", "c"]]))
    assert inversion.calls == []
    assert list(tmp_path.iterdir()) == []


class Reflecting:
    observables = pg.Space(pg.Block("r", "1", (0, 1), shape=(3,)))

    def __call__(self, x: torch.Tensor, /) -> torch.Tensor:
        return model(x)


def test_wrong_units_are_judged_by_all_observations(tmp_path: Path) -> None:
    reflecting = replace(problem(), forward=Reflecting())
    y = np.full((20, 3), 0.5)
    y[:8] = 9000.0  # the first two chunks hold nothing good
    path = invert_to_netcdf(Draws(), reflecting, y, tmp_path / "r.nc", chunk=4)
    assert Result.from_netcdf(path).y.shape == (20, 3)
    y[:11] = 9000.0
    with pytest.raises(ValueError, match=r"11 of 20 lie outside the observable's range\. Check the units"):
        invert_to_netcdf(Draws(), reflecting, y, tmp_path / "s.nc", chunk=4)


class Ranged:
    conditions = pg.Space(pg.Block("height", "m", (0, 10)))

    def __call__(self, x: torch.Tensor, /, height: torch.Tensor) -> torch.Tensor:
        return model(x)


def test_condition_out_of_range_shows_before_any_computing(tmp_path: Path) -> None:
    inversion, height = Draws(), np.zeros(20)
    height[-1] = 11.0
    ranged = replace(problem(), forward=Ranged())
    with pytest.raises(ValueError, match=r"Invalid condition height 11 m\. Must lie within 0 to 10\."):
        invert_to_netcdf(inversion, ranged, observed(20), tmp_path / "r.nc", conditions={"height": height}, chunk=4)
    assert inversion.calls == []


def test_full_disk_leaves_what_can_be_resumed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(netCDF4.Dataset, "sync", interrupting(after=2, error=RuntimeError))
        with pytest.raises(OSError, match=r"Cannot write .*r\.nc\.partial .*Make room on the disk"):
            invert_to_netcdf(Draws(), problem(), observed(16), tmp_path / "r.nc", chunk=4)
    again = Draws()
    invert_to_netcdf(again, problem(), observed(16), tmp_path / "r.nc", chunk=4)
    assert sum(again.calls) == 8


@dataclass(frozen=True)
class Moody(Draws):
    """Returns fewer draws for later chunks."""

    def __call__(self, *arguments: Any, **named: Any) -> Result:
        made = super().__call__(*arguments, **named)
        return replace(made, samples=made.samples[:, len(self.calls) - 1 :])


def test_inversion_that_changes_its_shapes_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="other statistics or numbers of draws"):
        invert_to_netcdf(Moody(), problem(), observed(8), tmp_path / "r.nc", chunk=4)
    assert not (tmp_path / "r.nc").exists()


def test_provenance_comes_back_with_the_end_of_the_work(tmp_path: Path) -> None:
    told = collect(seed=7, problem=problem(), inversion=Draws(), started=datetime(2026, 1, 1, tzinfo=UTC), recipe="é\n")
    told["ended"] = "2026-01-01T00:00:00+00:00"
    path = invert_to_netcdf(Draws(), problem(), observed(5), tmp_path / "r.nc", provenance=told)
    back = Result.from_netcdf(path).provenance
    assert {**back, "ended": told["ended"]} == json.loads(json.dumps(told))
    assert back["ended"] > told["ended"]
    with xr.open_datatree(path) as tree:
        assert "physgen_unfinished" not in tree.attrs
        assert tree.attrs["forward_model"] == told["forward_model"]


def test_progress_counts_every_observation(tmp_path: Path) -> None:
    told: list[tuple[int, int]] = []
    invert_to_netcdf(
        Draws(), problem(), observed(20), tmp_path / "r.nc", chunk=8, progress=lambda *state: told.append(state)
    )
    assert told[-1] == (20, 20)
    assert [done for done, _ in told] == sorted(done for done, _ in told)


@pytest.mark.slow
def test_memory_does_not_grow_with_the_observations(tmp_path: Path) -> None:
    """200,000 observations whose draws would take 1.3 GB."""
    script = f"""
import resource, torch, physgen as pg
from physgen.io import invert_to_netcdf
from physgen.result import Result

def inversion(problem, y, *, conditions, seed, index, progress):
    n = len(y)
    samples = (torch.arange(200)[:, None, None] + index[:, None] % 7).double().expand(200, n, 4).contiguous()[None]
    stats = {{"latent_covariance": torch.zeros(n, 4, 4, dtype=torch.float64)}}
    y = torch.as_tensor(y)
    return Result(samples, index * 0, stats, problem.prior.causes, y, settings={{"method": "none"}})

prior = pg.Independent(**{{name: pg.Normal(0, 1) for name in "abcd"}})
problem = pg.Problem(lambda x: x, prior, pg.GaussianNoise(1.0))
y = torch.zeros(200_000, 4, dtype=torch.float64)
peak = lambda: resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
before = peak()
invert_to_netcdf(inversion, problem, y, {str(tmp_path / "r.nc")!r})
print(peak() - before)
"""
    done = subprocess.run([sys.executable, "-c", script], check=True, capture_output=True, text=True)
    assert float(done.stdout) < 512  # MiB
    with xr.open_datatree(tmp_path / "r.nc") as tree:
        lai = tree["posterior"]["a"]
        assert lai.shape == (1, 200, 200_000)
        np.testing.assert_array_equal(lai[0, 3].values, 3 + np.arange(200_000) % 7)
