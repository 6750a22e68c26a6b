"""Classes of continuous numbers, and the mutual information between tables of classes."""

from __future__ import annotations

import torch
from torch import Tensor

from .sample_table import paired_rows


def classes(x: Tensor, bins: int = 20) -> Tensor:
    """Number the classes of every column.

    Parameters
    ----------
    x : Tensor (N, c)
    bins : int
        A column with at most so many different values keeps them as its classes; any other is cut into so many bins
        of equal share, so that a monotone change of scale does not matter.

    Returns
    -------
    integer Tensor (N, c)
        0, 1, ... in ascending order; a constant column is all 0.
    """
    return torch.stack([_column(column, bins) for column in x.unbind(-1)], dim=-1)


def _column(x: Tensor, bins: int) -> Tensor:
    x = x.contiguous()
    values, which = torch.unique(x, return_inverse=True)
    if len(values) <= bins:
        return which
    share = torch.arange(1, bins, dtype=x.dtype, device=x.device) / bins
    cut = torch.bucketize(x, x.quantile(share).unique(), right=True)
    return torch.unique(cut, return_inverse=True)[1]


def mutual_information(codes: Tensor, factors: Tensor, *, bins: int = 20) -> tuple[Tensor, Tensor]:
    """Mutual information between every code and every factor, and the entropy of the factors, in nats.

    Entropies of binned values with the first-order correction for the number of samples (Miller 1955), without which
    unrelated columns would share (bins - 1)^2 / (2 N) nats.

    Parameters
    ----------
    codes, factors : Tensor (N, k), (N, f)
        Row by row; at least 10 samples a bin.
    bins : int
        Per column, see `classes`.

    Returns
    -------
    information : Tensor (k, f)
        At least 0.
    entropy : Tensor (f,)

    Raises
    ------
    ValueError, TypeError
        If rows are too few, not finite, or differ in number, or `bins` is below 2.
    """
    if bins < 2:
        raise ValueError(f"Invalid number of bins {bins}. Must be at least 2.")
    c, v = paired_rows(codes, factors, ("codes", "factors"), 10 * bins)
    a, b = classes(c, bins), classes(v, bins)
    own, entropy = (torch.stack([_entropy(column, c) for column in t.unbind(-1)]) for t in (a, b))
    width = int(b.amax()) + 1
    joint = torch.stack([torch.stack([_entropy(i * width + j, c) for j in b.unbind(-1)]) for i in a.unbind(-1)])
    return (own[:, None] + entropy - joint).clamp(min=0), entropy


def _entropy(which: Tensor, like: Tensor) -> Tensor:
    """In nats, with the correction (K - 1) / (2 N) for K classes that occur."""
    count = torch.unique(which, return_counts=True)[1].to(like)
    n = len(which)
    p = count / n
    return -(p * p.log()).sum() + (len(count) - 1) / (2 * n)
