"""What every inversion looks like from outside."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict, fields, is_dataclass
from datetime import datetime
from typing import Any, Protocol

import torch
from torch import Tensor

from physgen.problem import Posterior, Problem, refuse_wrong_units
from physgen.provenance import collect
from physgen.result import Result
from physgen.status import Status


class Inversion(Protocol):
    """A frozen dataclass of settings, called on a problem and its observations.

    Parameters of the call
    ----------------------
    problem : Problem
    y : array_like (*batch, m)
        NaN where not measured.
    conditions : mapping, optional
        One value each, or one for each observation.
    seed : int
        The answer is a function of it.
    index : integer Tensor (*batch), optional
        The number of each observation, which decides its random numbers; 0, 1, 2, ... by default. A caller that cuts
        observations into chunks gives it, so that the answer does not depend on the cut.
    progress : bool or callable
        A bar on the terminal, or a function called with (observations done, observations in all).
    """

    def __call__(
        self,
        problem: Problem,
        y: Any,
        *,
        conditions: Mapping[str, Any] | None = None,
        seed: int = 0,
        index: Any = None,
        progress: bool | Callable[[int, int], None] = False,
    ) -> Result:
        """One posterior for each observation; an observation that fails says so in its status."""


def prepare(
    problem: Problem, y: Any, conditions: Mapping[str, Any] | None, index: Any
) -> tuple[Posterior, Tensor, Tensor]:
    """What every inversion begins with.

    Returns
    -------
    Posterior
        With the batch that y has.
    integer Tensor (B,), integer Tensor (B,)
        The screening status, and the number, of each of the B observations on one axis.

    Raises
    ------
    ValueError, TypeError
        See `Problem.condition`; and if most observations are out of range, unless `index` says that they are a chunk.
    """
    posterior = problem.condition(y, **(conditions or {}))
    screen = posterior.screen().reshape(-1)
    if index is None:
        refuse_wrong_units(int((screen == Status.OUT_OF_RANGE).sum()), len(screen))
        return posterior, screen, torch.arange(len(screen))
    index = torch.as_tensor(index).reshape(-1)
    if len(index) != len(screen):
        raise ValueError(f"Invalid index of {len(index)} numbers. Give one for each of the {len(screen)} observations.")
    return posterior, screen, index


def conclude(
    method: Any, posterior: Posterior, samples: Tensor, stats: dict[str, Tensor], *, seed: int, started: datetime
) -> Result:
    """What every inversion ends with: the result, with the problem's labels and the record of what made it.

    Parameters
    ----------
    method : Inversion
        The frozen dataclass of settings.
    posterior : Posterior
        With the batch that y has.
    samples : Tensor (chain, draw, *batch, n)
    stats : dict of Tensor (*batch, *own)
        With the status of every observation under "status".
    seed : int
    started : datetime
    """
    problem = posterior.problem
    return Result(
        samples=samples,
        status=stats["status"],
        stats={name: value for name, value in stats.items() if name != "status"},
        causes=problem.prior.causes,
        y=posterior.y,
        conditions=posterior.conditions,
        observables=problem.observables,
        condition_space=getattr(problem.forward, "conditions", None),
        settings={"method": type(method).__name__, **settings_of(method)},
        provenance={
            **collect(seed=seed, problem=problem, inversion=method, started=started),
            **getattr(method, "record", {}),
        },
    )


def settings_of(method: Any) -> dict[str, Any]:
    """The fields of a method as plain values, but for what does not count in comparisons: what it has learned."""
    values = {f.name: getattr(method, f.name) for f in fields(method) if f.compare}
    return {name: asdict(v) if is_dataclass(v) and not isinstance(v, type) else v for name, v in values.items()}
