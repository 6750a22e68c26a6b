"""The Abel transform and its inverse on any radial grid, as matrices that are made once."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import Any

import numpy as np
import torch
from torch import Tensor

from .abel_moments import abel_moments
from .spline_pieces import DEGREE, spline_pieces

Grid = Sequence[float] | np.ndarray | Tensor

Maker = Callable[[np.ndarray, np.ndarray], np.ndarray]
_NEGLIGIBLE = 1e-30  # of the largest element of a row
_BLOCK, _MOST_BLOCKS = 128, 6  # rows that are multiplied at once, at least; and into how many blocks, at most


def abel(f: Tensor, radii: Grid, at: Grid | None = None) -> Tensor:
    r"""Project a radial profile along lines of sight.

    .. math:: F(y) = 2 \int_y^\infty \frac{f(r)\, r}{\sqrt{r^2 - y^2}} \, dr

    A quintic spline goes through the samples of f and is integrated exactly. Where the grid begins at 0, f is even;
    beyond the last radius f is 0.

    Parameters
    ----------
    f : Tensor (*, n)
        Profiles at `radii`; every leading axis is a batch (rows, images).
    radii : sequence (n,)
        Strictly increasing, not negative, of any spacing, in any unit of length; 6 at least.
    at : sequence (m,), optional
        Distances y of the lines of sight from the axis, within the grid; `radii` by default.

    Returns
    -------
    Tensor (*, m)
        In units of f times the unit of length; differentiable. The matrix is kept for the next call.

    Raises
    ------
    ValueError, TypeError
        If the grid is not as described, or f has another number of samples.

    References
    ----------
    Bracewell (2000), *The Fourier Transform and Its Applications*, chapter 13; Hickstein, Gibson, Yurchak, Das &
    Ryazanov (2019), *Rev. Sci. Instrum.* 90:065115.
    """
    return apply_matrix(abel_matrix, f, radii, at)


def inverse_abel(projection: Tensor, radii: Grid, at: Grid | None = None) -> Tensor:
    r"""The radial profile of a projection, without regularisation.

    .. math:: f(r) = -\frac{1}{\pi} \int_r^\infty \frac{F'(y)}{\sqrt{y^2 - r^2}} \, dy

    A quintic spline goes through the samples of F, and its derivative is integrated exactly. The derivative amplifies
    noise: for noisy data, infer the profile with `AbelProjection` and a smooth prior.

    Parameters
    ----------
    projection : Tensor (*, n)
        F at `radii`. F is even where the grid begins at 0, and its slope beyond the last radius is 0: a tail that is
        cut off there is missing from f.
    radii, at
        As for `abel`; `at` holds the radii of the result.

    Returns
    -------
    Tensor (*, m)

    Raises
    ------
    ValueError, TypeError
        As for `abel`.
    """
    return apply_matrix(inverse_abel_matrix, projection, radii, at)


def abel_matrix(radii: np.ndarray, at: np.ndarray) -> np.ndarray:
    """The matrix ``(m, n)`` of `abel`."""
    moments = _all_moments(radii, at, DEGREE + 1, weighted=True)
    return 2 * np.tensordot(moments, spline_pieces(radii), 2)


def positive_abel_matrix(radii: np.ndarray, at: np.ndarray) -> np.ndarray:
    """The matrix ``(m, n)`` of `abel` with straight lines between the samples: no element is negative."""
    return 2 * np.tensordot(_all_moments(radii, at, 2, weighted=True), spline_pieces(radii, 1), 2).clip(min=0)


def inverse_abel_matrix(radii: np.ndarray, at: np.ndarray) -> np.ndarray:
    """The matrix ``(m, n)`` of `inverse_abel`."""
    # the slope of sum_p c_p t^p is sum_p p c_p t^(p-1) / h
    slopes = spline_pieces(radii)[:, 1:] * np.arange(1, DEGREE + 1)[:, None] / np.diff(radii)[:, None, None]
    return -np.tensordot(_all_moments(radii, at, DEGREE, weighted=False), slopes, 2) / np.pi


def check_grid(values: Any, name: str = "radii") -> np.ndarray:
    """Radii as a float64 array ``(n,)``.

    Raises
    ------
    ValueError, TypeError
        If they are not at least 6 finite numbers, increasing and not negative.
    """
    try:
        grid = np.array(values.detach().cpu() if isinstance(values, Tensor) else values, dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise TypeError(f"Invalid {name} of type {type(values).__name__}. Give a list of numbers.") from error
    if grid.ndim != 1 or len(grid) < DEGREE + 1:
        raise ValueError(f"Invalid {name} of shape {grid.shape}. Give at least {DEGREE + 1} of them on one axis.")
    if not np.isfinite(grid).all() or grid[0] < 0 or not (np.diff(grid) > 0).all():
        raise ValueError(f"Invalid {name} from {grid[0]:g} to {grid[-1]:g}. They must be finite, >= 0 and increasing.")
    return grid


def check_places(values: Any, grid: np.ndarray, name: str = "at") -> np.ndarray:
    """Places within the grid, as a float64 array ``(m,)``; `ValueError` or `TypeError` if they are not."""
    try:
        at = np.array(values.detach().cpu() if isinstance(values, Tensor) else values, dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise TypeError(f"Invalid {name} of type {type(values).__name__}. Give a list of numbers.") from error
    if at.ndim != 1 or not at.size:
        raise ValueError(f"Invalid {name} of shape {at.shape}. Give at least one of them on one axis.")
    if not ((at >= grid[0]) & (at <= grid[-1])).all():
        raise ValueError(
            f"Invalid {name} from {at.min():g} to {at.max():g}. Must lie within {grid[0]:g} to {grid[-1]:g}."
        )
    return at


def transform_matrix(make: Maker, radii: np.ndarray, at: np.ndarray) -> np.ndarray:
    """`abel_matrix` or `inverse_abel_matrix` on a checked grid, read-only, made once for each grid."""
    return _made(make, radii.tobytes(), at.tobytes())


@lru_cache(maxsize=16)
def _made(make: Maker, radii: bytes, at: bytes) -> np.ndarray:
    matrix = make(np.frombuffer(radii), np.frombuffer(at))
    # a spline forgets what is far away, by a factor of 2.3 with each node: what is left would cost time, above all
    # where it is too small for a normal float32
    matrix[np.abs(matrix) < _NEGLIGIBLE * np.abs(matrix).max(axis=1, keepdims=True)] = 0
    matrix.flags.writeable = False
    return matrix


@lru_cache(maxsize=16)
def _blocks(make: Maker, radii: bytes, at: bytes, dtype: torch.dtype, device: str) -> list[tuple[int, Tensor]]:
    """The matrix in blocks of rows, transposed, each without its leading zeros and with how many those are."""
    matrix = _made(make, radii, at)
    out = []
    for rows in np.array_split(matrix, max(1, min(_MOST_BLOCKS, len(matrix) // _BLOCK))):
        used = np.flatnonzero(rows.any(axis=0))
        start = int(used[0]) if used.size else rows.shape[1] - 1
        with torch.inference_mode(False):  # what is kept may serve automatic differentiation later
            out.append((start, torch.tensor(rows[:, start:].T, dtype=dtype, device=device)))
    return out


def apply_matrix(make: Maker, values: Tensor, radii: Grid, at: Grid | None) -> Tensor:
    """One of the matrices applied to samples ``(*, n)`` at `radii`; see `abel`."""
    grid = check_grid(radii)
    places = grid if at is None else check_places(at, grid)
    if not isinstance(values, Tensor) or not values.is_floating_point():
        raise TypeError(f"Invalid samples of type {type(values).__name__}. Give a tensor of real numbers.")
    if values.ndim == 0 or values.shape[-1] != len(grid):
        raise ValueError(f"Invalid samples of shape {tuple(values.shape)}. The last axis must hold {len(grid)} radii.")
    blocks = _blocks(make, grid.tobytes(), places.tobytes(), values.dtype, str(values.device))
    return torch.cat([values[..., start:] @ block for start, block in blocks], dim=-1)


def _all_moments(radii: np.ndarray, at: np.ndarray, powers: int, *, weighted: bool) -> np.ndarray:
    out = np.zeros((len(at), len(radii) - 1, powers))
    for i, x in enumerate(at):
        if x < radii[-1]:
            first, moments = abel_moments(radii, float(x), powers, weighted)
            out[i, first:] = moments
    return out
