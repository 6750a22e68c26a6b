"""The wheel holds what the tree holds, and works where there is no tree: a forgotten sub-package shows only here."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import sysconfig
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
FOLDERS = {"physgen": "physgen", "forward_models": "physgen/forward_models", "inversions": "physgen/inversions"}
LINKS = ("forward_models", "inversions", "data")  # inside physgen/, to the folders beside it

READS_A_TABLE = """
import importlib.resources, pathlib
import netCDF4, physgen, physgen.forward_models, physgen.inversions, physgen.testing
print(pathlib.Path(physgen.__file__).parent)
print(pathlib.Path(physgen.forward_models.__file__).parent)
with importlib.resources.as_file(importlib.resources.files("physgen") / "data" / "prospect.nc") as path:
    print(len(netCDF4.Dataset(path).variables) > 0)
"""


def run(*command: str, cwd: Path, **variables: str) -> str:
    environment = {k: v for k, v in os.environ.items() if k != "PYTHONPATH"} | variables
    done = subprocess.run(command, cwd=cwd, env=environment, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, f"{' '.join(command)}\n{done.stdout}\n{done.stderr}"
    return done.stdout


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Built from a copy: a build writes into its source, and would find there what an earlier one left."""
    source = tmp_path_factory.mktemp("source")
    for folder in (*FOLDERS, "data"):
        # the links stay links, as a clone has them
        shutil.copytree(ROOT / folder, source / folder, symlinks=True, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, source)
    out = tmp_path_factory.mktemp("wheel")
    run(sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(out), str(source), cwd=out)
    (built,) = out.glob("*.whl")
    return built


def tree() -> set[str]:
    """What the wheel must hold, from the working tree."""
    expected = {"physgen/py.typed", "physgen/data/README.md"}
    for folder, package in FOLDERS.items():
        for path in (ROOT / folder).rglob("*.py"):
            parts = path.relative_to(ROOT / folder).parts
            if not (folder == "physgen" and parts[0] in LINKS):
                expected.add("/".join((package, *parts)))
    expected |= {f"physgen/report/templates/{path.name}" for path in (ROOT / "physgen/report/templates").iterdir()}
    carried = (path for path in (ROOT / "data").iterdir() if path.suffix in (".nc", ".safetensors", ".json"))
    return expected | {f"physgen/data/{path.name}" for path in carried}


def test_wheel_equals_tree(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
    metadata = {name for name in names if name.partition("/")[0].endswith(".dist-info")}
    assert sorted(names - metadata) == sorted(tree())
    assert any(name.endswith("/licenses/LICENSE") for name in metadata)
    assert any(name.endswith("/entry_points.txt") for name in metadata)


def test_wheel_works_without_the_tree(wheel: Path, tmp_path: Path) -> None:
    target, empty = tmp_path / "site", tmp_path / "empty"
    empty.mkdir()
    pip = (sys.executable, "-m", "pip", "install", "--no-deps", "--no-index", "--quiet")
    run(*pip, "--target", str(target), str(wheel), cwd=empty)
    # without site (-S) no finder of an editable install can lend a sub-package that the wheel lacks
    paths = dict.fromkeys((str(target), sysconfig.get_path("purelib"), sysconfig.get_path("platlib")))
    out = run(sys.executable, "-S", "-c", READS_A_TABLE, cwd=empty, PYTHONPATH=os.pathsep.join(paths))
    assert out.split() == [str(target / "physgen"), str(target / "physgen" / "forward_models"), "True"]
