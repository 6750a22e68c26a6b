"""Real functions on the sphere as spherical-harmonic series: complex and real coefficients, values, slopes.

Coefficients are stored as particle tomography stores them: complex a_nm for m >= 0 at n (n + 1) / 2 + m, where
a_(n,-m) = (-1)^m conj(a_nm) since the function is real (Garboczi 2002). Everything is computed with the real,
orthonormal basis at n^2 + n + m, whose functions are polynomials of the unit vector (x, y, z), so that the poles are
points like any other:

    Y_n0 = Q_n0(z),  Y_nm = sqrt(2) Q_nm(z) Re (x + i y)^m,  Y_(n,-m) = sqrt(2) Q_nm(z) Im (x + i y)^m

with Q_nm the m-th derivative of the Legendre polynomial P_n, normalised, with the sign (-1)^m of Condon and Shortley.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor


def degree_of(count: int, *, real: bool = False) -> int:
    """Degree L of a series of so many coefficients: (L + 1)(L + 2)/2 complex ones, or (L + 1)^2 real ones.

    Raises
    ------
    ValueError
        If no degree has that many.
    """
    degree = math.isqrt(count) - 1 if real else (math.isqrt(8 * count + 1) - 3) // 2
    if count < 1 or count != ((degree + 1) ** 2 if real else (degree + 1) * (degree + 2) // 2):
        rule = "(L + 1)^2 real ones" if real else "(L + 1)(L + 2)/2 complex ones, those of m >= 0"
        raise ValueError(f"Invalid number of coefficients {count}. A series of degree L has {rule}.")
    return degree


def to_real(a: Tensor) -> Tensor:
    """Coefficients of the real basis ``(*, (L + 1)^2)`` of complex ones ``(*, (L + 1)(L + 2)/2)``.

    The imaginary part of m = 0 is dropped: it has no meaning for a real function.
    """
    degree = degree_of(a.shape[-1])
    half, positive, negative = _orders(degree, a.device)
    scale = torch.where(half == 0, 1.0, math.sqrt(2.0)).to(a.real)
    c = a.real.new_zeros((*a.shape[:-1], (degree + 1) ** 2)).index_copy(-1, positive, a.real * scale)
    tilted = half > 0
    return c.index_copy(-1, negative[tilted], -(a.imag * scale)[..., tilted])


def to_complex(c: Tensor) -> Tensor:
    """Complex coefficients ``(*, (L + 1)(L + 2)/2)`` of those of the real basis ``(*, (L + 1)^2)``."""
    half, positive, negative = _orders(degree_of(c.shape[-1], real=True), c.device)
    scale = torch.where(half == 0, 1.0, math.sqrt(0.5)).to(c)
    imaginary = torch.where(half == 0, 0.0, -math.sqrt(0.5)).to(c)
    return torch.complex(c[..., positive] * scale, c[..., negative] * imaginary)


def harmonics(u: Tensor, degree: int) -> Tensor:
    """The real basis ``(*, (L + 1)^2)`` in the directions u ``(*, 3)``, unit vectors."""
    x, y, z = u.unbind(-1)
    q, (a, b) = _legendre(z, degree), _powers(x, y, degree)
    rows = [_row(q, a, b, n) for n in range(degree + 1)]
    return torch.stack([value for row in rows for value in row], -1)


def harmonics_gradient(u: Tensor, degree: int) -> Tensor:
    """Gradients of the real basis on the unit sphere, ``(*, (L + 1)^2, 3)``, tangential to it, in the directions u."""
    x, y, z = u.unbind(-1)
    q, (a, b) = _legendre(z, degree), _powers(x, y, degree)
    nought = torch.zeros_like(z)
    # d/dx (x + i y)^m = m (x + i y)^(m-1), d/dy = i d/dx; dQ_nm/dz = -sqrt((n - m)(n + m + 1)) Q_n(m+1)
    a_x = [nought, *(m * a[m - 1] for m in range(1, degree + 1))]
    b_x = [nought, *(m * b[m - 1] for m in range(1, degree + 1))]
    minus_b_x = [-value for value in b_x]
    slopes = {(n, m): _slope(q, n, m, nought) for n, m in q}
    parts = []
    for n in range(degree + 1):
        along = (_row(q, a_x, b_x, n), _row(q, minus_b_x, a_x, n), _row(slopes, a, b, n))
        parts += [torch.stack(three, -1) for three in zip(*along, strict=True)]
    gradient = torch.stack(parts, -2)
    return gradient - (gradient * u[..., None, :]).sum(-1, keepdim=True) * u[..., None, :]


def _row(q: dict[tuple[int, int], Tensor], a: list[Tensor], b: list[Tensor], n: int) -> list[Tensor]:
    """The 2 n + 1 functions of degree n in the order m = -n ... n."""
    root = math.sqrt(2.0)
    return [
        *(root * q[n, m] * b[m] for m in range(n, 0, -1)),
        q[n, 0] * a[0],
        *(root * q[n, m] * a[m] for m in range(1, n + 1)),
    ]


def _slope(q: dict[tuple[int, int], Tensor], n: int, m: int, nought: Tensor) -> Tensor:
    return nought if m == n else -math.sqrt((n - m) * (n + m + 1)) * q[n, m + 1]


def _legendre(z: Tensor, degree: int) -> dict[tuple[int, int], Tensor]:
    """Q_nm(z) for 0 <= m <= n <= degree, by the three-term recurrence in n from Q_mm."""
    q = {(0, 0): torch.full_like(z, math.sqrt(0.25 / math.pi))}
    for m in range(1, degree + 1):
        q[m, m] = -math.sqrt((2 * m + 1) / (2 * m)) * q[m - 1, m - 1]
    for m in range(degree + 1):
        for n in range(m + 1, degree + 1):
            value = z * q[n - 1, m]
            if n > m + 1:
                value = value - math.sqrt(((n - 1) ** 2 - m * m) / (4 * (n - 1) ** 2 - 1)) * q[n - 2, m]
            q[n, m] = math.sqrt((4 * n * n - 1) / (n * n - m * m)) * value
    return q


def _powers(x: Tensor, y: Tensor, degree: int) -> tuple[list[Tensor], list[Tensor]]:
    """Real and imaginary parts of (x + i y)^m for m = 0 ... degree."""
    a, b = [torch.ones_like(x)], [torch.zeros_like(x)]
    for _ in range(degree):
        a, b = [*a, x * a[-1] - y * b[-1]], [*b, y * a[-1] + x * b[-1]]
    return a, b


def _orders(degree: int, device: torch.device) -> tuple[Tensor, Tensor, Tensor]:
    """Of the complex coefficients: their m, and the places of m and -m in the real basis."""
    n, m = torch.tril_indices(degree + 1, degree + 1, device=device)
    return m, n * n + n + m, n * n + n - m
