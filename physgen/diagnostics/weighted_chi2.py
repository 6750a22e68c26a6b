"""Tail probabilities of weighted sums of chi-square variables: what a fit leaves over is one."""

from __future__ import annotations

import torch
from torch import Tensor

from ..small_matrices import product


def weighted_chi2_tail(q: Tensor, first: Tensor, second: Tensor, third: Tensor) -> Tensor:
    """P(sum_i w_i v_i^2 > q) for independent standard normal v_i and weights w_i >= 0, from the weights' power sums.

    A chi-square variable is matched to mean, variance and skewness (Hall 1983, Buckley & Eagleson 1988). Exact where
    all weights are equal; otherwise the probability 0.01 is off by a tenth at most.

    Parameters
    ----------
    q : Tensor (*)
    first, second, third : Tensor (*)
        Sums of w, w^2 and w^3; they may come as traces, without the eigenvalues.

    Returns
    -------
    Tensor (*)
        NaN where something is NaN; 1 where the sum of the weights is zero and q is not above it.

    References
    ----------
    Buckley & Eagleson (1988), *An approximation to the distribution of quadratic forms in normal random variables*,
    Aust. J. Stat. 30A:150.
    """
    empty = ~(second > 0)
    c2, c3 = torch.where(empty, 1, second), torch.where(empty, 1, third).clamp(min=torch.finfo(q.dtype).tiny)
    nu = c2**3 / c3**2
    matched = nu + (q - first) * torch.sqrt(nu / c2)
    tail = torch.special.gammaincc(nu / 2, matched.clamp(min=0) / 2)
    nothing = torch.where(q > first, 0.0, 1.0).to(tail)
    unknown = torch.isnan(q) | torch.isnan(first + second + third)
    return torch.where(unknown, torch.nan, torch.where(empty, nothing, tail))


def power_sums(a: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Sums ``(*)`` of the first three powers of the eigenvalues of symmetric matrices ``(*, k, k)``."""
    square = product(a, a)
    return a.diagonal(dim1=-2, dim2=-1).sum(-1), a.square().sum((-2, -1)), (square * a).sum((-2, -1))
