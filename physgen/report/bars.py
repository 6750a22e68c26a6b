"""Histograms of a statistic over the observations, with the limit beyond which it speaks against them."""

from __future__ import annotations

import numpy as np

from .figure import Panel, digits, percent
from .svg import axes, horizontal, number, tag, vertical

_BINS = 32


def histogram(
    title: str, x_label: str, values: np.ndarray, limit: float | None = None, expected: np.ndarray | None = None
) -> Panel:
    """How many observations have which value of a statistic.

    Parameters
    ----------
    title, x_label : str
    values : ndarray (n,)
    limit : float, optional
        Drawn as a line.
    expected : ndarray (K,), optional
        Draws of the statistic where everything is well, drawn as a line behind.
    """
    values = values[np.isfinite(values)]
    low, high = np.quantile(values, [0.001, 0.98]) if len(values) else (0.0, 1.0)
    low = min(low, 0.0) if low < 0.3 * high else low
    high = max(high, 1.1 * limit if limit is not None else high)
    edges = np.linspace(low, high if high > low else low + 1, _BINS + 1)
    counts, _ = np.histogram(np.clip(values, edges[0], edges[-1]), edges)
    share = 100 * counts / max(len(values), 1)
    x, y = horizontal(edges[0], edges[-1]), vertical(0, 1.08 * max(share.max(), 1e-9))
    base = number(y.start)
    d = "".join(
        f"M{number(float(x(a)))} {base}V{number(float(y(s)))}H{number(float(x(b)))}V{base}z"
        for a, b, s in zip(edges, edges[1:], share, strict=False)
        if s
    )
    parts = [axes(x, y, x_label, "observations (%)"), tag("path", d=d, class_="fill posterior solid")]
    if expected is not None:
        of_all, _ = np.histogram(np.clip(expected, edges[0], edges[-1]), edges)
        height = 100 * of_all / len(expected)
        steps = np.repeat(np.minimum(height, y.high), 2)
        line = "M" + "L".join(
            f"{number(float(a))} {number(float(b))}"
            for a, b in zip(x(np.repeat(edges, 2)[1:-1]), y(steps), strict=True)
        )
        parts.append(tag("path", d=line, class_="line prior"))
    words = f"{title}: {len(values):,} observations, median {digits(float(np.median(values))) if len(values) else '–'}."
    if limit is not None:
        at = number(float(x(limit)))
        parts.append(tag("path", d=f"M{at} {number(y.end)}V{number(y.start)}", class_="limit"))
        words += (
            f" {percent(float((values > limit).mean()) if len(values) else 0)} lie above the limit {digits(limit)}."
        )
    return Panel(title, tag("g", *parts), words)
