"""The section on what not to trust: statuses, verdicts, the worst, and where they lie."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from ..diagnostics.trust import Trust
from ..status import Status
from .checked import p_words
from .figure import Cell, Figure, Section, percent, table
from .layout import MAP, grid_map, scattered, time_axis
from .maps import points_map
from .page import Absent, Heading
from .reading import Answer
from .verdict import misfit_p, trust_words

_WORST = 25


def not_trusted(answer: Answer) -> Section:
    """Statuses and codes of trust, with advice; the worst observations; where they lie."""
    total = answer.count
    codes, counts = np.unique(answer.status, return_counts=True)
    rows = [
        [Status(int(c)).meaning.replace("_", " "), int(n), Cell(percent(n, total), n / total), Status(int(c)).advice]
        for c, n in zip(codes, counts, strict=True)
    ]
    columns = ["verdict", "observations", "share", "what it means, what to do"]
    items: list[Any] = [table("Status: did the computation succeed?", columns, rows)]
    trust = answer.stats.get("trust")
    if trust is None:
        items.append(
            Absent(
                "The file holds no verdict of trust for each observation (prior-dominated, prior-data conflict, poor "
                "fit, outside the model). physgen invert RECIPE of this version stores it."
            )
        )
    else:
        codes, counts = np.unique(trust.astype(int), return_counts=True)
        rows = [
            [
                trust_words(int(c)),
                int(n),
                Cell(percent(n, total), n / total),
                Trust(int(c)).advice if int(c) in set(Trust) else "–",
            ]
            for c, n in zip(codes, counts, strict=True)
        ]
        items.append(table("Trust: all checks together", columns, rows))
    if not answer.usable.all() and total > 1:
        items += [Heading("The worst"), _worst(answer)]
        where = _where(answer)
        items += [where] if where is not None else []
    return Section("doubt", "What not to trust", tuple(items))


def _worst(answer: Answer) -> Any:
    """Those that should not be used, the worst misfit first."""
    bad = np.flatnonzero(~answer.usable)
    p = misfit_p(answer)
    key = np.full(answer.count, math.inf) if p is None else np.where(np.isfinite(p), p, math.inf)
    order = bad[np.argsort(key[bad], kind="stable")][:_WORST]
    trust = answer.stats.get("trust")
    shown = [
        k
        for k in ("k_hat", "ess", "rhat", "chi2", "conflict_p", "range_p")
        if k in answer.stats and answer.stats[k].ndim == 1
    ]
    rows = []
    for i in order:
        row: list[Any] = [answer.name(int(i)), Status(int(answer.status[i])).meaning.replace("_", " ")]
        if trust is not None:
            row.append(trust_words(int(trust[i])))
        if p is not None:
            row.append(
                Cell(p_words(float(p[i])) if math.isfinite(p[i]) else "–", float(p[i]) if math.isfinite(p[i]) else None)
            )
        rows.append([*row, *(float(answer.stats[k][i]) for k in shown)])
    columns = [
        "observation",
        "status",
        *(["trust"] if trust is not None else []),
        *(["p of misfit"] if p is not None else []),
        *shown,
    ]
    some = f"{len(order)} of {len(bad):,}" if len(order) < len(bad) else f"{len(bad)}"
    return table(f"Observations that should not be used as they are ({some})", columns, rows)


def _where(answer: Answer) -> Figure | None:
    """A map of the share that can be used."""
    values = 100.0 * answer.usable
    places = scattered(answer)
    if places is not None:
        panel = points_map("Share that can be used", "%", values, places[0], places[1], places[2])
    elif len(answer.shape) == 2 and min(answer.shape) >= MAP and time_axis(answer) is None:
        panel = grid_map(answer, "Share that can be used", "%", values)
    else:
        return None
    return Figure("Where the answers that can be used lie.", (panel,))
