"""What `physgen check` has found about a recipe, from its file."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..check_job import FILE, read_calibration


@dataclass(frozen=True)
class Calibration:
    """The content of a file of checks.

    Attributes
    ----------
    path : Path
    content : mapping
        See `physgen.check_job.check_to_json`.
    same_recipe : bool or None
        Whether they were made with the result's recipe; None if one of them does not tell.
    """

    path: Path
    content: Mapping[str, Any]
    same_recipe: bool | None = None

    @property
    def level(self) -> float:
        """Of the verdict, all checks together."""
        return float(self.content["level"])

    @property
    def passed(self) -> bool:
        """Whether none of the checks objects."""
        return bool(self.content["passed"])

    @property
    def words(self) -> str:
        """The verdict."""
        return str(self.content["verdict"])

    @property
    def checks(self) -> list[Mapping[str, Any]]:
        """Name, p-values, statistic and words of each."""
        return list(self.content["checks"])


def figure_or_nan(value: Any) -> float:
    """A number of the file, which writes one that is not finite as null."""
    return float(value) if isinstance(value, int | float) else math.nan


def find_calibration(result: Path, given: Path | None, recipe: str | None) -> Calibration | None:
    """The file that is given, or one beside the result that was made with the same recipe; None if there is none.

    Raises
    ------
    ValueError
        If the file that is given is missing, no file of checks, or of another version.
    """
    if given is not None:
        return _read(given, recipe)
    beside = result.parent / FILE
    try:
        found = _read(beside, recipe) if beside.is_file() else None
    except ValueError:
        return None
    # several recipes may share a folder: only checks of the very same one are taken unasked
    return found if found is not None and found.same_recipe else None


def _read(path: Path, recipe: str | None) -> Calibration:
    content = read_calibration(path)
    lacking = [k for k in ("verdict", "passed", "level", "checks") if k not in content]
    if lacking:
        raise ValueError(f"{path} lacks {', '.join(lacking)}. Make it anew with physgen check.")
    said = content.get("recipe")
    return Calibration(path, content, None if said is None or recipe is None else said == recipe)
