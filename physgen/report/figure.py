"""What the page shows: tables, panels, and figures made of panels with their words and their numbers."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from markupsafe import Markup

_BESIDE = "\N{NO-BREAK SPACE}"


@dataclass(frozen=True)
class Cell:
    """One cell of a table.

    Attributes
    ----------
    text : str
    value : float or None
        What it is sorted by; its text if None.
    """

    text: str
    value: float | None = None


@dataclass(frozen=True)
class Table:
    """A table that the page can sort.

    Attributes
    ----------
    caption : str
    columns : tuple of str
    rows : tuple of tuple of Cell
        The first cell of a row is its header.
    numeric : frozenset of int
        Columns that are aligned to the right.
    """

    caption: str
    columns: tuple[str, ...]
    rows: tuple[tuple[Cell, ...], ...]
    numeric: frozenset[int] = frozenset()


@dataclass(frozen=True)
class Panel:
    """One picture.

    Attributes
    ----------
    title : str
    svg : Markup
        What is in it, without the element svg.
    description : str
        What it shows, for those who do not see it.
    width, height : float
        Of its coordinates.
    points : bool
        Whether it holds points that can be focused.
    """

    title: str
    svg: Markup
    description: str
    width: float = 330
    height: float = 210
    points: bool = False


@dataclass(frozen=True)
class Figure:
    """Panels side by side, with a legend, a caption, and the same as numbers.

    Attributes
    ----------
    caption : str
    panels : tuple of Panel
    legend : tuple of (str, str)
        Class of the swatch, and words.
    table : Table, optional
    """

    caption: str
    panels: tuple[Panel, ...]
    legend: tuple[tuple[str, str], ...] = ()
    table: Table | None = None


@dataclass(frozen=True)
class Section:
    """One section of the page.

    Attributes
    ----------
    key, title : str
    items : tuple
        Text, `Table` and `Figure` in their order.
    """

    key: str
    title: str
    items: tuple[Any, ...] = field(default=())


def table(caption: str, columns: Sequence[str], rows: Sequence[Sequence[Any]]) -> Table:
    """A table of plain values: a float is shown with three digits, a cell may be a `Cell`; short rows are filled up."""
    made = tuple(tuple(_cell(v) for v in (*row, *["–"] * (len(columns) - len(row)))) for row in rows)
    numeric = frozenset(i for i in range(1, len(columns)) if any(r[i].value is not None for r in made))
    return Table(caption, tuple(columns), made, numeric)


def _cell(value: Any) -> Cell:
    if isinstance(value, Cell):
        return value
    if isinstance(value, bool) or not isinstance(value, int | float):
        return Cell(str(value))
    return Cell(digits(value), float(value) if math.isfinite(value) else None)


def digits(value: float, count: int = 3) -> str:
    """A number with sensible digits: whole numbers with separators, others with `count` significant ones."""
    if isinstance(value, int):
        return f"{value:,}".replace("-", "−")
    if math.isnan(value):
        return "–"
    if math.isinf(value):
        return "∞" if value > 0 else "−∞"
    size = abs(value)
    if size and (size >= 1e6 or size < 1e-4):
        mantissa, _, exponent = f"{value:.{count - 1}e}".partition("e")
        return f"{mantissa}e{int(exponent)}".replace("-", "−")
    places = max(0, count - 1 - math.floor(math.log10(size))) if size else 0
    return f"{value:,.{places}f}".replace("-", "−")


def percent(part: float, whole: float = 1.0) -> str:
    """A share: 93 %, 4.2 %, or "less than 0.1 %"."""
    share = 100 * part / whole if whole else 0.0
    if 0 < share < 0.1:
        words = "less than 0.1"
    elif 99.9 < share < 100:
        words = "more than 99.9"
    else:
        words = f"{share:.1f}" if (share < 10 or share > 90) and share not in (0, 100) else f"{share:.0f}"
    return f"{words}{_BESIDE}%"


def interval(low: float, middle: float, high: float) -> tuple[str, str]:
    """Middle, and "low to high", with digits that the width of the interval warrants."""
    width = high - low
    if not math.isfinite(width) or width <= 0:
        return digits(middle), f"{digits(low)} to {digits(high)}"
    places = max(0, 1 - math.floor(math.log10(width)))
    if places > 5 or max(abs(low), abs(high)) >= 1e6:
        return digits(middle, 4), f"{digits(low, 4)} to {digits(high, 4)}"
    middle_, low_, high_ = (f"{round(v, places) + 0.0:,.{places}f}".replace("-", "−") for v in (middle, low, high))
    return middle_, f"{low_} to {high_}"
