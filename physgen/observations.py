"""Observations of a recipe: from netCDF or delimited text to one labelled array.

The elements of an observable are matched by name with those that the forward model predicts, never by position.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from importlib.resources import files
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from .recipe import ObservationsSection, RecipeError
from .registry import nearest
from .space import Block, Space

_DIGITAL_NUMBERS = 0.5  # share of values above the observable's range from which the scale is taken to be wrong


@dataclass(frozen=True, eq=False)
class Observations:
    """What was measured, ready for an inversion.

    Attributes
    ----------
    y : ndarray (*batch, m)
        In the forward model's order; NaN where not measured.
    dims : tuple of str
        A name for each axis of the batch.
    coords : mapping
        Coordinates along `dims`: name -> (dims, values, attributes).
    conditions : mapping
        A float, or an array of the batch's shape.
    inputs : tuple of Path
        The files that were read.
    """

    y: np.ndarray
    dims: tuple[str, ...]
    coords: Mapping[str, Any] = field(default_factory=dict)
    conditions: Mapping[str, Any] = field(default_factory=dict)
    inputs: tuple[Path, ...] = ()


class Source(Protocol):
    """A file of observations: what netCDF and delimited text have in common."""

    def block(self, block: Block | None) -> tuple[np.ndarray, list[str] | None]:
        """Values ``(*batch, n)`` of a block of observables as they stand in the file, and their labels there.

        Without a block, those that the recipe names.
        """

    @property
    def dims(self) -> tuple[str, ...]:
        """A name for each axis of the batch."""

    def variable(self, name: str) -> tuple[np.ndarray, str]:
        """Numbers of the batch's shape, and their units (empty if the file has none)."""

    def coordinates(self) -> dict[str, Any]:
        """Coordinates of the batch: name -> (dims, values, attributes)."""

    def close(self) -> None:
        """Let go of the file."""


def read_observations(
    section: ObservationsSection,
    folder: Path,
    *,
    observables: Space | None = None,
    condition_space: Space | None = None,
    place: str = "[observations]",
) -> Observations:
    """Read the observations that a recipe names.

    The selected values are held in memory at once (40 MB for a million spectra of ten bands in float32).

    Parameters
    ----------
    section : ObservationsSection
        The recipe's table.
    folder : Path
        Of the recipe.
    observables, condition_space : Space, optional
        Of the forward model.
    place : str
        What an error begins with.

    Returns
    -------
    Observations

    Raises
    ------
    RecipeError
        If the file is missing, empty or damaged, a variable, label or condition is unknown or missing, a value is
        not a number, or most values lie above the observable's range.
    """
    path = locate(section.file, folder, place)
    source = open_source(path, section, place, folder)
    try:
        return _read(source, path, section, observables, condition_space, place)
    finally:
        source.close()


def locate(name: str, folder: Path, place: str) -> Path:
    """The file that a recipe names, relative to `folder`; ``physgen:NAME`` is a file of physgen's own data.

    Raises
    ------
    RecipeError
        If there is none, or it is empty.
    """
    carried = name.startswith("physgen:")
    root = Path(str(files("physgen") / "data")) if carried else folder
    path = root / name.removeprefix("physgen:")
    if not path.is_file():
        around = [p.name for p in path.parent.iterdir() if p.is_file()] if path.parent.is_dir() else []
        hint = nearest(path.name, around, "That folder holds") if len(around) <= 20 else "Check the path."
        raise RecipeError(f"{place}: No file {path}. {hint if around else 'Check the path.'}")
    if not path.stat().st_size:
        raise RecipeError(f"{place}: The file {path} is empty. Give a netCDF file or delimited text.")
    return path


def element_labels(space: Space | None) -> tuple[str, ...] | None:
    """A name for each element of the observables, as a recipe writes them; None if the forward model has none."""
    if space is None:
        return None
    labels = [label for block in space for label in (block_labels(block) or _numbered(block))]
    return tuple(labels) if len(set(labels)) == len(labels) else space.element_names


def block_labels(block: Block) -> tuple[str, ...] | None:
    """The labels along a block of one dimension; None if it has none. A scalar's label is its name."""
    if not block.shape:
        return (block.name,)
    if len(block.shape) > 1 or not block.coordinates:
        return None
    coordinates = list(block.coordinates.values())
    text = [c for c in coordinates if all(isinstance(v, str) for v in c.values)]
    chosen = (text or coordinates)[0]
    return tuple(label_text(v) for v in chosen.values)


def label_text(value: Any) -> str:
    """A label as text: numbers in the shortest form of six digits, so that 550 and 550.0 are the same."""
    if isinstance(value, bytes):
        return value.decode().strip()
    if isinstance(value, int | float | np.number):
        return f"{float(value):.6g}"
    return str(value).strip()


def chosen_columns(section: ObservationsSection, block: Block | None) -> dict[str, str]:
    """Label of an element -> the column (netCDF: variable) that holds it, for the elements of `block`."""
    wanted = block_labels(block) if block is not None else None
    columns = section.columns
    if columns is None:
        columns = [w for w in wanted or () if w not in map(label_text, section.missing)]
    named = dict(columns) if isinstance(columns, dict) else {c: c for c in columns}
    return named if wanted is None else {label: c for label, c in named.items() if label in wanted}


def _numbered(block: Block) -> tuple[str, ...]:
    return Space(block).element_names


