"""Sections on calibration and on sensitivity to the prior."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from .calibration import Calibration, figure_or_nan
from .figure import Cell, Section, digits, percent, table
from .page import Absent
from .reading import Answer
from .verdict import LITTLE, MISFIT, NARROW, SENSITIVE


def calibrated(found: Calibration | None) -> Section:
    """Whether the method is right for this problem, on simulated observations."""
    title = "Calibration: is the method right for this problem?"
    if found is None:
        return Section(
            "calibration",
            title,
            (
                Absent(
                    "No file of checks was given or found beside the result. Run physgen check RECIPE, which inverts "
                    "observations simulated from the prior, and give its file with --check."
                ),
            ),
        )
    items: list[Any] = [found.words]
    if not found.same_recipe:
        items.append(Absent("These checks were not made with this very recipe. Run physgen check on the result's."))
    rows = []
    for check in found.checks:
        p, own = figure_or_nan(check.get("adjusted_p_value")), figure_or_nan(check["p_value"])
        said = "objects" if p <= found.level else "passes"
        row = [check["name"], said, Cell(p_words(own), own), Cell(p_words(p), p), figure_or_nan(check["statistic"])]
        rows.append([*row, int(check.get("n", 0)), check["words"]])
    columns = ["check", "verdict", "p", "p, adjusted", "statistic", "simulations", "in words"]
    items.append(table(f"Checks, at {percent(found.level)} for all of them together (Holm 1979)", columns, rows))
    items += _coverage(found)
    skipped = found.content.get("skipped") or {}
    items += [f"Not made: {name}. {why}" for name, why in skipped.items()]
    conformal = found.content.get("conformal")
    if conformal:
        items.append(str(conformal.get("words", "")))
    return Section("calibration", title, tuple(items))


def _coverage(found: Calibration) -> list[Any]:
    """Share of truths in central intervals, by cause."""
    of = next((c["figures"] for c in found.checks if c["name"] == "marginal coverage"), None) or {}
    if not {"levels", "coverage"} <= of.keys():
        return []
    rows = [
        [name, *(Cell(f"{100 * figure_or_nan(v):.1f}", figure_or_nan(v)) for v in shares)]
        for name, shares in of["coverage"].items()
    ]
    columns = ["cause", *(f"in the {100 * level:g} % interval (%)" for level in of["levels"])]
    return [table("How many simulated truths lie in the posteriors' central intervals", columns, rows)]


def p_words(value: float) -> str:
    """A p-value as one reads it."""
    return "below 0.001" if value < 0.001 else f"{value:.3f}" if value < 0.1 else f"{value:.2f}"


def sensitive(answer: Answer, ratio: Mapping[str, float], why: str, found: Calibration | None) -> Section:
    """Whether another prior would say otherwise."""
    items: list[Any] = []
    prior, likelihood = answer.stats.get("prior_sensitivity"), answer.stats.get("likelihood_sensitivity")
    if prior is None or likelihood is None:
        items.append(
            Absent(
                "The file holds no power-scaling sensitivities of its observations. physgen invert RECIPE of "
                "this version stores them where prior and method allow it; physgen check RECIPE computes them "
                "for some observations."
            )
        )
    else:
        items += _power(answer, prior, likelihood)
    items += _conflict(answer)
    items += _checked_power(found)
    if ratio:
        rows = [[k, Cell(digits(v, 2), v), _read(v)] for k, v in ratio.items()]
        items.append(
            table(
                "Width of the posterior's 90 % interval over the prior's, typically",
                ["cause", "ratio", "which says that"],
                rows,
            )
        )
    elif why:
        items.append(Absent(f"How much the observations narrow the prior is not known. {why}"))
    dofs = answer.stats.get("dofs")
    if dofs is not None and np.isfinite(dofs).any():
        good = dofs[np.isfinite(dofs)]
        if answer.count == 1:
            items.append(
                f"The observation determined {digits(float(good[0]))} independent numbers (degrees of freedom for "
                "signal)."
            )
        else:
            low, middle, high = np.quantile(good, [0.05, 0.5, 0.95])
            items.append(
                f"An observation determined {digits(float(middle))} independent numbers in the median (degrees of "
                f"freedom for signal; 90 % of the observations: {digits(float(low))} to {digits(float(high))})."
            )
    return Section("sensitivity", "Sensitivity: would another prior say otherwise?", tuple(items))


def _conflict(answer: Answer) -> list[Any]:
    """How far out in the prior the fits are."""
    p = answer.stats.get("conflict_p")
    if p is None or not np.isfinite(p).any():
        return []
    finite = p[np.isfinite(p)]
    if len(finite) == 1:
        return [f"If the prior holds, causes as far out in it as these have the chance {p_words(float(finite[0]))}."]
    share = float((finite < MISFIT).mean())
    return [
        f"In {percent(share)} of the observations the best fit lies farther out in the prior than {percent(MISFIT)} of "
        "those that the prior makes: there they are in conflict."
    ]


def _checked_power(found: Calibration | None) -> list[Any]:
    """Power-scaling of some observations, from the file of checks."""
    said = (found.content.get("sensitivity") or {}) if found is not None and found.same_recipe else {}
    if said.get("why"):
        return [Absent(f"physgen check could not compute power-scaling. {said['why']}")]
    causes = said.get("causes") or {}
    rows = [
        [k, figure_or_nan(v["prior"]), figure_or_nan(v["likelihood"]), v.get("words", "")] for k, v in causes.items()
    ]
    if not rows:
        return []
    caption = (
        f"Power-scaling over {said.get('trusted', 0):,} observations, by physgen check; above {SENSITIVE} is noticeable"
    )
    return [
        table(
            caption, ["cause", "prior sensitivity, median", "likelihood sensitivity, median", "commonest verdict"], rows
        )
    ]


def _read(ratio: float) -> str:
    if ratio < NARROW:
        return "the observations decide"
    return "the prior decides" if ratio > LITTLE else "observations and prior both have a say"


def _power(answer: Answer, prior: np.ndarray, likelihood: np.ndarray) -> list[Any]:
    """Power-scaling by cause: one observation's own figures, or those over all."""
    prior, likelihood = (v.reshape(answer.count, -1).astype(float) for v in (prior, likelihood))
    names = _names(answer, prior.shape[1])
    rows: list[list[Any]] = []
    for j, name in enumerate(names):
        p, q = prior[:, j], likelihood[:, j]
        known = np.isfinite(p) & np.isfinite(q)
        if not known.any():
            rows.append([name])
            continue
        conflict = (p[known] > SENSITIVE) & (q[known] > SENSITIVE)
        silent = (p[known] > SENSITIVE) & (q[known] <= SENSITIVE)
        shares = [Cell(percent(float(v.mean())), float(v.mean())) for v in (conflict, silent)]
        if answer.count == 1:
            said = (
                "prior and data both move it" if conflict[0] else "the data say little" if silent[0] else "no objection"
            )
            rows.append([name, float(p[known][0]), float(q[known][0]), said])
        else:
            rows.append([name, float(np.median(p[known])), float(np.median(q[known])), *shares])
    words = (
        "Prior and likelihood are raised to a power a little above and below one, and the posterior is watched "
        "(Kallioinen et al. 2023). A cause that moves with both is where they may conflict, or are both informative; "
        "one that moves with the prior alone is where the data say little."
    )
    columns = ["cause", "prior sensitivity", "likelihood sensitivity"]
    if answer.count == 1:
        return [words, table(f"Power-scaling; above {SENSITIVE} is noticeable", [*columns, "verdict"], rows)]
    columns = [
        "cause",
        "prior sensitivity, median",
        "likelihood sensitivity, median",
        "both move it in",
        "data say little in",
    ]
    return [words, table(f"Power-scaling over the observations; above {SENSITIVE} is noticeable", columns, rows)]


def _names(answer: Answer, count: int) -> list[str]:
    names = [c.name for c in answer.causes]
    return names if len(names) == count else [f"element {i}" for i in range(count)]
