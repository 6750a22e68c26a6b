"""Equally weighted draws from weighted ones, and so many draws from others."""

from __future__ import annotations

import torch
from torch import Tensor

from ..random import uniform


def systematic(weight: Tensor, draws: int, index: Tensor, *, seed: int, stages: tuple[int, int]) -> Tensor:
    """Places (B, draws) of the draws that systematic resampling picks (Kitagawa 1996), in shuffled order.

    Parameters
    ----------
    weight : Tensor (B, S)
        Not negative; of any sum.
    draws : int
    index : integer Tensor (B,)
        Number of each observation, which with `seed` decides the random numbers.
    seed : int
    stages : (int, int)
        Random stages of the offset and of the order.
    """
    offset = uniform((1,), index, seed=seed, stage=stages[0], dtype=torch.float64)
    order = uniform((draws,), index, seed=seed, stage=stages[1]).argsort(-1)
    cumulative = weight.to(torch.float64).cumsum(-1)
    ladder = (torch.arange(draws, dtype=torch.float64, device=weight.device) + offset) / draws * cumulative[:, -1:]
    return torch.searchsorted(cumulative, ladder).clamp(max=weight.shape[-1] - 1).gather(-1, order)


def unbiased(weight: Tensor) -> Tensor:
    """Normalised weights (B, S) without the bias of the first order in 1/S that the normalisation brings.

    The expectation of sum w f differs from that of f under the posterior by - sum w^2 (f - sum w f), to first order
    (Owen 2013, Monte Carlo theory, methods and examples, eq. 9.10): regions that few heavy draws stand for are short
    of mass, the tails above all.
    """
    square = weight * weight
    return weight + square - weight * square.sum(-1, keepdim=True)


def evenly(samples: Tensor, chains: int, draws: int) -> Tensor:
    """Samples (chain, draw, b, n) as (b, chains, draws, n): so many of them, evenly spread over all; some more than
    once where there are too few."""
    flat, count = samples.flatten(0, 1), chains * draws
    pick = ((torch.arange(count, device=flat.device) + 0.5) * (len(flat) / count)).to(torch.int64)
    return flat[pick].movedim(1, 0).reshape(-1, chains, draws, flat.shape[-1])
