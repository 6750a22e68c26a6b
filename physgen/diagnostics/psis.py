"""Pareto-smoothed importance sampling, for many observations at once."""

from __future__ import annotations

import torch
from torch import Tensor

_ROWS = 64  # observations whose fit stays in the cache
_FEWEST = 5  # exceedances that a fit needs
_PRIOR_DRAWS, _PRIOR_K = 10, 0.5  # weight and centre of the prior on k, Vehtari et al. (2024), appendix C


def pareto_smooth(log_weights: Tensor) -> tuple[Tensor, Tensor]:
    """Smooth the largest importance weights of each observation, and say how heavy their tail is.

    A generalised Pareto distribution is fitted to the weights above a threshold, and its quantiles replace them
    (Vehtari, Simpson, Gelman, Yao & Gabry 2024, *Pareto smoothed importance sampling*, algorithm 1); the fit is that
    of Zhang & Stephens (2009, *Technometrics* 51, eqs 5 to 9) with a weak prior on k.

    Parameters
    ----------
    log_weights : Tensor (S, *batch)
        Logarithms of S unnormalised weights (target over proposal), draws first; -inf for a weight of zero.

    Returns
    -------
    smoothed : Tensor (S, *batch)
        Logarithms of weights that sum to 1 over the draws.
    k_hat : Tensor (*batch)
        Shape of the tail: below 0.7 the weighted draws can be relied on. -inf where the largest weights are all equal
        (they are then left as they are), inf where fewer than five draws lie in the tail, all weights are zero or one
        is infinite, NaN where a weight is NaN (all weights of that observation are then NaN).

    Raises
    ------
    ValueError
        If there are fewer than six draws.

    Notes
    -----
    `arviz_stats` wants minus the log weights: its ``psislw`` is written for leave-one-out, where the weight is the
    inverse of the likelihood. The wrong sign is answered silently, with the tail of the smallest weights.
    """
    draws, batch = log_weights.shape[0], log_weights.shape[1:]
    if draws < _FEWEST + 1:
        raise ValueError(f"Invalid number of draws {draws}. Pareto smoothing needs at least {_FEWEST + 1}.")
    w = log_weights.reshape(draws, -1).mT
    undefined, infinite = torch.isnan(w).any(-1), torch.isposinf(w).any(-1)
    w = torch.where((undefined | infinite)[:, None], -torch.inf, w)
    top, where = torch.topk(w, _tail_length(draws) + 1, dim=-1)
    largest = torch.where(torch.isneginf(top[:, :1]), 0, top[:, :1])
    w, top = w - largest, top - largest

    smoothed, k_hat = _smooth_tail(top[:, :-1], top[:, -1:], equal_within=_rounding(largest))
    w = w.scatter(-1, where[:, :-1], smoothed)
    w = w - torch.where(torch.isneginf(top[:, :1]), 0, torch.logsumexp(w, dim=-1, keepdim=True))
    w = torch.where(undefined[:, None], torch.nan, w)
    k_hat = torch.where(undefined, torch.nan, torch.where(infinite, torch.inf, k_hat))
    return w.mT.reshape(draws, *batch), k_hat.reshape(batch)


def ess_importance(log_weights: Tensor) -> Tensor:
    """Effective sample size 1 / sum w^2 of weights normalised over the draws (Kong 1992).

    Parameters
    ----------
    log_weights : Tensor (S, *batch)
        Normalised or not; -inf for a weight of zero.

    Returns
    -------
    Tensor (*batch)
        Between 1 and S; 0 where every weight is zero, NaN where one is NaN.
    """
    ess = torch.softmax(log_weights, dim=0).square().sum(0).reciprocal()
    return torch.where(torch.isneginf(log_weights).all(0), 0, ess)


def _tail_length(draws: int) -> int:
    """Vehtari et al. (2024), section 3.2: a fifth of the draws, or 3 sqrt(S) if that is less."""
    return max(_FEWEST, int(min(draws / 5, 3 * draws**0.5)))


