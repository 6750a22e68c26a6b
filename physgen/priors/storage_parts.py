"""Stored priors that are made of others, or of parts that no file can hold."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor


def known_parts(parts: Mapping[str, Any]) -> dict[str, str]:
    """What a card says of parts that no file holds: ``module:name`` of a function or class."""
    return {name: _described(part) for name, part in parts.items()}


def check_parts(where: str, settings: Mapping[str, Any], parts: Mapping[str, Any]) -> dict[str, Any]:
    """The parts, if they are those that the settings of a stored prior ask for.

    Raises
    ------
    ValueError
        If one is missing or unknown.
    """
    needed: Mapping[str, str] = settings.get("parts") or {}
    missing = [f"{name!r} (it was {text})" for name, text in needed.items() if name not in parts]
    if missing:
        names = ", ".join(f"{name!r}: ..." for name in needed)
        raise ValueError(
            f"The prior {where} needs {', '.join(missing)}, which no file holds. Give it: "
            f"load_prior(..., parts={{{names}}})."
        )
    unknown = sorted(parts.keys() - needed.keys())
    if unknown:
        raise ValueError(
            f"Unknown part {', '.join(map(repr, unknown))} of {where}. It needs {', '.join(needed) or 'none'}."
        )
    return dict(parts)


def prefixed(tensors: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    """The tensors of a prior within another."""
    return {f"{prefix}.{n}": t for n, t in tensors.items()}


def unprefixed(tensors: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    """The tensors of `prefixed`, out of all."""
    return {n.removeprefix(f"{prefix}."): t for n, t in tensors.items() if n.startswith(f"{prefix}.")}


def _described(part: Any) -> str:
    named = part if hasattr(part, "__qualname__") else type(part)
    return f"{named.__module__}:{named.__qualname__}"
