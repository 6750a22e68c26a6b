"""Observations that a reader brings: a registered function, or one of the user's, that turns a file into numbers."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from .recipe import ObservationsSection, RecipeError
from .registry import RegistryError, find, nearest
from .space import Block


class ReaderSource:
    """One observation, as a reader ``(path, **settings) -> (values (m,), {name: number})`` returns it.

    The named numbers serve as conditions. Parameters are those of `NetcdfSource`, and the folder of the recipe.

    Raises
    ------
    RecipeError
        If there is no such reader, or it refuses the file or its settings.
    """

    def __init__(self, path: Path, section: ObservationsSection, place: str, folder: Path) -> None:
        self.path, self.place = path, place
        self.dims: tuple[str, ...] = ()
        try:
            reader = find("reader", str(section.reader), folder)
            values, self.numbers = reader(path, **section.settings)
        except RegistryError as error:
            raise RecipeError(f"{place}, reader: {error}") from error
        except Exception as error:  # a reader may raise anything: its message is what helps
            raise RecipeError(f"{place}: {error}") from error
        self.values = np.asarray(values)

    def block(self, block: Block | None) -> tuple[np.ndarray, list[str] | None]:
        """Values ``(m,)``; see `Source`."""
        return self.values, None

    def variable(self, name: str) -> tuple[np.ndarray, str]:
        """One of the named numbers; see `Source`."""
        if name not in self.numbers:
            raise RecipeError(f"{self.place}: The reader has no {name!r}. {nearest(name, self.numbers, 'It has')}")
        return np.asarray(float(self.numbers[name])), ""

    def coordinates(self) -> dict[str, Any]:
        """None; see `Source`."""
        return {}

    def close(self) -> None:
        """Nothing to do: everything is in memory."""
