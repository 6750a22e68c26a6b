"""The table of a fit: from netCDF or delimited text to causes and conditions, one row a sample."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from .fit_recipe import CauseSection, FitRecipe
from .observations import Source, locate, open_source
from .recipe import ObservationsSection, RecipeError
from .space import Block, Coordinate, Space


@dataclass(frozen=True, eq=False)
class FitTable:
    """Samples, as a fit takes them.

    Attributes
    ----------
    x : ndarray (N, n)
        Causes side by side, in their units.
    causes : Space
    conditions : dict of str to ndarray (N,)
    group : ndarray (N,) or None
        What is held out together.
    file : Path
    dropped : int
        Incomplete rows that were left out.
    """

    x: np.ndarray
    causes: Space
    conditions: dict[str, np.ndarray] = field(default_factory=dict)
    group: np.ndarray | None = None
    file: Path = Path()
    dropped: int = 0

    def rows(self, chosen: np.ndarray) -> FitTable:
        """Some of the rows."""
        conditions = {n: v[chosen] for n, v in self.conditions.items()}
        group = None if self.group is None else self.group[chosen]
        return FitTable(self.x[chosen], self.causes, conditions, group, self.file, self.dropped)


def read_table(recipe: FitRecipe) -> FitTable:
    """Read the samples that the recipe of a fit names.

    Raises
    ------
    RecipeError
        If the file is missing, empty or damaged, a column is unknown or holds no numbers, or the columns differ in
        length.
    """
    content, place = recipe.content, recipe.place("samples")
    path = locate(content.samples.file, recipe.folder, place)
    scalar = {n: c.column or n for n, c in content.causes.items() if c.dimension is None}
    more = [*content.conditions.values(), *([content.report.group] if content.report.group else [])]
    _refuse_twice(scalar, recipe)
    columns = _columns(recipe, path, list(dict.fromkeys([*scalar.values(), *more])))
    blocks, parts = [], []
    for name, cause in content.causes.items():
        block, values = _cause(name, cause, columns, recipe, path)
        blocks.append(block)
        parts.append(values)
    lengths = {b.name: len(v) for b, v in zip(blocks, parts, strict=True)} | {n: len(columns[n]) for n in more}
    if len(set(lengths.values())) > 1:
        raise RecipeError(f"{place}: The columns differ in length ({lengths}). Give variables of the same samples.")
    conditions = {name: columns[column] for name, column in content.conditions.items()}
    group = columns[content.report.group] if content.report.group else None
    table = FitTable(np.concatenate(parts, axis=1), Space(*blocks), conditions, group, path)
    return table if content.samples.incomplete == "refuse" else _complete(table, place)


def _refuse_twice(scalar: dict[str, str], recipe: FitRecipe) -> None:
    """One column for two causes is a mistake of typing, and makes them copies of each other."""
    for name, column in scalar.items():
        first = next(n for n, c in scalar.items() if c == column)
        if first != name:
            raise RecipeError(
                f"{recipe.place(f'causes.{name}')}: The column {column!r} is that of {first!r} too. Name another one."
            )


def _columns(recipe: FitRecipe, path: Path, names: Sequence[str]) -> dict[str, np.ndarray]:
    """Numbers of every column, one axis."""
    if not names:
        return {}
    source = _source(recipe, path, columns=list(names))
    try:
        values, _ = source.block(None)
    finally:
        source.close()
    values = _numbers(values, recipe).reshape(-1, len(names))
    return dict(zip(names, values.T, strict=True))


def _cause(
    name: str, cause: CauseSection, columns: dict[str, np.ndarray], recipe: FitRecipe, path: Path
) -> tuple[Block, np.ndarray]:
    """What a cause is, and its values (N, elements)."""
    low, high = cause.support
    if cause.dimension is None:
        return Block(name, cause.units, (low, high), cause.long_name), columns[cause.column or name][:, None]
    source = _source(recipe, path, variable=cause.column or name, dimension=cause.dimension)
    try:
        values, labels = source.block(None)
    finally:
        source.close()
    dim = cause.dimension
    coordinates = {dim: Coordinate(dim, tuple(labels))} if labels else {}
    block = Block(name, cause.units, (low, high), cause.long_name, (values.shape[-1],), (dim,), coordinates)
    return block, _numbers(values, recipe).reshape(-1, values.shape[-1])


def _source(recipe: FitRecipe, path: Path, **which: object) -> Source:
    samples = recipe.content.samples
    section = ObservationsSection(
        file=samples.file,
        separator=samples.separator,
        select=samples.select,
        **which,  # type: ignore[arg-type]
    )
    return open_source(path, section, recipe.place("samples"), recipe.folder)


def _numbers(values: np.ndarray, recipe: FitRecipe) -> np.ndarray:
    """In float64, NaN where missing."""
    if values.dtype.kind not in "biuf":
        raise RecipeError(f"{recipe.place('samples')}: The file holds no numbers there. Name a column that does.")
    out: np.ndarray = values.astype(np.float64)
    if recipe.content.samples.missing_value is not None:
        out[values == recipe.content.samples.missing_value] = np.nan
    return out


def _complete(table: FitTable, place: str) -> FitTable:
    """Without the rows that lack a value."""
    given = np.isfinite(np.concatenate([table.x, *(v[:, None] for v in table.conditions.values())], axis=1))
    names = (*table.causes.element_names, *table.conditions)
    empty = [name for name, some in zip(names, given.any(0), strict=True) if not some]
    if empty:
        raise RecipeError(f"{place}: No value of {', '.join(empty[:5])} at all. Leave it out, or correct the column.")
    whole = given.all(1)
    return replace(table.rows(whole), dropped=int((~whole).sum()))
