"""Mean correlation coefficient: whether codes are the true factors, or those of another seed, up to their order."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from scipy.optimize import linear_sum_assignment
from torch import Tensor

from .sample_table import paired_rows


class Matching(NamedTuple):
    """Result of `match_codes`.

    Attributes
    ----------
    mcc : Tensor ()
        Mean absolute correlation of the matched pairs; a factor without a code counts 0.
    code : integer Tensor (f,)
        The code of each factor; -1 for none.
    correlation : Tensor (k, f)
        Of every code with every factor.
    """

    mcc: Tensor
    code: Tensor
    correlation: Tensor


def match_codes(codes: Tensor, factors: Tensor, *, rank: bool = False) -> Matching:
    """Pair codes with factors, one to one, so that their absolute correlations sum to the most.

    Parameters
    ----------
    codes, factors : Tensor (N, k), (N, f)
        Row by row, at least 10.
    rank : bool
        Spearman's correlation instead of Pearson's: for codes that are recovered up to monotone functions.

    Returns
    -------
    Matching

    Raises
    ------
    ValueError, TypeError
        If rows are too few, not finite, or differ in number.

    References
    ----------
    Hyvärinen & Morioka (2016), *Unsupervised feature extraction by time-contrastive learning and nonlinear ICA*;
    Khemakhem et al. (2020), *Variational autoencoders and nonlinear ICA*. The assignment: Kuhn (1955).
    """
    c, v = paired_rows(codes, factors, ("codes", "factors"), 10)
    if rank:
        c, v = _ranks(c), _ranks(v)
    correlation = _standardised(c).mT @ _standardised(v)
    row, column = linear_sum_assignment(-correlation.abs().cpu().numpy())
    code = torch.full((v.shape[1],), -1, device=c.device)
    code[torch.as_tensor(column)] = torch.as_tensor(row, device=c.device)
    matched = correlation.abs()[torch.as_tensor(row), torch.as_tensor(column)]
    return Matching(matched.sum() / v.shape[1], code, correlation)


def mcc(codes: Tensor, factors: Tensor, *, rank: bool = False) -> Tensor:
    """Mean correlation coefficient ``()``: 1 for the factors in any order, sign and scale. See `match_codes`."""
    return match_codes(codes, factors, rank=rank).mcc


def cross_seed_mcc(codes: Sequence[Tensor], *, rank: bool = False) -> tuple[Tensor, Tensor]:
    """Mean correlation coefficient between fits that differ by their seed: it needs no true factors.

    Parameters
    ----------
    codes : sequence of Tensor (N, k)
        Codes of the same N samples by each of S fits, at least 2.
    rank : bool
        Spearman's correlation instead of Pearson's.

    Returns
    -------
    mean : Tensor ()
        Over the pairs of fits: near 1, the data alone fix the codes.
    each : Tensor (S, S)

    Raises
    ------
    ValueError, TypeError
        If there is one fit only, or codes are too few, not finite, or of different shapes.
    """
    if len(codes) < 2:
        raise ValueError(f"Too few fits: {len(codes)}. Give the codes of at least two seeds.")
    shapes = {tuple(c.shape) for c in codes}
    if len(shapes) > 1:
        raise ValueError(f"Invalid shapes {sorted(shapes)} of codes. Every fit must give one code of the same samples.")
    each = torch.stack([torch.stack([mcc(a, b, rank=rank) for b in codes]) for a in codes])
    i, j = torch.triu_indices(len(codes), len(codes), 1)
    return each[i, j].mean(), each


def _ranks(x: Tensor) -> Tensor:
    """Mid-ranks of every column, so that ties do not depend on their order."""
    ordered = x.mT.contiguous().sort(-1).values
    columns = x.mT.contiguous()
    first = torch.searchsorted(ordered, columns, right=False)
    return ((first + torch.searchsorted(ordered, columns, right=True)).to(x) / 2).mT


def _standardised(x: Tensor) -> Tensor:
    """Centred columns of length 1; 0 where a column is constant."""
    centred = x - x.mean(0)
    length = centred.norm(dim=0)
    rounding = 1e2 * torch.finfo(x.dtype).eps * x.abs().amax(0) * len(x) ** 0.5
    return torch.where(length > rounding, centred / length.clamp(min=torch.finfo(x.dtype).tiny), 0)
