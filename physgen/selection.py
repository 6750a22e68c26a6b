"""Selections of a recipe: which positions along one dimension, by value, list or range."""

from __future__ import annotations

import datetime
from collections.abc import Mapping
from typing import Any

import numpy as np

from .recipe import RecipeError
from .registry import nearest


def positions(values: np.ndarray, wanted: Any, name: str, place: str) -> np.ndarray:
    """Where the wanted values are.

    Parameters
    ----------
    values : ndarray (n,)
        Numbers, text or times along the dimension.
    wanted : value, list, or mapping with "from" and "to"
        Both ends of a range are included. A time may be given by its day alone.
    name, place : str
        For errors.

    Returns
    -------
    integer ndarray
        In the order of the list; all positions of a value that occurs more than once.

    Raises
    ------
    RecipeError
        If a value does not occur, or a range is empty.
    """
    if isinstance(wanted, Mapping):
        low, high = (_like(values, wanted.get(end), name, place) for end in ("from", "to"))
        inside = np.ones(len(values), dtype=bool)
        if low is not None:
            inside &= _same_resolution(values, low) >= low
        if high is not None:
            inside &= _same_resolution(values, high) <= high
        found = np.flatnonzero(inside)
    else:
        items = wanted if isinstance(wanted, list) else [wanted]
        found = np.concatenate([_matching(values, item, name, place) for item in items] or [np.zeros(0, dtype=int)])
    if not len(found):
        raise RecipeError(f"{place}: Nothing of {name!r} lies in the selection. Its values are {_range(values)}.")
    return found


def _matching(values: np.ndarray, item: Any, name: str, place: str) -> np.ndarray:
    like = _like(values, item, name, place)
    if values.dtype.kind == "f":
        found = np.flatnonzero(np.isclose(values, like, rtol=1e-6, atol=0))
    else:
        found = np.flatnonzero(_same_resolution(values, like) == like)
    if not len(found):
        text = [str(v) for v in np.unique(values)[:200]] if values.dtype.kind in "OUS" else []
        hint = nearest(str(item), text, "It holds") if 0 < len(text) < 30 else f"Its values are {_range(values)}."
        raise RecipeError(f"{place}: {name!r} has no value {_shown(item)}. {hint}")
    return found


def _like(values: np.ndarray, item: Any, name: str, place: str) -> Any:
    """`item` as something that compares with `values`."""
    if item is None:
        return None
    kind = values.dtype.kind
    if kind == "M":
        if isinstance(item, datetime.datetime) and item.tzinfo is not None:
            item = item.astimezone(datetime.UTC).replace(tzinfo=None)
        try:
            if isinstance(item, str | datetime.date):
                return np.datetime64(item)
        except ValueError:
            pass
        raise RecipeError(f"{place}: Invalid time {_shown(item)} for {name!r}. Write it as 2018-06-30.")
    if (kind in "OUS") is not isinstance(item, str):
        wanted = "text" if kind in "OUS" else "a number"
        raise RecipeError(f"{place}: Invalid value {_shown(item)} for {name!r}. It must be {wanted}.")
    return item


def _same_resolution(values: np.ndarray, like: Any) -> np.ndarray:
    return values.astype(like.dtype) if isinstance(like, np.datetime64) else values


def _range(values: np.ndarray) -> str:
    if values.dtype.kind in "OUS":
        return ", ".join(map(str, np.unique(values)[:12]))
    return f"{values.min()} to {values.max()}" if len(values) else "none"


def _shown(item: Any) -> str:
    return repr(item) if isinstance(item, str | int | float) else str(item)
