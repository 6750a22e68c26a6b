"""The verdict on one observation's answer: whether it may be relied on and, if not, the first reason why."""

from __future__ import annotations

from enum import IntEnum


class Trust(IntEnum):
    """One code per observation, over all checks together; its `advice` says what to do.

    The order of the codes is not that of the reasons: see `physgen.diagnostics.trust_verdict`.
    """

    TRUSTED = 0
    PRIOR_DOMINATED = 1
    PRIOR_DATA_CONFLICT = 2
    POOR_FIT = 3
    NOT_CONVERGED = 4
    OUTSIDE_THE_MODEL = 5

    @property
    def meaning(self) -> str:
        """The CF flag meaning: lower case, words joined by underscores."""
        return self.name.lower()

    @property
    def words(self) -> str:
        """As one says it: "prior-data conflict"."""
        return _WORDS[self]

    @property
    def advice(self) -> str:
        """What was found and what to do, in two sentences."""
        return _ADVICE[self]


_WORDS = {
    Trust.TRUSTED: "trusted",
    Trust.PRIOR_DOMINATED: "prior-dominated",
    Trust.PRIOR_DATA_CONFLICT: "prior-data conflict",
    Trust.POOR_FIT: "poor fit",
    Trust.NOT_CONVERGED: "not converged",
    Trust.OUTSIDE_THE_MODEL: "outside the model",
}

_ADVICE = {
    Trust.TRUSTED: "No check objects to this answer. Use it.",
    Trust.PRIOR_DOMINATED: "The observation says little about the causes. Read the answer as the prior's.",
    Trust.PRIOR_DATA_CONFLICT: "Prior and observation pull apart. Ask whether this prior holds here, and try another.",
    Trust.POOR_FIT: "No cause that the prior allows reproduces this observation. Look at its residuals instead.",
    Trust.NOT_CONVERGED: "The inversion does not vouch for its draws. Its status says what to do.",
    Trust.OUTSIDE_THE_MODEL: "The model makes no observation like this one. Take it for something else.",
}
