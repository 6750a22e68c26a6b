"""The settings that all methods with gradient chains have."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol


class Settings(Protocol):
    """The settings that all these methods have."""

    @property
    def draws(self) -> int:
        """Draws kept of each chain."""

    @property
    def chains(self) -> int:
        """Of each observation."""

    @property
    def warm_up(self) -> int:
        """Moves from which the kernel and the metric are learned."""

    @property
    def accept(self) -> float:
        """Mean acceptance that the step size aims at."""

    @property
    def max_steps(self) -> int:
        """Moves after the warm-up, at most."""

    @property
    def accept_rhat(self) -> float:
        """R-hat of a trusted answer, at most."""

    @property
    def accept_ess(self) -> float:
        """Effective draws of a trusted answer, at least."""

    @property
    def chunk(self) -> int:
        """Observations held at once."""


def check(method: Settings, least: Mapping[str, int]) -> None:
    """Raise `ValueError` if a setting is out of range; `least` gives the lowest of those that are whole numbers."""
    for name, low in {"draws": 8, "warm_up": 20, "chunk": 1, **least}.items():
        if getattr(method, name) < low:
            raise ValueError(f"Invalid {name} {getattr(method, name)}. Must be at least {low}.")
    if method.max_steps < method.draws:
        raise ValueError(f"Invalid max_steps {method.max_steps}. Must be at least the {method.draws} draws.")
    if not 0.1 <= method.accept <= 0.99:
        raise ValueError(f"Invalid accept {method.accept:g}. Must lie within 0.1 to 0.99.")
    if not method.accept_rhat > 1 or not method.accept_ess > 0:
        raise ValueError(
            f"Invalid accept_rhat {method.accept_rhat:g} or accept_ess {method.accept_ess:g}. "
            "The first must be greater than 1, the second positive."
        )
