"""The registry against pyproject, against plug-ins that work and that are broken, and against a user's own folders."""

from __future__ import annotations

import importlib.metadata
import sys
import tomllib
from pathlib import Path
from types import SimpleNamespace

import pytest

from physgen import registry
from physgen.registry import BUILTIN, GROUPS, RegistryError, entries, find, load_object, nearest

ROOT = Path(__file__).resolve().parents[2]


def test_table_is_what_pyproject_says() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert project["entry-points"] == {group: dict(parts) for group, parts in BUILTIN.items()}
    assert set(BUILTIN) == set(GROUPS.values())


@pytest.mark.parametrize("kind", GROUPS)
def test_every_builtin_part_loads(kind: str) -> None:
    for entry in entries(kind):
        if entry.package == "physgen":
            assert callable(entry.load())


def test_unknown_name_says_the_nearest() -> None:
    with pytest.raises(RegistryError, match=r"^Unknown noise 'gausian'\. Did you mean 'gaussian'\?$"):
        find("noise", "gausian")


def test_nearest_lists_all_where_none_is_near() -> None:
    assert nearest("qqq", ["soil", "leaf"], "Known are") == "Known are leaf, soil."


def _installed(monkeypatch: pytest.MonkeyPatch, *points: tuple[str, str, str]) -> None:
    """Pretend that packages have registered noises: (name, target, package)."""
    made = []
    for name, target, package in points:
        point = importlib.metadata.EntryPoint(name, target, "physgen.noises")
        made.append(point._for(SimpleNamespace(name=package)))  # type: ignore[attr-defined]
    monkeypatch.setattr(
        registry.importlib.metadata, "entry_points", lambda group: [p for p in made if p.group == group]
    )


def test_plugin_is_found_and_cannot_replace_a_builtin_part(monkeypatch: pytest.MonkeyPatch) -> None:
    _installed(monkeypatch, ("fraction", "fractions:Fraction", "acme"), ("gaussian", "fractions:Fraction", "acme"))
    found = {e.name: e for e in entries("noise")}
    assert found["fraction"].package == "acme"
    assert found["gaussian"].package == "physgen"
    assert find("noise", "fraction").__name__ == "Fraction"


def test_broken_plugin_is_listed_and_hides_no_other(monkeypatch: pytest.MonkeyPatch) -> None:
    _installed(monkeypatch, ("broken", "no_such_module_here:Noise", "acme"))
    assert "broken" in [e.name for e in entries("noise")]
    with pytest.raises(RegistryError, match=r"'broken' of acme cannot be imported \(ModuleNotFoundError"):
        find("noise", "broken")
    assert callable(find("noise", "gaussian"))


def test_module_beside_the_recipe_and_dotted_attribute(tmp_path: Path) -> None:
    (tmp_path / "my_instrument.py").write_text("class Box:\n    @staticmethod\n    def model(x): return 2 * x\n")
    before = list(sys.path)
    assert load_object("my_instrument:Box.model", tmp_path)(3) == 6
    assert sys.path == before


def test_modules_of_one_name_in_two_folders(tmp_path: Path) -> None:
    for value in (1, 2):
        folder = tmp_path / str(value)
        folder.mkdir()
        (folder / "my_twin.py").write_text(f"value = {value}\n")
    found = [load_object("my_twin:value", tmp_path / str(v)) for v in (1, 2, 2, 1)]
    assert found == [1, 2, 2, 1]


def test_users_folders_shadow_nothing(tmp_path: Path) -> None:
    for name in ("forward_models", "data", "inversions"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "__init__.py").write_text("raise RuntimeError('shadowed')\n")
    (tmp_path / "my_model.py").write_text(
        "import physgen.inversions, physgen.forward_models\nfrom physgen.space import Space\ndef f(x): return x\n"
    )
    assert load_object("my_model:f", tmp_path)(1) == 1


def test_a_folders_module_never_replaces_an_installed_one(tmp_path: Path) -> None:
    (tmp_path / "numpy.py").write_text("def f(x): return x\n")
    with pytest.raises(RegistryError, match=r"is that of another, installed module\. Rename the file\."):
        load_object("numpy:f", tmp_path)
    assert hasattr(sys.modules["numpy"], "ndarray")


@pytest.mark.parametrize(
    ("source", "target", "words"),
    [
        (None, "my_absent:f", r"Cannot import 'my_absent' from .* \(ModuleNotFoundError"),
        ("def f(x): return x\n", "my_typo:ff", r"'my_typo' has no 'ff'\. Did you mean 'f'\?"),
        ("1 / 0\n", "my_zero:f", r"\(ZeroDivisionError: division by zero\)"),
        ("def f(:\n", "my_syntax:f", r"\(SyntaxError"),
    ],
)
def test_bad_module_is_explained(tmp_path: Path, source: str | None, target: str, words: str) -> None:
    if source is not None:
        (tmp_path / f"{target.partition(':')[0]}.py").write_text(source)
    with pytest.raises(RegistryError, match=words):
        load_object(target, tmp_path)
