"""What the posterior predicts to be observed, beside what was."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from ..datatree import block_from_json
from ..observation_picture import panels_of
from ..panel import Panel
from ..problem import Problem
from ..result import Result
from ..rows import in_blocks
from ..space import Block, Space
from .reading import Answer, Drawn

_SECONDS = 20.0  # of the forward model, at most
_PROBE = 8  # predictions whose time is taken
_ROWS = 512
_FEWEST = 10  # draws that make a predictive distribution
_DRAWS = 40  # enough for residuals of many observations


@dataclass(frozen=True, eq=False)
class Predictive:
    """Predictions with noise of some observations.

    Attributes
    ----------
    y : ndarray (S, m)
        What was observed.
    replicates : ndarray (D, S, m)
    index : integer ndarray (S,)
    space : Space
        The observables.
    """

    y: np.ndarray
    replicates: np.ndarray
    index: np.ndarray
    space: Space

    def residuals(self) -> np.ndarray:
        """(observed - predictive mean) / predictive sd, (S, m); NaN where not measured."""
        with np.errstate(invalid="ignore", divide="ignore"):
            spread = self.replicates.std(0)
            return np.where(spread > 0, (self.y - self.replicates.mean(0)) / spread, np.nan)


def tensors(values: Mapping[str, np.ndarray]) -> dict[str, Tensor]:
    """As tensors, in the machine's byte order."""
    return {k: torch.from_numpy(np.array(v, dtype=v.dtype.newbyteorder("="))) for k, v in values.items()}


def observables(answer: Answer, drawn: Drawn) -> Space:
    """The observables' space: the file's own, or one of the variable's shape."""
    stored = json.loads(answer.attributes["spaces"]).get("observables")
    if stored is not None:
        return Space(*map(block_from_json, stored))
    return Space(
        *(Block(n, "", shape=v.shape[1:], dims=("element",) * (v.ndim - 1)) for n, v in drawn.observed.items())
    )


def predict(problem: Problem, answer: Answer, drawn: Drawn, most: int) -> Predictive | None:
    """Predictions with noise for draws of each observation.

    None where noise or forward model give no such thing: elements that are no measurements one by one (`panels` of the
    noise show those), or a forward model too slow for a report.
    """
    space = observables(answer, drawn)
    if hasattr(problem.noise, "panels"):
        return None
    y = space.flatten(tensors(drawn.observed))
    x = problem.prior.causes.flatten(tensors(drawn.draws))
    conditions = tensors(drawn.conditions)
    x = x[torch.linspace(0, len(x) - 1, min(most, len(x))).long()].to(y.dtype)
    usable = torch.isfinite(x).all(-1).all(0)
    if not bool(usable.any()):
        return None
    x, y, conditions = x[:, usable], y[usable], {k: v[usable].to(y.dtype) for k, v in conditions.items()}
    with torch.no_grad():
        x = x[: _affordable(problem, x, conditions)]
        if len(x) < _FEWEST:
            return None
        prediction = _forward(problem, x, conditions)
        own = problem.noise_takes.pick(_spread(conditions, len(x)))
        replicates = problem.noise.sample(prediction, seed=1, like=y.expand(len(x), *y.shape), **own)
    return Predictive(y.double().numpy(), replicates.double().numpy(), drawn.index[usable.numpy()], space)


def _affordable(problem: Problem, x: Tensor, conditions: Mapping[str, Tensor]) -> int:
    """How many draws of every observation the forward model predicts in the time that there is."""
    few = {k: v[:1] for k, v in conditions.items()}
    started = time.perf_counter()
    _forward(problem, x[:_PROBE, :1], few)
    each = (time.perf_counter() - started) / min(_PROBE, len(x))
    if each * x.shape[0] * x.shape[1] <= _SECONDS:  # as if a batch gained nothing
        return len(x)
    started = time.perf_counter()
    _forward(problem, x[:1], conditions)
    return int(_SECONDS / max(time.perf_counter() - started, 1e-9))


def _spread(conditions: Mapping[str, Tensor], count: int) -> dict[str, Tensor]:
    return {k: v.expand(count, *v.shape) for k, v in conditions.items()}


def _forward(problem: Problem, x: Tensor, conditions: Mapping[str, Tensor]) -> Tensor:
    rows = {k: v.flatten(0, 1) for k, v in _spread(conditions, len(x)).items()}

    def predicted(x: Tensor, conditions: Mapping[str, Tensor]) -> tuple[Tensor]:
        return (problem.forward(x, **problem.forward_takes.pick(conditions)),)

    (prediction,) = in_blocks(predicted, x.flatten(0, 1), rows, _ROWS)
    return prediction.reshape(*x.shape[:-1], -1)


def own_panels(problem: Problem, answer: Answer, number: int) -> list[Panel]:
    """Panels that forward model and noise offer of the observation `number` among the few; none if they have none."""
    if not (hasattr(problem.forward, "panels") or hasattr(problem.noise, "panels")):
        return []
    drawn = answer.shown
    space = observables(answer, drawn)
    x = problem.prior.causes.flatten(tensors({k: v[:, number] for k, v in drawn.draws.items()}))
    if not bool(torch.isfinite(x).all()):
        return []
    one = Result(
        samples=x[None],
        status=torch.zeros((), dtype=torch.int64),
        stats={},
        causes=problem.prior.causes,
        y=space.flatten(tensors(drawn.observed))[number],
        conditions={k: v[number] for k, v in tensors(drawn.conditions).items()},
    )
    panels = panels_of(one, problem)
    # fields without panels of their own are drawn by the report itself
    return panels if hasattr(problem.forward, "panels") else panels[-1:] if hasattr(problem.noise, "panels") else []
