"""What a check knows of the observations: their principal components and their squares, as plain columns."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from .replications import Replications


@dataclass(frozen=True, eq=False)
class ObservedFeatures:
    """What replications have taught of their observations: the same columns can be had of any other observation.

    Attributes
    ----------
    conditions : tuple of str
        Those that the replications have, in order.
    mean : Tensor (c,)
        Of the elements of observations and conditions.
    directions : Tensor (c, f)
        From elements about their mean to standardised columns.
    """

    conditions: tuple[str, ...]
    mean: Tensor
    directions: Tensor

    @classmethod
    def of(cls, replications: Replications, most: int = 10) -> ObservedFeatures:
        """Learn them; see `observed_features`."""
        columns = _columns(observations_of(replications), replications.conditions, replications.truth)
        mean = columns.nanmean(0)
        centred = torch.nan_to_num(columns - mean)
        sd = centred.square().mean(0).sqrt()
        varies = sd > 1e-9 * (1 + mean.nan_to_num().abs())
        directions = torch.diag(1 / sd)[:, varies].nan_to_num(0, 0, 0)
        if directions.shape[1] > most:
            kept = centred @ directions
            directions = directions @ torch.linalg.svd(kept, full_matrices=False).Vh[:most].mT
        size = (centred @ directions).square().mean(0).sqrt().clamp(min=1e-12)
        return cls(tuple(replications.conditions), mean, directions / size)

    def __call__(self, y: Tensor, conditions: Mapping[str, Tensor]) -> Tensor:
        """Columns (b, f) of observations (b, m) under conditions (b, *own).

        Raises
        ------
        ValueError
            If the conditions are others than the replications', or the observations have another length.
        """
        if set(conditions) != set(self.conditions):
            raise ValueError(
                f"The observations have the conditions {', '.join(conditions) or 'none'}, the replications "
                f"{', '.join(self.conditions) or 'none'}. Give the same."
            )
        columns = _columns(y, {k: conditions[k] for k in self.conditions}, self.mean)
        if columns.shape[1] != len(self.mean):
            raise ValueError(
                f"Invalid observations with {columns.shape[1]} elements, conditions included. "
                f"The replications have {len(self.mean)}."
            )
        return torch.nan_to_num(columns - self.mean) @ self.directions


def observations_of(replications: Replications) -> Tensor:
    """The observations (n, m) of replications; `ValueError` if there are none."""
    if replications.y is None:
        raise ValueError(
            "This check needs the observations. Give the replications their y, as replicate does by itself."
        )
    return replications.y


def _columns(y: Tensor, conditions: Mapping[str, Tensor], like: Tensor) -> Tensor:
    """Elements of observations and conditions side by side, NaN where not known."""
    columns = torch.cat([p.reshape(len(y), -1).to(like) for p in (y, *conditions.values())], 1)
    return torch.where(torch.isinf(columns), torch.nan, columns)


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
    return ObservedFeatures.of(replications, most)(observations_of(replications), replications.conditions)


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
