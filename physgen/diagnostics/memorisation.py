"""Memorisation: whether generated samples lie nearer to the training samples than fresh real ones do."""

from __future__ import annotations

from typing import NamedTuple

import torch
from scipy.stats import mannwhitneyu
from torch import Tensor

from .sample_table import table_pair

_ROWS = 1024
_FEWEST = 20


class Memorisation(NamedTuple):
    """Result of `memorisation`.

    Attributes
    ----------
    nearer : float
        Chance that a generated sample is nearer to the training set than a held-out one: 1/2 if the prior has
        generalised, 1 if it copies, below 1/2 if it strays.
    p_value : float
        Of copying: chance of so large a figure if both are equally near.
    copies : float
        Share of generated samples nearer to a training sample than 99 % of the held-out ones: about 0.01 without
        copying.
    """

    nearer: float
    p_value: float
    copies: float


def memorisation(generated: Tensor, training: Tensor, held_out: Tensor) -> Memorisation:
    """Compare distances to the nearest training sample, of generated and of held-out samples.

    Parameters
    ----------
    generated, training, held_out : Tensor (M, n), (N, n), (H, n)
        At least 20 each; distances are Euclidean, so scale columns of different units first. The held-out samples
        have taken no part in the fit.

    Returns
    -------
    Memorisation

    Raises
    ------
    ValueError, TypeError
        If samples are too few, not finite, or of different length.

    References
    ----------
    Meehan, Chaudhuri & Dasgupta (2020), *A non-parametric test to detect data-copying in generative models*,
    section 3: the test of Mann & Whitney on these distances, here over the whole space.
    """
    train, fake = table_pair(training, generated, ("training samples", "generated samples"), _FEWEST)
    _, held = table_pair(training, held_out, ("training samples", "held-out samples"), _FEWEST)
    own, fresh = nearest_distance(fake, train), nearest_distance(held, train)
    test = mannwhitneyu(own.cpu().numpy(), fresh.cpu().numpy(), alternative="less", method="asymptotic")
    nearer = 1 - float(test.statistic) / (len(own) * len(fresh))
    close = float((own < fresh.quantile(0.01)).to(own).mean())
    return Memorisation(nearer, float(test.pvalue), close)


def nearest_distance(x: Tensor, to: Tensor) -> Tensor:
    """Distance ``(M,)`` of each sample x ``(M, n)`` to the nearest of `to` ``(N, n)``."""
    x, to = table_pair(x, to, ("samples", "neighbours"), 1)
    # the short way by matrix products would not find the distance 0 of a copy
    mode = "donot_use_mm_for_euclid_dist"
    return torch.cat([torch.cdist(rows, to, compute_mode=mode).amin(-1) for rows in x.split(_ROWS)])
