"""Jensen-Shannon divergence of counted samples, in bits, and the value that sampling alone gives."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from ..random import single_stream, uniform
from .sample_table import sample_table


class SamplingFloor(NamedTuple):
    """Divergence between two finite samples of one distribution, in bits.

    Attributes
    ----------
    mean : Tensor (*batch)
        What a perfect generator scores on average.
    high : Tensor (*batch)
        What it exceeds in one case of twenty.
    """

    mean: Tensor
    high: Tensor


def jensen_shannon(p: Tensor, q: Tensor) -> Tensor:
    """Jensen-Shannon divergence in bits (Lin 1991, eq. 4.1 with equal weights).

    Parameters
    ----------
    p, q : Tensor (*batch, K)
        Counts or probabilities of K bins; each is divided by its sum.

    Returns
    -------
    Tensor (*batch)
        0 for equal distributions, 1 where they have no bin in common.

    Raises
    ------
    ValueError
        If the bins differ in number, a value is negative or not finite, or all are zero.
    """
    if p.ndim == 0 or q.ndim == 0 or p.shape[-1] != q.shape[-1]:
        raise ValueError(f"Invalid shapes {tuple(p.shape)} and {tuple(q.shape)}. Both need the same bins.")
    p, q = _normalised(p), _normalised(q)
    m = (p + q) / 2
    # a difference of entropies, each term of it finite
    return (_entropy(m) - (_entropy(p) + _entropy(q)) / 2).clamp(min=0)


def sampling_floor(
    p: Tensor, n: int, m: int, *, average: bool = False, draws: int = 1000, seed: int = 0
) -> SamplingFloor:
    """Divergence between n and m independent samples of the same binned distribution, by simulation.

    To first order its mean is (K - 1) (1/n + 1/m) / (8 ln 2) bits for K bins that are all well filled.

    Parameters
    ----------
    p : Tensor (*batch, K)
        Counts or probabilities, of which both samples are drawn.
    n, m : int
        How many samples, at least 2 each. They must be independent: of a series with a memory count the years, not
        the days.
    average : bool
        Of the divergence averaged over the batch (the months of a year, say): its scatter is smaller.
    draws : int
        Of the simulation, at least 20.
    seed : int

    Returns
    -------
    SamplingFloor

    Raises
    ------
    ValueError
        If a number is too low, or p is not a distribution.
    """
    if min(n, m) < 2 or draws < 20:
        raise ValueError(f"Too few samples: n = {n}, m = {m}, {draws} draws. Give at least 2, 2 and 20.")
    p = _normalised(p)
    first, second = (_multinomial(p, count, draws, seed, stage) for stage, count in enumerate((n, m)))
    found = jensen_shannon(first, second)
    found = found.reshape(draws, -1).mean(-1) if average else found
    return SamplingFloor(found.mean(0), found.quantile(0.95, dim=0))


def quantile_edges(x: Tensor, bins: int) -> Tensor:
    """Inner edges ``(bins - 1,)`` of bins that each hold the same share of the samples x ``(N,)``; fewer where ties.

    Raises
    ------
    ValueError
        If there are fewer samples than bins, or one is NaN.
    """
    if bins < 2:
        raise ValueError(f"Invalid number of bins {bins}. Must be at least 2.")
    rows = sample_table("samples", x, bins)
    share = torch.arange(1, bins, dtype=rows.dtype, device=rows.device) / bins
    return rows.reshape(-1).quantile(share).unique()


def histogram(x: Tensor, edges: Tensor) -> Tensor:
    """Counts ``(K,)`` of the samples x ``(N,)`` between K - 1 ascending inner edges; the outer bins are unbounded."""
    rows = sample_table("samples", x, 1).reshape(-1)
    return torch.bincount(torch.bucketize(rows.contiguous(), edges.to(rows)), minlength=len(edges) + 1)


def _normalised(p: Tensor) -> Tensor:
    p = p if p.is_floating_point() else p.to(torch.get_default_dtype())
    total = p.sum(-1, keepdim=True)
    if not bool(torch.isfinite(p).all()) or bool((p < 0).any()) or not bool((total > 0).all()):
        raise ValueError(
            "Invalid distribution. Counts or probabilities must be finite, not negative, and not all zero."
        )
    return p / total


def _entropy(p: Tensor) -> Tensor:
    """In bits."""
    return -torch.special.xlogy(p, p).sum(-1) / 0.6931471805599453


def _multinomial(p: Tensor, count: int, draws: int, seed: int, stage: int) -> Tensor:
    """Counts ``(draws, *batch, K)`` of so many independent samples of p ``(*batch, K)``."""
    flat = p.reshape(-1, p.shape[-1])
    u = uniform((draws, len(flat), count), single_stream(), seed=seed, stage=stage).to(flat)
    upper = flat.cumsum(-1)[:, :-1].contiguous()
    at = torch.stack([torch.bucketize(u[:, i].contiguous(), row, right=True) for i, row in enumerate(upper)], dim=1)
    counts = flat.new_zeros(draws, *flat.shape).scatter_add_(-1, at, torch.ones_like(u))
    return counts.reshape(draws, *p.shape)
