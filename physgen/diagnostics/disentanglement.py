"""Scores of codes against known factors: mutual information gap, attribute predictability gap, modularity."""

from __future__ import annotations

import torch
from torch import Tensor

from .binning import mutual_information
from .matching import match_codes


def mutual_information_gap(codes: Tensor, factors: Tensor, *, bins: int = 20) -> Tensor:
    """MIG: by how much the most informative code of a factor leads the second, as a share of the factor's entropy.

    Parameters
    ----------
    codes, factors : Tensor (N, k), (N, f)
        Row by row; factors may be classes or numbers. At least 10 samples a bin.
    bins : int
        Of a continuous column.

    Returns
    -------
    Tensor ()
        Mean over the factors that vary: 1 for one code a factor, 0 where two codes know the same.

    Raises
    ------
    ValueError, TypeError
        If rows are too few, not finite, or differ in number, or no factor varies.

    References
    ----------
    Chen et al. (2018), *Isolating sources of disentanglement in variational autoencoders*, eq. 6.
    """
    information, entropy = mutual_information(codes, factors, bins=bins)
    varies = entropy > 0
    if not bool(varies.any()):
        raise ValueError("Invalid factors: all are constant. At least one must vary.")
    return (_gap(information)[varies] / entropy[varies]).mean().clamp(max=1)


def attribute_predictability(codes: Tensor, factors: Tensor) -> Tensor:
    """SAP: by how much the best linear predictor of a factor by one code leads the second, in explained variance.

    Factors are numbers here: for unordered classes use `mutual_information_gap`. Parameters, errors and range are
    those of it.

    References
    ----------
    Kumar, Sattigeri & Balakrishnan (2018), *Variational inference of disentangled latent concepts from unlabeled
    observations*, section 3.
    """
    square = match_codes(codes, factors).correlation.square()
    varies = factors.reshape(len(factors), -1).amax(0) > factors.reshape(len(factors), -1).amin(0)
    if not bool(varies.any()):
        raise ValueError("Invalid factors: all are constant. At least one must vary.")
    return _gap(square)[varies].mean()


def modularity(information: Tensor) -> Tensor:
    """Whether each code tells about one factor only.

    Parameters
    ----------
    information : Tensor (k, f)
        Of every code about every factor, as of `mutual_information`; f at least 2.

    Returns
    -------
    Tensor ()
        Mean over the codes that tell about anything of 1 - (information besides the best factor)^2 / (best^2 (f - 1)):
        1 if each tells about one factor, 0 if about all alike.

    Raises
    ------
    ValueError
        If there is one factor only, a value is negative or not finite, or no code tells about anything.

    References
    ----------
    Ridgeway & Mozer (2018), *Learning deep disentangled embeddings with the F-statistic loss*, section 2.
    """
    if information.ndim != 2 or information.shape[1] < 2:
        raise ValueError(f"Invalid information of shape {tuple(information.shape)}. Give (codes, factors >= 2).")
    if not bool(torch.isfinite(information).all()) or bool((information < 0).any()):
        raise ValueError("Invalid information with negative or missing values. Every element must be at least 0.")
    best = information.amax(1)
    if not bool((best > 0).any()):
        raise ValueError("Invalid information: all is 0. At least one code must tell about a factor.")
    m, best = information[best > 0], best[best > 0]
    others = m.square().sum(1) - best.square()
    return (1 - others / (best.square() * (m.shape[1] - 1))).mean()


def _gap(table: Tensor) -> Tensor:
    """Difference of the two largest of every column ``(k, f)``; a single code has no rival."""
    if len(table) == 1:
        return table[0]
    top = table.topk(2, dim=0).values
    return top[0] - top[1]
