"""Conditions: keyword quantities that describe a measurement (sun angle, section thickness, day of year).

A part (forward model, prior, noise) takes the conditions that it names. The functions here find out which, hand
each part its own, and refuse names that no part takes: a misspelt angle must never vanish.
"""

from __future__ import annotations

import difflib
import inspect
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from .space import Space


@dataclass(frozen=True)
class Takes:
    """The conditions that a part takes.

    Parameters
    ----------
    required, optional : frozenset of str
        By name; an optional one has a default.
    everything : bool
        Whether the part takes any name (``**kw``).
    """

    required: frozenset[str] = frozenset()
    optional: frozenset[str] = frozenset()
    everything: bool = False

    def __or__(self, other: Takes) -> Takes:
        required = self.required | other.required
        optional = (self.optional | other.optional) - required
        return Takes(required, optional, self.everything or other.everything)

    @property
    def names(self) -> frozenset[str]:
        """Every name, required or not."""
        return self.required | self.optional

    def pick(self, conditions: Mapping[str, Any]) -> dict[str, Any]:
        """Those of `conditions` that the part takes."""
        return {k: v for k, v in conditions.items() if self.everything or k in self.names}


def takes(part: object, method: str = "__call__", leading: int = 1) -> Takes:
    """The conditions that `part` takes.

    A part may say so itself in an attribute ``takes``; else the parameters of its method after the first `leading`
    are read (of ``forward`` for a `torch.nn.Module`). A method that takes ``**kw`` but has declared its
    ``conditions`` as a `Space` takes those, all required unless a default is known.

    Parameters
    ----------
    part : object
        Forward model, prior or noise.
    method : str
        The method whose parameters count.
    leading : int
        How many positional parameters (besides ``self``) are not conditions.
    """
    declared = getattr(part, "takes", None)
    if isinstance(declared, Takes):
        return declared
    function: Callable[..., Any]
    if method == "__call__" and isinstance(part, torch.nn.Module):
        function = part.forward
    elif method == "__call__" and inspect.isroutine(part):
        function = part
    else:
        function = getattr(part, method)
    found = _from_signature(function, leading)
    space = getattr(part, "conditions", None)
    if found.everything and space is not None:
        return Takes(frozenset(space.names))
    return found


def _from_signature(function: Callable[..., Any], leading: int) -> Takes:
    try:
        parameters = list(inspect.signature(function).parameters.values())
    except (TypeError, ValueError):  # a compiled function may show no signature: it takes no condition
        return Takes()
    everything = any(p.kind is p.VAR_KEYWORD for p in parameters)
    named = [p for p in parameters if p.kind not in (p.VAR_KEYWORD, p.VAR_POSITIONAL)][leading:]
    named = [p for p in named if p.kind is not p.POSITIONAL_ONLY]
    return Takes(
        frozenset(p.name for p in named if p.default is p.empty),
        frozenset(p.name for p in named if p.default is not p.empty),
        everything,
    )


def check_names(conditions: Iterable[str], taken: Takes) -> None:
    """Refuse a condition that no part takes, and the lack of a required one.

    Raises
    ------
    ValueError
        Naming the condition, and the nearest one that is taken.
    """
    given = set(conditions)
    if not taken.everything:
        for name in sorted(given - taken.names):
            near = difflib.get_close_matches(name, taken.names, n=1)
            hint = f"Did you mean {near[0]!r}?" if near else f"The parts take {sorted(taken.names) or 'no condition'}."
            raise ValueError(f"Unknown condition {name!r}. {hint}")
    missing = sorted(taken.required - given)
    if missing:
        raise ValueError(
            f"Missing condition {', '.join(map(repr, missing))}. Give it by keyword, a number or a tensor."
        )


def align(
    conditions: Mapping[str, Any], batch: tuple[int, ...], like: Tensor, trailing: Mapping[str, tuple[int, ...]]
) -> dict[str, Tensor]:
    """Give every condition the shape of the batch.

    Parameters
    ----------
    conditions : mapping
        Numbers, arrays or tensors, each 0-d, of the batch's shape, or of ones where it is shared.
    batch : tuple of int
        The observations' shape.
    like : Tensor
        Whose dtype and device the result takes.
    trailing : mapping of str to tuple of int
        The trailing shape of conditions that are not scalars.

    Returns
    -------
    dict of str to Tensor
        Expanded views ``(*batch, *trailing)``.

    Raises
    ------
    ValueError, TypeError
        If a condition does not have the batch's shape, is not a number, or is not finite.
    """
    out = {}
    for name, value in conditions.items():
        try:
            tensor = torch.as_tensor(value, dtype=like.dtype, device=like.device)
        except (TypeError, ValueError, RuntimeError) as error:
            raise TypeError(f"Invalid condition {name!r} of type {type(value).__name__}. Give numbers.") from error
        own = trailing.get(name, ())
        lead = tuple(tensor.shape[: max(tensor.ndim - len(own), 0)])
        shared = all(n == 1 for n in lead) and len(lead) <= len(batch)
        if tuple(tensor.shape[len(lead) :]) != own or not (shared or lead == batch):
            raise ValueError(
                f"Invalid shape {tuple(tensor.shape)} of condition {name!r}. "
                f"Give one value, or one for each observation: {batch + own}."
            )
        if not bool(torch.isfinite(tensor).all()):
            raise ValueError(f"Invalid condition {name!r} with missing or infinite values. Every value must be finite.")
        out[name] = tensor.expand((*batch, *own))
    return out


def check_ranges(conditions: Mapping[str, Tensor], space: Space) -> None:
    """Raise `ValueError` if a value lies outside the support that a space states for it."""
    for b in space:
        value = conditions.get(b.name)
        if value is None or not value.numel():
            continue
        for end in (float(value.min()), float(value.max())):
            if not b.support[0] <= end <= b.support[1]:
                units = "" if b.units == "1" else f" {b.units}"
                raise ValueError(
                    f"Invalid condition {b.name} {end:g}{units}. Must lie within {b.support[0]:g} to {b.support[1]:g}."
                )
