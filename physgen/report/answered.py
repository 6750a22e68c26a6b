"""The section with the answer: a table of the causes, marginals, pairs, time, map, observation by observation."""

from __future__ import annotations

import itertools
import json
import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import xarray as xr

from ..panel import Panel as Curves
from ..summary import CauseSummary
from .bands import curve
from .figure import Cell, Figure, Panel, Section, Table, digits, interval, table
from .layout import layout
from .maps import chart
from .marginals import marginal
from .page import Absent, Heading
from .pairs import pair
from .reading import Answer
from .svg import label, pretty_units

_PAIRED = 4  # causes whose pairs are drawn
_DRAWN = 6  # causes that get maps, series and intervals
_MARGINALS = 24
_TIPPED = 400  # observations that can say their name in a scatter


def contraction(answer: Answer, prior: Mapping[str, np.ndarray]) -> dict[str, float]:
    """Typical posterior sd over the prior's, by cause that is a number; of the observations that can be used."""
    good = answer.usable if answer.usable.any() else np.ones(answer.count, dtype=bool)
    out = {}
    for cause in answer.causes:
        sd = cause.sd[good & np.isfinite(cause.sd)]
        if cause.name in prior and len(sd):
            low, high = np.quantile(prior[cause.name], [0.05, 0.95])
            width = (cause.high - cause.low)[good & np.isfinite(cause.sd)]
            # widths of the 90 % intervals: a heavy tail of the prior has no say
            out[cause.name] = float(np.median(width) / (high - low)) if high > low else math.nan
    return out


def answered(
    answer: Answer, prior: Mapping[str, np.ndarray], why: str, panels: Sequence[tuple[str, list[Curves]]]
) -> Section:
    """What the observations say on the causes.

    Parameters
    ----------
    answer : Answer
    prior : mapping of str to ndarray
        Draws of the prior by cause; empty if it is unknown.
    why : str
        Why it is.
    panels : sequence of (str, list of Panel)
        Curves that the forward model offers, by the name of the observation.
    """
    ratio = contraction(answer, prior)
    items: list[Any] = []
    if answer.causes:
        items.append(_table(answer, prior, ratio))
        items.append(_marginals(answer, prior))
        if not prior:
            items.append(Absent(f"The prior is not shown behind the posterior. {why}"))
    items += _fields(answer, prior)
    items += [
        Figure(f"What follows from the posterior of {n}.", tuple(_curves(c) for c in found), BANDS[:3])
        for n, found in panels
        if found
    ]
    chosen = _chosen(answer)
    if len(chosen) > 1:
        items += [Heading("How causes go together"), _pairs(answer, chosen[:_PAIRED])]
    if chosen and answer.count > 1:
        items += layout(answer, chosen)
    return Section("answer", "The answer", tuple(items))


BANDS = (
    ("line posterior", "median"),
    ("band band1", "50 % of the draws"),
    ("band band0", "90 %"),
    ("point observed", "observed"),
)


def _chosen(answer: Answer) -> list[CauseSummary]:
    """The causes that are drawn one by one: where the medians differ most compared with the posteriors' width."""
    good = answer.usable if answer.usable.any() else np.ones(answer.count, dtype=bool)
    usable = [c for c in answer.causes if np.isfinite(c.median[good]).any()]
    if answer.count == 1:
        return usable[:_DRAWN]

    def resolved(cause: CauseSummary) -> float:
        between, within = np.nanvar(cause.median[good]), np.nanmean(cause.sd[good] ** 2)
        return float(between / (between + within)) if between + within > 0 else 0.0

    ranked = sorted(range(len(usable)), key=lambda i: -resolved(usable[i]))
    return [usable[i] for i in sorted(ranked[:_DRAWN])]


def _table(answer: Answer, prior: Mapping[str, np.ndarray], ratio: Mapping[str, float]) -> Table:
    good = answer.usable if answer.usable.any() else np.ones(answer.count, dtype=bool)
    rows: list[list[Any]] = []
    for cause in answer.causes:
        known = good & np.isfinite(cause.median)
        if not known.any():
            rows.append([cause.name, _units(cause.units)])
            continue
        if answer.count == 1:
            middle, ends = interval(float(cause.low[0]), float(cause.median[0]), float(cause.high[0]))
            sd = float(cause.sd[0])
        else:
            middle, ends = interval(*np.quantile(cause.median[known], [0.05, 0.5, 0.95]))
            sd = float(np.median(cause.sd[known]))
        row: list[Any] = [
            cause.name,
            _units(cause.units),
            Cell(middle, float(np.median(cause.median[known]))),
            ends,
            Cell(digits(sd, 2), sd),
        ]
        row.append(_of_prior(prior.get(cause.name)))
        share = ratio.get(cause.name, math.nan)
        row.append(Cell("–" if math.isnan(share) else digits(share, 2), None if math.isnan(share) else share))
        rows.append(row)
    if answer.count == 1:
        columns = ["cause", "units", "median", "90 % interval", "sd", "prior's 90 % interval", "width over prior's"]
        return table("The answer: posterior of each cause", columns, rows)
    columns = [
        "cause",
        "units",
        "median of the medians",
        "90 % of the medians",
        "typical posterior sd",
        "prior's 90 % interval",
        "width over prior's",
    ]
    who = "that can be used" if answer.usable.any() else "(none can be used as it is)"
    return table(f"The answer over {int(good.sum()):,} observations {who}", columns, rows)


