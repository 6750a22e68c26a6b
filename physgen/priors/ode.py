"""Ordinary differential equations dw/dt = f(w, t) in fixed steps: the transport of diffusion and flow matching.

A step is an explicit Runge-Kutta step of a few stages, so that the whole is a composition of smooth maps. Axes are
(elements, rows).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from itertools import pairwise
from typing import Any, NamedTuple

import torch
from torch import Tensor

Velocity = Callable[[Tensor, float], Tensor]


class Stage(NamedTuple):
    """One evaluation of f within a step.

    Attributes
    ----------
    weight : float
        Share of its slope in the step.
    w : Tensor (n, R)
    t : float
    slope : Tensor (n, R)
        f(w, t).
    """

    weight: float
    w: Tensor
    t: float
    slope: Tensor


def heun(f: Velocity, w: Tensor, t0: float, t1: float) -> list[Stage]:
    """The stages of Heun's method, of second order (Karras et al. 2022, algorithm 1)."""
    first = Stage(0.5, w, t0, f(w, t0))
    end = w + (t1 - t0) * first.slope
    return [first, Stage(0.5, end, t1, f(end, t1))]


def rk4(f: Velocity, w: Tensor, t0: float, t1: float) -> list[Stage]:
    """The stages of the classical method of Runge and Kutta, of fourth order."""
    h, middle = t1 - t0, 0.5 * (t0 + t1)
    stages = [Stage(1 / 6, w, t0, f(w, t0))]
    for weight, reach, t in ((1 / 3, 0.5, middle), (1 / 3, 0.5, middle), (1 / 6, 1.0, t1)):
        at = w + reach * h * stages[-1].slope
        stages.append(Stage(weight, at, t, f(at, t)))
    return stages


METHODS: Mapping[str, Callable[[Velocity, Tensor, float, float], list[Stage]]] = {"heun": heun, "rk4": rk4}


def step(method: str, f: Velocity, w: Tensor, t0: float, t1: float) -> Tensor:
    """w at t1 ``(n, R)`` of w at t0."""
    return w + (t1 - t0) * mean_slope(METHODS[method](f, w, t0, t1))


def mean_slope(stages: Sequence[Stage]) -> Tensor:
    """The weighted mean of the slopes ``(n, R)``."""
    slope = stages[0].weight * stages[0].slope
    for s in stages[1:]:
        slope = slope + s.weight * s.slope
    return slope


def integrate(method: str, f: Velocity, w: Tensor, nodes: Sequence[float]) -> Tensor:
    """w at the last node ``(n, R)`` of w at the first."""
    for t0, t1 in pairwise(nodes):
        w = step(method, f, w, t0, t1)
    return w


def halved(nodes: Sequence[float]) -> tuple[float, ...]:
    """The nodes with one more in the middle of each step."""
    made = [nodes[0]]
    for t0, t1 in pairwise(nodes):
        made += [0.5 * (t0 + t1), t1]
    return tuple(made)


def check_method(method: str, steps: int) -> None:
    """Raise `ValueError` unless there is such a method, and a whole number of steps."""
    if method not in METHODS:
        raise ValueError(f"Unknown method {method!r}. Must be one of {', '.join(METHODS)}.")
    if isinstance(steps, bool) or not isinstance(steps, int) or steps < 1:
        raise ValueError(f"Invalid number of steps {steps!r}. It must be a whole number, at least 1.")


def with_jacobian(function: Callable[[Tensor], Tensor], w: Tensor) -> tuple[Tensor, Tensor]:
    """Values ``(n, R)`` of a function that maps each column by itself, and its Jacobians ``(R, n, n)``."""
    each = torch.eye(len(w), dtype=w.dtype, device=w.device)[:, :, None].expand(-1, -1, w.shape[1])

    def push(tangent: Tensor) -> Any:
        return torch.func.jvp(function, (w,), (tangent,))

    value, slopes = torch.func.vmap(push, out_dims=(None, 0))(each)  # type: ignore[arg-type]
    return value, slopes.permute(2, 1, 0)
