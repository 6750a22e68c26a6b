"""The standard normal distribution between two bounds a < b: mass, quantile and score, on plain float64 tensors.

Three regimes keep the digits: the cumulative distribution itself, through its smaller tail; a series in the distance
from a bound, where differences of cumulative distributions cancel; and, where both bounds lie far in one tail, the
scaled complementary error function (the Mills ratio), which neither under- nor overflows. Each element has its regime,
whatever the rest of the batch; a regime is skipped when no element needs it.
"""

from __future__ import annotations

import functools
import math
from dataclasses import dataclass

import torch
from torch import Tensor

from physgen.rare import some

from .distribution import Parameter
from .standard_normal import cdf, log_density

_TAIL = 5.0  # bounds beyond this are treated by the Mills ratio
_NEAR = 1e-5  # distance from a bound below which a difference of two numbers of order 1 has less than 11 digits
_NARROW = 0.03  # width below which three terms of the series of the mass are exact
_NEWTON_STEPS = 4
_SQRT_HALF = math.sqrt(0.5)


@dataclass(frozen=True, eq=False)
class Interval:
    """Two bounds a < b with what their quantiles need; numbers, or tensors of one shape.

    Parameters
    ----------
    a, b : float or Tensor
        The bounds.
    d : float or Tensor
        The width b - a, which may be known to more digits than its ends.
    below, above : tuple of float or Tensor
        Phi and its complement, each at a and at b.
    tail : bool
        Whether an interval lies far in a tail.
    """

    a: Parameter
    b: Parameter
    d: Parameter
    below: tuple[Parameter, Parameter]
    above: tuple[Parameter, Parameter]
    tail: bool


def between(a: Tensor, b: Tensor, d: Tensor) -> Interval:
    """The interval from a to b = a + d."""
    a, b = torch.broadcast_tensors(a, b)
    below_a, below_b, above_a, above_b = cdf(torch.stack([a, b, -a, -b])).unbind()  # one call: few rows cost as much
    tail = some(torch.maximum(a, -b) > _TAIL)
    return Interval(a, b, d, (below_a, below_b), (above_a, above_b), tail)


@functools.lru_cache(maxsize=1024)
def between_numbers(mean: float, sd: float, low: float, high: float) -> tuple[Interval, float]:
    """The interval of numbers and its log mass, once for all: what costs most where few rows are evaluated."""
    a, b, d = (torch.tensor(v, dtype=torch.float64) for v in ((low - mean) / sd, (high - mean) / sd, (high - low) / sd))
    made = between(a, b, d)
    below, above = ((float(pair[0]), float(pair[1])) for pair in (made.below, made.above))
    tail = max(float(a), -float(b)) > _TAIL
    return Interval(float(a), float(b), float(d), below, above, tail), float(log_mass(a, b, d))


def log_mass(a: Tensor, b: Tensor, d: Tensor) -> Tensor:
    """log(Phi(b) - Phi(a)), where the width d = b - a > 0 is known to more digits than its ends."""
    upper = a + b > 0
    low, high = torch.where(upper, -b, a), torch.where(upper, -a, b)  # in the lower tail Phi keeps its digits
    plain, special = torch.log(cdf(high) - cdf(low)), (d < 10 * _NARROW) | (high < -_TAIL)
    if not some(special):
        return plain
    log_high = torch.special.log_ndtr(high)
    wide = log_high + torch.log(-torch.expm1(torch.special.log_ndtr(low) - log_high))
    m = 0.5 * (a + b)
    series = (m**2 - 1) * d**2 / 24 + (m**4 - 6 * m**2 + 3) * d**4 / 1920
    narrow = log_density(m) + torch.log(d) + torch.log1p(series)
    return torch.where(special, torch.where(d * (1 + m.abs()) < _NARROW, narrow, wide), plain)


