"""Posterior SBC: whether the method is right around one observation, and not only on average over the prior.

Säilynoja, Schmitt, Bürkner & Vehtari (2025), *Posterior SBC: simulation-based calibration checking conditional on
data*, section 3. The posterior of the observation takes the place of the prior:

1. draw causes x_i from the inversion's own posterior given y;
2. measure each again: y_i ~ p(y | x_i), under the conditions of y and with the same elements missing;
3. invert both measurements together: p(x | y, y_i), proportional to p(y_i | x) p(y | x) p(x);
4. x_i is to the draws of step 3 what the truth is in SBC: if both inversions are exact, it is exchangeable with them.

What it needs: two measurements of the same causes are independent given these, which holds for every `Problem` (a
discrepancy that the noise holds is drawn anew for each); and a noise that a gradient method can whiten, where the
inversion is one. A wrong posterior shows if it is not wrong in a way that is the same before and after y_i came in.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from ..conditions import Takes, takes
from ..noise import Noise, Whitener
from ..problem import Problem
from ..progress import Progress
from .replications import FEWEST_REPLICATIONS, Replications, replications_of


def posterior_replicate(
    problem: Problem,
    inversion: Callable[..., Any],
    y: Any,
    n: int,
    *,
    conditions: Mapping[str, Any] | None = None,
    draws: int | None = None,
    seed: int = 0,
    progress: Progress = False,
) -> Replications:
    """Replications around one observation, to which `sbc` and every other check apply.

    Parameters
    ----------
    problem : Problem
    inversion : Inversion
    y : array_like (m,)
        The observation, NaN where not measured.
    n : int
        Replications, at most as many as the inversion gives draws of one observation.
    conditions : mapping, optional
        Of the observation, one value each.
    draws, seed, progress
        See `replicate`.

    Returns
    -------
    Replications
        Their `y` holds both measurements side by side, their `prior_sd` is that of the posterior given y.

    Raises
    ------
    ValueError
        If the inversion does not vouch for its posterior given y, or has too few draws, saying how many are needed.
    """
    if n < FEWEST_REPLICATIONS:
        raise ValueError(f"Too few replications: {n}. At least {FEWEST_REPLICATIONS} are needed, and 300 are better.")
    y = torch.as_tensor(y)
    if y.ndim != 1:
        raise ValueError(f"Invalid observation of shape {tuple(y.shape)}. Give one observation (m,).")
    given = dict(conditions or {})
    first = inversion(problem, y[None], conditions=given, seed=seed)
    if not bool(first.trusted.all()):
        raise ValueError(
            "The inversion does not vouch for its posterior of this observation. Draws of it cannot stand for a prior: "
            "use another method."
        )
    found = first.draws[:, 0]
    if len(found) < n:
        raise ValueError(
            f"Too few draws of the observation for {n} replications: {len(found)}. Let the inversion keep {n} or more."
        )
    truth = found[torch.arange(n, device=found.device) * len(found) // n]
    again = _measure(problem, first.y[0], truth, given, seed)
    both = torch.cat([first.y[:1].expand_as(again), again], -1)
    # another seed: the first inversion's random numbers have made the truth
    result = inversion(measured_twice(problem, y.shape[-1]), both, conditions=given, seed=seed + 1, progress=progress)
    return replications_of(measured_twice(problem, y.shape[-1]), truth, result, draws=draws)


def measured_twice(problem: Problem, elements: int) -> Problem:
    """The problem of two independent measurements of the same causes under the same conditions.

    Parameters
    ----------
    problem : Problem
    elements : int
        m of one measurement; an observation of the new problem is ``(*, 2 m)``.
    """
    own = getattr(problem.forward, "jacobian", None)
    jacobian = None if own is None else _twice_jacobian(own)
    space = getattr(problem.forward, "conditions", None)
    forward = _Twice(
        problem.forward, problem.prior.causes, space, problem.forward_takes, problem.differentiable, jacobian
    )
    return Problem(forward, problem.prior, TwiceNoise(problem.noise, elements))


@dataclass(frozen=True, eq=False)
class _Twice:
    """A forward model whose prediction stands there twice."""

    forward: Any
    causes: Any
    conditions: Any
    takes: Takes
    differentiable: bool
    jacobian: Callable[..., tuple[Tensor, Tensor]] | None

    def __call__(self, x: Tensor, /, **conditions: Tensor) -> Tensor:
        prediction = self.forward(x, **conditions)
        return torch.cat([prediction, prediction], -1)


def _twice_jacobian(own: Callable[..., tuple[Tensor, Tensor]]) -> Callable[..., tuple[Tensor, Tensor]]:
    def jacobian(x: Tensor, **conditions: Tensor) -> tuple[Tensor, Tensor]:
        prediction, slopes = own(x, **conditions)
        return torch.cat([prediction, prediction], -1), torch.cat([slopes, slopes], -2)

    return jacobian


class TwiceNoise(Noise):
    """Two independent measurements, side by side.

    Parameters
    ----------
    noise : Noise
        Of each.
    elements : int
        m of one measurement.
    """

    def __init__(self, noise: Noise, elements: int) -> None:
        self.noise, self.elements = noise, elements
        self.takes = takes(noise, "log_prob", 2)

    def log_prob(self, y: Tensor, prediction: Tensor, **conditions: Tensor) -> Tensor:
        """Sum of both, ``(*)``."""
        pairs = self._pairs(y, prediction)
        return sum((self.noise.log_prob(a, b, **conditions) for a, b in pairs), prediction.new_zeros(()))

    def sample(self, prediction: Tensor, *, seed: int = 0, like: Tensor | None = None, **conditions: Tensor) -> Tensor:
        """Two measurements, ``(*, 2 m)``, with the seeds `seed` and `seed` + 1."""
        likes = (None, None) if like is None else like.split(self.elements, -1)
        halves = prediction.tensor_split(2, -1)
        drawn = [
            self.noise.sample(half, seed=seed + i, like=own, **conditions)
            for i, (half, own) in enumerate(zip(halves, likes, strict=True))
        ]
        return torch.cat(drawn, -1)

    def whiten(self, y: Tensor, prediction: Tensor, **conditions: Tensor) -> Whitener:
        """The whiteners of both, one below the other."""
        return _TwiceWhitener.of([self.noise.whiten(a, b, **conditions) for a, b in self._pairs(y, prediction)])

    def standardise(self, y: Tensor, prediction: Tensor, **conditions: Tensor) -> Tensor:
        """Residuals of both, ``(*, 2 m)``."""
        return torch.cat([self.noise.standardise(a, b, **conditions) for a, b in self._pairs(y, prediction)], -1)

    def _pairs(self, y: Tensor, prediction: Tensor) -> list[tuple[Tensor, Tensor]]:
        return list(zip(y.split(self.elements, -1), prediction.tensor_split(2, -1), strict=True))


@dataclass(frozen=True, eq=False)
class _TwiceWhitener(Whitener):
    parts: tuple[Whitener, ...]

    @staticmethod
    def of(parts: list[Whitener]) -> _TwiceWhitener:
        return _TwiceWhitener(torch.cat([p.residual for p in parts], -1), tuple(parts))

    def __call__(self, jacobian: Tensor) -> Tensor:
        """L^T J of both measurements."""
        halves = jacobian.tensor_split(2, -2)
        return torch.cat([part(half) for part, half in zip(self.parts, halves, strict=True)], -2)


def _measure(problem: Problem, y: Tensor, truth: Tensor, conditions: Mapping[str, Any], seed: int) -> Tensor:
    """A measurement of each of the true causes (n, k), with the missing elements of y (m,)."""
    posterior = problem.condition(y.expand(len(truth), -1), **conditions)
    with torch.no_grad():
        prediction = posterior.predict_causes(truth)
        own = problem.noise_takes.pick(posterior.conditions)
        return problem.noise.sample(prediction, seed=seed, like=posterior.y, **own)
