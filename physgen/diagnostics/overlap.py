"""Overlap of two samples of the same quantities, such as prior and posterior draws."""

from __future__ import annotations

import torch
from torch import Tensor

_FEWEST = 50


def overlap(first: Tensor, second: Tensor) -> Tensor:
    """Integral of the smaller of two densities, 0 to 1, for many quantities at once.

    It is 1 minus the largest difference between the probabilities that both give to one and the same interval (or all
    but an interval), from their distribution functions alone: Kuiper's statistic. No bins and no kernel are chosen, and
    no monotone change of the quantity changes the answer.

    Parameters
    ----------
    first, second : Tensor (S, *), (T, *)
        Draws first, at least 50 each; what follows is the same, or 1.

    Returns
    -------
    Tensor (*)
        NaN where a draw is. Where the densities cross more than twice, as a prior and a posterior of two modes do, it
        is an upper bound. Two samples of one distribution score about 0.88 of 200 draws each, 0.97 of 4,000: counted
        shares differ by chance.

    Raises
    ------
    ValueError
        If there are fewer than 50 draws.

    References
    ----------
    Gimenez, Morgan & Brooks (2009), *Weak identifiability in models for mark-recapture-recovery data*: overlap of
    prior and posterior. Kuiper (1960), *Tests concerning random points on a circle*.
    """
    fewest = min(len(first), len(second))
    if fewest < _FEWEST:
        raise ValueError(f"Too few draws for an overlap: {fewest}. It needs at least {_FEWEST} of each.")
    rest = torch.broadcast_shapes(first.shape[1:], second.shape[1:])
    a, b = (v.expand(len(v), *rest).reshape(len(v), -1).T.sort(-1).values.contiguous() for v in (first, second))
    at = torch.cat([a, b], -1)
    # right: the functions step at a value that both samples hold, at once
    below = [torch.searchsorted(v, at, right=True).double() / v.shape[-1] for v in (a, b)]
    difference = below[0] - below[1]
    found = 1 - (difference.amax(-1).clamp(min=0) - difference.amin(-1).clamp(max=0))
    undefined = torch.isnan(at).any(-1)
    return torch.where(undefined, torch.nan, found).reshape(rest).to(second.dtype)
