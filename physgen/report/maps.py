"""Maps of a cause or a code over two axes, averaged into cells where there are more than can be seen."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from markupsafe import Markup

from .figure import Panel, digits
from .svg import LEFT, RIGHT, TOP, WIDTH, Scale, axes, number, tag, tick_words, ticks

_SIDE = 72  # cells of the longer side, at most
_LEVELS = 9
_KEY = 40  # height of the key below


def chart(
    title: str,
    unit_label: str,
    values: np.ndarray,
    across: np.ndarray,
    down: np.ndarray,
    labels: tuple[str, str],
    *,
    image: bool,
) -> Panel:
    """Values on a grid, with a key of colours below.

    Parameters
    ----------
    title, unit_label : str
    values : ndarray (rows, columns)
        NaN where there is nothing to show: grey.
    across, down : ndarray
        Coordinates of columns and rows.
    labels : (str, str)
        Of both axes.
    image : bool
        Whether rows run downwards, as in a picture.
    """
    values, across, down = _coarse(values, across, down)
    side = WIDTH - LEFT - RIGHT
    rows, columns = values.shape
    tall = min(max(side * rows / columns, 60.0), 320.0)
    height = TOP + tall + 42 + _KEY
    x = Scale(*_edges(across), LEFT, WIDTH - RIGHT)
    low, high = _edges(down)
    y = Scale(low, high, TOP, TOP + tall) if image else Scale(low, high, TOP + tall, TOP)
    finite = values[np.isfinite(values)]
    ends = (float(finite.min()), float(finite.max())) if len(finite) else (0.0, 1.0)
    if len(finite) > 50:
        ends = tuple(float(q) for q in np.quantile(finite, [0.02, 0.98]))  # type: ignore[assignment]
    body = _cells(values, across, down, x, y, ends)
    frame = axes(x, y, labels[0], labels[1], height=TOP + tall + 42)
    key = _key(ends, unit_label, height)
    if len(finite):
        words = f"{title}, {rows} by {columns} cells: from {digits(ends[0])} to {digits(ends[1])} {unit_label}, median "
        words += (
            f"{digits(float(np.median(finite)))}. {values.size - len(finite):,} cells have nothing that can be used."
        )
    else:
        words = f"{title}: nothing that can be used."
    return Panel(title, tag("g", frame, body, key), words, height=height)


def points_map(
    title: str, unit_label: str, values: np.ndarray, x: np.ndarray, y: np.ndarray, labels: tuple[str, str]
) -> Panel:
    """Scattered places, averaged into cells of a grid."""
    good = np.isfinite(x) & np.isfinite(y)
    edges = [
        np.linspace(v[good].min(), v[good].max() or 1.0, 41) if np.ptp(v[good]) else v[good][0] + np.linspace(-1, 1, 41)
        for v in (y, x)
    ]
    used = good & np.isfinite(values)
    total, _, _ = np.histogram2d(y[used], x[used], bins=edges, weights=values[used])
    count, _, _ = np.histogram2d(y[used], x[used], bins=edges)
    with np.errstate(invalid="ignore"):
        grid = total / count
    centre = [(e[1:] + e[:-1]) / 2 for e in edges]
    return chart(title, unit_label, grid, centre[1], centre[0], labels, image=False)


def _coarse(values: np.ndarray, across: np.ndarray, down: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Means over square blocks of cells, without NaN."""
    step = max(1, -(-max(values.shape) // _SIDE))
    if step == 1:
        return values, across, down
    rows, columns = (-(-n // step) for n in values.shape)
    padded = np.full((rows * step, columns * step), np.nan)
    padded[: values.shape[0], : values.shape[1]] = values
    blocks = padded.reshape(rows, step, columns, step).swapaxes(1, 2).reshape(rows, columns, -1)
    count = np.isfinite(blocks).sum(-1)
    mean = np.where(count, np.nansum(blocks, -1) / np.maximum(count, 1), np.nan)
    return (
        mean,
        across[::step] + (across[step - 1 :: step][:1] - across[:1]) / 2,
        down[::step] + (down[step - 1 :: step][:1] - down[:1]) / 2,
    )


def _edges(at: np.ndarray) -> tuple[float, float]:
    low, high = float(np.min(at)), float(np.max(at))
    half = (high - low) / max(len(at) - 1, 1) / 2 or 0.5
    return low - half, high + half


def _cells(
    values: np.ndarray, across: np.ndarray, down: np.ndarray, x: Scale, y: Scale, ends: tuple[float, float]
) -> Markup:
    w = abs(x.end - x.start) / len(across)
    h = abs(y.end - y.start) / len(down)
    left, top = x(across) - w / 2, y(down) - h / 2
    span = (ends[1] - ends[0]) or 1.0
    with np.errstate(invalid="ignore"):
        level = np.where(
            np.isfinite(values), np.clip((values - ends[0]) / span * _LEVELS, 0, _LEVELS - 1e-9), -1
        ).astype(int)
    parts = []
    for k in range(-1, _LEVELS):
        d = "".join(_run(left[j], top[i], w * n, h) for i, j, n in _runs(level == k))
        if d:
            parts.append(tag("path", d=d, class_=f"map map{k}" if k >= 0 else "map nothing"))
    return tag("g", *parts)


def _runs(mask: np.ndarray) -> list[tuple[int, int, int]]:
    """Row, first column and length of every horizontal run."""
    out = []
    for i, row in enumerate(mask):
        change = np.flatnonzero(np.diff(np.concatenate([[0], row.astype(int), [0]])))
        out += [(i, int(a), int(b - a)) for a, b in zip(change[::2], change[1::2], strict=True)]
    return out


def _run(left: float, top: float, width: float, height: float) -> str:
    # half a pixel more, lest seams show
    return f"M{number(left)} {number(top)}h{number(width + 0.4)}v{number(height + 0.4)}h{number(-width - 0.4)}z"


def _key(ends: tuple[float, float], unit_label: str, height: float) -> Markup:
    """The levels side by side, with round values below."""
    w = (WIDTH - LEFT - RIGHT) / _LEVELS
    top = height - _KEY + 2
    parts = [tag("path", d=_run(LEFT + k * w, top, w, 9), class_=f"map map{k}") for k in range(_LEVELS)]
    scale = Scale(*(ends if ends[1] > ends[0] else (ends[0] - 0.5, ends[0] + 0.5)), LEFT, WIDTH - RIGHT)
    values = ticks(scale.low, scale.high, 5)
    for value, words in zip(values, tick_words(values), strict=True):
        parts.append(tag("text", words, x=float(scale(value)), y=top + 21, class_="tick middle"))
    parts.append(tag("text", unit_label, x=(LEFT + WIDTH - RIGHT) / 2, y=top + 34, class_="label middle"))
    return tag("g", *parts, aria_hidden="true")


def categories(names: Sequence[str]) -> np.ndarray:
    """Numbers of names, in their order."""
    return np.arange(len(names), dtype=float)
