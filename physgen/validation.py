"""What is wrong with a recipe's keys, in words: pydantic's errors in two sentences that name the nearest valid key."""

from __future__ import annotations

import typing
from typing import Any

from pydantic import BaseModel, ValidationError

from .registry import nearest

_RANK = {"extra_forbidden": 0, "missing": 1}  # a misspelt key is also a missing one: the first says more
_WANTED = {
    "string_type": "text",
    "int_type": "a whole number",
    "int_from_float": "a whole number",
    "float_type": "a number",
    "list_type": "a list",
    "dict_type": "a table",
    "model_type": "a table",
    "model_attributes_type": "a table",
}


def explain(error: ValidationError, model: type[BaseModel]) -> str:
    """The most telling of pydantic's errors, as the place (", [table]: ") and two sentences.

    Parameters
    ----------
    error : ValidationError
    model : type
        What was validated.
    """
    first = min(error.errors(), key=lambda e: _RANK.get(e["type"], 2))
    path = [str(part) for part in first["loc"]]
    place, key = _place(path[:-1]), path[-1]
    if first["type"] == "extra_forbidden":
        return f"{place}: Unknown key {key!r}. {nearest(key, _fields(model, path[:-1]), 'Valid keys are')}"
    if first["type"] == "missing":
        what = "table" if not path[:-1] else "key"
        shown = f"[{key}]" if what == "table" else repr(key)
        return f"{place}: Missing {what} {shown}. Every recipe needs it{f' in [{path[0]}]' if path[:-1] else ''}."
    wanted = _WANTED.get(first["type"])
    if wanted:
        why = f"It must be {wanted}"
    else:
        why = first["msg"].removeprefix("Value error, ").replace("Input should", "It must")
        why = why[:1].upper() + why[1:]
    return f"{place}: Invalid {key} {_shorten(first['input'])}. {why}."


def _place(path: list[str]) -> str:
    return f", [{'.'.join(path)}]" if path else ""


def _fields(model: Any, path: list[str]) -> list[str]:
    """The keys that the table at `path` may have."""
    names_an_entry = False  # the part is a key of a table of tables, whose names are the user's own
    for part in path:
        if names_an_entry:
            names_an_entry = False
            continue
        annotation = model.model_fields[part].annotation
        choices = [annotation, *getattr(annotation, "__args__", ())]
        names_an_entry = typing.get_origin(annotation) is dict
        model = next(c for c in choices if isinstance(c, type) and issubclass(c, BaseModel))
    return list(model.model_fields)


def _shorten(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."
