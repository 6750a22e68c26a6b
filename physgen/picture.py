"""The picture of a result: causes over time, over a map, or observation by observation, and whom to trust."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from .status import Status
from .summary import CauseSummary, Summary, summarise
from .unit_labels import raised
from .writing import whole_file

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_PANELS = 6
_MAP_SIDE = 16  # a batch of two dimensions at least this long, neither of them time, is drawn as a map
_CATEGORIES = 4  # lines that can be told apart; the most common categories get one
_WORDS = 30  # a coordinate of more different words names observations, not categories
_TELLABLE = 300  # observations that can be told apart in a panel
_NAMED = 20  # observations that have room for their names
_COLOURS = ("#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#7f5539")  # after Okabe & Ito (2008)
_ALL = "#0072b2"
_TRUSTED = "#b9d7c3"


def picture(result: str | Path, out: str | Path) -> Path:
    """Draw a result.

    Up to six causes are shown, those of which the observations say most, of trusted observations only. A batch with
    a time is drawn over it: the median of the observations' posterior medians, the inner 50 % and 90 % of them, one
    typical posterior standard deviation as bars, and a line for each of the most common categories where a coordinate
    has a few words (species). An image is drawn as maps of the posterior median. Otherwise each observation has its
    posterior median and 90 % interval, in the order of the medians. The last panel counts the statuses.

    Parameters
    ----------
    result : path
        Of a result's file.
    out : path
        Of the picture; its suffix says the format. It appears whole or not at all.

    Returns
    -------
    Path
        `out`.

    Raises
    ------
    ValueError
        If `result` is not a result, or the format is unknown.
    """
    out = Path(out)
    check_format(out)
    figure = draw(summarise(result))
    with whole_file(out) as temporary:
        figure.savefig(temporary, dpi=150)
    return out


def check_format(out: Path) -> None:
    """Raise `ValueError` unless the suffix of the picture says a format that can be written."""
    from matplotlib.backend_bases import FigureCanvasBase

    known = FigureCanvasBase.get_supported_filetypes()
    if out.suffix.lstrip(".") not in known:
        raise ValueError(f"Unknown format of the picture {out.name!r}. Use one of {', '.join(sorted(known))}.")


def draw(summary: Summary) -> Figure:
    """The figure of a summary: one panel for each chosen cause, and one for the statuses."""
    from matplotlib.figure import Figure

    causes = chosen(summary)
    columns = min(4 if len(causes) > 5 else 3, len(causes) + 1)
    rows = -(-(len(causes) + 1) // columns)
    figure = Figure(figsize=(3.9 * columns, 2.9 * rows + 0.9), layout="constrained")
    panels: list[Axes] = list(figure.subplots(rows, columns, squeeze=False).flat)
    for axes, cause in zip(panels, causes, strict=False):
        _draw_cause(axes, cause, summary)
        axes.set_title(cause.long_name or cause.name, fontsize=10)
    _draw_statuses(panels[len(causes)], summary)
    for axes in panels[len(causes) + 1 :]:
        axes.set_axis_off()
    _draw_legends(figure, panels, len(causes))
    figure.suptitle(_title(summary), fontsize=11)
    return figure


def _draw_legends(figure: Figure, panels: list[Axes], causes: int) -> None:
    """The legends of causes and statuses: in the first empty panel, else below all and among the statuses."""
    handles, labels = panels[0].get_legend_handles_labels() if causes else ([], [])
    statuses, words = panels[causes].get_legend_handles_labels()
    free = panels[causes + 1] if len(panels) > causes + 1 else None
    if free is not None and handles:
        first = free.legend(handles, labels, loc="upper center", frameon=False, fontsize=9)
        if statuses:
            free.legend(
                statuses, words, loc="lower center", frameon=False, fontsize=9, title="status", title_fontsize=9
            )
            free.add_artist(first)
        return
    if handles:
        figure.legend(handles, labels, loc="outside lower center", ncols=min(len(labels), 4), frameon=False)
    if statuses:
        panels[causes].legend(loc="lower left", fontsize=8, framealpha=0.9)


def chosen(summary: Summary) -> list[CauseSummary]:
    """The causes to show: where the medians vary most compared with the posterior's own width; in their order."""
    good = summary.trusted

    def resolved(cause: CauseSummary) -> float:
        between, within = float(np.var(cause.median[good])), float(np.mean(cause.sd[good] ** 2))
        return between / (between + within) if between + within > 0 else 0.0

    if not good.any():
        return []
    ranked = sorted(range(len(summary.causes)), key=lambda i: -resolved(summary.causes[i]))
    return [summary.causes[i] for i in sorted(ranked[:_PANELS])]


