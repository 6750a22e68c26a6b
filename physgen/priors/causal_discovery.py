"""Which label acts on which, from the labels alone: a directed acyclic graph of linear mechanisms."""

from __future__ import annotations

from typing import Any

import numpy as np
import scipy.linalg
import scipy.optimize
from torch import Tensor

from ..space import Space
from .causal_graph import causal_graph
from .samples import read_samples

_GROWTH, _PROGRESS, _LARGEST = 10.0, 0.25, 1e16  # of the penalty of cycles


def graph_from_labels(
    labels: Any, names: Any = None, *, sparsity: float = 0.02, threshold: float = 0.3, tolerance: float = 1e-8
) -> dict[str, tuple[str, ...]]:
    """Parents of every label: the acyclic linear model of least squares and few edges.

    Labels are centred, and kept in their units: the model takes their noises to have one variance, and what tells the
    direction of an edge is that variance grows along it. Where labels have units that cannot be compared the direction
    means nothing (Reisach et al. 2021): give a graph that is known instead.

    Parameters
    ----------
    labels : array_like (N, n)
        One row a sample.
    names : sequence of str or Space, optional
        Of the columns.
    sparsity : float
        Weight of the sum of the absolute coefficients, against half the mean squared error.
    threshold : float
        Smaller coefficients are no edges.
    tolerance : float
        Of the measure of cycles h(W) = tr exp(W * W) - n.

    Returns
    -------
    dict of str to tuple of str
        For `CausalFlow.fit`; without a cycle.

    Raises
    ------
    ValueError
        As `Flow.fit` of the table; if a setting is negative, or what is left above the threshold has a cycle.

    References
    ----------
    Zheng, Aragam, Ravikumar & Xing (2018), DAGs with NO TEARS, *NeurIPS* 31, eqs 5 and 11.
    Reisach, Seiler & Weichwald (2021), Beware of the simulated DAG!, *NeurIPS* 34.
    """
    if sparsity < 0 or threshold < 0:
        raise ValueError(f"Invalid sparsity {sparsity:g} or threshold {threshold:g}. Neither may be negative.")
    x, _, space, _ = read_samples(labels, names, None)
    weights = _acyclic(_covariance(x), sparsity, tolerance)
    parents = {child: tuple(p for p, w in zip(space.names, column, strict=True) if abs(w) > threshold)
               for child, column in zip(space.names, weights.T, strict=True)}  # fmt: skip
    causal_graph(parents, Space(*space.names), ())  # refuses a cycle
    return parents


def _covariance(x: Tensor) -> np.ndarray:
    centred = (x - x.mean(0)).numpy()
    return centred.T @ centred / len(centred)


def _acyclic(covariance: np.ndarray, sparsity: float, tolerance: float) -> np.ndarray:
    """W ``(n, n)``, W_ij the effect of i on j, by augmented Lagrangians (algorithm 1)."""
    n = len(covariance)
    split = np.zeros(2 * n * n)  # positive and negative parts
    # no label acts on itself
    bounds = [(0, 0) if i % (n + 1) == 0 else (0, None) for i in range(n * n)] * 2
    rho, alpha, before = 1.0, 0.0, np.inf
    while rho < _LARGEST:
        made = scipy.optimize.minimize(
            _lagrangian, split, (covariance, sparsity, rho, alpha), method="L-BFGS-B", jac=True, bounds=bounds
        ).x
        h = _cycles(_join(made))[0]
        if h > _PROGRESS * before:
            rho *= _GROWTH
            continue
        split, before, alpha = made, h, alpha + rho * h
        if h <= tolerance:
            break
    return _join(split)


def _lagrangian(
    split: np.ndarray, covariance: np.ndarray, sparsity: float, rho: float, alpha: float
) -> tuple[float, np.ndarray]:
    """Value and gradient at the positive and negative parts of W."""
    w = _join(split)
    rest = np.eye(len(w)) - w
    error, slope = 0.5 * np.trace(rest.T @ covariance @ rest), -covariance @ rest
    h, h_slope = _cycles(w)
    gradient = (slope + (alpha + rho * h) * h_slope).reshape(-1)
    value = error + 0.5 * rho * h * h + alpha * h + sparsity * split.sum()
    return value, np.concatenate([gradient, -gradient]) + sparsity


def _cycles(w: np.ndarray) -> tuple[float, np.ndarray]:
    """h(W) and its gradient: 0 if and only if W has no cycle."""
    e = scipy.linalg.expm(w * w)
    return float(np.trace(e) - len(w)), e.T * w * 2


def _join(split: np.ndarray) -> np.ndarray:
    n = round((len(split) // 2) ** 0.5)
    return (split[: n * n] - split[n * n :]).reshape(n, n)
