"""Exponential integrals, differentiable to any order in forward, reverse and batched mode.

Two families close under differentiation, so that each derivative is again a member, free of the cancellation that
automatic differentiation of a closed form would meet:

* ``E_n(x) = ∫_1^∞ exp(-x t) / t^n dt`` with ``E_n' = -E_{n-1}``: a layer under diffuse light transmits ``2 E_3(x)``;
* ``M_n(u) = ∫_0^1 s^n exp(-u s) ds`` with ``M_n' = -M_{n+1}``: ``M_0(u) = (1 - exp(-u)) / u``.
"""

from __future__ import annotations

import math
from functools import cache
from typing import Any

import torch
from torch import Tensor

from physgen.known_signature import known_signature

__all__ = ["exponential_integral", "exponential_moment"]

EULER_GAMMA = 0.57721566490153286061

# Minimax fits (weighted rational least squares in 50 digits), P and Q in ascending powers.
# SMALL: (E_1(x) + ln x + gamma) / x on x in [0, 1]; relative error 9e-18 and 2e-8.
SMALL = {
    torch.float64: (
        (
            0.99999999999999999125,
            0.12208233821907604692,
            0.019868798018139502391,
            0.00030833305452704317704,
            0.000021945845036177184195,
            -5.1943194176596211247e-7,
        ),
        (
            1.0,
            0.37208233821907421073,
            0.057333827017416079915,
            0.0043872154625210138988,
            0.00014272812758731244909,
        ),
    ),
    torch.float32: (
        (0.99999997795818821992, 0.10635064366445944261, 0.0041134443092461728112),
        (1.0, 0.3563494375800669676, 0.037655834884361871269),
    ),
}
# LARGE: x exp(x) E_3(x) as a function of 1/x in [0, 1]; relative error 6e-17 and 5e-8.
LARGE = {
    torch.float64: (
        (
            0.99999999999999993261,
            51.469543113721255143,
            1033.931343213275761,
            10475.233798708205345,
            57890.294526873073568,
            176954.32592174048593,
            291335.5116191811463,
            241417.28835451474485,
            87964.201755866053567,
            10229.806649695113069,
            0.85647664092841153597,
        ),
        (
            1.0,
            54.469543113720967557,
            1185.3399725546462525,
            13437.619198947954753,
            86887.245049021486327,
            330395.99263150114509,
            736514.61906578045309,
            932288.70525388346335,
            626033.53462544018794,
            195116.9848867805526,
            20510.248383305974344,
        ),
    ),
    torch.float32: (
        (
            0.99999995261853806988,
            12.132559063424554096,
            36.466370502798626649,
            24.597216567135639388,
            0.077291884636380494003,
        ),
        (1.0, 15.132527729834436707, 69.867263788960963904, 112.46598583001674747, 50.628757838762205396),
    ),
}
# WHOLE: 2 exp(x) E_3(x) as a function of sqrt(x) on x >= 0, exactly 1 at 0; relative error 2e-8, for single precision:
# a third of the cost of joining the two pieces above.
WHOLE = (
    (1.0, 18.173214507, 76.1286041159, 115.105954052, 70.8121204168, 22.5943030656, 4.66485362924),
    (
        1.0,
        18.173214507,
        77.1289377874,
        133.233432275,
        140.725240485,
        90.9448895365,
        42.4476561192,
        11.2949673283,
        2.33247224706,
    ),
)


def exponential_integral(x: Tensor, n: int = 1) -> Tensor:
    """Exponential integral ``E_n(x) = ∫_1^∞ exp(-x t) / t^n dt`` for n = 1, 2, 3.

    Parameters
    ----------
    x : Tensor
        Optical depth, ``>= 0``, any shape; float64 (about 1e-15 relative) or float32. NaN where negative.
    n : int
        Order, 1 to 3. ``E_1(0)`` is infinite, ``E_2(0) = 1``, ``E_3(0) = 1/2``.

    Returns
    -------
    Tensor
        Same shape and dtype as `x`.

    Raises
    ------
    ValueError
        If `n` is not 1, 2 or 3.
    TypeError
        If `x` is neither float64 nor float32.

    References
    ----------
    Abramowitz & Stegun (1964), eqs 5.1.4, 5.1.11, 5.1.14 (recurrence) and 5.1.26 (derivative).
    """
    if n not in (1, 2, 3):
        raise ValueError(f"Invalid order n = {n}. Must be 1, 2 or 3.")
    if x.dtype not in SMALL:
        raise TypeError(f"Invalid dtype {x.dtype} of x. Must be torch.float64 or torch.float32.")
    return _ExponentialIntegral.apply(x, n)


def exponential_moment(u: Tensor, n: int = 0) -> Tensor:
    """Moment of a decay over the unit interval, ``M_n(u) = ∫_0^1 s^n exp(-u s) ds``.

    Parameters
    ----------
    u : Tensor
        Exponent, any shape and sign.
    n : int
        Order, ``>= 0``. ``M_n(0) = 1 / (n + 1)``.

    Returns
    -------
    Tensor
        Same shape and dtype as `u`; value and derivatives are accurate through ``u = 0``.

    References
    ----------
    Abramowitz & Stegun (1964), eqs 5.1.5 and 5.1.8 (there named alpha_n).
    """
    return _ExponentialMoment.apply(u, n)


