"""Distances between two samples: maximum mean discrepancy, energy distance, sliced Wasserstein distance."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from ..random import normal, single_stream
from .sample_table import permutation, table_pair, thin

_ROWS = 512  # of the matrix of pairs, held at once
_NAMES = ("real samples", "generated samples")


def mmd(x: Tensor, y: Tensor, *, bandwidth: float | Tensor | None = None) -> Tensor:
    """Squared maximum mean discrepancy, unbiased, for the kernel exp(-|x - y|^2 / (2 bandwidth^2)).

    Parameters
    ----------
    x, y : Tensor (N, n), (M, n)
        At least two samples each.
    bandwidth : float, optional
        In the units of the samples; the median distance of `median_bandwidth` by default.

    Returns
    -------
    Tensor ()
        About 0 (also below) if the distributions are equal.

    Raises
    ------
    ValueError, TypeError
        If samples are too few, not finite, or of different length, or the bandwidth is not positive.

    References
    ----------
    Gretton et al. (2012), *A kernel two-sample test*, JMLR 13, eq. 3.
    """
    x, y = table_pair(x, y, _NAMES)
    return _mean_difference(x, y, gaussian_kernel(_bandwidth(x, y, bandwidth)), unbiased=True)


def energy_distance(x: Tensor, y: Tensor) -> Tensor:
    """Energy distance 2 E|X - Y| - E|X - X'| - E|Y - Y'|, ``()``; at least 0, and 0 for the same samples.

    Parameters and errors are those of `mmd`. The expectations run over all pairs, a sample with itself included.

    References
    ----------
    Székely & Rizzo (2013), *Energy statistics*, J. Stat. Planning and Inference 143, section 2.
    """
    x, y = table_pair(x, y, _NAMES)
    return _mean_difference(x, y, minus_distance, unbiased=False)


def sliced_wasserstein(x: Tensor, y: Tensor, *, order: float = 2.0, directions: int = 256, seed: int = 0) -> Tensor:
    """Sliced Wasserstein distance: the mean over random directions of W_p^p of the projections, to the power 1/p.

    Parameters
    ----------
    x, y : Tensor (N, n), (M, n)
        At least two samples each; the numbers may differ.
    order : float
        p, at least 1.
    directions : int
        How many; for n = 1 a single one is exact.
    seed : int
        Of the directions.

    Returns
    -------
    Tensor ()
        In the units of the samples: |delta| / sqrt(n) between two that differ by a shift delta, for p = 2.

    Raises
    ------
    ValueError, TypeError
        If samples are too few, not finite, or of different length, or a setting is out of range.

    References
    ----------
    Bonneel et al. (2015), *Sliced and Radon Wasserstein barycenters of measures*, section 3.
    """
    x, y = table_pair(x, y, _NAMES)
    if not order >= 1 or directions < 1:
        raise ValueError(f"Invalid order {order:g} with {directions} directions. Both must be at least 1.")
    towards = normal((directions if x.shape[1] > 1 else 1, x.shape[1]), single_stream(), seed=seed).to(x)
    towards = towards / towards.norm(dim=-1, keepdim=True)
    return wasserstein(x @ towards.mT, y @ towards.mT, order).mean() ** (1 / order)


def wasserstein(x: Tensor, y: Tensor, order: float) -> Tensor:
    """W_p^p ``(c,)`` of the columns of x ``(N, c)`` and y ``(M, c)``: the integral of |F^-1 - G^-1|^p, exactly."""
    n, m = len(x), len(y)
    # both quantile functions are steps: cut at the steps of either, counted in units of 1 / (n m)
    cuts = torch.cat([torch.arange(1, n + 1) * m, torch.arange(1, m + 1) * n]).unique()
    width = torch.diff(cuts, prepend=cuts.new_zeros(1)).to(x) / (n * m)
    i, j = ((cuts - 1) // m).to(x.device), ((cuts - 1) // n).to(x.device)
    gap = (x.sort(0).values[i] - y.sort(0).values[j]).abs() ** order
    return (width[:, None] * gap).sum(0)


def permutation_test(x: Tensor, y: Tensor, kernel: Kernel, *, times: int = 200, seed: int = 0) -> float:
    """Chance of so large a difference by the kernel between halves of one distribution, by permuting the samples.

    Parameters
    ----------
    x, y : Tensor (N, n), (M, n)
    kernel : callable
        `gaussian_kernel(bandwidth)` for the discrepancy, `minus_distance` for the energy distance.
    times : int
        Permutations; the smallest p-value is 1 / (times + 1).
    seed : int

    Returns
    -------
    float
        Exact at any number of samples (Phipson & Smyth 2010, section 4).

    Raises
    ------
    ValueError, TypeError
        If samples are too few, not finite, or of different length, or `times` is below 1.
    """
    x, y = table_pair(x, y, _NAMES)
    if times < 1:
        raise ValueError(f"Invalid number of permutations {times}. Must be at least 1.")
    pool, count = torch.cat([x, y]), len(x) + len(y)
    weight = torch.cat([x.new_full((len(x),), 1 / len(x)), x.new_full((len(y),), -1 / len(y))])
    orders = permutation(count, seed=seed, times=times).to(x.device)
    w = torch.cat([weight[None], weight[orders]])  # the first is what was observed
    value = w.new_zeros(times + 1)
    for rows in torch.arange(count, device=x.device).split(_ROWS):
        value += (w[:, rows] @ kernel(pool[rows], pool) * w).sum(-1)
    least = value[0] - 1e-12 * value.abs().amax()
    return (1 + int((value[1:] >= least).sum())) / (times + 1)


Kernel = Callable[[Tensor, Tensor], Tensor]
"""Values ``(N, M)`` for samples ``(N, n)`` and ``(M, n)``, large where they are near."""


def gaussian_kernel(bandwidth: float | Tensor) -> Kernel:
    """exp(-|x - y|^2 / (2 bandwidth^2))."""
    return lambda a, b: torch.exp(torch.cdist(a, b).square() / (-2 * bandwidth**2))


def minus_distance(a: Tensor, b: Tensor) -> Tensor:
    """-|x - y|, the kernel of the energy distance (Sejdinovic et al. 2013, section 4)."""
    # the short way by matrix products loses the digits of near pairs
    return -torch.cdist(a, b, compute_mode="donot_use_mm_for_euclid_dist")


def median_bandwidth(x: Tensor, y: Tensor, *, most: int = 1000, seed: int = 0) -> Tensor:
    """Median distance between the samples of both together (at most so many of each), ``()``.

    Raises
    ------
    ValueError
        If more than half of the distances are zero.
    """
    x, y = table_pair(x, y, _NAMES)
    pool = torch.cat([thin(x, most, seed=seed), thin(y, most, seed=seed, stage=1)])
    median = torch.pdist(pool).median()
    if not float(median) > 0:
        raise ValueError("Invalid samples: most of them are equal. Give a bandwidth, or samples that vary.")
    return median


def _bandwidth(x: Tensor, y: Tensor, bandwidth: float | Tensor | None) -> float | Tensor:
    if bandwidth is None:
        return median_bandwidth(x, y)
    if not float(bandwidth) > 0:
        raise ValueError(f"Invalid bandwidth {float(bandwidth):g}. Must be greater than 0.")
    return bandwidth


def _mean_difference(x: Tensor, y: Tensor, kernel: Kernel, *, unbiased: bool) -> Tensor:
    """E k(x, x') + E k(y, y') - 2 E k(x, y); unbiased: without the pairs of a sample with itself."""
    return _mean_within(x, kernel, unbiased) + _mean_within(y, kernel, unbiased) - 2 * _mean_kernel(x, y, kernel)


def _mean_within(x: Tensor, kernel: Kernel, unbiased: bool) -> Tensor:
    n, mean = len(x), _mean_kernel(x, x, kernel)
    if not unbiased:
        return mean
    own = kernel(x[:1], x[:1])[0, 0]  # both kernels depend on the difference only
    return (mean * n - own) / (n - 1)


def _mean_kernel(x: Tensor, y: Tensor, kernel: Kernel) -> Tensor:
    total = torch.stack([kernel(rows, y).sum(dtype=torch.float64) for rows in x.split(_ROWS)]).sum()
    return (total / (len(x) * len(y))).to(x.dtype)
