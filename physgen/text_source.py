"""Observations in delimited text: one row for each observation, the first row naming the columns."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from .observations import block_labels, chosen_columns
from .recipe import ObservationsSection, RecipeError
from .registry import nearest
from .selection import positions
from .space import Block

_DIM, _ROWS = "observation", "row"


class TextSource:
    """A table of text after the recipe's selection.

    Parameters are those of `NetcdfSource`.

    Raises
    ------
    RecipeError
        If the table has no rows, is ragged, or the recipe names a column that it does not have.
    """

    def __init__(self, path: Path, section: ObservationsSection, place: str) -> None:
        self.path, self.section, self.place = path, section, place
        if section.dimension not in (None, _ROWS):
            raise RecipeError(
                f"{place}: Invalid dimension {section.dimension!r} of delimited text. It is {_ROWS!r} where all rows "
                "together are one observation, and left out where each row is one."
            )
        self.dims = () if section.dimension else (_DIM,)
        try:
            self.table = pd.read_csv(
                path, sep=section.separator, dtype=str, keep_default_na=False, encoding="utf-8-sig", engine="c"
            )
        except UnicodeDecodeError as error:
            raise RecipeError(f"{place}: The file {path.name} is not text in UTF-8. Convert it first.") from error
        except (pd.errors.ParserError, pd.errors.EmptyDataError) as error:
            text = str(error).strip().splitlines()[-1]
            raise RecipeError(f"{place}: The table {path.name} is not regular ({text}). Correct that row.") from error
        self.table.columns = self.table.columns.str.strip()
        if self.table.empty:
            raise RecipeError(f"{place}: The table {path.name} has no rows. Give at least one observation.")
        for name, wanted in section.select.items():
            self.table = self.table.iloc[positions(self._typed(name), wanted, name, f"{place}, select")]

    def block(self, block: Block | None) -> tuple[np.ndarray, list[str] | None]:
        """Values ``(rows, n)`` of a block of observables, and their labels; see `Source`."""
        if self.section.columns is None and self.dims and (block is None or block_labels(block) is None):
            raise RecipeError(
                f"{self.place}: Missing key 'columns'. The forward model does not name its observables, so the "
                "recipe must list the columns that hold them."
            )
        if not self.dims:
            return self._rows(), None
        names = chosen_columns(self.section, block)
        return np.stack([self._numbers(name) for name in names.values()], axis=-1), list(names)

    def variable(self, name: str) -> tuple[np.ndarray, str]:
        """Numbers of one column; see `Source`."""
        if not self.dims:
            raise RecipeError(
                f"{self.place}: {name!r} has a value for each row, and all rows are one observation. Give a number."
            )
        return self._numbers(name), ""

    def coordinates(self) -> dict[str, Any]:
        """The columns that the recipe carries along; see `Source`."""
        return {name: ((_DIM,), self._typed(name), {}) for name in self.section.coordinates if self.dims}

    def close(self) -> None:
        """Nothing to do: the table is in memory."""

    def _rows(self) -> np.ndarray:
        """The one column ``(rows,)`` whose numbers are the elements of one observation."""
        chosen = self.section.columns
        names = list(chosen.values()) if isinstance(chosen, dict) else list(chosen or ())
        if len(names) != 1:
            raise RecipeError(
                f"{self.place}: {len(names)} columns for one observation of all rows. Name the one that holds it in "
                "the key columns."
            )
        return self._numbers(names[0])

    def _column(self, name: str) -> pd.Series:
        if name not in self.table.columns:
            if len(self.table.columns) == 1:
                hint = f"Its only column is {self.table.columns[0][:40]!r}: set separator."
            else:
                hint = nearest(name, self.table.columns, "It has")
            raise RecipeError(f"{self.place}: {self.path.name} has no column {name!r}. {hint}")
        return self.table[name].str.strip()

    def _numbers(self, name: str) -> np.ndarray:
        text = self._column(name)
        blank = text.str.lower().isin(("", "nan", "na"))
        numbers = pd.to_numeric(text.mask(blank), errors="coerce").to_numpy(
            dtype=np.float64, na_value=np.nan, copy=True
        )
        wrong = np.flatnonzero(np.isnan(numbers) & ~blank.to_numpy())
        if len(wrong):
            row = text.index[wrong[0]] + 2  # the header is row 1
            raise RecipeError(
                f"{self.place}: Invalid value {text.iloc[wrong[0]]!r} in column {name!r}, row {row} of "
                f"{self.path.name}. Give a number, or leave the cell empty where nothing was measured."
            )
        return numbers

    def _typed(self, name: str) -> np.ndarray:
        """A column as numbers, else as times (ISO 8601), else as text."""
        text = self._column(name)
        for convert in (np.float64, "datetime64[ns]"):
            try:
                return text.to_numpy(dtype=str).astype(convert)
            except ValueError:
                continue
        return text.to_numpy(dtype=object)
