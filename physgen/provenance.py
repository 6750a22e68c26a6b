"""Provenance: what another laboratory needs to repeat an answer, as plain values that JSON can hold."""

from __future__ import annotations

import hashlib
import importlib.metadata
import inspect
import math
import platform
import re
import subprocess
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import fields, is_dataclass
from datetime import UTC, date, datetime
from enum import Enum
from functools import cache, cached_property, partial
from pathlib import Path
from typing import Any

import numpy as np
import torch

from . import __version__

_SMALL = 64  # elements of an array that is written out; of a larger one the checksum says which it is
_DEPENDENCIES = ("torch", "numpy", "scipy", "xarray", "netCDF4")  # of a checkout that is not installed


def collect(
    *,
    recipe: str | None = None,
    seed: int,
    inputs: Iterable[str | Path] = (),
    problem: Any,
    inversion: Any,
    note: str | None = None,
    started: datetime,
) -> dict[str, Any]:
    """Everything that decides an answer, and where and when it was computed.

    Parameters
    ----------
    recipe : str, optional
        The text of the recipe, kept verbatim.
    seed : int
    inputs : iterable of path
        Files that were read; their sha256 is recorded.
    problem : Problem
    inversion : Inversion
    note : str, optional
        Why this was done, in the scientist's words.
    started : datetime
        With a time zone.

    Returns
    -------
    dict
        Keys physgen_version, git_commit and git_modified (of a checkout), versions, python, platform, host, seed,
        recipe, note, inputs (path, bytes, sha256), forward_model, prior, noise, method and the `describe` of each in
        ``*_settings``, started, ended (now). What is not known is left out.

    Raises
    ------
    FileNotFoundError
        If an input is missing.
    """
    parts = {"forward_model": problem.forward, "prior": problem.prior, "noise": problem.noise, "method": inversion}
    return record(parts, recipe=recipe, seed=seed, inputs=inputs, note=note, started=started)


def record(
    parts: Mapping[str, Any],
    *,
    recipe: str | None,
    seed: int,
    inputs: Iterable[str | Path],
    note: str | None,
    started: datetime,
) -> dict[str, Any]:
    """What `collect` returns, of any parts by name: each with its name, and its settings in ``*_settings``."""
    found: dict[str, Any] = {
        "note": note,
        **{key: name(part) for key, part in parts.items()},
        "seed": int(seed),
        "recipe": recipe,
        "inputs": [_file(Path(path)) for path in inputs],
        **{f"{key}_settings": describe(part) for key, part in parts.items()},
        "physgen_version": __version__,
        **git_state(Path(__file__).parent),
        "versions": versions(*parts.values()),
        "python": platform.python_version(),
        "platform": platform.platform(),
        "host": platform.node(),
        "started": started.astimezone(UTC).isoformat(timespec="seconds"),
        "ended": now(),
    }
    return {key: value for key, value in found.items() if value is not None}


def now() -> str:
    """The time, UTC, ISO 8601."""
    return datetime.now(UTC).isoformat(timespec="seconds")


def versions(*parts: object) -> dict[str, str]:
    """Versions of physgen, of what it depends on, and of the packages that hold `parts`, by distribution."""
    try:
        required = [r for r in importlib.metadata.requires("physgen") or () if "extra ==" not in r]
    except importlib.metadata.PackageNotFoundError:
        required = list(_DEPENDENCIES)
    names = [re.split(r"[^A-Za-z0-9._-]", r, maxsplit=1)[0] for r in required]
    packages = {_of(part).__module__.partition(".")[0] for part in parts} - {"physgen", "__main__"}
    known = _distributions() if packages else {}
    names += [d for package in sorted(packages) for d in known.get(package, ())]
    found = {"physgen": __version__}
    for distribution in dict.fromkeys(names):
        try:
            found.setdefault(distribution, _version(distribution))
        except importlib.metadata.PackageNotFoundError:  # required, but not installed
            continue
    return found


@cache
def _version(distribution: str) -> str:
    """Of a distribution: read once, as `_distributions` are."""
    return importlib.metadata.version(distribution)


