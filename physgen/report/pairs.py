"""Pairs of causes: draws of one observation, medians of some, a map of density for many."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from markupsafe import Markup

from .figure import Panel, digits
from .svg import Scale, axes, horizontal, label, number, point, tag, vertical

_POINTS = 400
_CELLS = 28
_LEVELS = 6


def pair(
    names: tuple[str, str], units: tuple[str, str], values: np.ndarray, what: str, tips: Sequence[str] | None = None
) -> Panel:
    """One cause against another.

    Parameters
    ----------
    names, units : (str, str)
        Of abscissa and ordinate.
    values : ndarray (K, 2)
    what : str
        What a point is: "draws of the posterior".
    tips : sequence of str, optional
        A name for each point.
    """
    good = np.isfinite(values).all(1)
    values = values[good]
    tips = None if tips is None else [t for t, g in zip(tips, good, strict=True) if g]
    (x0, x1), (y0, y1) = (_room(column) for column in values.T)
    x, y = horizontal(x0, x1), vertical(y0, y1)
    body = cells(values, x, y) if len(values) > _POINTS else _dots(values, x, y, names, tips)
    r = correlation(values)
    words = f"{len(values):,} {what}: {names[1]} against {names[0]}. Their rank correlation is {digits(r, 2)}."
    frame = axes(x, y, label(names[0], units[0]), label(names[1], units[1]))
    return Panel(f"{names[1]} and {names[0]}: rank correlation {digits(r, 2)}", tag("g", frame, body), words)


def correlation(values: np.ndarray) -> float:
    """Spearman's rank correlation of the two columns of ``(K, 2)``; NaN where one is constant."""
    ranks = np.argsort(np.argsort(values, axis=0), axis=0).astype(float)
    if len(values) < 3 or (values.std(0) == 0).any():
        return float("nan")
    return float(np.corrcoef(ranks.T)[0, 1])


def _room(column: np.ndarray) -> tuple[float, float]:
    if not len(column):
        return 0.0, 1.0
    low, high = np.quantile(column, [0.002, 0.998]) if len(column) > _POINTS else (column.min(), column.max())
    return low - 0.04 * (high - low), high + 0.04 * (high - low)


def _dots(values: np.ndarray, x: Scale, y: Scale, names: tuple[str, str], tips: Sequence[str] | None) -> Markup:
    parts = []
    for i, (a, b) in enumerate(values):
        if tips is None:
            parts.append(tag("circle", cx=float(x(a)), cy=float(y(b)), r=1.7, class_="cloud"))
        else:
            words = f"{tips[i]}: {names[0]} {digits(float(a))}, {names[1]} {digits(float(b))}"
            parts.append(point(float(x(a)), float(y(b)), words))
    return tag("g", *parts)


def cells(values: np.ndarray, x: Scale, y: Scale) -> Markup:
    """Density in square cells, one path for each of a few levels."""
    edges = [np.linspace(s.low, s.high, _CELLS + 1) for s in (x, y)]
    counts, _, _ = np.histogram2d(values[:, 0], values[:, 1], bins=edges)
    if counts.max() == 0:
        return Markup("")
    level = np.ceil(np.sqrt(counts / counts.max()) * _LEVELS).astype(int)
    px, py = x(edges[0]), y(edges[1])
    w, h = px[1] - px[0], py[0] - py[1]
    parts = []
    for k in range(1, _LEVELS + 1):
        d = "".join(
            f"M{number(px[i])} {number(py[j + 1])}h{number(w)}v{number(h)}h{number(-w)}z"
            for i, j in np.argwhere(level == k)
        )
        if d:
            parts.append(tag("path", d=d, class_=f"heat heat{k}"))
    return tag("g", *parts)
