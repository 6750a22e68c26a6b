"""Single, uniform and Pareto sphere sizes, whose densities break off: their sections in closed form."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from physgen.space import Block

from .sizes import DROP, Sizes, arccosh1, spread, unbind


class SingleSize(Sizes):
    """All spheres have one radius R, the only parameter: their sections have the density r / (R sqrt(R^2 - r^2))."""

    causes = (Block("radius", "um", (0.0, math.inf), "size of every sphere"),)
    lengths = (True,)
    smooth = False

    def log_density(self, R: Tensor, theta: Tensor) -> Tensor:
        """Raises `TypeError`: a single size has no density, and a slab would show it again and again."""
        raise TypeError("Spheres of a single size have no density of sizes. Take a narrow family, such as lognormal.")

    def log_moment(self, k: float, theta: Tensor) -> Tensor:
        return k * theta[..., 0].log()

    def log_survival(self, x: Tensor, theta: Tensor) -> Tensor:
        return torch.where(x < spread(theta[..., 0], x), torch.zeros_like(x), -torch.inf)

    def log_chord(self, r: Tensor, theta: Tensor, cap: Tensor | None = None) -> Tensor:
        R = spread(theta[..., 0], r)
        seen = r < R if cap is None else (r < R) & (r * torch.cosh(spread(cap, r)) > R)
        return torch.where(seen, -0.5 * torch.where(seen, R.square() - r.square(), 1).log(), -torch.inf)

    def log_beyond(self, x: Tensor, theta: Tensor, cap: Tensor | None = None) -> Tensor:
        R = spread(theta[..., 0], x)
        half = torch.where(x < R, torch.where(x < R, R.square() - x.square(), 1).sqrt(), 0)
        return _log(half if cap is None else torch.minimum(half, R * torch.tanh(spread(cap, x))))

    def span(self, r: Tensor, theta: Tensor) -> tuple[Tensor, Tensor]:
        end = torch.maximum(r, spread(theta[..., 0], r))
        return end, end

    def quantile(self, z: Tensor, theta: Tensor, *, biased: bool = False) -> Tensor:
        return spread(theta.detach()[..., 0], z).expand_as(z)


class UniformSizes(Sizes):
    """f(R) = 1 / (b - a) for a < R < b; theta holds a >= 0 and b > a, both lengths."""

    causes = (
        Block("low", "um", (0.0, math.inf), "least size"),
        Block("high", "um", (0.0, math.inf), "largest size"),
    )
    lengths = (True, True)
    smooth = False

    def log_density(self, R: Tensor, theta: Tensor) -> Tensor:
        a, b = unbind(theta, R)
        return torch.where((a < R) & (b > R), -_log(b - a), -torch.inf)

    def log_moment(self, k: float, theta: Tensor) -> Tensor:
        a, b = theta.unbind(-1)
        return _log((b.pow(k + 1) - a.pow(k + 1)) / ((k + 1) * (b - a)))

    def log_survival(self, x: Tensor, theta: Tensor) -> Tensor:
        a, b = unbind(theta, x)
        return _log(((b - x) / (b - a)).clamp(max=1))

    def log_chord(self, r: Tensor, theta: Tensor, cap: Tensor | None = None) -> Tensor:
        """ln of (arccosh(b / r) - arccosh(a / r)) / (b - a), with arccosh = 0 below 1 and at most U."""
        a, b = unbind(theta, r)
        upper, lower = _arc(b, r), _arc(a, r)
        if cap is not None:
            limit = spread(cap, r)
            upper, lower = torch.minimum(upper, limit), torch.minimum(lower, limit)
        return _log(upper - lower) - _log(b - a)

    def log_beyond(self, x: Tensor, theta: Tensor, cap: Tensor | None = None) -> Tensor:
        """By the antiderivative of sqrt(R^2 - x^2), and of R cos phi from x / sin phi on."""
        a, b = unbind(theta, x)
        return _log(_half_moon(b, x, cap) - _half_moon(a, x, cap)) - _log(b - a)

    def span(self, r: Tensor, theta: Tensor) -> tuple[Tensor, Tensor]:
        a, b = unbind(theta, r)
        return torch.maximum(r, a), torch.maximum(r, b)

    def quantile(self, z: Tensor, theta: Tensor, *, biased: bool = False) -> Tensor:
        a, b = unbind(theta.detach(), z)
        p = torch.special.ndtr(z)
        return torch.sqrt(a.square() + p * (b.square() - a.square())) if biased else a + p * (b - a)


class ParetoSizes(Sizes):
    """P(radius > R) = (a / R)^n for R > a; theta holds the least size a, a length, and the exponent n > 1."""

    causes = (
        Block("low", "um", (0.0, math.inf), "least size"),
        Block("exponent", "1", (1.0, math.inf), "exponent of the Pareto distribution of the size"),
    )
    lengths = (True, False)
    smooth = False

    def log_density(self, R: Tensor, theta: Tensor) -> Tensor:
        a, n = unbind(theta, R)
        return torch.where(a < R, n.log() - R.log() + n * (a / R).log(), -torch.inf)

    def log_moment(self, k: float, theta: Tensor) -> Tensor:
        """Infinite for k >= n."""
        a, n = theta.unbind(-1)
        finite = k < n
        return torch.where(finite, k * a.log() + n.log() - torch.where(finite, n - k, 1).log(), torch.inf)

    def log_survival(self, x: Tensor, theta: Tensor) -> Tensor:
        a, n = unbind(theta, x)
        return n * (a / torch.maximum(a, x)).log()

    def log_chord(self, r: Tensor, theta: Tensor, cap: Tensor | None = None) -> Tensor:
        """ln of ``n a^n r^(-n - 1) integral cosh^(-n - 1) u du`` from arccosh(a / r) to U."""
        a, n = unbind(theta, r)
        return n.log() + n * (a / r).log() - r.log() + _log_secants(n + 1, _arc(a, r), cap)

    def log_beyond(self, x: Tensor, theta: Tensor, cap: Tensor | None = None) -> Tensor:
        """ln of ``n a^n x^(1 - n) integral sinh^2 u cosh^(-n - 1) u du``, and of R cos phi from x / sin phi on."""
        a, n = unbind(theta, x)
        u = _arc(a, x)
        # sinh^2 u = cosh^2 u - 1
        inner = _log_difference(_log_secants(n - 1, u, cap), _log_secants(n + 1, u, cap)) + n * (a / x).log()
        if cap is not None:
            limit = spread(cap, x)
            least = torch.maximum(a, x * torch.cosh(limit))
            outer = torch.tanh(limit).log() + (least / x / (n - 1)).log() + n * (a / least).log()
            inner = torch.logaddexp(inner, outer)
        return n.log() + x.log() + inner

    def span(self, r: Tensor, theta: Tensor) -> tuple[Tensor, Tensor]:
        a, n = unbind(theta, r)
        start = torch.maximum(r, a)
        return start, start * torch.exp(DROP / n)

    def quantile(self, z: Tensor, theta: Tensor, *, biased: bool = False) -> Tensor:
        a, n = unbind(theta.detach(), z)
        return a * torch.exp(-torch.special.log_ndtr(-z) / (n - 1 if biased else n))


def _arc(R: Tensor, r: Tensor) -> Tensor:
    """arccosh(R / r), and 0 for R < r; without the infinite slope there."""
    above = r < R
    return torch.where(above, arccosh1(torch.where(above, (R - r) / r, 1)), 0)


def _log(value: Tensor) -> Tensor:
    """ln, and -inf with the slope 0 where there is none."""
    positive = value > 0
    return torch.where(positive, torch.where(positive, value, 1).log(), -torch.inf)


def _half_moon(R: Tensor, x: Tensor, cap: Tensor | None) -> Tensor:
    """``integral_x^R min(sqrt(t^2 - x^2), t cos phi) dt``, 0 for R < x."""
    end = R if cap is None else torch.minimum(R, x * torch.cosh(spread(cap, x)))
    u = _arc(end, x)
    inner = 0.5 * x.square() * (torch.sinh(u) * torch.cosh(u) - u)
    return inner if cap is None else inner + 0.5 * torch.tanh(spread(cap, x)) * (R.square() - end.square())


def _log_secants(power: Tensor, start: Tensor, cap: Tensor | None) -> Tensor:
    """ln of ``integral cosh(u)^-power du`` from `start` to the cap, or to infinity."""
    whole = _log_secant(power, start)
    if cap is None:
        return whole
    limit = spread(cap, start)
    return _log_difference(whole, _log_secant(power, torch.maximum(start, limit)))


def _log_secant(power: Tensor, start: Tensor) -> Tensor:
    """ln of ``integral_start^inf cosh(u)^-power du``.

    By the double exponential rule v = exp(t - exp(-t)) for an integrand that decays as exp(-v) (Takahasi & Mori 1974,
    Publ. RIMS 9:721).
    """
    t = torch.linspace(-3.6, 4.4, 81, dtype=start.dtype, device=start.device)
    v = torch.exp(t - torch.exp(-t))
    log_weight = t - torch.exp(-t) + torch.log1p(torch.exp(-t)) + math.log(0.1)
    power = power[..., None]
    terms = power * (_log_cosh(start)[..., None] - _log_cosh(start[..., None] + v / power))
    return torch.logsumexp(terms + log_weight, -1) - power[..., 0].log() - power[..., 0] * _log_cosh(start)


def _log_cosh(u: Tensor) -> Tensor:
    """ln cosh u for u >= 0, without overflow."""
    return u + torch.log1p(torch.exp(-2 * u)) - math.log(2)


def _log_difference(a: Tensor, b: Tensor) -> Tensor:
    """ln(exp(a) - exp(b)) for a >= b."""
    return a + _log(-torch.expm1(b - a))