def _rounding(largest: Tensor) -> Tensor:
    """Differences of log weights that are rounding alone, (B, 1)."""
    return 32 * torch.finfo(largest.dtype).eps * largest.abs().clamp(min=1)


def _smooth_tail(tail: Tensor, cutoff: Tensor, *, equal_within: Tensor) -> tuple[Tensor, Tensor]:
    """Smoothed log weights (B, M) of a tail in descending order, the largest 0, and k_hat (B,).

    Only what exceeds the cutoff (B, 1) takes part: draws of weight zero, or tied with the cutoff, stay as they are.
    """
    exceeds = tail > cutoff
    n = exceeds.sum(-1, keepdim=True)
    # exp(tail) - exp(cutoff) without the loss of digits where they are close
    excess = torch.exp(tail) * -torch.expm1(torch.where(exceeds, cutoff - tail, 0))
    floor = 1e3 * torch.finfo(tail.dtype).tiny  # a weight that underflows must not divide by zero
    k, sigma = fit_pareto(excess.clamp(min=floor), n)

    rank = n - torch.arange(tail.shape[-1], device=tail.device)  # n for the largest, down to 1
    log_survival = torch.log((n - rank.clamp(min=1) + 0.5).to(tail.dtype) / n.clamp(min=1))
    k_safe = torch.where(k == 0, 1, k)
    quantile = sigma * torch.where(k == 0, -log_survival, torch.expm1(-k * log_survival) / k_safe)
    value = torch.log(torch.exp(cutoff) + quantile).clamp(max=0)

    positive = (~torch.isneginf(tail)).sum(-1, keepdim=True)
    smallest = torch.where(torch.isneginf(tail), 0, tail).amin(-1, keepdim=True)
    equal = (smallest >= -equal_within) & (positive >= _FEWEST)
    few = (n < _FEWEST) & ~equal
    smoothed = torch.where(exceeds & ~equal & ~few & torch.isfinite(k), value, tail)
    k_hat = torch.where(equal, -torch.inf, torch.where(few, torch.inf, k))
    return smoothed, k_hat.squeeze(-1)


def fit_pareto(excess: Tensor, n: Tensor) -> tuple[Tensor, Tensor]:
    """Shape and scale of a generalised Pareto distribution (Zhang & Stephens 2009, eqs 5 to 9).

    Parameters
    ----------
    excess : Tensor (B, M)
        Positive exceedances in descending order.
    n : integer Tensor (B, 1)
        How many of them count, from the largest on.

    Returns
    -------
    k, sigma : Tensor (B, 1)
        k > 0 for a heavy tail: the sign of Vehtari et al. (2024), opposite to that of Zhang & Stephens.
    """
    longest = excess.shape[-1]
    points = 30 + int(longest**0.5)
    counted = torch.arange(longest, device=excess.device) < n
    n = n.clamp(min=1)
    quartile = excess.gather(-1, n - (n / 4 + 0.5).to(n.dtype).clamp(min=1))
    i = torch.arange(1, points + 1, dtype=excess.dtype, device=excess.device)
    b = 1 / excess[:, :1] + (1 - torch.sqrt(points / (i - 0.5))) / (3 * quartile)  # (B, points)

    x = torch.where(counted, excess, 0)  # log1p(0) adds nothing
    pairs = zip(b.split(_ROWS), x.split(_ROWS), strict=True)
    k = torch.cat([(-b_rows[..., None] * x_rows[:, None, :]).log1p_().sum(-1) for b_rows, x_rows in pairs]) / n
    profile = n * (torch.log(-b / k) - k - 1)
    weight = torch.softmax(torch.nan_to_num(profile, nan=-torch.inf), dim=-1)
    b_mean = (b * weight).sum(-1, keepdim=True)
    k_mean = torch.log1p(-b_mean * x).sum(-1, keepdim=True) / n
    sigma = -k_mean / b_mean
    return (n * k_mean + _PRIOR_DRAWS * _PRIOR_K) / (n + _PRIOR_DRAWS), sigma
