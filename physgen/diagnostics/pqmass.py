"""PQMass: a chi-squared test of two samples, by counting in random Voronoi cells."""

from __future__ import annotations

from typing import NamedTuple

import torch
from scipy.stats import chi2
from torch import Tensor

from .sample_table import permutation, table_pair

_ROWS = 4096


class PQMass(NamedTuple):
    """Result of `pqmass`.

    Attributes
    ----------
    statistic : float
        Chi-squared of the counts: about `freedom` if the distributions are equal, larger if not.
    freedom : int
        Degrees of freedom: cells that hold a sample, less one.
    p_value : float
        Chance of that statistic or a larger one if they are equal. A value near 1 tells of generated samples that
        copy the real ones.
    """

    statistic: float
    freedom: int
    p_value: float


def pqmass(x: Tensor, y: Tensor, *, references: int = 100, seed: int = 0) -> PQMass:
    """Compare the probability mass of random regions.

    The regions are the Voronoi cells of references drawn from both samples together. References take no part in the
    counts, which are then two draws of one multinomial distribution if the samples are of one distribution.

    Parameters
    ----------
    x : Tensor (N, n)
        Real samples.
    y : Tensor (M, n)
        Generated samples.
    references : int
        How many cells, at least 2. Distances are Euclidean: scale columns of different units first.
    seed : int
        Of the references.

    Returns
    -------
    PQMass

    Raises
    ------
    ValueError, TypeError
        If samples are not finite or of different length, or fewer than twice the references.

    References
    ----------
    Lemos et al. (2024), *PQMass: probabilistic assessment of the quality of generative models using probability mass
    estimation*, section 3.
    """
    x, y = table_pair(x, y, ("real samples", "generated samples"))
    if references < 2:
        raise ValueError(f"Invalid number of references {references}. Must be at least 2.")
    if min(len(x), len(y)) < 2 * references:
        raise ValueError(
            f"Too few samples: {len(x)} and {len(y)} for {references} references. "
            f"Give {2 * references} of each, or lower the references."
        )
    pool = torch.cat([x, y])
    real = torch.arange(len(pool), device=x.device) < len(x)
    order = permutation(len(pool), seed=seed).to(x.device)
    centre, rest = order[:references], order[references:]
    cell = torch.cat([torch.cdist(rows, pool[centre]).argmin(-1) for rows in pool[rest].split(_ROWS)])
    counts = torch.stack([torch.bincount(cell[real[rest] == k], minlength=references) for k in (True, False)])
    return chi_squared(counts)


def chi_squared(counts: Tensor) -> PQMass:
    """Pearson's test that two rows of counts ``(2, K)`` have one distribution; empty columns are left out.

    Raises
    ------
    ValueError
        If a row is empty.
    """
    counts = counts[:, counts.sum(0) > 0].to(torch.float64)
    total = counts.sum(1, keepdim=True)
    if counts.ndim != 2 or len(counts) != 2 or not bool((total > 0).all()):
        raise ValueError(f"Invalid counts of shape {tuple(counts.shape)}. Give two rows, each with a count.")
    expected = total * counts.sum(0) / total.sum()
    statistic = float(((counts - expected).square() / expected).sum())
    freedom = counts.shape[1] - 1
    return PQMass(statistic, freedom, float(chi2.sf(statistic, freedom)) if freedom else 1.0)
