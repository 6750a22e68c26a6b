"""Equally weighted draws from weighted ones."""

from __future__ import annotations

import torch
from torch import Tensor

from physgen.random import uniform


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
