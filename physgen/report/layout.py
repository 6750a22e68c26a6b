"""The answer over time, over a map, or observation by observation."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from ..summary import CauseSummary
from .bands import intervals, series
from .figure import Cell, Figure, Panel, interval, table
from .maps import chart, points_map
from .page import Heading
from .reading import Answer
from .svg import label

_LISTED = 60  # observations that a table lists
MAP = 12  # a batch of two axes at least so long is a map
_MAPPED = 4  # causes that get a map
_ORDERED = 300  # observations in a figure of intervals
_NUMBERS = 600  # rows of a table of numbers


def layout(answer: Answer, chosen: Sequence[CauseSummary]) -> list[Any]:
    """Over time, over a map, or observation by observation."""
    time = time_axis(answer)
    if time is not None and answer.shape[time] > 1:
        return [Heading("Over time"), _over_time(answer, chosen, time), *_listed(answer, chosen)]
    places = scattered(answer)
    if (len(answer.shape) == 2 and min(answer.shape) >= MAP) or places is not None:
        return [Heading("Over the map"), _maps(answer, chosen, places), *_listed(answer, chosen)]
    return [Heading("Observation by observation"), _each(answer, chosen), *_listed(answer, chosen)]


def time_axis(answer: Answer) -> int | None:
    """The axis of the batch along which a coordinate holds times."""
    for axis, dim in enumerate(answer.dims):
        if _times(answer, dim) is not None:
            return axis
    return None


def _times(answer: Answer, dim: str) -> np.ndarray | None:
    along = [c.values for c in answer.coords.values() if c.dims == (dim,) and c.dtype.kind == "M"]
    return along[0] if along else None


def scattered(answer: Answer) -> tuple[np.ndarray, np.ndarray, tuple[str, str]] | None:
    """Coordinates x and y of every observation of a batch with one axis, by their usual names."""
    if len(answer.dims) != 1 or answer.count < 2 * MAP:
        return None
    for across, down in (("longitude", "latitude"), ("lon", "lat"), ("x", "y"), ("easting", "northing")):
        found = [answer.coords.get(n) for n in (across, down)]
        if all(c is not None and c.dims == answer.dims and c.dtype.kind in "iuf" for c in found):
            x, y = (np.asarray(c.values, dtype=float) for c in found if c is not None)
            if np.isfinite(x).any() and np.isfinite(y).any():
                return x, y, (across, down)
    return None


def _over_time(answer: Answer, chosen: Sequence[CauseSummary], time: int) -> Figure:
    times = np.asarray(_times(answer, answer.dims[time]))
    names = [str(np.datetime_as_string(t, unit="m")).removesuffix("T00:00").replace("T", " ") for t in times]
    panels, rows = [], []
    for cause in chosen:
        median, sd = (
            np.moveaxis(np.where(answer.usable, v, np.nan).reshape(answer.shape), time, 0).reshape(len(times), -1)
            for v in (cause.median, cause.sd)
        )
        panels.append(series(cause.long_name or cause.name, label(cause.name, cause.units), times, median, sd, names))
        for i in np.argsort(times):
            good = median[i][np.isfinite(median[i])]
            if len(good):
                low, middle, high = (float(v) for v in np.quantile(good, [0.05, 0.5, 0.95]))
                rows.append([names[i], cause.name, middle, low, high, float(np.nanmedian(sd[i])), len(good)])
    single = answer.count == len(times)
    legend = [("line posterior", "median"), ("band band1", "inner 50 %"), ("band band0", "inner 90 %")]
    if not single:
        legend += [("whisker", "one typical posterior sd to both sides")]
    words = "of the posterior" if single else "of the observations' medians: how they differ, not how uncertain each is"
    numbers = table(
        "Over time", ["time", "cause", "median", "5 %", "95 %", "typical posterior sd", "observations"], rows
    )
    return Figure(
        f"Over time, of observations that can be used; the bands are {words}.",
        tuple(panels),
        tuple(legend),
        numbers if len(rows) <= _NUMBERS else None,
    )


def _maps(answer: Answer, chosen: Sequence[CauseSummary], places: Any) -> Figure:
    panels = []
    for cause in chosen[:_MAPPED]:
        values = {"median": cause.median, "posterior sd": cause.sd}
        for words, v in values.items():
            shown = np.where(answer.usable, v, np.nan)
            title = f"{cause.name}: {words}"
            if places is not None:
                panels.append(points_map(title, label(cause.name, cause.units), shown, places[0], places[1], places[2]))
            else:
                panels.append(grid_map(answer, title, label(cause.name, cause.units), shown))
    rows = [
        [c.name, *_spread(np.where(answer.usable, c.median, np.nan)), float(np.nanmedian(c.sd))]
        for c in chosen[:_MAPPED]
    ]
    numbers = table("Over the map", ["cause", "median", "5 %", "95 %", "typical posterior sd"], rows)
    return Figure(
        "Posterior median and standard deviation; grey where no answer can be used.", tuple(panels), (), numbers
    )


def _spread(values: np.ndarray) -> list[float]:
    good = values[np.isfinite(values)]
    return [float(v) for v in np.quantile(good, [0.5, 0.05, 0.95])] if len(good) else [math.nan] * 3


def grid_map(answer: Answer, title: str, unit_label: str, values: np.ndarray) -> Panel:
    """A map over a batch with two axes."""
    axes, image = [], True
    for dim, n in zip(answer.dims, answer.shape, strict=True):
        along = [c for c in answer.coords.values() if c.dims == (dim,) and c.dtype.kind in "iuf" and _even(c.values)]
        image = image and not along
        axes.append((along[0].values.astype(float), str(along[0].name)) if along else (np.arange(n, dtype=float), dim))
    down, across = axes
    order = np.argsort(down[0]), np.argsort(across[0])
    grid = values.reshape(answer.shape)[np.ix_(*order)]
    return chart(title, unit_label, grid, across[0][order[1]], down[0][order[0]], (across[1], down[1]), image=image)


def _even(values: np.ndarray) -> bool:
    """Whether places are evenly spaced; others are drawn by their position."""
    steps = np.diff(values.astype(float))
    return bool(len(steps) and np.ptp(steps) <= 0.01 * np.abs(steps).max() and steps[0])


def _each(answer: Answer, chosen: Sequence[CauseSummary]) -> Figure:
    some = np.flatnonzero(np.isfinite(chosen[0].median))
    some = some[np.unique(np.linspace(0, len(some) - 1, min(len(some), _ORDERED)).round().astype(int))]
    names = [answer.name(int(i)) for i in some]
    panels = [
        intervals(c.name, c.units, names, c.low[some], c.median[some], c.high[some], answer.usable[some])
        for c in chosen
    ]
    words = "Each observation's median and 90 % interval."
    if len(some) < answer.count:
        words += f" {len(some):,} of {answer.count:,} are drawn, evenly spread."
    legend = [("point", "median"), ("bar posterior line", "90 % interval")]
    if not answer.usable[some].all():
        legend.append(("point doubt", "not to be used as it is"))
    return Figure(words, tuple(panels), tuple(legend))


def _listed(answer: Answer, chosen: Sequence[CauseSummary]) -> list[Any]:
    """A table of all observations, if they are few enough."""
    if answer.count > _LISTED:
        return [
            f"The answers of all {answer.count:,} observations are in the file {answer.path.name} itself; of those "
            "that should not be used, the worst are listed below."
        ]
    rows = []
    for i in range(answer.count):
        row: list[Any] = [answer.name(i)]
        for cause in chosen:
            middle, ends = interval(float(cause.low[i]), float(cause.median[i]), float(cause.high[i]))
            row.append(Cell(f"{middle} ({ends})" if math.isfinite(cause.median[i]) else "–", _finite(cause.median[i])))
        rows.append([*row, "yes" if answer.usable[i] else "no"])
    columns = ["observation", *(label(c.name, c.units) for c in chosen), "can be used"]
    return [table("Observations: median and 90 % interval", columns, rows)]


def _finite(value: Any) -> float | None:
    return float(value) if math.isfinite(value) else None
