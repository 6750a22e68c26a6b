"""Conjugate gradients for systems that are known by their products alone, several right-hand sides at once."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

Product = Callable[[Tensor], Tensor]

_DELAY = 20  # iterations whose progress is taken for the error that was left before them


def conjugate_gradients(
    product: Product,
    b: Tensor,
    *,
    tolerance: float,
    most: int,
    relative: float = 0.0,
    near: Product | None = None,
) -> tuple[Tensor, Tensor, int]:
    r"""Solve M x = b for symmetric M >= I, from x = 0 (Hestenes & Stiefel 1952; Saad 2003, algorithm 9.1).

    The error e is measured as :math:`\|e\|_M = \sqrt{e^T M e}`: in standard deviations, if M is a precision. It is
    bounded by the length of the residual, and estimated by what the last 20 iterations have gained (Strakos & Tichy
    2002, eq. 4.4, which is a lower bound of the error before them). Each row stops by its own error, and stays as it is
    while others go on.

    Parameters
    ----------
    product : callable
        M v ``(S, k)`` of v ``(S, k)``, row by row.
    b : Tensor (S, k)
    tolerance : float
        Of the error.
    most : int
        Products at most.
    relative : float
        Of the error as a fraction of |A x|, where M = I + A^T A: of what the data have to do with. What is reached
        first counts.
    near : callable, optional
        N v ``(S, k)`` for N near M^-1, symmetric and positive definite.

    Returns
    -------
    x : Tensor (S, k)
    solved : boolean Tensor (S,)
    count : int
        Products made.
    """
    x, r = torch.zeros_like(b), b.clone()
    s = r if near is None else near(r)
    p, rho = s.clone(), (r * s).sum(-1)
    solved, gained, count = (r * r).sum(-1) <= tolerance**2, torch.zeros_like(rho), 0
    gains: list[Tensor] = []
    while count < most and bool((going := ~solved).any()):
        q = product(p)
        count += 1
        curvature = (p * q).sum(-1)
        # rounding may leave no curvature, and what is not finite has none
        going = going & (curvature > 0)
        if not bool(going.any()):
            break
        alpha = torch.where(going, rho / torch.where(going, curvature, 1), 0)
        gains, gained = [*gains[1 - _DELAY :], alpha * rho], gained + alpha * rho  # of the square of the error
        x = x + alpha[:, None] * p
        r = r - alpha[:, None] * torch.where(going[:, None], q, 0)
        s = r if near is None else near(r)
        new = (r * s).sum(-1)
        p = torch.where(going[:, None], s + (new / torch.where(rho > 0, rho, 1))[:, None] * p, p)
        rho = torch.where(going, new, rho)
        solved = solved | (going & ((r * r).sum(-1) <= tolerance**2))
        if len(gains) == _DELAY:
            left = torch.stack(gains).sum(0)
            informed = gained - (x * x).sum(-1)  # x^T M x - x^T x
            solved = solved | (going & ((left <= tolerance**2) | (left <= relative**2 * informed)))
    return x, solved, count
