"""Fréchet distance between two samples in a space of features."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from .sample_table import table_pair


def frechet_distance(x: Tensor, y: Tensor, features: Callable[[Tensor], Tensor] | None = None) -> Tensor:
    """Squared Fréchet distance of the normal distributions with the samples' means and covariances.

    |m_x - m_y|^2 + tr(C_x + C_y - 2 (C_x C_y)^(1/2)) (Dowson & Landau 1982, eq. 4). It sees no more than means and
    covariances of the features, and is biased upwards by about its own size at few samples: compare it with the
    distance between two halves of the real ones.

    Parameters
    ----------
    x, y : Tensor (N, *own), (M, *own)
        Real and generated samples.
    features : callable, optional
        ``(N, *own) -> (N, f)``: whose distribution counts. The samples themselves by default.

    Returns
    -------
    Tensor ()
        In the squared units of the features.

    Raises
    ------
    ValueError, TypeError
        If features are not finite or differ in number, or there are not more samples than features.
    """
    if features is not None:
        x, y = features(x), features(y)
    x, y = table_pair(x, y, ("features of real samples", "features of generated samples"))
    if min(len(x), len(y)) <= x.shape[1]:
        raise ValueError(
            f"Too few samples: {len(x)} and {len(y)} for {x.shape[1]} features. "
            "Give more samples than features, or fewer features."
        )
    return gaussian_frechet(x.mean(0), torch.cov(x.mT).reshape(x.shape[1], -1), y.mean(0), torch.cov(y.mT))


def gaussian_frechet(mean_x: Tensor, cov_x: Tensor, mean_y: Tensor, cov_y: Tensor) -> Tensor:
    """Squared Fréchet distance ``()`` of N(mean_x, cov_x) and N(mean_y, cov_y), means ``(f,)``."""
    cov_y = cov_y.reshape(cov_x.shape)
    root = _symmetric_root(cov_x)
    # (C_x C_y)^(1/2) has the trace of the symmetric (C_x^(1/2) C_y C_x^(1/2))^(1/2)
    cross = torch.linalg.eigvalsh(root @ cov_y @ root).clamp(min=0).sqrt().sum()
    return ((mean_x - mean_y).square().sum() + cov_x.trace() + cov_y.trace() - 2 * cross).clamp(min=0)


def _symmetric_root(c: Tensor) -> Tensor:
    value, vector = torch.linalg.eigh(c)
    return (vector * value.clamp(min=0).sqrt()) @ vector.mT