def _draw_cause(axes: Axes, cause: CauseSummary, summary: Summary) -> None:
    time = _time_axis(summary)
    if time is not None and summary.status.shape[time] > 1:
        _draw_series(axes, cause, summary, time)
    elif summary.status.ndim == 2 and min(summary.status.shape) >= _MAP_SIDE:
        _draw_map(axes, cause, summary)
    else:
        _draw_observations(axes, cause, summary)


def _time_axis(summary: Summary) -> int | None:
    """The axis of the batch along which a coordinate holds times."""
    for axis, dim in enumerate(summary.dims):
        if _times(summary, dim) is not None:
            return axis
    return None


def _times(summary: Summary, dim: str) -> np.ndarray | None:
    along = [c.values for c in summary.coords.values() if c.dims == (dim,) and c.dtype.kind == "M"]
    return along[0] if along else None


def _draw_series(axes: Axes, cause: CauseSummary, summary: Summary, time: int) -> None:
    times = np.asarray(_times(summary, summary.dims[time]))
    order = np.argsort(times)
    times = times[order]
    median, sd, low, high = (
        _rows(np.where(summary.trusted, v, np.nan), time)[order]
        for v in (cause.median, cause.sd, cause.low, cause.high)
    )
    middle = _quantile(median, 0.5)
    if median.shape[1] > 1:
        for q, alpha in ((0.05, 0.15), (0.25, 0.25)):
            label = f"inner {100 - 200 * q:.0f} % of observations"
            ends = _quantile(median, q), _quantile(median, 1 - q)
            axes.fill_between(times, *ends, color=_ALL, alpha=alpha, lw=0, label=label)
        _draw_categories(axes, times, median, summary, time)
        bars, words = _quantile(sd, 0.5), "median, with a typical posterior sd"
    else:
        axes.fill_between(times, low[:, 0], high[:, 0], color=_ALL, alpha=0.2, lw=0, label="90 % interval")
        bars, words = sd[:, 0], "median, with the posterior sd"
    axes.errorbar(times, middle, bars, color=_ALL, lw=1.8, marker="o", ms=3.5, elinewidth=0.8, capsize=2, label=words)
    _date_axis(axes)
    axes.set_ylabel(_label(cause))


def _draw_categories(axes: Axes, times: np.ndarray, median: np.ndarray, summary: Summary, time: int) -> None:
    """The median of each category, where a coordinate besides time has a few words."""
    found = _categories(summary, time)
    if found is None:
        return
    words, counts = np.unique(found, return_counts=True)
    common = sorted(words[np.argsort(-counts, kind="stable")[:_CATEGORIES]])
    for word, colour in zip(common, _COLOURS, strict=False):
        axes.plot(times, _quantile(median[:, found == word], 0.5), color=colour, lw=1.2, label=f"median of {word}")


def _categories(summary: Summary, time: int) -> np.ndarray | None:
    """One word for each column of `_rows`."""
    others = tuple(d for i, d in enumerate(summary.dims) if i != time)
    shape = tuple(n for i, n in enumerate(summary.status.shape) if i != time)
    for c in summary.coords.values():
        few = c.dtype.kind in "OUS" and 2 <= len(np.unique(c.values)) <= _WORDS
        if few and set(c.dims) <= set(others):
            spread = [slice(None) if d in c.dims else None for d in others]
            words = c.transpose(*(d for d in others if d in c.dims)).values.astype(str)
            return np.broadcast_to(words[tuple(spread)], shape).reshape(-1)
    return None


def _draw_map(axes: Axes, cause: CauseSummary, summary: Summary) -> None:
    values = np.where(summary.trusted, cause.median, np.nan)
    y, x = (summary.coords.get(d) for d in summary.dims)
    grid = [c.values if c is not None and c.dtype.kind in "iuf" else np.arange(n) for c, n in _pairs(summary, y, x)]
    axes.set_facecolor("#dddddd")  # what is not trusted stays grey
    mesh = axes.pcolormesh(grid[1], grid[0], values, shading="nearest", rasterized=True)
    axes.figure.colorbar(mesh, ax=axes, label=_label(cause))
    if y is None and x is None:  # rows and columns of an image
        axes.set_aspect("equal")
        axes.invert_yaxis()
    axes.set_xlabel(summary.dims[1])
    axes.set_ylabel(summary.dims[0])


def _pairs(summary: Summary, *coords: Any) -> list[tuple[Any, int]]:
    return list(zip(coords, summary.status.shape, strict=True))