def _read(
    source: Source,
    path: Path,
    section: ObservationsSection,
    observables: Space | None,
    condition_space: Space | None,
    place: str,
) -> Observations:
    absent = [label_text(label) for label in section.missing]
    _check_labels("missing", absent, observables, place)
    _check_labels("columns", section.columns or (), observables, place)
    blocks: list[Block | None] = list(observables) if observables is not None else [None]
    y = np.concatenate([_ordered(*source.block(block), block, absent, path.name, place) for block in blocks], axis=-1)
    if not y.size:
        raise RecipeError(f"{place}: No observation is left of {path.name}. Widen the selection.")
    y = _cleaned(y, section)
    if observables is not None:
        _check_scale(y, observables, section, place)
    if section.valid is not None:
        y[source.variable(section.valid)[0] == 0] = np.nan
    conditions = {k: _condition(k, v, source, condition_space, place) for k, v in section.conditions.items()}
    return Observations(y, source.dims, source.coordinates(), conditions, (path,))


def open_source(path: Path, section: ObservationsSection, place: str, folder: Path) -> Source:
    """The file after the recipe's selection, by what it is; `RecipeError` if it is damaged or lacks what is named."""
    if section.reader is not None:
        from .reader_source import ReaderSource

        return ReaderSource(path, section, place, folder)
    with path.open("rb") as file:
        magic = file.read(4)
    if magic[:3] == b"CDF" or magic == b"\x89HDF":
        from .netcdf_source import NetcdfSource

        return NetcdfSource(path, section, place)
    if path.suffix in (".nc", ".nc4", ".cdf", ".h5"):
        raise RecipeError(f"{place}: The file {path.name} is not netCDF, or its beginning is lost. Fetch it again.")
    from .text_source import TextSource

    return TextSource(path, section, place)


def _check_labels(key: str, named: Iterable[str], observables: Space | None, place: str) -> None:
    """Refuse an element that the forward model does not predict."""
    labels = element_labels(observables) if observables and all(block_labels(b) for b in observables) else None
    for label in named:
        if labels is None and key == "missing":
            raise RecipeError(f"{place}, missing: The forward model does not name its observables. Remove the key.")
        if labels is not None and label not in labels:
            hint = nearest(label, labels, "The forward model predicts")
            raise RecipeError(f"{place}, {key}: Unknown observable {label!r}. {hint}")


def _ordered(
    values: np.ndarray,
    found: list[str] | None,
    block: Block | None,
    absent: Sequence[str],
    file: str,
    place: str,
) -> np.ndarray:
    """The columns of `values` in the order of the block's labels; NaN where stated to be missing."""
    if block is None:
        return values
    wanted = block_labels(block)
    if wanted is None or (found is None and not block.shape):
        if values.shape[-1] != block.size:
            raise RecipeError(
                f"{place}: {file} has {values.shape[-1]} elements of {block.name!r}. "
                f"The forward model has {block.size}."
            )
        return values
    if found is None:
        raise RecipeError(
            f"{place}: {file} has no labels for {block.name!r}. The order goes by name: label that dimension."
        )
    for label in (w for w in wanted if w not in absent):
        if found.count(label) != 1:
            how = "lacks" if label not in found else "has more than one"
            raise RecipeError(
                f"{place}: {file} {how} {label!r} of the forward model. It has {', '.join(found)}; name those that it "
                "lacks in the key missing."
            )
    columns = [found.index(w) if w in found else 0 for w in wanted]
    out = values[..., columns]
    gaps = [i for i, w in enumerate(wanted) if w in absent]
    if gaps:
        out = np.array(out, dtype=out.dtype if out.dtype.kind == "f" else np.float64)
        out[..., gaps] = np.nan
    return out


def _cleaned(y: np.ndarray, section: ObservationsSection) -> np.ndarray:
    """A copy with NaN where not measured, scaled, in the precision asked for."""
    single = section.precision == "float32" or (section.precision is None and y.dtype == np.float32)
    out: np.ndarray = np.array(y, dtype=np.float32 if single else np.float64)
    if section.missing_value is not None:
        out[np.asarray(y) == section.missing_value] = np.nan
    return np.multiply(out, section.scale, out=out)


def _check_scale(y: np.ndarray, observables: Space, section: ObservationsSection, place: str) -> None:
    """Refuse digital numbers: most values above the upper end of the observables' support."""
    high = np.concatenate([np.full(b.size, b.support[1]) for b in observables])
    measured = np.isfinite(y)
    above = measured & (y > high)
    if not above.any() or above.sum() <= _DIGITAL_NUMBERS * measured.sum():
        return
    typical = float(np.quantile(y[above], 0.99))
    power = max(1, math.ceil(math.log10(typical / float(high[np.isfinite(high)].min()))))
    power = power if power in (1, 2) or power > 4 else 4  # percent, or the usual digital numbers
    raise RecipeError(
        f"{place}: {above.sum()} of {measured.sum()} values lie above the observable's range, up to "
        f"{float(np.max(y[above])):g}. If they are digital numbers, set scale = {section.scale * 10.0**-power:g}."
    )


def _condition(name: str, value: Any, source: Source, space: Space | None, place: str) -> Any:
    """A number as it is; a variable's values, in the units that the forward model takes."""
    if not isinstance(value, str):
        return float(value)
    values, units = source.variable(value)
    wanted = space.block(name).units if space is not None and name in space else ""
    if _angle(units) and _angle(wanted) and _angle(units) != _angle(wanted):
        raise RecipeError(
            f"{place}, conditions: {value!r} is in {units}, {name} in {wanted}. Convert it in the file first."
        )
    return values


def _angle(units: str) -> str:
    unit = units.strip().lower()
    return "degree" if unit.startswith(("deg", "°")) else "radian" if unit.startswith("rad") else ""
