"""From the figures behind it to one code for each observation: the first reason that applies."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from ..status import Status
from .trust import Trust

FALSE_ALARMS = 0.05
"""Share of observations from the model that may be flagged, over all reasons together."""

INFORMED = 0.5
"""Degrees of freedom for signal, below which the prior has answered."""


@dataclass(frozen=True)
class Levels:
    """P-values below which an observation is flagged.

    Attributes
    ----------
    range_p, predictive_p, conflict_p : float
        They add up to less than the false alarms that are allowed: a method that vouches for all of its draws but the
        odd one needs the rest.
    """

    range_p: float
    predictive_p: float
    conflict_p: float

    @classmethod
    def of(cls, false_alarms: float = FALSE_ALARMS) -> Levels:
        """Divide the allowed share of false alarms among the tests.

        Raises
        ------
        ValueError
            If it does not lie between 0 and 1.
        """
        if not 0 < false_alarms < 1:
            raise ValueError(f"Invalid false_alarms {false_alarms}. Give a share between 0 and 1, such as 0.05.")
        return cls(*(share * false_alarms for share in _SHARES))


_SHARES = (0.4, 0.2, 0.2)  # of range, fit and conflict


def trust_codes(
    status: Tensor,
    *,
    range_p: Tensor,
    predictive_p: Tensor,
    conflict_p: Tensor,
    dominated: Tensor,
    levels: Levels,
) -> Tensor:
    """Codes of `Trust`, all tensors ``(*batch)``; a p-value that is NaN is not known, and never a reason.

    In the order of what makes the rest pointless: outside the model (also a value outside the observable's range); not
    converged where there are no draws at all; poor fit; not converged; prior-data conflict (also draws of which none is
    feasible); prior-dominated.

    Parameters
    ----------
    status : integer Tensor
        Codes of `Status`.
    range_p, predictive_p, conflict_p : Tensor
    dominated : bool Tensor
    levels : Levels

    Returns
    -------
    integer Tensor
    """
    out = torch.full(status.shape, int(Trust.TRUSTED), dtype=torch.int64, device=status.device)
    empty = [int(s) for s in (Status.NO_DATA, Status.MODEL_UNDEFINED, Status.INTERRUPTED)]
    reasons = [  # the last that applies stays
        (Trust.PRIOR_DOMINATED, dominated),
        (Trust.PRIOR_DATA_CONFLICT, (conflict_p < levels.conflict_p) | (status == Status.INFEASIBLE)),
        (Trust.NOT_CONVERGED, (status != Status.TRUSTED) & (status != Status.INFEASIBLE)),
        (Trust.POOR_FIT, predictive_p < levels.predictive_p),
        (Trust.NOT_CONVERGED, torch.isin(status, status.new_tensor(empty))),
        (Trust.OUTSIDE_THE_MODEL, (range_p < levels.range_p) | (status == Status.OUT_OF_RANGE)),
    ]
    for code, applies in reasons:
        out[applies] = int(code)
    return out
