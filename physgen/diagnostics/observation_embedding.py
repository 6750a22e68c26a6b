"""What of an observation is compared: its principal components in units of the noise."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from ..noise import Noise
from ..problem import Problem
from ..random import single_stream, uniform

LENT_STAGE = 1 << 40
"""Stage of the numbers that say which observation lends its conditions to a simulated one, as in `physgen simulate`."""

LEARN_STAGE = 1 << 43
"""Stage of the number that seeds the simulations from which a check learns."""

_COMPONENTS = 32  # principal components at most


class NoResidual(ValueError):
    """Predictions are not the expected observations, so that there is no residual."""


@dataclass(frozen=True, eq=False)
class Whitened:
    """``(y, conditions) -> (b, d)``: residuals from the median prediction, in units of the noise, on their components.

    An element that is not measured counts as the median prediction.

    Attributes
    ----------
    problem : Problem
    centre : Tensor (m,)
        The median prediction.
    basis : Tensor (m, d)
    """

    problem: Problem
    centre: Tensor
    basis: Tensor

    def __call__(self, y: Tensor, conditions: Mapping[str, Tensor]) -> Tensor:
        return _residuals(self.problem, y, self.centre, conditions) @ self.basis


def whitened(problem: Problem, x: Tensor, y: Tensor, conditions: Mapping[str, Tensor]) -> Whitened:
    """Learn the centre and the components from simulated causes x (N, n) and observations y (N, m).

    Raises
    ------
    NoResidual
        If predictions hold something else than the expected observations (the sizes of a distribution, say).
    """
    with torch.no_grad():
        prediction = problem.condition(y, **conditions).predict_causes(x)
    if prediction.shape != y.shape:
        raise NoResidual(
            f"Invalid prediction of {prediction.shape[-1]} numbers for {y.shape[-1]} observables: no residual in units "
            "of the noise. Give an embedding of your own, a function (y, conditions) -> (b, d)."
        )
    centre = torch.nan_to_num(prediction).median(0).values
    r = _residuals(problem, y, centre, conditions)
    value, vector = torch.linalg.eigh((r - r.mean(0)).mT @ (r - r.mean(0)) / len(r))
    return Whitened(problem, centre, vector[:, -min(_COMPONENTS, len(value)) :])


def lent(problem: Problem, conditions: Mapping[str, Any], count: int, seed: int) -> dict[str, Tensor]:
    """Conditions (count, *own) of simulated observations: those of a random real one each, all of the same one.

    Parameters
    ----------
    problem : Problem
    conditions : mapping
        One value each, or those of N observations (N, *own).
    count, seed : int

    Raises
    ------
    ValueError
        If conditions are of different numbers of observations.
    """
    space = getattr(problem.forward, "conditions", None) or ()
    own = {b.name: b.shape for b in space}
    rows = {}
    for name, value in conditions.items():
        tensor = torch.as_tensor(value, dtype=torch.get_default_dtype())
        rows[name] = tensor.reshape(-1, *own.get(name, ()))
    sizes = {len(v) for v in rows.values()} - {1}
    if len(sizes) > 1:
        raise ValueError(f"Invalid conditions of {sorted(sizes)} observations. Give one value each, or equally many.")
    pick = (uniform((count,), single_stream(), seed=seed, stage=LENT_STAGE) * max(sizes, default=1)).long()
    return {k: v[pick] if len(v) > 1 else v.expand(count, *v.shape[1:]) for k, v in rows.items()}


def own_seed(seed: int, number: int = 0) -> int:
    """A seed that a check simulates with, so that it never learns from what the same seed has simulated elsewhere."""
    return int(uniform((), single_stream(), seed=seed, stage=LEARN_STAGE + number) * 2.0**52)


def _residuals(problem: Problem, y: Tensor, centre: Tensor, conditions: Mapping[str, Tensor]) -> Tensor:
    """Residuals (b, m) from one prediction, 0 where not measured; in robust units where the noise has none."""
    if type(problem.noise).standardise is Noise.standardise:
        return torch.nan_to_num(y - centre, nan=0.0)
    with torch.no_grad():
        at = centre.to(y).expand_as(y)
        return problem.noise.standardise(y, at, **problem.noise_takes.pick(conditions))
