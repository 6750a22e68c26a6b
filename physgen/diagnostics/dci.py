"""DCI: disentanglement, completeness and informativeness of codes, from how much each matters to each factor."""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor

from .boosted_stumps import fit_stumps
from .sample_table import paired_rows, permutation

_FEWEST = 100


class DCI(NamedTuple):
    """Result of `dci`.

    Attributes
    ----------
    disentanglement : Tensor ()
        1 if each code matters to one factor only.
    completeness : Tensor ()
        1 if one code alone matters to each factor.
    informativeness : Tensor (f,)
        Share of each factor's variance that the codes explain in samples held out.
    importance : Tensor (k, f)
    """

    disentanglement: Tensor
    completeness: Tensor
    informativeness: Tensor
    importance: Tensor


def dci(codes: Tensor, factors: Tensor, *, seed: int = 0) -> DCI:
    """Scores of codes by a regression of every factor on them.

    The regression is physgen's own boosting of stumps: additive and non-linear, deterministic. A factor that depends
    on codes by their interaction alone is not seen, and then has a low informativeness.

    Parameters
    ----------
    codes, factors : Tensor (N, k), (N, f)
        Row by row, at least 100; a fifth is held out. Factors are numbers.
    seed : int
        Of which are held out.

    Returns
    -------
    DCI

    Raises
    ------
    ValueError, TypeError
        If rows are too few, not finite, or differ in number, or the codes matter to no factor.

    References
    ----------
    Eastwood & Williams (2018), *A framework for the quantitative evaluation of disentangled representations*,
    section 2.
    """
    c, v = paired_rows(codes, factors, ("codes", "factors"), _FEWEST)
    order = permutation(len(c), seed=seed).to(c.device)
    held, fit = order[: len(c) // 5], order[len(c) // 5 :]
    stumps = fit_stumps(c[fit], v[fit])
    error = (v[held] - stumps(c[held])).square().mean(0)
    variance = (v[held] - v[fit].mean(0)).square().mean(0)
    informativeness = torch.where(variance > 0, 1 - error / variance, 0)
    importance = stumps.importance
    return DCI(disentanglement(importance), completeness(importance), informativeness, importance)


def disentanglement(importance: Tensor) -> Tensor:
    """1 - entropy of each code's importances over the factors, averaged with the codes' total importance, ``()``.

    Parameters
    ----------
    importance : Tensor (k, f)
        At least 0; entropies are to the base f, so that 1 means one factor alone and 0 all alike.

    Raises
    ------
    ValueError
        If the importances are no matrix, negative, not finite, or all 0.

    References
    ----------
    Eastwood & Williams (2018), section 2, *disentanglement*.
    """
    r = _checked(importance)
    own = r.sum(1)
    share = r / torch.where(own > 0, own, 1)[:, None]
    entropy = -torch.special.xlogy(share, share).sum(1) / max(math.log(r.shape[1]), 1e-300)
    return ((1 - entropy) * own).sum() / own.sum()


def completeness(importance: Tensor) -> Tensor:
    """The same over the codes of each factor, ``()`` (Eastwood & Williams 2018, section 2, *completeness*)."""
    return disentanglement(_checked(importance).mT)


def _checked(r: Tensor) -> Tensor:
    if r.ndim != 2 or not r.numel():
        raise ValueError(f"Invalid importance of shape {tuple(r.shape)}. Give (codes, factors).")
    if not bool(torch.isfinite(r).all()) or bool((r < 0).any()) or not bool((r > 0).any()):
        raise ValueError("Invalid importance. It must be finite, at least 0, and not 0 everywhere.")
    return r if r.is_floating_point() else r.to(torch.get_default_dtype())