@known_signature
class _ExponentialIntegral(torch.autograd.Function):
    generate_vmap_rule = True

    @staticmethod
    def forward(x: Tensor, n: int) -> Tensor:
        if n == 3 and x.dtype == torch.float32:
            return _whole_range_e3(x)
        return _two_piece(x, n)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor, int], output: Tensor) -> None:
        x, ctx.n = inputs
        ctx.save_for_backward(x)
        ctx.save_for_forward(x)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None]:  # type: ignore[override]
        (x,) = ctx.saved_tensors
        return -grad * _order_below(x, ctx.n), None

    @staticmethod
    def jvp(ctx: Any, x_tangent: Tensor, _: None) -> Tensor:  # type: ignore[override]
        (x,) = ctx.saved_tensors
        return -x_tangent * _order_below(x, ctx.n)


def _order_below(x: Tensor, n: int) -> Tensor:
    return torch.exp(-x) / x if n == 1 else _ExponentialIntegral.apply(x, n - 1)


def _whole_range_e3(x: Tensor) -> Tensor:
    numerator, denominator = WHOLE
    s = torch.sqrt(x)
    twice = torch.exp(-x) * (horner(numerator, s) / horner(denominator, s))
    return twice.clamp(max=1.0) * 0.5  # a layer never transmits more than it receives, rounding included


def _two_piece(x: Tensor, n: int) -> Tensor:
    decay = torch.exp(-x)
    below = _small(x, decay, n)
    above = _large(torch.clamp(x, min=1.0).reciprocal(), decay, n)
    return torch.where(x < 1.0, below, above)


def _small(x: Tensor, decay: Tensor, n: int) -> Tensor:
    numerator, denominator = SMALL[x.dtype]
    z = torch.clamp(x, max=1.0)
    entire = z * horner(numerator, z) / horner(denominator, z) - EULER_GAMMA
    if n == 1:
        return entire - torch.log(x)
    e2 = decay - x * entire + torch.xlogy(x, x)
    return e2 if n == 2 else 0.5 * (decay - x * e2)


def _large(u: Tensor, decay: Tensor, n: int) -> Tensor:
    """E_n from 1/x: the recurrence is stable towards lower orders only."""
    numerator, denominator = LARGE[u.dtype]
    scaled = u * horner(numerator, u) / horner(denominator, u)
    for order in range(2, n - 1, -1):
        scaled = (1.0 - order * scaled) * u
    return decay * scaled


@known_signature
class _ExponentialMoment(torch.autograd.Function):
    generate_vmap_rule = True

    @staticmethod
    def forward(u: Tensor, n: int) -> Tensor:
        t = torch.finfo(u.dtype).tiny - u  # moves u = 0, and nothing else, off 0 / 0
        moment = torch.expm1(t) / t
        return moment if n == 0 else torch.where(u.abs() < 1.0, _moment_series(u, n), _moment_recurrence(u, moment, n))

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor, int], output: Tensor) -> None:
        u, ctx.n = inputs
        ctx.save_for_backward(u)
        ctx.save_for_forward(u)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None]:  # type: ignore[override]
        (u,) = ctx.saved_tensors
        return -grad * _ExponentialMoment.apply(u, ctx.n + 1), None

    @staticmethod
    def jvp(ctx: Any, u_tangent: Tensor, _: None) -> Tensor:  # type: ignore[override]
        (u,) = ctx.saved_tensors
        return -u_tangent * _ExponentialMoment.apply(u, ctx.n + 1)


def _moment_series(u: Tensor, n: int) -> Tensor:
    """Taylor series of M_n, for ``|u| < 1``."""
    terms = 18 if u.dtype == torch.float64 else 10
    series = tuple((-1.0) ** j / (math.factorial(j) * (n + 1 + j)) for j in range(terms))
    return horner(series, torch.clamp(u, -1.0, 1.0))


def _moment_recurrence(u: Tensor, moment: Tensor, n: int) -> Tensor:
    """Integration by parts, ``u M_n = n M_{n-1} - exp(-u)``, for ``|u| >= 1``."""
    safe = torch.where(u.abs() < 1.0, 1.0, u)
    decay = torch.exp(-u)
    for order in range(1, n + 1):
        moment = (order * moment - decay) / safe
    return moment


def horner(coefficients: tuple[float, ...], x: Tensor) -> Tensor:
    """Polynomial with `coefficients` in ascending powers, at least two of them, in one fused pass for each power."""
    constants = _tensors(coefficients, x.dtype, x.device)
    total = torch.add(constants[-2], x, alpha=coefficients[-1])
    for c in reversed(constants[:-2]):
        total = torch.addcmul(c, total, x)
    return total


@cache
def _tensors(values: tuple[float, ...], dtype: torch.dtype, device: torch.device) -> tuple[Tensor, ...]:
    """Coefficients as 0-d tensors, which a fused pass needs; cached, as making them costs as much as using them."""
    with torch.inference_mode(False):  # what is cached may serve automatic differentiation later
        return tuple(torch.tensor(value, dtype=dtype, device=device) for value in values)
