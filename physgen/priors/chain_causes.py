"""What the causes of a chain are: found by trying its functions on a few draws when the chain is made."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from ..random import normal, single_stream
from ..space import Block, Space
from .conditional import Conditional
from .distribution import Distribution

_PROBES = 64


def describe(entries: Mapping[str, Distribution | Conditional]) -> Space:
    """Names, units and supports of the causes of a chain.

    Parameters
    ----------
    entries : mapping of str to Distribution or Conditional
        By cause, in order.

    Returns
    -------
    Space

    Raises
    ------
    ValueError
        If a function fails on a batch, its support varies and is not declared, or draws leave the declared support.
    """
    z = normal((_PROBES, len(entries)), single_stream(), seed=0)
    known: dict[str, Tensor] = {}
    blocks = []
    for (name, entry), latent in zip(entries.items(), z.unbind(-1), strict=True):
        distribution = _try(name, entry, known) if isinstance(entry, Conditional) else entry
        blocks.append(_block(name, entry, distribution))
        known[name] = distribution.decode(latent) if distribution else torch.full_like(latent, math.nan)
        _check_support(blocks[-1], known[name])
    return Space(*blocks)


def _try(name: str, entry: Conditional, known: Mapping[str, Tensor]) -> Distribution | None:
    """The distribution on a few draws. NaN stands for conditions; None if a function with a declaration fails on it."""
    unknown = {condition: torch.full((_PROBES,), math.nan) for condition in entry.takes.required - known.keys()}
    guessed = bool(unknown) or any(bool(torch.isnan(known[cause]).all()) for cause in entry.takes.names & known.keys())
    try:
        return entry({**known, **unknown})
    except (RuntimeError, ValueError, IndexError) as error:
        if guessed and entry.support is not None:
            return None
        advice = (
            "Conditions are unknown yet: declare Conditional(function, support=(low, high))."
            if guessed
            else "Write it with tensor operations that act element by element."
        )
        raise ValueError(f"The function for {name!r} fails on a batch of {_PROBES}: {error}. {advice}") from error


def _block(name: str, entry: Distribution | Conditional, distribution: Distribution | None) -> Block:
    """What is declared, and the rest from the distribution; without one, the support has been declared."""
    support = entry.support if entry.support is not None or distribution is None else distribution.support
    units, long_name = (
        next((v for v in (getattr(entry, label), getattr(distribution, label, None)) if v is not None), default)
        for label, default in (("units", "1"), ("long_name", ""))
    )
    return Block(name, units, _numbers(name, support), long_name)


def _numbers(name: str, support: Any) -> tuple[float, float]:
    if any(isinstance(b, Tensor) and b.numel() > 1 for b in support):
        raise ValueError(
            f"The support of {name!r} varies. Declare the widest one: Conditional(function, support=(low, high))."
        )
    return float(support[0]), float(support[1])


def _check_support(block: Block, values: Tensor) -> None:
    values = values[~torch.isnan(values)]
    if not values.numel():
        return
    smallest, largest = float(values.min()), float(values.max())
    if not (block.support[0] <= smallest and largest <= block.support[1]):
        raise ValueError(
            f"Invalid support {block.support} of {block.name!r}. Its draws reach from {smallest:g} to {largest:g}."
        )
