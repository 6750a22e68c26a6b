"""What a check knows of the observations: their principal components and their squares, as plain columns."""

from __future__ import annotations

import torch
from torch import Tensor

from .replications import Replications


def observed_features(replications: Replications, most: int = 10) -> Tensor:
    """Standardised columns ``(n, f)`` of the observations and conditions.

    Parameters
    ----------
    replications : Replications
        With `y`, NaN where not measured: such an element counts as its mean.
    most : int
        Principal components at most.

    Raises
    ------
    ValueError
        If there are no observations.
    """
    if replications.y is None:
        raise ValueError(
            "This check needs the observations. Give the replications their y, as replicate does by itself."
        )
    parts = [replications.y, *(v.reshape(len(v), -1) for v in replications.conditions.values())]
    columns = torch.cat([p.to(replications.truth) for p in parts], 1)
    columns = torch.where(torch.isinf(columns), torch.nan, columns)
    mean = columns.nanmean(0)
    centred = torch.nan_to_num(columns - mean)
    sd = centred.square().mean(0).sqrt()
    kept = centred[:, sd > 1e-9 * (1 + mean.nan_to_num().abs())]
    kept = kept / kept.square().mean(0).sqrt()
    if kept.shape[1] > most:
        kept = kept @ torch.linalg.svd(kept, full_matrices=False).Vh[:most].mT
    return kept / kept.square().mean(0).sqrt().clamp(min=1e-12)


def held_out_regression(features: Tensor, target: Tensor, *, ridge: float = 1.0) -> tuple[Tensor, Tensor]:
    """What each half of the rows, by a ridge regression on linear and squared features, expects of the other half.

    Parameters
    ----------
    features : Tensor (n, f)
    target : Tensor (n, k)
    ridge : float
        In rows.

    Returns
    -------
    (Tensor (n, k), Tensor (n, k))
        The prediction, and the standard deviation of what the regression left in its own half.
    """
    columns = torch.cat([torch.ones_like(features[:, :1]), features, features.square() - 1], 1)
    even = torch.arange(len(features), device=features.device) % 2 == 0
    expected, left = torch.empty_like(target), torch.empty_like(target)
    for learn in (even, ~even):
        A, b = columns[learn], target[learn]
        gram = A.mT @ A + ridge * torch.eye(A.shape[1]).to(A)
        slopes = torch.linalg.solve(gram, A.mT @ b)
        expected[~learn] = columns[~learn] @ slopes
        left[~learn] = (b - A @ slopes).std(0)
    return expected, left
