"""Simultaneous bands of an empirical distribution function of discrete uniform ranks.

Säilynoja, Bürkner & Vehtari (2022), *Graphical test for discrete uniformity and its applications in goodness-of-fit
evaluation and multiple sample comparison*, Statistics and Computing 32:32. At each point z_i the number of ranks at
most i is Bin(n, z_i) (section 2.1); gamma is how small the smallest two-sided probability may be at any point. The
distribution of gamma is exact here, by recursion over the points (their section 2.2, here for ranks that are discrete
themselves), so that nothing is simulated for a single quantity.
"""

from __future__ import annotations

from functools import lru_cache
from typing import NamedTuple

import numpy as np
import torch
from scipy.special import gammaln
from scipy.stats import binom
from torch import Tensor

_BISECTIONS = 25


class Band(NamedTuple):
    """Result of `ecdf_band`.

    Attributes
    ----------
    points : Tensor (P,)
        z_i, share of the ranks expected at or below the i-th.
    low, high : Tensor (P,)
        Ends of the band of the empirical distribution function, both included.
    gamma : float
        The pointwise error to which the simultaneous one belongs.
    """

    points: Tensor
    low: Tensor
    high: Tensor
    gamma: float


def ecdf_band(n: int, draws: int, *, coverage: float = 0.95) -> Band:
    """The band within which the whole empirical distribution function of n uniform ranks lies.

    Parameters
    ----------
    n : int
        Ranks.
    draws : int
        S: a rank is one of 0 to S.
    coverage : float
        Probability of lying inside, at all points at once; because ranks are discrete, it is at least that.

    Raises
    ------
    ValueError
        If a number is out of range.
    """
    if n < 1 or draws < 1:
        raise ValueError(f"Invalid {n} ranks of {draws} draws. At least one of each is needed.")
    if not 0 < coverage < 1:
        raise ValueError(f"Invalid coverage {coverage}. Must lie between 0 and 1.")
    points = uniform_points(draws)
    gamma = _simultaneous(n, points, coverage)
    low, high = (torch.as_tensor(ends) / n for ends in _limits(n, points, gamma))
    return Band(torch.tensor(points, dtype=torch.float64), low, high, gamma)


@lru_cache(maxsize=16)
def _simultaneous(n: int, points: tuple[float, ...], coverage: float) -> float:
    """The largest gamma whose band is left so rarely that it has the coverage."""
    low, high = 0.0, 1 - coverage
    for _ in range(_BISECTIONS):
        middle = (low + high) / 2
        low, high = (middle, high) if _inside(n, points, middle) >= coverage else (low, middle)
    return low


def gamma_statistic(ranks: Tensor, points: tuple[float, ...]) -> Tensor:
    """Minus the log of the smallest two-sided probability over all points (Säilynoja et al. 2022, eq. 5).

    Parameters
    ----------
    ranks : integer Tensor (T, n, q)
        Of T data sets and q quantities: 0 to P.
    points : tuple of float (P,)
        Chance that a rank is at most 0, 1, ..., P - 1.

    Returns
    -------
    Tensor (T, q)
    """
    times, n, quantities = ranks.shape
    bins = len(points) + 1
    place = torch.arange(times * quantities, device=ranks.device).reshape(times, 1, quantities) * bins + ranks
    counts = torch.bincount(place.reshape(-1), minlength=times * quantities * bins)
    below = counts.reshape(times * quantities, bins).cumsum(-1)[:, :-1]
    tails = _tails(n, points).to(ranks.device)
    start = torch.arange(len(points), device=ranks.device) * (n + 1)
    return -tails.reshape(-1)[below + start].amin(-1).reshape(times, quantities)


def uniform_points(draws: int) -> tuple[float, ...]:
    """Chance that a uniform rank among S draws is at most 0, 1, ..., S - 1."""
    return tuple((i + 1) / (draws + 1) for i in range(draws))


def gamma_p_value(statistic: float, n: int, draws: int) -> float:
    """Chance, exact, of a `gamma_statistic` at least so large for n independent uniform ranks of one quantity."""
    # just above the tail probability that was met, so that it counts as outside
    return min(1.0, max(0.0, 1 - _inside(n, uniform_points(draws), float(np.exp(-statistic)) * (1 + 1e-9))))


@lru_cache(maxsize=16)
def _tails(n: int, points: tuple[float, ...]) -> Tensor:
    """Log of the two-sided probability of each count 0 to n at each point, (P, n + 1)."""
    count, z = np.arange(n + 1), np.asarray(points)[:, None]
    both = 2 * np.minimum(binom.cdf(count, n, z), binom.sf(count - 1, n, z))
    return torch.as_tensor(np.log(np.clip(both, 1e-300, 1)))


def _limits(n: int, points: tuple[float, ...], gamma: float) -> tuple[np.ndarray, np.ndarray]:
    """Smallest and largest count at each point whose two-sided probability is at least gamma; 1 and 0 if none is."""
    allowed = np.exp(_tails(n, points).numpy()) >= gamma
    some = allowed.any(1)
    return np.where(some, allowed.argmax(1), 1), np.where(some, n - allowed[:, ::-1].argmax(1), 0)


def _inside(n: int, points: tuple[float, ...], gamma: float) -> float:
    """Probability that no count leaves its limits: the counts are a Markov chain with binomial steps."""
    low, high = _limits(n, points, gamma)
    if bool((low > high).any()):
        return 0.0
    before, first = np.array([1.0]), 0  # probabilities of the counts first, first + 1, ...
    last = 0.0
    for z, a, b in zip(points, low, high, strict=True):
        share = (z - last) / (1 - last)
        old, new = np.arange(first, first + len(before)), np.arange(a, b + 1)
        before, first, last = before @ _binomial(new[None, :] - old[:, None], n - old[:, None], share), int(a), z
    return float(before.sum())


def _binomial(steps: np.ndarray, left: np.ndarray, share: float) -> np.ndarray:
    """Probability of so many of those left; 0 for fewer than none."""
    some = np.clip(steps, 0, left)
    log = gammaln(left + 1) - gammaln(some + 1) - gammaln(left - some + 1)
    log = log + some * np.log(share) + (left - some) * np.log1p(-share)
    return np.where(steps == some, np.exp(log), 0.0)
