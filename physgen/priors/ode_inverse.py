"""The inverse of a map made of Runge-Kutta steps, and its log determinant.

Integrating backwards in time inverts the differential equation, and the steps only to their own error. Here each step
is inverted itself, so that encode is the inverse of decode and the density is the one of what decode draws, whatever
the number of steps (as in invertible residual networks, Behrmann et al. 2019; there by a bound on the network).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import pairwise

import torch
from torch import Tensor

from .columns import total
from .ode import Velocity, step, with_jacobian

_ITERATIONS = 100
_RENEWED = 6  # trials with one Jacobian
_LEAST = 2**-10  # of the way, after which a trial is given up


def invert(
    method: str, f: Velocity, w: Tensor, nodes: Sequence[float], *, newton: bool, slope: bool = False
) -> tuple[Tensor, Tensor]:
    """Undo `ode.integrate`.

    Parameters
    ----------
    method, f, nodes
        Those of `integrate`, nodes in its order.
    w : Tensor (n, R)
        At the last node.
    newton : bool
        Whether to solve by Newton's iteration, which needs n derivatives an iteration; else by relaxed fixed-point
        iteration, which needs none, and whose result is not differentiable.
    slope : bool
        Whether the log determinant is wanted (only with `newton`).

    Returns
    -------
    w : Tensor (n, R)
        At the first node; NaN where a step could not be inverted.
    log_slope : Tensor (R,)
        log |det dw(last) / dw(first)|, the sum over the steps; 0 if not wanted.
    """
    log_slope = torch.zeros_like(w[0])
    for t0, t1 in reversed(list(pairwise(nodes))):

        def forth(at: Tensor, t0: float = t0, t1: float = t1) -> Tensor:
            return step(method, f, at, t0, t1)

        with torch.no_grad():
            w0 = _solve(forth, w, step(method, f, w, t1, t0), newton)
        if newton:  # one more iteration, which carries the derivatives
            value, j = with_jacobian(forth, w0)
            w0 = w0 - _divide(j, value - w)
        if newton and slope:
            log_slope = log_slope + torch.linalg.slogdet(j).logabsdet
        w = w0
    return w, log_slope


def _solve(forth: Callable[[Tensor], Tensor], target: Tensor, guess: Tensor, newton: bool) -> Tensor:
    """The w with forth(w) = target; NaN where it is not found.

    A trial that does not lower the residual is taken back, and the next goes half as far. A Jacobian serves several
    trials. A column stops by itself, so that its bits do not depend on the others.
    """
    tolerance = 8 * torch.finfo(target.dtype).eps * (1 + _norm(target))
    w, trial, direction = guess, guess, torch.zeros_like(guess)
    j = torch.eye(len(guess)).to(guess).expand(guess.shape[1], -1, -1)
    smallest, scale = torch.full_like(guess[0], torch.inf), torch.ones_like(guess[0])
    active = torch.ones_like(guess[0], dtype=torch.bool)
    for i in range(_ITERATIONS):
        renewed = newton and i % _RENEWED == 0
        if renewed:  # where the last trial was taken back, the Jacobian at w is the one wanted
            trial = torch.where(scale < 1, w, trial)
        value, new = with_jacobian(forth, trial) if renewed else (forth(trial), j)
        residual = value - target
        size = _norm(residual)
        better = active & ((size <= smallest) if renewed else (size < smallest))
        w, smallest = torch.where(better, trial, w), torch.where(better, size, smallest)
        j = torch.where(better[:, None, None], new, j) if renewed else j
        direction = torch.where(better, -_divide(j, residual) if newton else -residual, direction)
        scale = torch.where(better, (2 * scale).clamp(max=1), scale / 2)
        active = active & (smallest > tolerance) & (scale > _LEAST)
        if not bool(active.any()):
            break
        trial = torch.where(active, w + scale * direction, w)
    # rounding may keep the residual above the tolerance
    return torch.where(smallest <= 1e4 * tolerance, w, torch.nan)


def _divide(j: Tensor, columns: Tensor) -> Tensor:
    """J^-1 of each column."""
    return torch.linalg.solve_ex(j, columns.mT[..., None])[0][..., 0].mT


def _norm(columns: Tensor) -> Tensor:
    return total(columns * columns).sqrt()
