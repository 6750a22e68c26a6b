"""The FactorVAE score: whether the code that stays still names the factor that was held."""

from __future__ import annotations

import torch
from torch import Tensor

from ..random import single_stream, uniform
from .binning import classes
from .sample_table import paired_rows

_STILL = 1e-8  # share of the largest variance below which a code does not vary


def factor_vae_score(
    codes: Tensor, factors: Tensor, *, votes: int = 800, batch: int = 64, bins: int = 20, seed: int = 0
) -> float:
    """Accuracy of guessing which factor a batch of samples shares, from which of their codes varies least.

    A vote holds one factor at a random value: of the samples that share it, a batch is drawn, and the code with the
    smallest variance, in units of its variance over all, votes for the factor. Half of the votes say which factor
    each code stands for, by majority; the score is the accuracy of the other half.

    Parameters
    ----------
    codes, factors : Tensor (N, k), (N, f)
        Row by row, at least 10 samples a bin. A continuous factor is shared within its bin.
    votes, batch : int
        At least 20 and 2.
    bins : int
        Of a continuous factor.
    seed : int

    Returns
    -------
    float
        1 if every factor that varies has a code of its own, 1 over their number by guessing, 0 if no code varies.

    Raises
    ------
    ValueError, TypeError
        If rows are too few, not finite, or differ in number, no factor varies, or a setting is too low.

    References
    ----------
    Kim & Mnih (2018), *Disentangling by factorising*, section 4.
    """
    if votes < 20 or batch < 2 or bins < 2:
        raise ValueError(f"Invalid settings: {votes} votes of {batch}, {bins} bins. Give at least 20, 2 and 2.")
    c, v = paired_rows(codes, factors, ("codes", "factors"), 10 * bins)
    variance = c.var(0)
    kept = variance > _STILL * torch.maximum(variance.amax(), c.square().mean(0))
    held = [column for column in classes(v, bins).unbind(-1) if int(column.amax()) > 0]
    if not held:
        raise ValueError("Invalid factors: all are constant. At least one must vary.")
    if not bool(kept.any()):
        return 0.0
    scaled = c[:, kept] / variance[kept].sqrt()
    stillest = [_stillest(scaled, column, votes // 2 * 2, batch, seed, j) for j, column in enumerate(held)]
    count = torch.stack([torch.bincount(s[::2], minlength=scaled.shape[1]) for s in stillest])
    stands_for = count.argmax(0)
    right = [(stands_for[s[1::2]] == j).to(c).mean() for j, s in enumerate(stillest)]
    return float(torch.stack(right).mean())


def _stillest(c: Tensor, which: Tensor, votes: int, batch: int, seed: int, stage: int) -> Tensor:
    """The code of least variance in each batch ``(votes,)`` of samples that share a class `which` ``(N,)``."""
    order = which.argsort()
    count = torch.bincount(which)
    first = count.cumsum(0) - count
    u = uniform((votes, batch + 1), single_stream(), seed=seed, stage=stage).to(c)
    shared = which[(u[:, 0] * len(which)).long()]  # a value as often as it occurs
    row = first[shared, None] + (u[:, 1:] * count[shared, None]).long()
    return c[order[row]].var(1).argmin(-1)