@cache
def _distributions() -> Mapping[str, list[str]]:
    """Which distributions hold each package: read once, as a result of every chunk of observations asks."""
    return importlib.metadata.packages_distributions()


def git_state(folder: Path) -> dict[str, Any]:
    """Commit of the git checkout that `folder` belongs to, and whether tracked files differ from it.

    Returns
    -------
    dict
        git_commit and git_modified; empty without git, or where git does not track the folder (a package installed
        below somebody's checkout).
    """
    if not _git(folder, "ls-files", "--error-unmatch", "__init__.py"):
        return {}
    commit, changes = _git(folder, "rev-parse", "HEAD"), _git(folder, "status", "--porcelain", "--untracked-files=no")
    return {"git_commit": commit, "git_modified": bool(changes)} if commit else {}


def _git(folder: Path, *arguments: str) -> str | None:
    try:
        done = subprocess.run(
            ["git", "-C", str(folder), *arguments], capture_output=True, text=True, timeout=20, check=True
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip()


def sha256(path: Path) -> str:
    """Checksum of a file, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _file(path: Path) -> dict[str, Any]:
    if not path.is_file():
        raise FileNotFoundError(f"No input file {path}. Check the path.")
    return {"path": str(path), "bytes": path.stat().st_size, "sha256": sha256(path)}


def name(part: object) -> str:
    """Full name of a function, or of an object's class; a part may say another in an attribute ``name``."""
    own = getattr(part, "name", None)
    return f"{_full_name(part)}: {own}" if isinstance(own, str) else _full_name(part)


def _full_name(obj: object) -> str:
    of = _of(obj)
    return f"{of.__module__}.{of.__qualname__}"


def _of(part: Any) -> Any:
    """The function, or the class of an object."""
    if isinstance(part, partial):
        return _of(part.func)
    return part if hasattr(part, "__qualname__") and getattr(part, "__module__", None) else type(part)


def describe(obj: object) -> Any:
    """An object and its settings as plain JSON values.

    Numbers, text, lists and mappings stay what they are (infinite and NaN become text, tuples lists). An array is
    written out if small, else known by shape, dtype and sha256. A dataclass is its class and the fields that count
    in comparisons, a module its class, settings and parameters, any other object its class and attributes, a
    function its name, source checksum, defaults and closure.

    Parameters
    ----------
    obj : object

    Returns
    -------
    None, bool, int, float, str, list or dict
    """
    return _describe(obj, ())


def _describe(obj: Any, above: tuple[int, ...]) -> Any:
    if obj is None or isinstance(obj, bool | str) or (isinstance(obj, int) and not isinstance(obj, Enum)):
        return obj
    if isinstance(obj, float):
        return obj if math.isfinite(obj) else str(obj)
    if isinstance(obj, np.generic) and not isinstance(obj, np.datetime64 | np.timedelta64):
        return _describe(obj.item(), above)
    if isinstance(obj, torch.Tensor | np.ndarray):
        return _array(obj)
    if isinstance(obj, Enum):
        return obj.name
    if isinstance(obj, datetime | date):
        return obj.isoformat()
    if isinstance(obj, bytes):
        return {"bytes": len(obj), "sha256": hashlib.sha256(obj).hexdigest()}
    if isinstance(obj, Path | torch.dtype | torch.device | np.dtype | np.datetime64 | np.timedelta64 | complex):
        return str(obj)
    if id(obj) in above:
        return {"class": _full_name(obj), "described": "above"}
    return _composite(obj, (*above, id(obj)))


def _composite(obj: Any, above: tuple[int, ...]) -> Any:
    if isinstance(obj, Mapping):
        return {str(k): _describe(v, above) for k, v in obj.items()}
    if isinstance(obj, set | frozenset):
        return sorted((_describe(v, above) for v in obj), key=str)
    if isinstance(obj, Sequence):
        if len(obj) > _SMALL and all(isinstance(v, int | float) for v in obj):
            return _array(np.asarray(obj))
        return [_describe(v, above) for v in obj]
    if isinstance(obj, partial):
        return {"function": _describe(obj.func, above), "args": _describe(obj.args, above), **_keywords(obj, above)}
    if inspect.ismethod(obj):
        return {"function": _full_name(obj), "self": _describe(obj.__self__, above)}
    if inspect.isroutine(obj) or inspect.isclass(obj) or inspect.ismodule(obj):
        return _code(obj, above)
    return {"class": _full_name(obj), **_source(type(obj)), **_settings(obj, above)}


def _keywords(obj: partial[Any], above: tuple[int, ...]) -> dict[str, Any]:
    return {"keywords": _describe(obj.keywords, above)} if obj.keywords else {}


def _settings(obj: Any, above: tuple[int, ...]) -> dict[str, Any]:
    """What an object was made with."""
    if isinstance(obj, torch.nn.Module):
        internal = vars(torch.nn.Module())
        own = {k: v for k, v in vars(obj).items() if k not in internal}
        state = {k: _array(v) for k, v in obj.state_dict().items() if isinstance(v, torch.Tensor)}
        parts = {k: _full_name(m) for k, m in obj.named_modules() if k}
        return {**{k: _describe(v, above) for k, v in own.items()}, "modules": parts, "state": state}
    if is_dataclass(obj):
        declared = [f.name for f in fields(obj) if f.compare and hasattr(obj, f.name)]
        return {field: _describe(getattr(obj, field), above) for field in declared}
    slots = [s for c in type(obj).__mro__ for s in getattr(c, "__slots__", ())]
    kept = {**{s: getattr(obj, s) for s in slots if hasattr(obj, s)}, **getattr(obj, "__dict__", {})}
    # what is computed on demand is there after use and not before
    cached = {k for c in type(obj).__mro__ for k, v in vars(c).items() if isinstance(v, cached_property)}
    return {k: _describe(v, above) for k, v in kept.items() if k not in cached and not k.startswith("__")}


def _code(obj: Any, above: tuple[int, ...]) -> dict[str, Any]:
    """A function, class or module: its name, and which text it has."""
    if inspect.ismodule(obj):
        return {"module": obj.__name__}
    out = {"class" if inspect.isclass(obj) else "function": _full_name(obj), **_source(obj)}
    if inspect.isfunction(obj):
        extra = {"defaults": obj.__defaults__, "keyword_defaults": obj.__kwdefaults__, "closure": _closure(obj)}
        out |= {k: _describe(v, above) for k, v in extra.items() if v}
    return out


def _closure(function: Any) -> dict[str, Any]:
    """Values that a function carries from where it was defined."""
    found = {}
    for variable, cell in zip(function.__code__.co_freevars, function.__closure__ or (), strict=True):
        try:
            found[variable] = cell.cell_contents
        except ValueError:  # not assigned yet
            continue
    return found


def _source(obj: Any) -> dict[str, str]:
    """Checksum of the source of what is not physgen's own (which version and commit tell)."""
    module = str(getattr(obj, "__module__", "") or "")
    if module.partition(".")[0] in ("physgen", "builtins", *sys.builtin_module_names):
        return {}
    try:
        return {"source_sha256": hashlib.sha256(inspect.getsource(obj).encode()).hexdigest()}
    except (OSError, TypeError):  # typed at a prompt, or compiled
        code = getattr(obj, "__code__", None)
        return {} if code is None else {"code_sha256": hashlib.sha256(code.co_code).hexdigest()}


def _array(value: Any) -> Any:
    if isinstance(value, torch.Tensor):
        value = value.detach().cpu()
        value = value.to(torch.float32) if value.dtype in (torch.bfloat16, torch.float16) else value
        value = value.numpy()
    if value.size <= _SMALL:
        return _describe(value.tolist(), ())
    content = repr(value.tolist()).encode() if value.dtype.kind == "O" else np.ascontiguousarray(value).tobytes()
    return {"shape": list(value.shape), "dtype": str(value.dtype), "sha256": hashlib.sha256(content).hexdigest()}
