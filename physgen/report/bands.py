"""Curves along a coordinate, over time, and observation by observation: medians with their 50 and 90 % bands."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from markupsafe import Markup

from .figure import Panel, digits, interval
from .svg import BOTTOM, RIGHT, TOP, Scale, axes, band, horizontal, label, number, path, point, tag, vertical

_TELLABLE = 60  # points that can be told apart, and focused
_DOTS = 400  # points that are drawn at all


def curve(
    title: str,
    x_label: str,
    y_label: str,
    at: np.ndarray,
    draws: np.ndarray,
    observed: np.ndarray | None = None,
    names: Sequence[str] | None = None,
    what: str = "posterior",
) -> Panel:
    """Draws of a curve as bands, and what was observed as points.

    Parameters
    ----------
    title, x_label, y_label : str
    at : ndarray (n,) or (n + 1,)
        Where the curve is known, or the edges of classes.
    draws : ndarray (D, n)
    observed : ndarray (n,), optional
    names : sequence of str, optional
        Of the n places, for ticks and points.
    what : str
        What the bands are, for the description.
    """
    classes = len(at) == draws.shape[1] + 1
    order = np.arange(len(at)) if classes else np.argsort(at, kind="stable")
    at, names = at[order], None if names is None else [names[i] for i in order]
    draws = draws if classes else draws[:, order]
    seen = None if observed is None else (observed if classes else observed[order])
    levels = _levels(draws)
    y = vertical(*_extent(levels, seen))
    x = horizontal(*_ends(at))
    if classes:
        levels = np.repeat(levels, 2, axis=1)
        places = np.repeat(at, 2)[1:-1]
    else:
        places = at
    parts = [axes(x, y, x_label, y_label, x_ticks=_named(x, at, names))]
    parts += _bands(x(places), levels, y)
    if seen is not None:
        parts.append(_seen(x, y, at, seen, names, x_label))
    inside = "" if seen is None else _inside(levels[:, ::2] if classes else levels, seen)
    words = f"{title}. {y_label} against {x_label}: median and bands of the {what}, {len(at)} places.{inside}"
    return Panel(title, tag("g", *parts), words, points=seen is not None and len(seen) <= _TELLABLE)


def _levels(draws: np.ndarray) -> np.ndarray:
    """Quantiles (5, n); NaN where there are no draws."""
    out = np.full((5, draws.shape[1]), np.nan)
    good = np.isfinite(draws).all(0)
    if good.any() and len(draws):
        out[:, good] = np.quantile(draws[:, good], [0.05, 0.25, 0.5, 0.75, 0.95], axis=0)
    return out


def _bands(places: np.ndarray, levels: np.ndarray, y: Scale) -> list[Markup]:
    parts = [tag("path", d=band(places, y(levels[a]), y(levels[4 - a])), class_=f"band band{a}") for a in (0, 1)]
    return [*parts, tag("path", d=path(places, y(levels[2])), class_="line posterior")]


def _seen(x: Scale, y: Scale, at: np.ndarray, seen: np.ndarray, names: Sequence[str] | None, what: str) -> Markup:
    if len(at) == len(seen) + 1:
        steps = path(x(np.repeat(at, 2)[1:-1]), y(np.repeat(seen, 2)))
        return tag("path", d=steps, class_="line observed")
    parts = []
    for i in np.flatnonzero(np.isfinite(seen)).tolist() if len(seen) <= _DOTS else []:
        name = names[i] if names else f"{what} {digits(float(at[i]), 4)}"
        words = f"{name}: observed {digits(float(seen[i]))}"
        parts.append(
            point(float(x(at[i])), float(y(seen[i])), words, class_="point observed", focusable=len(seen) <= _TELLABLE)
        )
    return tag("g", *parts) if parts else tag("path", d=path(x(at), y(seen)), class_="line observed")


def _inside(levels: np.ndarray, seen: np.ndarray) -> str:
    good = np.isfinite(seen) & np.isfinite(levels).all(0)
    if not good.any():
        return ""
    within = (seen >= levels[0])[good] & (seen <= levels[4])[good]
    return f" {within.sum()} of {good.sum()} observed values lie in the 90 % band."


def _ends(at: np.ndarray) -> tuple[float, float]:
    room = 0.02 * float(at[-1] - at[0]) or 0.5
    return float(at[0]) - room, float(at[-1]) + room


def _extent(*values: np.ndarray | None) -> tuple[float, float]:
    finite = np.concatenate([np.asarray(v)[np.isfinite(v)] for v in values if v is not None])
    if not len(finite):
        return 0.0, 1.0
    low, high = float(finite.min()), float(finite.max())
    room = 0.05 * (high - low)
    return (0.0 if 0 <= low < 0.2 * high else low - room), high + room


def _named(x: Scale, at: np.ndarray, names: Sequence[str] | None) -> list[tuple[float, str]] | None:
    """Ticks of names, as many as have room."""
    if names is None:
        return None
    chosen: list[tuple[float, str]] = []
    free = -np.inf
    for place, words in zip(at, names, strict=True):
        half = 3.2 * len(words)
        if float(x(place)) - half > free:
            chosen.append((float(place), words))
            free = float(x(place)) + half + 4
    return chosen


def series(
    title: str, y_label: str, times: np.ndarray, median: np.ndarray, sd: np.ndarray, names: Sequence[str]
) -> Panel:
    """Medians of many observations over time: their median, the inner 50 and 90 % of them, and one typical sd.

    Parameters
    ----------
    times : datetime64 ndarray (T,)
    median, sd : ndarray (T, P)
        NaN where not trusted.
    names : sequence of str
        Of the times.
    """
    order = np.argsort(times)
    times, median, sd, names = times[order], median[order], sd[order], [names[i] for i in order]
    at = times.astype("datetime64[s]").astype(float)
    with np.errstate(all="ignore"):
        typical = np.array([np.nanmedian(row) if np.isfinite(row).any() else np.nan for row in sd])
    single = median.shape[1] == 1
    levels = (
        _over(median) if not single else median[:, 0] + np.array([-1.645, -0.674, 0, 0.674, 1.645])[:, None] * typical
    )
    x = horizontal(*_ends(at))
    y = vertical(*_extent(levels))
    parts = [axes(x, y, "time", y_label, x_ticks=_dates(x, times)), *_bands(x(at), levels, y)]
    for i in np.flatnonzero(np.isfinite(levels[2])):
        place = float(x(at[i]))
        if not single:
            ends = y(np.clip(levels[2, i] + typical[i] * np.array([-1, 1]), y.low, y.high))
            parts.append(tag("path", d=f"M{number(place)} {number(ends[0])}V{number(ends[1])}", class_="whisker"))
        n = int(np.isfinite(median[i]).sum())
        words = f"{names[i]}: median {digits(float(levels[2, i]))}, {n:,} observation{'s' * (n != 1)}, "
        words += f"typical sd {digits(float(typical[i]), 2)}"
        parts.append(point(place, float(y(levels[2, i])), words, focusable=len(at) <= _TELLABLE))
    first, last = (digits(float(levels[2, i])) for i in (0, -1))
    words = f"{title} over {len(at)} times from {names[0]} (median {first}) to {names[-1]} (median {last})."
    return Panel(title, tag("g", *parts), words, points=len(at) <= _TELLABLE)


def _over(median: np.ndarray) -> np.ndarray:
    out = np.full((5, len(median)), np.nan)
    some = np.isfinite(median).any(1)
    if some.any():
        out[:, some] = np.nanquantile(median[some], [0.05, 0.25, 0.5, 0.75, 0.95], axis=1)
    return out


def _dates(x: Scale, times: np.ndarray) -> list[tuple[float, str]]:
    """Ticks at round dates."""
    low, high = (np.array([x.low, x.high]).astype("int64")).astype("datetime64[s]")
    for unit, step in (
        ("Y", 10),
        ("Y", 5),
        ("Y", 2),
        ("Y", 1),
        ("M", 6),
        ("M", 3),
        ("M", 2),
        ("M", 1),
        ("D", 7),
        ("D", 2),
        ("D", 1),
        ("h", 6),
        ("h", 1),
        ("m", 10),
        ("m", 1),
    ):
        first = low.astype(f"datetime64[{unit}]").astype(int)
        last = high.astype(f"datetime64[{unit}]").astype(int)
        values = np.arange(-(-first // step) * step, last + 1, step).astype(f"datetime64[{unit}]")
        seconds = values.astype("datetime64[s]")
        inside = (seconds >= low) & (seconds <= high)
        if inside.sum() >= 3:
            kept = values[inside][:: -(-int(inside.sum()) // 5)]
            return [(float(t.astype("datetime64[s]").astype(int)), _day(t, unit)) for t in kept]
    return [(float(t.astype("datetime64[s]").astype(int)), str(t)) for t in times[:1]]


def _day(time: Any, unit: str) -> str:
    text = str(time)
    return text if unit in "YMD" else text[11:16]


def intervals(
    name: str, units: str, names: Sequence[str], low: np.ndarray, median: np.ndarray, high: np.ndarray, good: np.ndarray
) -> Panel:
    """Median and 90 % interval of each observation: by name if they are few, else in the order of the medians.

    Parameters
    ----------
    name, units : str
        Of the cause.
    names : sequence of str
        Of the n observations.
    low, median, high : ndarray (n,)
    good : boolean ndarray (n,)
        Which can be used; the others are drawn hollow.
    """
    few = len(median) <= 40
    order = np.arange(len(median)) if few else np.argsort(median, kind="stable")
    row = 18.0 if few else 3.0
    height = TOP + BOTTOM + row * len(order) + 6
    widest = max((len(str(n)) for n in names), default=0) if few else 0
    x = horizontal(*_extent(low, high), left=min(150.0, 22 + 5.6 * widest) if few else 20.0)
    shift = TOP + 3 + row / 2
    y = Scale(0, 1, height - BOTTOM, TOP)
    base = axes(x, y, label(name, units), "", y_ticks=(), height=height)
    parts = [base]
    for place, i in enumerate(order):
        at = shift + row * place
        if not np.isfinite(median[i]):
            continue
        shown, ends = interval(float(low[i]), float(median[i]), float(high[i]))
        words = f"{names[i]}: {shown} ({ends}){'' if good[i] else ', not to be used as it is'}"
        kind = "" if good[i] else " doubt"
        parts.append(
            tag(
                "path",
                d=f"M{number(float(x(low[i])))} {number(at)}H{number(float(x(high[i])))}",
                class_=f"bar posterior{kind}" if few else f"thin posterior{kind}",
            )
        )
        parts.append(
            point(float(x(median[i])), at, words, class_=f"point{kind}", focusable=few, radius=3.4 if few else 1.6)
        )
        if few:
            parts.append(
                tag("text", _short(str(names[i])), x=x.start - 7, y=at + 3.5, class_="tick end", aria_hidden="true")
            )
    n = int(np.isfinite(median).sum())
    words = f"{name} of {n} observations, each with its median and 90 % interval, "
    words += "by name." if few else "in the order of the medians."
    return Panel(label(name, units), tag("g", *parts), words, height=height, points=few)


def _short(text: str) -> str:
    return text if len(text) <= 22 else text[:21] + "…"


__all__ = ["RIGHT", "curve", "intervals", "series"]
