"""What a check found, on the terminal."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rich.console import Group, RenderableType
from rich.markup import escape
from rich.table import Table
from rich.text import Text


def rendered(content: Mapping[str, Any]) -> RenderableType:
    """A rich renderable of the content of `physgen.check_job.check_to_json`: tables, and the verdict last."""
    parts: list[RenderableType] = [_checks(content), _coverage(content), _sensitivity(content["sensitivity"])]
    parts += [Text(f"{name}: not made. {why}") for name, why in content["skipped"].items()]
    if "conformal" in content:
        parts.append(Text(content["conformal"]["words"]))
    return Group(*parts, _verdict(content))


def _checks(content: Mapping[str, Any]) -> Table:
    trusted, total = content["trusted"], content["simulations"]
    table = Table(
        title=f"{total} simulations, {100 * trusted / total:.1f} % of them trusted, {content['draws']} draws of each",
        caption="p: chance of so much if the method is exact; adjusted: for the number of checks. doubts: by itself.",
    )
    table.add_column("check", style="bold", no_wrap=True)
    table.add_column("p", justify="right", no_wrap=True)
    table.add_column("adjusted", justify="right", no_wrap=True)
    table.add_column("", no_wrap=True)
    table.add_column("what it says")
    for check in content["checks"]:
        mark = "[green]passes[/]" if check["p_value"] > content["level"] else "[yellow]doubts[/]"
        mark = "[red]objects[/]" if check["adjusted_p_value"] <= content["level"] else mark
        p = f"{check['p_value']:.3f}", f"{check['adjusted_p_value']:.3f}"
        table.add_row(escape(check["name"]), *p, mark, escape(check["words"]))
    return table


def _coverage(content: Mapping[str, Any]) -> Table:
    every = content["coverage_of_all"]
    found = [c for c in content["checks"] if c["name"] == "marginal coverage"]
    trusted = found[0]["figures"]["coverage"] if found else {}
    table = Table(
        title="Share of truths inside central intervals (%)",
        caption=f"Of trusted answers / of all {every['n']} that have draws.",
    )
    table.add_column("cause", style="bold", no_wrap=True)
    for level in every["levels"]:
        table.add_column(f"{100 * level:g} %", justify="right", no_wrap=True)
    for name, shares in every["coverage"].items():
        own = trusted.get(name, [None] * len(shares))
        cells = [f"{_percent(a)} / {_percent(b)}" for a, b in zip(own, shares, strict=True)]
        table.add_row(escape(name), *cells)
    return table


def _percent(share: float | None) -> str:
    return "-" if share is None else f"{100 * share:.0f}"


def _sensitivity(found: Mapping[str, Any]) -> RenderableType:
    if "causes" not in found:
        return Text(f"Sensitivity: not computed. {found['why']}")
    table = Table(title=f"Sensitivity of {found['trusted']} trusted observations of the recipe to a power of")
    table.add_column("cause", style="bold", no_wrap=True)
    table.add_column("prior", justify="right", no_wrap=True)
    table.add_column("likelihood", justify="right", no_wrap=True)
    table.add_column("verdict for most observations")
    for name, own in found["causes"].items():
        share = max(own["verdicts"].values()) / max(found["trusted"], 1)
        figures = [f"{own[k]:.2f}" if own[k] is not None else "-" for k in ("prior", "likelihood")]
        table.add_row(escape(name), *figures, escape(f"({100 * share:.0f} %) {own['words']}"))
    return table


def _verdict(content: Mapping[str, Any]) -> Text:
    share = 100 * content["trusted"] / content["simulations"]
    text = Text("Verdict: ", style="bold")
    text.append("passes. " if content["passed"] else "fails. ", style="green" if content["passed"] else "red")
    text.append(content["verdict"], style="not bold")
    return text.append(f" {share:.1f} % of the simulated observations got a trusted answer.", style="not bold")
