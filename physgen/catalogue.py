"""The catalogue: what is installed, with causes, units and conditions, as `physgen models` prints it."""

from __future__ import annotations

import inspect
from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from .registry import GROUPS, Entry, RegistryError, entries

if TYPE_CHECKING:
    from rich.table import Table

    from .space import Block


@dataclass(frozen=True)
class Description:
    """One registered part in words.

    Attributes
    ----------
    entry : Entry
    causes, conditions : str
        "lai (m2 m-2), cab (ug cm-2)"; empty where the part has none, or does not say.
    settings : str
        What the constructor takes, with defaults.
    trouble : str
        Why it cannot be used; empty if it can.
    """

    entry: Entry
    causes: str = ""
    conditions: str = ""
    settings: str = ""
    trouble: str = ""


def describe(entry: Entry) -> Description:
    """Import a part and say what it takes; one that fails to import is described as such, never an error."""
    try:
        target = entry.load()
    except RegistryError as error:
        return Description(entry, trouble=str(error))
    try:
        part = _example(target)
        causes, conditions = _blocks(getattr(part, "causes", None)), _conditions(entry.kind, part)
    except Exception as error:  # a plug-in may raise anything, and must not hide the others
        trouble = f"It cannot be described ({type(error).__name__}: {error})."
        return Description(entry, settings=_settings(target), trouble=trouble)
    return Description(entry, causes, conditions, _settings(target))


def catalogue() -> list[Description]:
    """Every registered part, by kind."""
    return [describe(entry) for kind in GROUPS for entry in entries(kind)]


def catalogue_table(descriptions: Iterable[Description]) -> Table:
    """A rich table with one row for each part."""
    from rich.markup import escape
    from rich.table import Table

    table = Table(title="Installed parts", caption="A recipe may also name my_module:my_model.", show_lines=True)
    table.add_column("name", style="bold", no_wrap=True)
    table.add_column("kind", no_wrap=True)
    table.add_column("from", no_wrap=True)
    table.add_column("causes, conditions and settings")
    for d in descriptions:
        origin = "built in" if d.entry.package == "physgen" else escape(d.entry.package)
        lines = [("causes", d.causes), ("conditions", d.conditions), ("settings", d.settings)]
        text = "\n".join(f"[dim]{name}:[/dim] {escape(value)}" for name, value in lines if value)
        table.add_row(
            escape(d.entry.name), d.entry.kind, origin, f"[red]{escape(d.trouble)}[/red]" if d.trouble else text
        )
    return table


def _example(target: Any) -> Any:
    """An instance made without settings where that is possible: it knows more than its class."""
    if not (isinstance(target, type) or inspect.isroutine(target)):
        return target
    try:
        inspect.signature(target).bind()
        return target()
    except Exception:  # it needs settings, or is a function of causes: then only its signature can be shown
        return target


def _conditions(kind: str, part: Any) -> str:
    from .conditions import takes

    declared = getattr(part, "conditions", None)
    if declared is not None and not callable(declared):
        optional = _optional(part)
        return ", ".join(_block(b) + (" optional" if b.name in optional else "") for b in declared)
    method, leading = {"prior": ("decode", 1), "noise": ("log_prob", 2), "forward model": ("__call__", 1)}.get(
        kind, ("", 0)
    )
    if not hasattr(part, method or "-") or (isinstance(part, type) and kind == "forward model"):
        return ""
    taken = takes(part, method, leading + isinstance(part, type))
    names = [*sorted(taken.required), *(f"{n} optional" for n in sorted(taken.optional))]
    return ", ".join(names)


def _optional(part: Any) -> frozenset[str]:
    from .conditions import takes

    return frozenset() if isinstance(part, type) else takes(part).optional


def _settings(target: Any) -> str:
    if not (isinstance(target, type) or inspect.isroutine(target)):
        return ""
    try:
        parameters = inspect.signature(target).parameters.values()
    except (TypeError, ValueError):
        return ""
    return ", ".join(_setting(p) for p in parameters if p.kind is not p.POSITIONAL_ONLY)


def _setting(parameter: inspect.Parameter) -> str:
    if parameter.kind in (parameter.VAR_KEYWORD, parameter.VAR_POSITIONAL):
        return f"{'**' if parameter.kind is parameter.VAR_KEYWORD else '*'}{parameter.name}"
    if parameter.default is parameter.empty:
        return parameter.name
    shown = repr(parameter.default)
    return f"{parameter.name} = {shown if len(shown) <= 40 else '...'}"


def _blocks(space: Any) -> str:
    return "" if space is None or isinstance(space, property) else ", ".join(_block(b) for b in space)


def _block(block: Block) -> str:
    shape = f" {'x'.join(map(str, block.shape))}" if block.shape else ""
    return f"{block.name}{shape} ({block.units})" if block.units else block.name + shape
