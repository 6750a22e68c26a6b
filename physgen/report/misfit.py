"""The section on misfit: predictions beside observations, residuals, and p-values."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from ..panel import Panel as Curves
from .answered import BANDS, curves
from .bands import curve
from .bars import histogram
from .checked import p_words
from .figure import Cell, Figure, Panel, Section, digits, percent, table
from .page import Absent
from .predictive import Predictive
from .reading import Answer
from .svg import label
from .verdict import MISFIT, misfit_p

_NUMBERS = 600  # rows of a table of numbers


def misfitted(
    answer: Answer,
    few: Predictive | None,
    many: Predictive | None,
    panels: Sequence[tuple[str, list[Curves]]],
    why: str,
) -> Section:
    """Whether the model reaches the observations.

    Parameters
    ----------
    answer : Answer
    few, many : Predictive, optional
        Of the observations that are drawn one by one, and of those that are kept.
    panels : sequence of (str, list of Panel)
        What the noise offers, by the name of the observation.
    why : str
        Why there are no predictions.
    """
    items: list[Any] = []
    drawn: list[Panel] = [curves(p) for _, found in panels for p in found]
    if few is not None:
        drawn += [p for n in range(len(few.index)) for p in _predicted(answer, few, n)]
    if drawn:
        words = "What the posterior predicts, noise included, and what was observed"
        words += (
            "."
            if answer.count <= 6
            else ": observations that fit well, as most, and as badly as one in twenty of those that are trusted, and "
            "the worst of the others."
        )
        items.append(Figure(words, tuple(drawn), BANDS))
    if many is not None and len(many.index) > 6:
        items.append(_residuals(many))
    if not drawn:
        items.append(Absent(f"What the posterior predicts is not shown beside what was observed. {why}"))
    items += _chi2(answer)
    range_p = answer.stats.get("range_p")
    if range_p is not None:
        outside = np.isfinite(range_p) & (range_p < MISFIT)
        items.append(
            f"{int(outside.sum()):,} of {answer.count:,} observations ({percent(float(outside.mean()))}) lie "
            f"where the model makes none (p below {MISFIT:g})."
        )
    else:
        items.append(
            Absent(
                "Whether observations lie outside of all that the model makes is not in the file. physgen invert "
                "RECIPE of this version stores it."
            )
        )
    return Section("misfit", "Misfit: does the model reach these observations?", tuple(items))


def _predicted(answer: Answer, predictive: Predictive, n: int) -> list[Panel]:
    panels, start = [], 0
    who = answer.name(int(predictive.index[n])) if answer.count > 1 else ""
    scalars = [b for b in predictive.space if not b.shape]
    for block in predictive.space:
        cut = slice(start, start + block.size)
        start += block.size
        if len(block.shape) > 1 or (not block.shape and len(scalars) > 1):
            continue
        numeric = [c for c in block.coordinates.values() if not isinstance(c.values[0], str)]
        text = [c for c in block.coordinates.values() if isinstance(c.values[0], str)]
        at = np.asarray(numeric[0].values, dtype=float) if numeric else np.arange(block.size, dtype=float)
        names = [str(v) for v in text[0].values] if text else None
        x_label = (
            label(numeric[0].long_name or block.dims[0], numeric[0].units) if numeric else (block.dims or ("",))[0]
        )
        title = who or block.long_name or block.name
        drawn = curve(
            title,
            x_label,
            label(block.name, block.units),
            at,
            predictive.replicates[:, n, cut],
            predictive.y[n, cut],
            None if numeric else names,
            "prediction",
        )
        panels.append(drawn)
    if len(scalars) > 1:
        places = [predictive.space.slice(b.name).start for b in scalars]
        at = np.arange(len(scalars), dtype=float)
        panels.append(
            curve(
                who or "observables",
                "observable",
                "value",
                at,
                predictive.replicates[:, n, places],
                predictive.y[n, places],
                [b.name for b in scalars],
                "prediction",
            )
        )
    return panels


def _residuals(many: Predictive) -> Figure:
    """Standardised residuals by element, over the observations."""
    r = many.residuals()
    names, at, x_label = _elements(many)
    panel = curve(
        "Residuals by element",
        x_label,
        "(observed − predicted) / sd",
        at,
        r,
        np.zeros(r.shape[1]),
        names,
        "residuals over the observations",
    )
    rows = []
    for j in range(r.shape[1]):
        good = r[np.isfinite(r[:, j]), j]
        if len(good):
            rows.append(
                [
                    names[j] if names else digits(float(at[j]), 4),
                    float(good.mean()),
                    float(good.std()),
                    Cell(percent(float((abs(good) > 1.645).mean())), float((abs(good) > 1.645).mean())),
                ]
            )
    words = (
        f"Residuals of {len(many.index):,} observations in units of the predictive standard deviation. Where the model "
        "fits, they scatter about zero, somewhat less than one wide; a band off zero is something that it lacks."
    )
    legend = (
        ("line posterior", "median"),
        ("band band1", "50 % of the observations"),
        ("band band0", "90 %"),
        ("point observed", "zero"),
    )
    numbers = table("Residuals by element", ["element", "mean", "sd", "beyond the 90 % interval"], rows)
    return Figure(words, (panel,), legend, numbers if len(rows) <= _NUMBERS else None)


def _elements(many: Predictive) -> tuple[list[str] | None, np.ndarray, str]:
    """Names, places and label of the elements of the observables."""
    blocks = list(many.space)
    if len(blocks) == 1 and len(blocks[0].shape) == 1:
        block = blocks[0]
        for c in block.coordinates.values():
            if not isinstance(c.values[0], str):
                return None, np.asarray(c.values, dtype=float), label(c.long_name or block.dims[0], c.units)
        for c in block.coordinates.values():
            return [str(v) for v in c.values], np.arange(block.size, dtype=float), block.dims[0]
    size = many.space.size
    names = list(many.space.element_names) if len(blocks) > 1 and size < 60 else None
    return names, np.arange(size, dtype=float), "element"


def _chi2(answer: Answer) -> list[Any]:
    p = misfit_p(answer)
    if p is None or not np.isfinite(p).any():
        return [Absent("The file holds no measure of misfit. Methods with Gaussian noise store chi2.")]
    chi2, measured = answer.stats.get("chi2"), answer.stats.get("measured")
    source = "chi2 at the best fit"
    if answer.count == 1:
        said = f"p = {p_words(float(p[0]))} from {source}"
        if chi2 is not None and measured is not None:
            said = f"chi2 = {digits(float(chi2[0]))} for {int(measured[0]):,} measured values; {said}"
        return [f"{said[0].upper()}{said[1:]}. Below {MISFIT:g} the model does not reach the observation."]
    finite = p[np.isfinite(p)]
    words = (
        f"{percent(float((finite < MISFIT).mean()))} of the observations have a p-value below {MISFIT:g} by {source}; "
    )
    words += f"if the model holds it is about {percent(MISFIT)}."
    if answer.count < 10:
        return [words]
    panels = [histogram("p-values of the misfit", "p", finite)]
    if chi2 is not None and measured is not None:
        panels.insert(0, histogram("Misfit at the best fit", "chi2 per measured value", chi2 / np.maximum(measured, 1)))
    rows = [[n, *(float(v) for v in np.quantile(finite, [0.05, 0.5, 0.95]))] for n in ("p-value of the misfit",)]
    if chi2 is not None and measured is not None:
        ratio = (chi2 / np.maximum(measured, 1))[np.isfinite(chi2)]
        rows.append(["chi2 per measured value", *(float(v) for v in np.quantile(ratio, [0.05, 0.5, 0.95]))])
    numbers = table("Misfit over the observations", ["statistic", "5 %", "median", "95 %"], rows)
    return [
        words,
        Figure(
            "How well the observations are reached.",
            tuple(panels),
            (("fill posterior solid", "share of the observations"),),
            numbers,
        ),
    ]
