"""What a result says, on the terminal: the causes, whom to trust, and what made it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Group, RenderableType
from rich.markup import escape
from rich.table import Table

from .summary import CauseSummary, Summary, summarise

# provenance that a reader wants at a glance, in this order, with the words to show
_ESSENTIALS = {
    "note": "note",
    "method": "method",
    "forward_model": "forward model",
    "prior": "prior",
    "noise": "noise",
    "seed": "seed",
    "physgen_version": "physgen",
    "git_commit": "git commit",
    "host": "host",
    "started": "started",
    "ended": "ended",
    "inputs": "inputs",
}


def show(path: str | Path) -> RenderableType:
    """A rich renderable that summarises the result in a file.

    Raises
    ------
    ValueError
        If the file is missing, damaged, or not a result.
    """
    summary = summarise(path)
    return Group(_causes(summary, Path(path).name), _statuses(summary), _provenance(summary.attributes))


def _causes(summary: Summary, title: str) -> Table:
    trusted, total = int(summary.trusted.sum()), summary.status.size
    axes = " x ".join(f"{n} of {d}" for d, n in zip(summary.dims, summary.status.shape, strict=True))
    of = f"{trusted:,} trusted observations of {total:,}" if summary.dims else "one observation"
    of += f" ({axes})" if len(summary.dims) > 1 else ""
    table = Table(title=f"{escape(title)}: posterior of {of}", caption="Of trusted observations only.")
    table.add_column("cause", style="bold", no_wrap=True)
    table.add_column("units", no_wrap=True)
    table.add_column("median", justify="right")
    table.add_column("5 % to 95 % of the medians", justify="right")
    table.add_column("posterior sd, typically", justify="right")
    table.add_column("90 % interval's width, typically", justify="right")
    for cause in summary.causes:
        table.add_row(*_row(cause, summary.trusted))
    return table


def _row(cause: CauseSummary, trusted: np.ndarray) -> list[str]:
    median, sd, width = (v[trusted] for v in (cause.median, cause.sd, cause.high - cause.low))
    if not median.size:
        return [escape(cause.name), escape(cause.units), "-", "-", "-", "-"]
    low, middle, high = np.quantile(median, [0.05, 0.5, 0.95])
    figures = [f"{middle:.4g}", f"{low:.4g} to {high:.4g}", f"{np.median(sd):.3g}", f"{np.median(width):.3g}"]
    return [escape(cause.name), escape(cause.units), *figures]


def _statuses(summary: Summary) -> Table:
    table = Table(title="Status of the observations")
    table.add_column("status", style="bold", no_wrap=True)
    table.add_column("observations", justify="right", no_wrap=True)
    table.add_column("share", justify="right", no_wrap=True)
    table.add_column("advice")
    total = max(summary.status.size, 1)
    for status, count in summary.counts().items():
        share = f"{100 * count / total:.1f} %"
        table.add_row(status.meaning.replace("_", " "), f"{count:,}", share, status.advice)
    return table


def _provenance(attributes: Mapping[str, Any]) -> Table:
    table = Table(title="Provenance", show_header=False)
    table.add_column(style="bold", no_wrap=True)
    table.add_column(overflow="fold")
    for key, words in _ESSENTIALS.items():
        value = attributes.get(key)
        if value is not None and str(value) not in ("", "[]"):
            table.add_row(words, escape(_files(str(value)) if key == "inputs" else str(value)))
    return table


def _files(text: str) -> str:
    """One line for each input file: its name and the beginning of its checksum."""
    try:
        found = json.loads(text)
        return "\n".join(f"{Path(f['path']).name} (sha256 {f['sha256'][:12]}...)" for f in found)
    except (ValueError, TypeError, KeyError):  # not the list that physgen writes: show it as it is
        return text
