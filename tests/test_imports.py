"""The house's import directions, read from the source; and the guard of the folders' bare names."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
FOLDERS = {"physgen": "physgen", "forward_models": "physgen.forward_models", "inversions": "physgen.inversions"}

NOUNS = ("space", "conditions", "random", "rows", "known_signature", "status", "panel", "priors", "noise")
"""What the physics may use of the platform."""

INNER = (
    *(f"physgen.{noun}" for noun in NOUNS),
    *(
        "physgen.problem",
        "physgen.black_box",
        "physgen.rare",
        "physgen.row_code",
        "physgen.small_matrices",
        "physgen.method_codes",
        "physgen.progress",
        "physgen.provenance",
        "physgen.writing",
    ),
    *("physgen.diagnostics", "physgen.testing", "physgen.forward_models", "physgen.inversions"),
)
"""Tensors only. All other modules are the edge, where labelled arrays and files may be handled."""

TABLES = ("physgen.forward_models.canopy.tables", "physgen.forward_models.stereology.bodies_ct")
"""Read files of the package, and hand tensors on."""

IMAGES = tuple(f"physgen.forward_models.stereology.{name}" for name in ("label_image", "label_image_reader"))
"""Read and measure pictures, with scikit-image and xarray."""

FORBIDDEN_NAMES = {"utils", "helpers", "common", "base", "misc"}


def sources() -> dict[str, Path]:
    """Every module of the package by its installed name; the links inside physgen/ are not followed."""
    found = {}
    for folder, package in FOLDERS.items():
        for path in sorted((ROOT / folder).rglob("*.py")):
            parts = path.relative_to(ROOT / folder).with_suffix("").parts
            if folder == "physgen" and parts[0] in ("forward_models", "inversions", "data"):
                continue
            found[".".join((package, *parts)).removesuffix(".__init__")] = path
    return found


SOURCES = sources()


def imports(module: str, path: Path) -> Iterator[str]:
    """Absolute names of what a module imports at run time, at its top or inside a function."""
    package = module if path.name == "__init__.py" else module.rpartition(".")[0]
    for node in _at_run_time(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            if node.level:
                base = package.split(".")[: len(package.split(".")) - node.level + 1]
                home = ".".join((*base, node.module) if node.module else base)
            else:
                home = str(node.module)
            # "from . import x" names a module, "from .x import y" something in it
            modules = [f"{home}.{alias.name}" for alias in node.names]
            yield from (name if name in SOURCES else home for name in modules)


def _at_run_time(tree: ast.AST) -> Iterator[ast.AST]:
    """Every node but those under ``if TYPE_CHECKING``."""
    if isinstance(tree, ast.If) and ast.unparse(tree.test).endswith("TYPE_CHECKING"):
        for node in tree.orelse:
            yield from _at_run_time(node)
        return
    yield tree
    for node in ast.iter_child_nodes(tree):
        yield from _at_run_time(node)


IMPORTS = {module: sorted(set(imports(module, path))) for module, path in SOURCES.items()}


def within(name: str, packages: tuple[str, ...]) -> bool:
    return any(name == p or name.startswith(f"{p}.") for p in packages)


def offenders(of: tuple[str, ...], forbidden: tuple[str, ...], allowed: tuple[str, ...] = ()) -> list[str]:
    """Imports of the packages `forbidden`, but for what is allowed, in the modules `of`."""
    return [
        f"{module} imports {name}"
        for module in of
        for name in IMPORTS[module]
        if within(name, forbidden) and not within(name, allowed)
    ]


PHYSICS = tuple(m for m in SOURCES if within(m, ("physgen.forward_models",)))
METHODS = tuple(m for m in SOURCES if within(m, ("physgen.inversions",)))
PLATFORM = tuple(m for m in SOURCES if m not in PHYSICS + METHODS)
TENSORS = tuple(m for m in SOURCES if within(m, INNER) and m not in (*TABLES, *IMAGES))


def test_source_is_found() -> None:
    assert {"physgen.space", "physgen.priors.prior", "physgen.forward_models", "physgen.inversions"} <= set(SOURCES)
    # the reader sees relative imports, two levels up too
    assert "physgen.space" in IMPORTS["physgen.priors.prior"]
    assert "torch" in IMPORTS["physgen.rows"]


def test_physics_uses_only_a_few_nouns() -> None:
    allowed = ("physgen.forward_models", "physgen.data", *(f"physgen.{noun}" for noun in NOUNS))
    assert offenders(PHYSICS, ("physgen",), allowed) == []


def test_physics_uses_only_torch_and_numpy() -> None:
    allowed = {"torch", "numpy", "scipy", "physgen", "__future__"} | set(sys.stdlib_module_names)
    modules = [m for m in PHYSICS if m not in (*TABLES, *IMAGES)]
    assert [f"{m} imports {n}" for m in modules for n in IMPORTS[m] if n.partition(".")[0] not in allowed] == []


def test_inversions_know_no_forward_model() -> None:
    assert offenders(METHODS, ("physgen.forward_models",)) == []


def test_platform_knows_neither_physics_nor_methods() -> None:
    assert offenders(PLATFORM, ("physgen.forward_models", "physgen.inversions")) == []


@pytest.mark.parametrize(
    "library", ["xarray", "netCDF4", "zarr", "dask", "h5netcdf", "pydantic", "typer", "matplotlib"]
)
def test_labelled_arrays_files_and_pictures_stay_at_the_edge(library: str) -> None:
    assert offenders(TENSORS, (library,)) == []


def test_tensors_know_nothing_of_the_edge() -> None:
    edge = {m for m in PLATFORM if not within(m, INNER)} - {"physgen", "physgen.result"}
    assert [f"{m} imports {n}" for m in TENSORS for n in IMPORTS[m] if n in edge] == []


def test_emcee_has_one_file() -> None:
    assert offenders(tuple(m for m in SOURCES if m != "physgen.inversions.ensemble"), ("emcee",)) == []


def test_nothing_unpickles_or_shares_random_state() -> None:
    assert offenders(tuple(SOURCES), ("pickle", "dill", "cloudpickle", "joblib", "shelve", "random")) == []


def test_no_module_without_a_subject() -> None:
    assert [m for m in SOURCES if FORBIDDEN_NAMES & set(m.split("."))] == []


@pytest.mark.parametrize("folder", ["forward_models", "inversions"])
def test_bare_name_is_refused(folder: str) -> None:
    done = subprocess.run(
        [sys.executable, "-c", f"import {folder}"], cwd=ROOT, capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 1
    assert f"ImportError: Import physgen.{folder} instead." in done.stderr
