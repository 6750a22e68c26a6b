"""The instantaneous change of variables: d log p(w) / dt = -tr df/dw, with the trace estimated by random probes."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Tensor

from ..random import uniform
from .columns import total
from .ode import METHODS, Velocity, mean_slope

PROBES_STAGE = (1 << 39) + (1 << 38)  # of the probes


def rademacher(probes: int, elements: int, rows: int, *, seed: int, like: Tensor) -> Tensor:
    """Random signs ``(P, n, R)``; a row's are those of its number, whatever the number of rows."""
    draws = uniform((probes, elements), torch.arange(rows), seed=seed, stage=PROBES_STAGE)
    return (2 * (draws > 0.5) - 1).permute(1, 2, 0).to(like)


def integrated_divergence(method: str, f: Velocity, w: Tensor, nodes: Sequence[float], probes: Tensor) -> Tensor:
    """The integral of e^T (df/dw) e over t along the path from w, for each probe: ``(P, R)``.

    Its mean over probes with E e e^T = I is the log determinant of the flow (Hutchinson 1990; Grathwohl et al. 2019,
    eq. 7, the probes kept along the path), up to the error of the steps; with the unit vectors as probes its sum is.

    Parameters
    ----------
    method, f, nodes
        See `ode.integrate`.
    w : Tensor (n, R)
        At the first node.
    probes : Tensor (P, n, R)
    """
    integral = torch.zeros_like(probes[:, 0])
    for t0, t1 in pairwise(nodes):
        stages = METHODS[method](f, w, t0, t1)
        for s in stages:
            integral = integral + (t1 - t0) * s.weight * _quadratic(f, s.w, s.t, probes)
        w = w + (t1 - t0) * mean_slope(stages)
    return integral


def _quadratic(f: Velocity, w: Tensor, t: float, probes: Tensor) -> Tensor:
    """e^T (df/dw) e for each probe e, ``(P, R)``."""

    def push(e: Tensor) -> Tensor:
        return total(e * torch.func.jvp(lambda at: f(at, t), (w,), (e,))[1])

    return torch.func.vmap(push)(probes)
