"""Integrals of powers over the Abel kernel 1 / sqrt(r^2 - x^2), without its singularity."""

from __future__ import annotations

import numpy as np

_NODES = 12  # of Gauss-Legendre, for a step of u no longer than _STEP: the error is then below rounding
_STEP = 1.5


def abel_moments(radii: np.ndarray, x: float, powers: int, weighted: bool) -> tuple[int, np.ndarray]:
    r"""Moments of the kernel over the part of each interval that lies beyond x.

    .. math:: M_{jp} = \int_{\max(r_j, x)}^{r_{j+1}} \frac{t^p\, r^q}{\sqrt{r^2 - x^2}} \, dr,
        \qquad t = \frac{r - r_j}{r_{j+1} - r_j}

    with q = 1 if `weighted`, else 0. With r = x cosh u the kernel cancels against dr, and what is left is entire in u,
    so that Gauss-Legendre quadrature reaches rounding error.

    Parameters
    ----------
    radii : ndarray (n,)
        r, strictly increasing.
    x : float
        Within r_0 and r_{n-1}.
    powers : int
        p = 0, ..., powers - 1.
    weighted : bool
        q.

    Returns
    -------
    int, ndarray (n - 1 - first, powers)
        The number of the first interval with a part beyond x, and M from there on. At x = 0 and q = 0 the moment
        p = 0 of the first interval, which is infinite, is given as 0: an even profile has no slope there.
    """
    first = min(int(np.searchsorted(radii, x, side="right")) - 1, len(radii) - 2)
    low, high = radii[first:-1], radii[first + 1 :]
    if x == 0:
        return first, _axis_moments(low, high, powers, weighted)
    begin = np.maximum(low, x)
    u0, u1 = _arcosh_excess((begin - x) / x), _arcosh_excess((high - x) / x)
    u, weight = _gauss(u0, u1)
    # r - begin as a product of sinh: a difference of two cosh would cancel
    beyond = 2 * x * np.sinh(0.5 * (u + u0[:, None])) * np.sinh(0.5 * (u - u0[:, None]))
    t = (beyond + (begin - low)[:, None]) / (high - low)[:, None]
    return first, _sums(t, weight * (x * np.cosh(u) if weighted else 1.0), powers)


def _axis_moments(low: np.ndarray, high: np.ndarray, powers: int, weighted: bool) -> np.ndarray:
    """The moments at x = 0, where the kernel is 1 / r."""
    p = np.arange(powers)
    if weighted:
        return (high - low)[:, None] / (p + 1)
    out = np.zeros((len(low), powers))
    out[0, 1:] = 1 / p[1:]
    v0, v1 = np.zeros(len(low) - 1), np.log(high[1:] / low[1:])
    v, weight = _gauss(v0, v1)
    out[1:] = _sums(np.expm1(v) * (low / (high - low))[1:, None], weight, powers)
    return out


def _arcosh_excess(excess: np.ndarray) -> np.ndarray:
    """arcosh(1 + e), accurate for small e."""
    return np.log1p(excess + np.sqrt(excess * (2 + excess)))


def _gauss(begin: np.ndarray, end: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Nodes and weights (j, nodes) of composite Gauss-Legendre quadrature from `begin` to `end`."""
    node, weight = np.polynomial.legendre.leggauss(_NODES)
    pieces = max(1, int(np.ceil((end - begin).max(initial=0) / _STEP)))
    share = ((np.arange(pieces)[:, None] + 0.5 * (1 + node)) / pieces).reshape(-1)
    length = (end - begin)[:, None]
    return begin[:, None] + length * share, length * np.tile(0.5 * weight, pieces) / pieces


def _sums(t: np.ndarray, weight: np.ndarray, powers: int) -> np.ndarray:
    out = np.empty((len(t), powers))
    for p in range(powers):
        out[:, p] = weight.sum(-1)
        weight = weight * t
    return out
