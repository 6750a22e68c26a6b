"""Provenance: what is recorded, that it is plain, and that it tells different jobs apart."""

from __future__ import annotations

import functools
import hashlib
import json
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import physgen as pg
from physgen import provenance
from physgen.provenance import collect, describe, git_state, versions
from physgen.status import Status


@dataclass(frozen=True)
class Method:
    draws: int = 200
    rounds: tuple[int, ...] = (200, 400)


def double(x: torch.Tensor) -> torch.Tensor:
    return 2 * x


def problem(noise: float = 0.1) -> pg.Problem:
    return pg.Problem(double, pg.Independent(a=pg.Normal(0, 1)), pg.GaussianNoise(noise))


def collected(**changes: Any) -> dict[str, Any]:
    settings: dict[str, Any] = {"seed": 3, "problem": problem(), "inversion": Method(), "started": datetime.now(UTC)}
    return collect(**(settings | changes))


def test_everything_is_recorded(tmp_path: Path) -> None:
    file = tmp_path / "y.csv"
    file.write_bytes(b"1;2\n")
    started = datetime(2026, 3, 1, 12, 0, tzinfo=timezone(timedelta(hours=2)))
    found = collected(recipe="# Why\nseed = 3\n", inputs=[file], note="a first try", started=started)
    assert found["recipe"] == "# Why\nseed = 3\n"
    assert found["note"] == "a first try"
    assert found["seed"] == 3
    assert found["inputs"] == [{"path": str(file), "bytes": 4, "sha256": hashlib.sha256(b"1;2\n").hexdigest()}]
    assert found["forward_model"].endswith("double")
    assert found["prior"] == "physgen.priors.independent.Independent"
    assert found["method_settings"] == {**found["method_settings"], "draws": 200, "rounds": [200, 400]}
    assert found["noise_settings"]["absolute"] == 0.1
    assert found["physgen_version"] == pg.__version__
    assert found["versions"]["torch"] == torch.__version__
    assert found["versions"]["numpy"] == np.__version__
    assert found["started"] == "2026-03-01T10:00:00+00:00"
    assert datetime.fromisoformat(found["ended"]) > started
    assert found["host"]
    assert found["python"] == sys.version.split()[0]
    assert json.loads(json.dumps(found, allow_nan=False)) == found


def test_what_is_not_known_is_left_out() -> None:
    assert not {"recipe", "note"} & set(collected())
    assert None not in collected().values()


def test_missing_input_is_refused(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="No input file"):
        collected(inputs=[tmp_path / "none.nc"])


def repository(folder: Path) -> Callable[..., str]:
    def git(*arguments: str) -> str:
        identity = ("-c", "user.name=A", "-c", "user.email=a@b.c", "-c", "commit.gpgsign=false")
        command = ["git", "-C", str(folder), *identity, *arguments]
        return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()

    git("init", "-q")
    return git


def test_git_commit_and_changes(tmp_path: Path) -> None:
    git = repository(tmp_path)
    package = tmp_path / "package"
    package.mkdir()
    (package / "__init__.py").write_text("")
    assert git_state(package) == {}  # not tracked: somebody else's checkout around an installed package
    git("add", ".")
    git("commit", "-q", "-m", "first")
    assert git_state(package) == {"git_commit": git("rev-parse", "HEAD"), "git_modified": False}
    (package / "__init__.py").write_text("changed = True")
    assert git_state(package)["git_modified"] is True


def test_no_git_is_no_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert git_state(tmp_path) == {}
    monkeypatch.setenv("PATH", str(tmp_path))
    assert git_state(Path(provenance.__file__).parent) == {}


def test_versions_include_a_plugin_and_skip_a_script() -> None:
    assert "pytest" in versions(pytest.approx)
    assert set(versions(double)) == set(versions())


class Plain:
    def __init__(self) -> None:
        self.size, self._hidden = 3, np.float32(0.5)

    @functools.cached_property
    def computed(self) -> int:
        return self.size + 1


def test_describe_gives_plain_values(tmp_path: Path) -> None:
    assert describe([1, 2.5, True, None, "a", float("inf")]) == [1, 2.5, True, None, "a", "inf"]
    assert describe({"path": tmp_path, "status": Status.NO_DATA, "dtype": torch.float32}) == {
        "path": str(tmp_path),
        "status": "NO_DATA",
        "dtype": "torch.float32",
    }
    assert describe(torch.tensor([[1.0, float("nan")]])) == [[1.0, "nan"]]
    assert describe(np.float64(0.1)) == 0.1
    large = torch.arange(100, dtype=torch.float64)
    digest = hashlib.sha256(np.arange(100, dtype=np.float64).tobytes()).hexdigest()
    assert describe(large) == {"shape": [100], "dtype": "float64", "sha256": digest}
    assert describe(large) == describe(tuple(np.arange(100.0)))
    assert describe({"b", "a"}) == ["a", "b"]


def test_describe_objects() -> None:
    plain = Plain()
    before = describe(plain)
    assert (before["size"], before["_hidden"]) == (3, 0.5)
    assert plain.computed == 4
    assert describe(plain) == before
    itself: dict[str, Any] = {}
    itself["again"] = itself
    assert json.dumps(describe(itself))


def test_describe_a_network() -> None:
    layer = torch.nn.Linear(100, 1)
    before = describe(layer)
    assert before["in_features"] == 100
    assert before["state"]["weight"]["shape"] == [1, 100]
    with torch.no_grad():
        layer.weight[0, 7] += 1e-6
    assert describe(layer) != before


def closure(factor: float) -> Callable[[float], float]:
    return lambda x: factor * x


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (closure(1.0), closure(2.0)),
        (functools.partial(double, 1), functools.partial(double, 2)),
        (pg.blackbox(np.sin), pg.blackbox(np.cos)),
        (
            pg.blackbox(lambda x: x),
            pg.blackbox(lambda x: x + 1),
        ),
        (Method(), Method(draws=201)),
        (problem(0.1).noise, problem(0.2).noise),
        (pg.Independent(a=pg.Normal(0, 1)), pg.Independent(a=pg.Normal(0, 2))),
        (torch.zeros(3), torch.zeros(3) + 1e-12),
        (torch.zeros(300), torch.cat([torch.zeros(299), torch.ones(1)])),
    ],
)
def test_describe_tells_apart(one: Any, other: Any) -> None:
    assert describe(one) != describe(other)
    assert json.dumps(describe(one)) == json.dumps(describe(one))