def _draw_observations(axes: Axes, cause: CauseSummary, summary: Summary) -> None:
    good = summary.trusted
    median, low, high = (v[good] for v in (cause.median, cause.low, cause.high))
    count = len(median)
    if count <= _NAMED:
        order = np.arange(count)
        place = order.astype(float)
        axes.set_xticks(place, _names(summary)[good.reshape(-1)], rotation=90 if count > 4 else 0)
        axes.set_xlim(-0.6, count - 0.4)
    else:
        order = np.argsort(median)[np.linspace(0, count - 1, min(count, _TELLABLE)).round().astype(int)]
        place = np.linspace(0, 100, len(order))
        axes.set_xlabel("observations by median (%)")
    width = max(1.0, 6.0 - 0.3 * count)
    axes.vlines(place, low[order], high[order], color=_ALL, alpha=0.35, lw=width, label="posterior 90 % interval")
    axes.plot(place, median[order], ".", color=_ALL, ms=2 + width, label="posterior median")
    axes.set_ylabel(_label(cause))


def _names(summary: Summary) -> np.ndarray:
    """A name for each observation: of a coordinate of text, else of any, else its number."""
    along = [c for c in summary.coords.values() if c.shape == summary.status.shape]
    along.sort(key=lambda c: c.dtype.kind not in "OUS")
    return along[0].values.reshape(-1).astype(str) if along else np.arange(summary.status.size).astype(str)


def _draw_statuses(axes: Axes, summary: Summary) -> None:
    """Shares of the statuses: over time where there is one, else of all observations."""
    counts = summary.counts()
    time = _time_axis(summary)
    axes.set_title(f"status: {100 * summary.trusted.mean():.1f} % trusted", fontsize=10)
    colours = {s: _TRUSTED if s == Status.TRUSTED else _COLOURS[i % 6] for i, s in enumerate(counts, start=-1)}
    if time is not None and summary.status.shape[time] > 1:
        _draw_status_series(axes, summary, time, colours)
        return
    shares = [100 * n / summary.status.size for n in counts.values()]
    words = [s.meaning.replace("_", " ") for s in counts]
    axes.barh(range(len(shares)), shares, color=[colours[s] for s in counts])
    for i, (word, share) in enumerate(zip(words, shares, strict=True)):
        axes.text(1.5, i, f"{word}: {share:.1f} %", va="center", fontsize=9)
    axes.set_yticks([])
    axes.set_ylim(max(len(shares), 4) - 0.5, -0.5)
    axes.set_xlim(0, 100)
    axes.set_xlabel("observations (%)")


def _draw_status_series(axes: Axes, summary: Summary, time: int, colours: dict[Status, str]) -> None:
    """One bar for each time, evenly spaced: dates may lie too close together for bars on a time axis."""
    times = np.asarray(_times(summary, summary.dims[time]))
    order = np.argsort(times)
    status = _rows(summary.status, time)[order]
    bottom = np.zeros(len(times))
    for code, colour in colours.items():
        share = 100 * (status == code).mean(axis=1)
        words = code.meaning.replace("_", " ")
        axes.bar(np.arange(len(times)), share, 0.8, bottom, color=colour, label=words)
        bottom += share
    step = -(-len(times) // 16)
    axes.set_xticks(np.arange(len(times))[::step], _days(times[order])[::step], rotation=90, fontsize=7)
    axes.set_ylim(0, 100)
    axes.set_ylabel("observations (%)")


def _days(times: np.ndarray) -> list[str]:
    """Dates, or date and hour where days repeat."""
    days = [str(t) for t in times.astype("datetime64[D]")]
    return days if len(set(days)) == len(days) else [str(t) for t in times.astype("datetime64[h]")]


def _date_axis(axes: Axes) -> None:
    from matplotlib.dates import AutoDateLocator, ConciseDateFormatter

    locator = AutoDateLocator(minticks=3, maxticks=7)
    axes.xaxis.set_major_locator(locator)
    axes.xaxis.set_major_formatter(ConciseDateFormatter(locator))


def _rows(values: np.ndarray, axis: int) -> np.ndarray:
    """One row for each time, the other axes of the batch on one."""
    return np.moveaxis(values, axis, 0).reshape(values.shape[axis], -1)


def _quantile(values: np.ndarray, q: float) -> np.ndarray:
    """Quantile along the last axis without NaN; NaN where there is nothing else."""
    out = np.full(len(values), np.nan)
    some = ~np.isnan(values).all(axis=1)
    out[some] = np.nanquantile(values[some], q, axis=1)
    return out


def _label(cause: CauseSummary) -> str:
    """Name and units for an axis: "lai (m2 m-2)" with raised exponents."""
    units = raised(cause.units)
    return cause.name if units in ("", "1") else f"{cause.name} ({units})"


def _title(summary: Summary) -> str:
    good, total = int(summary.trusted.sum()), summary.status.size
    return f"Posterior of {good:,} trusted observations of {total:,}"
