"""Sections on what was asked and how it was computed, from the provenance."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from .bars import histogram
from .figure import Figure, Section, Table, percent, table
from .page import Absent, Heading, Verbatim
from .reading import Answer
from .svg import pretty_units

_LIMITS = {"k_hat": 0.7, "rhat": 1.05}  # beyond which the statistic speaks against an answer
_LONG = 400  # characters of a setting that are shown


def asked(answer: Answer) -> Section:
    """Causes, observations, and the parts of the problem."""
    spaces = json.loads(answer.attributes["spaces"])
    parts = [
        (words, str(answer.attributes.get(key)))
        for key, words in (
            ("forward_model", "forward model: what a cause looks like to the instrument"),
            ("prior", "prior: which causes nature makes"),
            ("noise", "noise: how instrument and model err"),
            ("method", "method: how prior and observation are combined"),
        )
        if answer.attributes.get(key)
    ]
    rows = [
        [b["name"], b["long_name"] or "–", _units(b["units"]), _support(b["support"]), _shape(b)]
        for b in spaces["causes"]
    ]
    items: list[Any] = [
        f"Sought are {len(rows)} causes of {_many(answer)}."
        if len(rows) > 1
        else f"Sought is one cause of {_many(answer)}.",
        table("The causes", ["cause", "what it is", "units", "possible values", "size"], rows),
    ]
    seen = spaces.get("observables")
    if seen:
        columns = ["observable", "what it is", "units", "possible values", "size"]
        rows = [[b["name"], b["long_name"] or "–", _units(b["units"]), _support(b["support"]), _shape(b)] for b in seen]
        items.append(table("What was observed", columns, rows))
    if parts:
        items.append(table("The parts of the problem", ["part", "which"], parts))
    else:
        items.append(Absent("The file does not say with which parts it was made. Invert with physgen invert RECIPE."))
    return Section("asked", "What was asked", tuple(items))


def _many(answer: Answer) -> str:
    if not answer.dims:
        return "one observation"
    axes = " × ".join(f"{n:,} {d}" for d, n in zip(answer.dims, answer.shape, strict=True))
    plural = f"{answer.count:,} observation{'s' * (answer.count != 1)}"
    return plural if len(answer.dims) == 1 else f"{plural} ({axes})"


def _units(units: str) -> str:
    return "–" if units in ("", "1") else pretty_units(units)


def _support(support: list[Any]) -> str:
    low, high = (float(v) for v in support)
    if math.isinf(low) and math.isinf(high):
        return "all"
    ends = [f"{v:g}".replace("-", "−") for v in (low, high)]
    if math.isinf(high):
        return f"above {ends[0]}"
    return f"below {ends[1]}" if math.isinf(low) else f"{ends[0]} to {ends[1]}"


def _shape(block: Mapping[str, Any]) -> str:
    shape = " × ".join(f"{n} {d}" for n, d in zip(block["shape"], block["dims"], strict=True))
    return shape or "a number"


def computed(answer: Answer) -> Section:
    """The method, its settings, and what it says of its own work."""
    settings = json.loads(answer.attributes.get("settings", "{}"))
    method = settings.get("method", "an unnamed method")
    said = f"{method} gave {answer.total_draws:,} draws for every observation"
    seed = answer.attributes.get("seed")
    said += f" (seed {seed})." if seed is not None else "."
    span = _span(answer)
    items: list[Any] = [said + (f" It took from {span}." if span else "")]
    said = ", ".join(f"{k.replace('_', ' ')} {_short(v)}" for k, v in settings.items() if k != "method")
    if said:
        items.append(f"Its settings: {said}.")
    figures = _own_statistics(answer)
    if figures is not None:
        items += [Heading("What the method says of its own work"), figures]
        items += _histograms(answer)
    return Section("computed", "How it was computed", tuple(items))


def _span(answer: Answer) -> str:
    started, ended = (answer.attributes.get(k) for k in ("started", "ended"))
    if not started or not ended:
        return ""
    return " to ".join(str(t).replace("T", " ").removesuffix("+00:00") for t in (started, ended)) + " UTC"


def _short(value: Any) -> str:
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    return text if len(text) <= _LONG else text[:_LONG] + " …"


_WORDS = {
    "k_hat": "Pareto shape of the importance weights; below 0.7 they can be relied on",
    "ess": "effective draws",
    "ess_bulk": "effective draws for the middle",
    "ess_tail": "effective draws for the tails",
    "rhat": "disagreement of the chains; near 1 where they agree",
    "acceptance_fraction": "share of proposals accepted",
    "divergences": "trajectories that diverged",
    "dofs": "degrees of freedom for signal: how many independent numbers the observation determined",
    "information_content": "information gained (nats)",
    "log_evidence": "log of the density of the observation under the problem",
    "rounds": "rounds of importance sampling",
    "iterations": "linearisations",
    "steps": "steps of each chain",
    "gradients": "gradients",
    "evaluations": "evaluations of the posterior density",
}


def _own_statistics(answer: Answer) -> Table | None:
    rows = []
    for name, words in _WORDS.items():
        values = answer.stats.get(name)
        if values is None or values.ndim > 1:
            continue
        finite = values[np.isfinite(values)].astype(float)
        if not len(finite):
            continue
        if answer.count == 1:
            rows.append([name, words, _whole(float(finite[0]))])
        else:
            low, middle, high = np.quantile(finite, [0.05, 0.5, 0.95])
            rows.append(
                [name, words, *map(_whole, (middle, low, high)), percent(len(values) - len(finite), len(values))]
            )
    if not rows:
        return None
    if answer.count == 1:
        return table("Statistics of the inversion", ["statistic", "what it is", "value"], rows)
    columns = ["statistic", "what it is", "median", "5 %", "95 %", "not finite"]
    return table("Statistics of the inversion over the observations", columns, rows)


def _whole(value: float) -> float | int:
    """A count as a whole number."""
    return int(value) if float(value).is_integer() and abs(value) < 1e9 else float(value)


def _histograms(answer: Answer) -> list[Figure]:
    """Of many observations only."""
    if answer.count < 30:
        return []
    panels = []
    for name, label in (
        ("k_hat", "Pareto k"),
        ("rhat", "R-hat"),
        ("ess", "effective draws"),
        ("dofs", "degrees of freedom for signal"),
    ):
        values = answer.stats.get(name)
        if values is not None and values.ndim == 1 and np.isfinite(values).sum() > 1:
            panels.append(histogram(label, label, values.astype(float), _LIMITS.get(name)))
    legend = (("fill posterior solid", "share of the observations"), ("limit", "limit"))
    return [Figure("Statistics of the inversion over all observations.", tuple(panels), legend)] if panels else []


def provenance(answer: Answer, note: str) -> Section:
    """What another laboratory needs to repeat the answer."""
    a = answer.attributes
    items: list[Any] = []
    if note:
        items.append(f"The scientist's note: {note}")
    rows = []
    for key, words in (
        ("physgen_version", "physgen"),
        ("inference_library_version", "physgen (file)"),
        ("git_commit", "git commit"),
        ("git_modified", "source modified since"),
        ("seed", "seed"),
        ("python", "Python"),
        ("platform", "platform"),
        ("host", "host"),
        ("started", "started"),
        ("ended", "ended"),
    ):
        if a.get(key) not in (None, "") and not (key == "inference_library_version" and a.get("physgen_version")):
            rows.append([words, str(a[key])])
    versions = _mapping(a.get("versions"))
    if versions:
        rows.append(["libraries", ", ".join(f"{k} {v}" for k, v in versions.items() if k != "physgen")])
    items.append(table("Where and with what it was computed", ["what", "value"], rows))
    inputs = _list(a.get("inputs"))
    if inputs:
        items.append(
            table(
                "Files that were read",
                ["file", "bytes", "sha256"],
                [[f.get("path", "–"), int(f.get("bytes", 0)), f.get("sha256", "–")] for f in inputs],
            )
        )
    recipe = a.get("recipe")
    items.append(Heading("The recipe, verbatim"))
    if isinstance(recipe, str) and recipe:
        items.append(Verbatim("The recipe", recipe))
    else:
        items.append(Absent("The file carries no recipe: it was made by a script. Its settings are above."))
    return Section("provenance", "Provenance", tuple(items))


def _mapping(value: Any) -> dict[str, Any]:
    try:
        found = json.loads(value)
    except (TypeError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def _list(value: Any) -> list[dict[str, Any]]:
    try:
        found = json.loads(value)
    except (TypeError, ValueError):
        return []
    return [f for f in found if isinstance(f, dict)] if isinstance(found, list) else []