def score(t: Tensor, a: Tensor, b: Tensor, from_low: Tensor, from_high: Tensor, d: Tensor) -> Tensor:
    """The z with Phi(z) (Phi(b) - Phi(a)) = Phi(t) - Phi(a), t = a + from_low = b - from_high, b = a + d."""
    log_p, log_q = log_mass(a, t, from_low), log_mass(t, b, from_high)
    lower = log_p < log_q
    log_share = torch.where(lower, log_p, log_q) - log_mass(a, b, d)
    z = torch.special.ndtri(torch.exp(log_share).clamp(max=0.5))
    return torch.where(lower, z, -z)


def quantile(z: Tensor, within: Interval) -> tuple[Tensor, Tensor | None, Tensor | None]:
    """The t with Phi(t) - Phi(a) = Phi(z) (Phi(b) - Phi(a)).

    Returns
    -------
    (Tensor, Tensor or None, Tensor or None)
        t, and the distances t - a and b - t where they are known to more digits than t; 0 elsewhere, None if nowhere.
    """
    below, above = cdf(z), cdf(-z)
    p = within.below[0] * above + within.below[1] * below
    q = within.above[0] * above + within.above[1] * below
    lower = p < q
    t = torch.special.ndtri(torch.where(lower, p, q))
    t = torch.where(lower, t, -t)
    gaps = t - within.a, within.b - t
    if not (within.tail or some(torch.minimum(*gaps) < _NEAR)):
        return t, None, None
    a, b, d = (torch.as_tensor(v, dtype=z.dtype, device=z.device) for v in (within.a, within.b, within.d))
    log_width = log_mass(a, b, d)
    from_low, from_high = _near(gaps[0], below, a, log_width), _near(gaps[1], above, -b, log_width)
    if within.tail:
        rest = from_low + from_high == 0
        from_low = torch.where(rest & (a > _TAIL), _tail(z, a, b, d), from_low)
        from_high = torch.where(rest & (b < -_TAIL), _tail(-z, -b, -a, d), from_high)
    return t, from_low, from_high


def _near(gap: Tensor, below: Tensor, a: Tensor, log_width: Tensor) -> Tensor:
    """The distance of t from a where it is small: Taylor series of the quantile in the mass r phi(a) above a."""
    r = below * torch.exp(log_width - log_density(a))
    a2 = a * a
    distance = r * (1 + r * (a / 2 + r * ((2 * a2 + 1) / 6 + r * (6 * a2 + 7) * a / 24)))
    # far in a tail the gap itself may be nonsense, but then r is not small
    return torch.where((gap < _NEAR) & (r * (1 + a.abs()) < 10 * _NEAR), distance, 0)


def _tail(z: Tensor, a: Tensor, b: Tensor, d: Tensor) -> Tensor:
    """The distance of t from a > 5: Newton steps on log Phi(-t) - log Phi(-a)."""
    drop = -_log_survival_ratio(a, d)
    e = torch.where(
        (z < 0) | (drop < 1),
        -torch.log1p(cdf(z) * torch.expm1(-drop)),
        -_log_add(torch.special.log_ndtr(-z), torch.special.log_ndtr(z) - drop),
    )
    s = 2 * e / (a + torch.sqrt(a * a + 2 * e))  # exact but for the Mills ratio
    for _ in range(_NEWTON_STEPS):
        hazard = math.sqrt(2 / math.pi) / torch.special.erfcx(_SQRT_HALF * (a + s))
        s = s + (_log_survival_ratio(a, s) + e) / hazard
    return s


def _log_add(a: Tensor, b: Tensor) -> Tensor:
    """log(exp(a) + exp(b)); torch.logaddexp's last bit depends on where in memory an element lies."""
    return torch.maximum(a, b) + torch.log1p(torch.exp(-(a - b).abs()))


def _log_survival_ratio(a: Tensor, d: Tensor) -> Tensor:
    """log(Phi(-a - d) / Phi(-a)) for a > 0."""
    mills = torch.special.erfcx(_SQRT_HALF * (a + d)) / torch.special.erfcx(_SQRT_HALF * a)
    return torch.log(mills) - d * (a + 0.5 * d)