def _of_prior(draws: np.ndarray | None) -> str:
    return "–" if draws is None else interval(*np.nanquantile(draws, [0.05, 0.5, 0.95]))[1]


def _units(units: str) -> str:
    return "–" if units in ("", "1") else pretty_units(units)


def _marginals(answer: Answer, prior: Mapping[str, np.ndarray]) -> Figure:
    panels = []
    for cause in answer.causes[:_MARGINALS]:
        draws = answer.kept.draws[cause.name].reshape(-1).astype(float)
        if np.isfinite(draws).any():
            panels.append(marginal(cause.name, cause.units, support(answer, cause.name), draws, prior.get(cause.name)))
    legend = [("fill posterior", "posterior"), ("bar posterior line", "its 90 % interval and median")]
    if prior:
        legend.insert(1, ("fill prior", "prior"))
    if answer.count == 1:
        words = "Posterior of each cause"
    else:
        words = f"Posteriors of {len(answer.kept.index):,} observations, pooled: spread here is both how observations "
        words += "differ and how uncertain each is"
    more = len(answer.causes) - _MARGINALS
    words += f"; {more} further causes are in the table." if more > 0 else "."
    return Figure(words, tuple(panels), tuple(legend))


def support(answer: Answer, name: str) -> tuple[float, float]:
    """The interval of values that a cause can take."""
    block = next(b for b in json.loads(answer.attributes["spaces"])["causes"] if b["name"] == name)
    low, high = (float(v) for v in block["support"])
    return low, high


def _fields(answer: Answer, prior: Mapping[str, np.ndarray]) -> list[Any]:
    """Causes with dimensions of their own: bands along one, maps over two."""
    items: list[Any] = []
    for name, field in answer.fields.items():
        own = [d for d in field.dims if d not in ("draw_", "shown_")]
        units, words = str(field.attrs.get("units", "")), str(field.attrs.get("long_name", "")) or name
        panels = []
        for i, index in enumerate(answer.shown.index):
            draws = field.isel(shown_=i)
            if not np.isfinite(draws.values).any():
                continue
            who = answer.name(int(index)) if answer.count > 1 else words
            if len(own) == 1:
                at, x_label = _along(field, own[0])
                panels.append(curve(who, x_label, label(name, units), at, draws.values.astype(float)))
            else:
                panels += _image(who, name, units, draws, own)
        if panels:
            legend = BANDS[:3] if len(own) == 1 else ()
            items.append(Figure(f"Posterior of {words}.", tuple(panels), legend))
    return items


def _image(who: str, name: str, units: str, draws: xr.DataArray, own: Sequence[Any]) -> list[Panel]:
    """Median and standard deviation of a field over its last two dimensions, the first of others."""
    draws = draws.isel(dict.fromkeys(own[:-2], 0))
    down, across = (_along(draws, d) for d in own[-2:])
    values = {"median": np.median(draws.values, 0), "posterior sd": draws.values.std(0)}
    return [
        chart(
            f"{who}: {words}", label(name, units), v.astype(float), across[0], down[0], (across[1], down[1]), image=True
        )
        for words, v in values.items()
    ]


def _along(field: xr.DataArray, dim: Any) -> tuple[np.ndarray, str]:
    """Values of a numeric coordinate along a dimension, or numbers, and what they are."""
    for c in field.coords.values():
        if c.dims == (dim,) and c.dtype.kind in "iuf":
            return c.values.astype(float), label(str(c.attrs.get("long_name", c.name)), str(c.attrs.get("units", "")))
    return np.arange(field.sizes[dim], dtype=float), str(dim)


def _curves(panel: Curves) -> Panel:
    """A forward model's own panel."""
    observed = None if panel.observed is None else panel.observed.double().numpy()
    return curve(
        panel.title, panel.x_label, panel.y_label, panel.x.double().numpy(), panel.draws.double().numpy(), observed
    )


curves = _curves


def _pairs(answer: Answer, chosen: Sequence[CauseSummary]) -> Figure:
    couples = list(itertools.combinations(chosen, 2))
    if answer.count == 1 or answer.usable.sum() < 3:
        draws = {c.name: answer.kept.draws[c.name] for c in chosen}
        first = {k: v[:, 0] for k, v in draws.items()}
        step = max(1, len(next(iter(first.values()))) // _TIPPED)
        panels = [
            pair(
                (a.name, b.name),
                (a.units, b.units),
                np.stack([first[a.name], first[b.name]], 1)[::step][:_TIPPED],
                "draws of the posterior",
            )
            for a, b in couples
        ]
        who = "" if answer.count == 1 else f" of {answer.name(int(answer.kept.index[0]))}"
        return Figure(
            f"Draws of the posterior{who}: where they lie along a line, the observation fixes a combination of causes "
            "better than each.",
            tuple(panels),
        )
    good = np.flatnonzero(answer.usable)
    tips = [answer.name(int(i)) for i in good] if len(good) <= _TIPPED else None
    panels = [
        pair(
            (a.name, b.name),
            (a.units, b.units),
            np.stack([a.median[good], b.median[good]], 1),
            "posterior medians",
            tips,
        )
        for a, b in couples
    ]
    words = "Posterior medians of the observations that can be used. How causes go together within one posterior is "
    words += "another matter."
    return Figure(words, tuple(panels))
