"""Observations whose answer is not trusted go on to another method, and the result says which one answered."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from physgen.diagnostics.resampling import evenly
from physgen.method_codes import CODES
from physgen.problem import Posterior, Problem
from physgen.result import Result
from physgen.status import Status

from .suggestion import NEEDS, Facts, method_class

EXACT = ("OptimalEstimation", "Hamiltonian", "NUTS", "SliceSampler", "TemperedSMC", "Ensemble")
"""Methods that may be asked where a learned posterior is not to be trusted."""

_FINAL = (  # another method would meet the same
    Status.TRUSTED,
    Status.MODEL_UNDEFINED,
    Status.INFEASIBLE,
    Status.NO_DATA,
    Status.OUT_OF_RANGE,
    Status.INTERRUPTED,
)


def code(method: Any) -> int:
    """The number of an inversion in `CODES`; 0 for one that a plug-in brings."""
    return CODES.get(type(method).__name__, 0)


def applicable(names: Sequence[str], problem: Problem) -> list[Any]:
    """Those of the named methods that can answer a problem, at their default settings, in the order of the names."""
    facts = Facts.of(problem)
    return [made() for name in names if not NEEDS[name].lacks(facts) and (made := method_class(name))]


def answered_by(result: Result) -> list[str]:
    """The name of the method that answered each observation, for a batch on one axis or of none."""
    names = {number: name for name, number in CODES.items()}
    return [names[int(number)] for number in result.stats["answered_by"].reshape(-1)]


def curable(status: Tensor) -> Tensor:
    """Which observations another method may answer where one has failed, boolean like `status`."""
    return ~torch.isin(status, status.new_tensor([int(s) for s in _FINAL]))


def escalate(
    posterior: Posterior, index: Tensor, out: dict[str, Tensor], methods: Sequence[Any], *, seed: int
) -> dict[str, Tensor]:
    """Ask one method after the other, each for the observations that those before it have not answered.

    Parameters
    ----------
    posterior : Posterior
        Of b observations on one axis.
    index : integer Tensor (b,)
        The number of each observation.
    out : dict of Tensor (b, *own)
        The answer so far: samples ``(b, chains, draws, n)``, status, answered_by, and statistics. What a method does
        not know of these is NaN (0 for whole numbers) where it answered; what else it knows is dropped.
    methods : sequence of Inversion
        The last that was asked has the last word.
    seed : int

    Returns
    -------
    dict of Tensor
        A new one, of the same names and shapes.
    """
    out = {name: value.clone() for name, value in out.items()}
    for method in methods:
        rows = torch.nonzero(curable(out["status"])).squeeze(-1)
        if not len(rows):
            break
        here = posterior.select(rows)
        result = method(posterior.problem, here.y, conditions=here.conditions, seed=seed, index=index[rows])
        _write(out, rows, result, code(method))
    return out


def _write(out: dict[str, Tensor], rows: Tensor, result: Result, number: int) -> None:
    """Put a result into some rows of the answer."""
    found = {**result.stats, "status": result.status, "answered_by": torch.full_like(result.status, number)}
    found["samples"] = evenly(result.samples, *out["samples"].shape[1:3])
    if "ess" in found:
        found["ess"] = found["ess"].clamp(max=float(out["samples"].shape[1:3].numel()))  # of those that are kept
    for name, value in out.items():
        if name in found:
            value[rows] = found[name].to(value.dtype)
        else:
            value[rows] = torch.nan if value.is_floating_point() else 0
