"""The classifier two-sample test: how often a classifier tells generated from real samples it has not seen."""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor

from .classifier import fit_folds
from .sample_table import permutation, table_pair

_FEWEST = 50


class C2ST(NamedTuple):
    """Result of `c2st`.

    Attributes
    ----------
    accuracy : float
        Share of held-out samples that are told apart, both classes weighted equally: 1/2 if the two distributions
        cannot be told apart, 1 if they always can.
    p_value : float
        Chance of that accuracy or a higher one if they are equal (one-sided, normal approximation).
    """

    accuracy: float
    p_value: float


def c2st(x: Tensor, y: Tensor, *, classifier: str = "network", folds: int = 5, seed: int = 0) -> C2ST:
    """Classifier two-sample test with cross-validation.

    Every sample is classified once, by a classifier trained on the other folds. The best possible accuracy is
    (1 + total variation distance) / 2: Phi(delta / 2) between N(0, 1) and N(delta, 1).

    Parameters
    ----------
    x : Tensor (N, n)
        Real samples, at least 50.
    y : Tensor (M, n)
        Generated samples, at least 50.
    classifier : {"network", "logistic"}
        physgen's own, see `train_detector`. "logistic" is faster and sees differences of mean and covariance only.
    folds : int
        At least 2.
    seed : int
        Of the folds and of the network.

    Returns
    -------
    C2ST

    Raises
    ------
    ValueError, TypeError
        If samples are too few, not finite, or of different length, or a setting is unknown.

    References
    ----------
    Lopez-Paz & Oquab (2017), *Revisiting classifier two-sample tests*, section 3: under equality the accuracy of n
    samples is N(1/2, 1 / (4 n)).
    """
    x, y = table_pair(x, y, ("real samples", "generated samples"), _FEWEST)
    if not 2 <= folds <= _FEWEST // 2:
        raise ValueError(f"Invalid number of folds {folds}. Must lie within 2 to {_FEWEST // 2}.")
    rows, label, test = _split(x, y, folds, seed)
    # the same number of rows in every fold, so that all are trained at once
    train = torch.stack([torch.cat([t for j, t in enumerate(test) if j != i]) for i in range(folds)])
    held = torch.stack(list(test))
    score = fit_folds(rows[train], label[train], kind=classifier, seed=seed)(rows[held])
    right = ((score > 0).to(rows) == label[held]).to(rows)
    generated = label[held] > 0
    accuracy = float((right[generated].mean() + right[~generated].mean()) / 2)
    counts = int(generated.sum()), int((~generated).sum())
    sd = math.sqrt(sum(1 / n for n in counts)) / 4
    return C2ST(accuracy, math.erfc((accuracy - 0.5) / sd / math.sqrt(2)) / 2)


def _split(x: Tensor, y: Tensor, folds: int, seed: int) -> tuple[Tensor, Tensor, tuple[Tensor, ...]]:
    """Rows and labels of both samples, and the rows of each fold: the same number of each class in every one."""
    parts = []
    for stage, (count, first) in enumerate(((len(x), 0), (len(y), len(x)))):
        order = permutation(count, seed=seed, stage=8 + stage)[: count - count % folds] + first
        parts.append(order.reshape(folds, -1))
    label = (torch.arange(len(x) + len(y), device=x.device) >= len(x)).to(x)
    return torch.cat([x, y]), label, torch.cat(parts, dim=1).to(x.device).unbind()
