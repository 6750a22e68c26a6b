"""The spline through samples, as a linear map from the samples to the polynomial on each interval."""

from __future__ import annotations

import math

import numpy as np
from scipy.interpolate import make_interp_spline

DEGREE = 5


def spline_pieces(radii: np.ndarray, degree: int = DEGREE) -> np.ndarray:
    r"""Taylor coefficients of the interpolating spline on every interval, for every unit sample.

    On interval j the spline through samples v is :math:`\sum_p c_{jp} t^p`, with t = (r - r_j) / (r_{j+1} - r_j) from
    0 to 1 and :math:`c_{jp} = \sum_i C_{jpi} v_i`. Where the grid begins at 0 the profile is taken to be even: the
    spline goes through the mirrored samples too. At every other end the nodes next to it are no knots ("not-a-knot"),
    so that a polynomial of that degree is reproduced.

    Parameters
    ----------
    radii : ndarray (n,)
        Strictly increasing, not negative; more of them than the degree.
    degree : int
        Odd; 1 joins the samples by straight lines, which never leave their range.

    Returns
    -------
    ndarray (n - 1, degree + 1, n)
        C.

    References
    ----------
    de Boor (2001), *A Practical Guide to Splines*, chapters IX and XIII.
    """
    n, even = len(radii), radii[0] == 0
    mirror = [np.arange(n - 1, 0, -1)] if even else []
    order = np.concatenate([*mirror, np.arange(n)])
    sign = np.where(np.arange(len(order)) < len(order) - n, -1.0, 1.0)
    spline = make_interp_spline(sign * radii[order], np.eye(n)[order], k=degree)
    h = np.diff(radii)[:, None]
    taylor = [spline(radii[:-1], nu=p) * h**p / math.factorial(p) for p in range(degree + 1)]
    return np.stack(taylor, axis=1)
