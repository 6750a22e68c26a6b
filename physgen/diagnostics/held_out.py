"""Held-out likelihood: what a prior says of causes that it was not fitted to."""

from __future__ import annotations

import torch
from torch import Tensor

from .sample_table import sample_table


def held_out_log_likelihood(log_prob: Tensor) -> tuple[float, float]:
    """Mean log density per held-out sample, in nats, and its standard error.

    Parameters
    ----------
    log_prob : Tensor (N,)
        Log density of samples that the prior was not fitted to; -inf for one outside its support.

    Returns
    -------
    (float, float)
        -inf and NaN if a sample has the density zero.

    Raises
    ------
    ValueError, TypeError
        If there are fewer than two, or one is NaN or +inf.
    """
    if isinstance(log_prob, Tensor) and bool(torch.isneginf(log_prob).any()):
        sample_table("log densities", log_prob[~torch.isneginf(log_prob)], 0)
        return -torch.inf, torch.nan
    rows = sample_table("log densities", log_prob)
    return float(rows.mean()), float(rows.std() / len(rows) ** 0.5)
