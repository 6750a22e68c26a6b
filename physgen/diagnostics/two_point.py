"""Two-point statistics of fields (images, volumes, profiles), and whether generated fields share them."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from .sample_table import permutation


class TwoPointComparison(NamedTuple):
    """Result of `compare_two_point`.

    Attributes
    ----------
    lag : Tensor (r,)
        Distances, in pixels.
    real, generated : Tensor (r,)
        Mean correlation of the fields.
    error : float
        Largest difference, as a fraction of the real fields' correlation at lag 0.
    p_value : float
        Chance of a difference as significant as the most significant one, if the fields have one distribution.
    """

    lag: Tensor
    real: Tensor
    generated: Tensor
    error: float
    p_value: float


def two_point_correlation(fields: Tensor, *, periodic: bool = False, centre: bool = False) -> tuple[Tensor, Tensor]:
    """Mean product of two points of a field, by their distance.

    S_2(r) of a two-phase medium (Torquato 2002, section 2.2) for fields of 0 and 1; the autocovariance where the
    fields are centred.

    Parameters
    ----------
    fields : Tensor (N, *grid)
        One, two or three axes of a grid with equal spacing.
    periodic : bool
        Whether the field goes on at its other edge. If not, only pairs inside it count.
    centre : bool
        Subtract the mean over all fields and points first.

    Returns
    -------
    lag : Tensor (r,)
        0, 1, ..., in pixels, up to half the shortest side; a pair counts to the nearest.
    correlation : Tensor (N, r)

    Raises
    ------
    ValueError, TypeError
        If there is no grid, a side is below 4 pixels, or a value is not finite.
    """
    f = _fields("fields", fields)
    if centre:
        f = f - f.mean()
    product = _pair_sums(f, periodic)
    pairs = _pair_sums(torch.ones_like(f[:1]), periodic)
    lag, which = _rings(f, product.shape[1:], periodic)
    rings = torch.zeros(len(f) + 1, len(lag) + 1, dtype=f.dtype, device=f.device)
    rings.index_add_(1, which, torch.cat([product, pairs]).flatten(1))
    return lag, rings[:-1, :-1] / rings[-1, :-1]


def power_spectrum(fields: Tensor) -> tuple[Tensor, Tensor]:
    """Power of periodic fields by wavenumber, averaged over directions.

    Parameters
    ----------
    fields : Tensor (N, *grid)

    Returns
    -------
    wavenumber : Tensor (w,)
        0, 1, ... cycles along the shortest side, up to half its pixels.
    power : Tensor (N, w)
        |FFT|^2 over the number of points: the variance for white noise, at every wavenumber.
    """
    f = _fields("fields", fields)
    axes = tuple(range(1, f.ndim))
    power = torch.fft.fftn(f, dim=axes).abs().square() / f[0].numel()
    shortest = min(f.shape[1:])
    cycles = [torch.fft.fftfreq(n, 1 / shortest, dtype=f.dtype, device=f.device) for n in f.shape[1:]]
    which, count = _nearest(cycles, shortest // 2)
    rings = power.new_zeros(len(f) + 1, count + 1)
    rings.index_add_(1, which, torch.cat([power, torch.ones_like(power[:1])]).flatten(1))
    return torch.arange(count, device=f.device), rings[:-1, :-1] / rings[-1, :-1]


def compare_two_point(
    real: Tensor, generated: Tensor, *, periodic: bool = False, permutations: int = 500, seed: int = 0
) -> TwoPointComparison:
    """Whether generated fields have the two-point correlation of real ones.

    The difference of the mean correlations, over its standard error, is largest at some lag; its p-value is that of
    the same figure for fields whose labels are permuted, so that many correlated lags cost nothing.

    Parameters
    ----------
    real, generated : Tensor (N, *grid), (M, *grid)
        At least 8 independent fields each, on one grid.
    periodic : bool
    permutations : int
    seed : int

    Returns
    -------
    TwoPointComparison

    Raises
    ------
    ValueError, TypeError
        If fields are too few, not finite, or of different grids.
    """
    a, b = _fields("real fields", real, 8), _fields("generated fields", generated, 8)
    if a.shape[1:] != b.shape[1:]:
        raise ValueError(f"Invalid grids {tuple(a.shape[1:])} and {tuple(b.shape[1:])}. Both need the same.")
    lag, s = two_point_correlation(torch.cat([a, b.to(a)]), periodic=periodic)
    orders = permutation(len(s), seed=seed, times=permutations).to(s.device)
    orders = torch.cat([torch.arange(len(s), device=s.device)[None], orders])
    figure = torch.stack([_largest_t(s[order], len(a)) for order in orders])
    p_value = (1 + int((figure[1:] >= figure[0] * (1 - 1e-9)).sum())) / (permutations + 1)
    means = s[: len(a)].mean(0), s[len(a) :].mean(0)
    error = float((means[0] - means[1]).abs().amax() / means[0][0])
    return TwoPointComparison(lag, *means, error, p_value)


def _fields(name: str, x: Tensor, fewest: int = 1) -> Tensor:
    if not isinstance(x, Tensor) or x.is_complex():
        raise TypeError(f"Invalid {name} of type {type(x).__name__}. Give a tensor of real numbers (N, *grid).")
    if not 2 <= x.ndim <= 4 or len(x) < fewest or min(x.shape[1:]) < 4:
        raise ValueError(
            f"Invalid {name} of shape {tuple(x.shape)}. "
            f"Give {fewest} or more, each with one to three sides of at least 4 pixels."
        )
    x = x.detach() if x.is_floating_point() else x.to(torch.get_default_dtype())
    if not bool(torch.isfinite(x).all()):
        raise ValueError(f"Invalid {name} with NaN or infinite values. Leave such fields out.")
    return x


def _pair_sums(f: Tensor, periodic: bool) -> Tensor:
    """Sums of f(p) f(p + shift) over p, ``(N, *shifts)``, by Wiener and Khinchin's theorem."""
    axes = tuple(range(1, f.ndim))
    size = [n if periodic else 2 * n for n in f.shape[1:]]  # zeros behind: no pair wraps around
    spectrum = torch.fft.rfftn(f, s=size, dim=axes).abs().square()
    return torch.fft.irfftn(spectrum, s=size, dim=axes)


def _rings(f: Tensor, shifts: torch.Size, periodic: bool) -> tuple[Tensor, Tensor]:
    """Lags, and for every shift the number of its ring; those too far get the last number."""
    along = [torch.fft.fftfreq(n, 1 / n, dtype=f.dtype, device=f.device) for n in shifts]
    which, count = _nearest(along, min(f.shape[1:]) // 2)
    return torch.arange(count, device=f.device), which


def _nearest(along: list[Tensor], most: int) -> tuple[Tensor, int]:
    square = sum((a.square() for a in torch.meshgrid(*along, indexing="ij")), torch.zeros(()).to(along[0]))
    return square.sqrt().round().long().clamp(max=most + 1).reshape(-1), most + 1


def _largest_t(s: Tensor, count: int) -> Tensor:
    """Largest |t| over the lags between the first `count` rows and the others (Welch 1947)."""
    a, b = s[:count], s[count:]
    variance = a.var(0) / len(a) + b.var(0) / len(b)
    difference = (a.mean(0) - b.mean(0)).abs()
    return torch.where(variance > 0, difference / variance.clamp(min=torch.finfo(s.dtype).tiny).sqrt(), 0).amax()
