"""Mode collapse: whether generated samples leave out a part of what is real, with known modes and without."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from .sample_table import permutation, table_pair

_ROWS = 1024


class ModeCoverage(NamedTuple):
    """Result of `mode_coverage`.

    Attributes
    ----------
    hit : int
        Modes with at least one sample of high quality.
    high_quality : float
        Share of the samples that lie within the radius of the nearest centre.
    counts : integer Tensor (c,)
        Samples of high quality at each centre.
    """

    hit: int
    high_quality: float
    counts: Tensor


class ModeCollapse(NamedTuple):
    """Result of `mode_collapse`.

    Attributes
    ----------
    collapsed : bool
        Whether more of the real samples are left out than is tolerated, beyond chance.
    coverage : float
        Share of the real samples with a generated one among their nearest neighbours.
    expected : float
        The coverage where both come from one distribution.
    lost : float
        1 - coverage / expected: about the share of the real samples where none, or few, are generated.
    p_value : float
        Chance of so small a coverage if both come from one distribution.
    """

    collapsed: bool
    coverage: float
    expected: float
    lost: float
    p_value: float


def mode_coverage(samples: Tensor, centres: Tensor, radius: float) -> ModeCoverage:
    """Which of known modes are hit, and how many samples lie near one.

    Parameters
    ----------
    samples : Tensor (M, n)
    centres : Tensor (c, n)
        Of the modes.
    radius : float
        Within which a sample is of high quality: usually 3 standard deviations of a mode.

    Returns
    -------
    ModeCoverage

    Raises
    ------
    ValueError, TypeError
        If a table is empty or not finite, the lengths differ, or the radius is not positive.

    References
    ----------
    Srivastava et al. (2017), *VEEGAN: reducing mode collapse in GANs using implicit variational learning*, section 4.1.
    """
    at, x = table_pair(centres, samples, ("centres", "samples"), 1)
    if not radius > 0:
        raise ValueError(f"Invalid radius {radius:g}. It must be greater than 0.")
    distance, mode = torch.cdist(x, at).min(1)
    near = distance <= radius
    counts = torch.bincount(mode[near], minlength=len(at))
    return ModeCoverage(int((counts > 0).sum()), float(near.to(x).mean()), counts)


def mode_collapse(
    real: Tensor,
    generated: Tensor,
    *,
    neighbours: int | None = None,
    tolerance: float = 0.1,
    times: int = 200,
    seed: int = 0,
) -> ModeCollapse:
    """Whether a part of the real samples has no generated ones near it; no modes need be known.

    A real sample is covered if one of its nearest neighbours, among all other samples, is generated: the ball that
    reaches to the k-th nearest real one holds a generated one (Naeem et al. 2020, eq. 6, coverage). Their number k sets
    the scale. With many, only what is missing altogether is not covered; with few, also modes that are too narrow, too
    rare or blurred. Samples of which none lies near the real ones are a collapse at any scale.

    Parameters
    ----------
    real : Tensor (N, n)
        Held-out ones, more than `neighbours`. Distances are Euclidean: scale columns of different units first.
    generated : Tensor (M, n)
        About as many.
    neighbours : int, optional
        k; by default a fiftieth of the real samples, at least 5. It must be below the number of real samples of the
        smallest mode that is not to be missed.
    tolerance : float
        Share of the real samples that may be left out before it is called a collapse, in [0, 1).
    times : int
        Permutations of the test; collapse asks for a p-value of at most 2 / (times + 1) too.
    seed : int
        Of the permutations.

    Returns
    -------
    ModeCollapse

    Raises
    ------
    ValueError, TypeError
        If samples are too few, not finite or of different length, or a setting is out of range.

    References
    ----------
    Naeem, Oh, Uh, Choi & Yoo (2020), *Reliable fidelity and diversity metrics for generative models*, eqs 6 and 9. The
    permutation test: Phipson & Smyth (2010), section 4.
    """
    x, y = table_pair(real, generated, ("real samples", "generated samples"), 2)
    neighbours = max(5, len(x) // 50) if neighbours is None else neighbours
    if not 1 <= neighbours < min(len(x), len(y)):
        raise ValueError(f"Invalid number of neighbours {neighbours}. Must lie within 1 to {min(len(x), len(y)) - 1}.")
    if not 0 <= tolerance < 1 or times < 1:
        raise ValueError(f"Invalid tolerance {tolerance:g} or {times} permutations. Give [0, 1), and at least 1.")
    near = _neighbours(torch.cat([x, y]), neighbours)
    is_real = torch.arange(len(near), device=near.device) < len(x)
    coverage, expected = _coverage(near, is_real), chance_coverage(len(x), len(y), neighbours)
    orders = permutation(len(near), seed=seed, times=times).to(near.device)
    fewer = sum(_coverage(near, is_real[order]) <= coverage for order in orders)
    p_value, lost = (fewer + 1) / (times + 1), 1 - coverage / expected
    return ModeCollapse(lost > tolerance and p_value <= 2 / (times + 1), coverage, expected, lost, p_value)


def chance_coverage(real: int, generated: int, neighbours: int) -> float:
    """Coverage of samples from one distribution: 1 - prod_i (N - i) / (N + M - i), i = 1 to k.

    The chance that the k nearest of the N + M - 1 others are all real (Naeem et al. 2020, eq. 9).
    """
    miss = 1.0
    for i in range(1, neighbours + 1):
        miss *= (real - i) / (real + generated - i)
    return 1 - miss


def _neighbours(x: Tensor, count: int) -> Tensor:
    """The nearest other rows of each row of x ``(N, n)``, ``(N, count)``."""
    found = []
    for start in range(0, len(x), _ROWS):
        distance = torch.cdist(x[start : start + _ROWS], x)
        own = torch.arange(len(distance), device=x.device)
        distance[own, own + start] = torch.inf
        found.append(distance.topk(count, largest=False).indices)
    return torch.cat(found)


def _coverage(near: Tensor, is_real: Tensor) -> float:
    """Share of the real rows with a generated one among their neighbours."""
    return float((~is_real)[near[is_real]].any(1).double().mean())
