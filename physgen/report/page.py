"""The page: sections into one self-contained HTML file.

Everything that comes from a file passes the template's escaping. A content security policy allows the one script and
the one style by their hash, and nothing else: no other script runs, and nothing is fetched.
"""

from __future__ import annotations

import base64
import hashlib
from dataclasses import dataclass
from importlib.resources import files
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from .. import __version__
from ..provenance import now
from .figure import Figure, Section, Table
from .verdict import Verdict


@dataclass(frozen=True)
class Absent:
    """Words on what is not in the file, and how to get it."""

    words: str


@dataclass(frozen=True)
class Heading:
    """A heading within a section."""

    words: str


@dataclass(frozen=True)
class Verbatim:
    """A text as it is."""

    label: str
    text: str


def render(
    *, title: str, kicker: str, note: str, verdict: Verdict, sections: list[Section], file: str, size: int, sha256: str
) -> str:
    """The HTML of a report.

    Parameters
    ----------
    title, kicker, note : str
        Heading, the line above it, and the scientist's note below it.
    verdict : Verdict
    sections : list of Section
    file : str
        Name of the result.
    size : int
        Of that file, in bytes.
    sha256 : str
        Its checksum.
    """
    environment = Environment(
        loader=PackageLoader("physgen.report"), autoescape=True, undefined=StrictUndefined, trim_blocks=True
    )
    style, script = (_asset(name) for name in ("report.css", "report.js"))
    return environment.get_template("report.html.j2").render(
        title=title,
        kicker=kicker,
        note=note,
        verdict=verdict,
        sections=[{"key": s.key, "title": s.title, "entries": [_entry(i) for i in s.items]} for s in sections],
        style=Markup(style),
        script=Markup(script),
        style_hash=_hash(style),
        script_hash=_hash(script),
        version=__version__,
        written=now().replace("T", " ").removesuffix("+00:00") + " UTC",
        file=file,
        bytes=f"{size:,}",
        sha256=sha256,
    )


def _entry(item: Any) -> dict[str, Any]:
    if isinstance(item, Verbatim):
        return {"kind": "verbatim", "value": item.text, "label": item.label}
    kinds: dict[type, str] = {Table: "table", Figure: "figure", str: "text"}
    if isinstance(item, Absent | Heading):
        return {"kind": type(item).__name__.lower(), "value": item.words}
    return {"kind": kinds[type(item)], "value": item}


def _asset(name: str) -> str:
    """Style or script of the package: the only markup that is not escaped."""
    return (files("physgen.report") / "templates" / name).read_text(encoding="utf-8")


def _hash(text: str) -> str:
    """As a content security policy names an inline script or style."""
    return "sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
