"""The game of priors against detectors: the mixture of priors that the best detectors find hardest to expose."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
import torch
from scipy.optimize import linprog
from torch import Tensor

from .classifier import Score
from .sample_table import sample_table, table_pair


class Equilibrium(NamedTuple):
    """A mixed equilibrium of a zero-sum game.

    Attributes
    ----------
    value : float
        Detection rate when both sides play best: 1/2 if some mixture of the priors fools every detector.
    priors : Tensor (P,)
        Shares of the priors in the mixture that is hardest to detect.
    detectors : Tensor (D,)
        How often each detector is to be used against it.
    """

    value: float
    priors: Tensor
    detectors: Tensor


def detector_game(rates: Any) -> Equilibrium:
    """Mixed equilibrium of several priors, who want not to be detected, against several detectors.

    A detector's rate on a mixture of priors is the mixture of its rates, so that the game is a matrix game and its
    equilibrium the answer of a linear program (von Neumann's theorem; Dantzig 1951). As a test it is the strictest of
    the automatic ones: the prior must stand against every detector at once, and not on average.

    Parameters
    ----------
    rates : array_like (P, D)
        How often detector d is right about prior p, as of `detection_rates`. Any finite payoff to the detectors will
        do.

    Returns
    -------
    Equilibrium
        The value is unique; where several mixtures reach it, one of them.

    Raises
    ------
    ValueError
        If the rates are no finite matrix.
    RuntimeError
        If the linear program fails.

    References
    ----------
    von Neumann & Morgenstern (1944), *Theory of games and economic behavior*, section 17.
    """
    table = rates if isinstance(rates, Tensor) else torch.as_tensor(rates, dtype=torch.float64)
    if table.ndim != 2 or not table.numel():
        raise ValueError(f"Invalid rates of shape {tuple(table.shape)}. Give (priors, detectors).")
    a = sample_table("rates", table, 1)
    payoff = a.cpu().numpy().astype(float)
    value, priors = _minimax(payoff)
    _, detectors = _minimax(-payoff.T)
    return Equilibrium(value, torch.from_numpy(priors).to(a), torch.from_numpy(detectors).to(a))


def detection_rates(real: Tensor, generated: Mapping[str, Tensor], detectors: Mapping[str, Score]) -> Tensor:
    """How often each detector is right about each prior, on samples that it was not trained on.

    Parameters
    ----------
    real : Tensor (N, n)
        Held-out real samples.
    generated : mapping of str to Tensor (M, n)
        Samples of each prior.
    detectors : mapping of str to callable
        Samples ``(N, n)`` to scores ``(N,)``, positive for "generated"; see `train_detector`.

    Returns
    -------
    Tensor (P, D)
        Mean of the shares of real and of generated samples that are recognised: 1/2 for guessing. A score of 0 counts
        half.

    Raises
    ------
    ValueError, TypeError
        If there is no prior or no detector, samples are not finite or differ in length, or a score has another shape.
    """
    if not generated or not detectors:
        raise ValueError(f"Too few players: {len(generated)} priors, {len(detectors)} detectors. Give one of each.")
    rows = []
    for name, samples in generated.items():
        x, y = table_pair(real, samples, ("real samples", f"samples of {name}"))
        rows.append(torch.stack([(1 - _said(d, x, k) + _said(d, y, k)) / 2 for k, d in detectors.items()]))
    return torch.stack(rows)


def _said(detector: Score, x: Tensor, name: str) -> Tensor:
    """Share of samples that the detector calls generated."""
    score = detector(x)
    if score.shape != x.shape[:1] or bool(torch.isnan(score).any()):
        raise ValueError(
            f"Invalid score of the detector {name}: {tuple(score.shape)}, or NaN. Give one number a sample."
        )
    return ((score.sign() + 1) / 2).to(x).mean()


def _minimax(a: np.ndarray) -> tuple[float, np.ndarray]:
    """The value v and the mixture p of rows that minimise the largest of p^T A."""
    rows, columns = a.shape
    cost = np.r_[np.zeros(rows), 1.0]
    upper = np.c_[a.T, -np.ones(columns)]  # p^T A - v <= 0
    total = np.r_[np.ones(rows), 0.0][None]
    bounds = [(0, None)] * rows + [(None, None)]
    found = linprog(cost, A_ub=upper, b_ub=np.zeros(columns), A_eq=total, b_eq=[1.0], bounds=bounds, method="highs")
    if not found.success:
        raise RuntimeError(f"The linear program of the game failed: {found.message} Check the scale of the rates.")
    p = np.clip(found.x[:-1], 0, None)
    return float(found.x[-1]) + 0.0, p / p.sum()  # no negative zero
