"""The status of one observation's answer: whether to trust it, why not, and what to do."""

from __future__ import annotations

from enum import IntEnum


class Status(IntEnum):
    """One code per observation; its `advice` says what to do. Only TRUSTED answers may be used as they are."""

    TRUSTED = 0
    NOT_CONVERGED = 1
    HEAVY_TAILS = 2
    FEW_EFFECTIVE_DRAWS = 3
    ROUNDS_DISAGREE = 4
    CHAINS_DISAGREE = 5
    CHAINS_TOO_SHORT = 6
    MODEL_UNDEFINED = 7
    INFEASIBLE = 8
    NO_DATA = 9
    OUT_OF_RANGE = 10
    INTERRUPTED = 11
    APPROXIMATE = 12
    TOO_MANY_DIVERGENCES = 13
    GRID_TOO_COARSE = 14

    @property
    def meaning(self) -> str:
        """The CF flag meaning: lower case, words joined by underscores."""
        return self.name.lower()

    @property
    def advice(self) -> str:
        """What happened and what to do, in two sentences."""
        return _ADVICE[self]


_ADVICE = {
    Status.TRUSTED: "The draws follow the posterior. Use them.",
    Status.NOT_CONVERGED: "The optimiser stopped before a mode. Allow more iterations, or use Ensemble.",
    Status.HEAVY_TAILS: "The importance weights have too heavy a tail (k_hat >= 0.7). Use Ensemble here.",
    Status.FEW_EFFECTIVE_DRAWS: "Too few effective draws. Raise rounds or draws, or use Ensemble on this observation.",
    Status.ROUNDS_DISAGREE: "The last two rounds gave different answers. Raise rounds or draws, or use Ensemble.",
    Status.CHAINS_DISAGREE: "The chains have not mixed (rhat too large). Run longer chains.",
    Status.CHAINS_TOO_SHORT: "The chains hold too few effective draws. Run longer chains.",
    Status.MODEL_UNDEFINED: "The forward model gave a value that is not finite. Correct it, or narrow the prior.",
    Status.INFEASIBLE: "No draw has a finite posterior density. Check that prior and observation are compatible.",
    Status.NO_DATA: "Every element of the observation is missing. There is nothing to infer from.",
    Status.OUT_OF_RANGE: "A value lies outside the range of the observable. Check units and scaling.",
    Status.INTERRUPTED: "The work was interrupted before this observation. Invert it again.",
    Status.APPROXIMATE: "The method is approximate, and nothing corrected its draws. Check some with an exact method.",
    Status.TOO_MANY_DIVERGENCES: "Trajectories left the region where their steps hold. Take smaller steps.",
    Status.GRID_TOO_COARSE: "The grid misses detail of the posterior, or mass at its edge. Raise points or reach.",
}
