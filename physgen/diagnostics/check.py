"""The answer of a check: what was measured, how probable that is if all is well, and what it means in words."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Check:
    """What a check found.

    Attributes
    ----------
    name : str
        Of the check, such as "SBC ranks".
    statistic : float
        What was measured; larger is worse.
    p_value : float
        Chance of a statistic at least so large if nothing is wrong, over all parts together.
    words : str
        Two sentences: what was found, and what it means or what to do.
    parts : mapping of str to float
        The p-value of each part (a cause, say) by itself, not corrected for their number.
    n : int
        How many replications or observations it looked at.
    figures : mapping
        What a picture or a table of it needs: plain numbers, text, and lists of them.
    """

    name: str
    statistic: float
    p_value: float
    words: str
    parts: Mapping[str, float] = field(default_factory=dict)
    n: int = 0
    figures: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for value in (self.p_value, *self.parts.values()):
            if not 0 <= value <= 1:
                raise ValueError(f"Invalid p-value {value} of the check {self.name!r}. Must lie within 0 to 1.")

    def passed(self, level: float = 0.05) -> bool:
        """Whether nothing speaks against it at a level: a sound method fails in that share of the cases."""
        if not 0 < level < 1:
            raise ValueError(f"Invalid level {level}. Must lie between 0 and 1.")
        return self.p_value > level

    def as_dict(self) -> dict[str, Any]:
        """Plain values that JSON can hold."""
        plain = {name: getattr(self, name) for name in ("name", "statistic", "p_value", "words", "n")}
        return {**plain, "parts": dict(self.parts), "figures": dict(self.figures)}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Check:
        """The check that `as_dict` wrote."""
        return cls(**values)


def adjusted(checks: Sequence[Check]) -> list[float]:
    """P-values of several checks, each as if it were the only one (Holm 1979, *Scand. J. Statist.* 6, section 3).

    Returns
    -------
    list of float
        In the order of the checks. The chance that a sound method has any of them below a level is at most that level,
        however the checks depend on each other.
    """
    order = sorted(range(len(checks)), key=lambda i: checks[i].p_value)
    out, largest = [0.0] * len(checks), 0.0
    for place, i in enumerate(order):
        largest = max(largest, min(1.0, (len(checks) - place) * checks[i].p_value))
        out[i] = largest
    return out
