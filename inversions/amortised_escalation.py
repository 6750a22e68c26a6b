"""Which exact methods may answer where a learned posterior is not to be trusted, the cheapest first."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import Any

from physgen.noise import Noise
from physgen.problem import Problem

from .ensemble import Ensemble
from .hamiltonian import Hamiltonian
from .optimal_estimation import OptimalEstimation
from .tempered_smc import TemperedSMC


def _quadratic(problem: Problem) -> bool:
    """Whether Gauss-Newton steps can be taken."""
    return problem.differentiable and type(problem.noise).whiten is not Noise.whiten


def _slopes(problem: Problem) -> bool:
    return problem.differentiable


def _always(problem: Problem) -> bool:
    return True


_CANDIDATES: Mapping[str, tuple[Callable[[], Any], Callable[[Problem], bool]]] = MappingProxyType(
    {
        "OptimalEstimation": (OptimalEstimation, _quadratic),
        "Hamiltonian": (Hamiltonian, _slopes),
        "TemperedSMC": (TemperedSMC, _always),
        "Ensemble": (Ensemble, _always),
    }
)

NAMES = tuple(_CANDIDATES)
"""Methods that may be asked."""


def applicable(names: Sequence[str], problem: Problem) -> list[Any]:
    """Those of the named methods that can answer a problem, in the order of the names."""
    return [_CANDIDATES[name][0]() for name in names if _CANDIDATES[name][1](problem)]
