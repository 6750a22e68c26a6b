"""The bases of a decoder by name, and back from plain values."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from .base_conditional import ConditionalBase
from .base_factored import FactoredBase
from .base_normal import Base, NormalBase

BASES: Mapping[str, Any] = {b.kind: b for b in (NormalBase, FactoredBase, ConditionalBase)}


def base_from_json(values: Mapping[str, Any] | None) -> Base:
    """The base of `Base.to_json`; the normal one of None, as a file of before there were others has it."""
    settings = dict(values or {"kind": "normal"})
    base: Base = BASES[settings.pop("kind")](**settings)
    return base
