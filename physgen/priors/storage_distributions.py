"""Distributions of one cause in the settings of a stored prior: a name and numbers, looked up in one table."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import MISSING, fields
from typing import Any

from .distribution import Distribution
from .gamma_beta import Beta, Gamma
from .half_lines import Exponential, HalfCauchy
from .normals import LogNormal, Normal
from .student_t import StudentT
from .truncated_normal import HalfNormal, TruncatedNormal
from .uniforms import LogUniform, Uniform

KNOWN: Mapping[str, type[Distribution]] = {
    cls.__name__: cls
    for cls in (
        Beta,
        Exponential,
        Gamma,
        HalfCauchy,
        HalfNormal,
        LogNormal,
        LogUniform,
        Normal,
        StudentT,
        TruncatedNormal,
        Uniform,
    )
}
"""Those that a file may name; no other name in it is looked up."""


def distribution_to_json(value: float | Distribution) -> float | dict[str, Any] | None:
    """A number, or a distribution as a recipe writes it: its name, and the numbers that are not at their defaults.

    None if it is of another class, or one of its parameters is a tensor.
    """
    if not isinstance(value, Distribution):
        return float(value)
    if KNOWN.get(type(value).__name__) is not type(value):
        return None
    stated = {f.name: getattr(value, f.name) for f in fields(value) if f.init}
    if not all(isinstance(v, int | float | str) for v in stated.values()):
        return None
    defaults = {f.name: f.default for f in fields(value) if f.default is not MISSING}
    changed = {n: v for n, v in stated.items() if n not in defaults or v != defaults[n]}
    return {"distribution": type(value).__name__, **changed}


def distribution_from_json(value: Any) -> float | Distribution:
    """The number or distribution of `distribution_to_json`.

    Raises
    ------
    KeyError
        If the name is not one of `KNOWN`.
    """
    if not isinstance(value, Mapping):
        return float(value)
    return KNOWN[value["distribution"]](**{n: v for n, v in value.items() if n != "distribution"})
