"""A family of sphere sizes: the density of the radius R, and the integrals over it that sections need."""

from __future__ import annotations

import abc
import functools
from typing import Any

import numpy as np
import torch
from torch import Tensor

from physgen.space import Block

DROP = 45.0  # nats below its peak where an integrand ends: below float64's rounding, a factor R^2 included
_SCORE_STEP, _SCORES = 0.9, 5  # the trapezoid rule for a normal density errs by exp(-2 pi^2 / 0.9^2) = 3e-11
_GAUSS = 96  # nodes of the Gauss-Legendre rule


class Sizes(abc.ABC):
    """Distributions of the radius R > 0 of spheres, with parameters theta.

    In every method theta is ``(*, p)`` and a radius ``(*, ...)``, whose leading axes are those of theta; radii and the
    parameters that are lengths share their unit. Derivatives by theta are exact; radii are taken for constants
    wherever an integral starts there.

    Attributes
    ----------
    causes : tuple of Block
        The parameters, as the field names them, for radii in um.
    lengths : tuple of bool (p,)
        Which of them are lengths, and so scale with the unit.
    smooth : bool
        Whether the density is smooth inside (0, inf), so that its sections can be interpolated.
    steps : int
        Of the trapezoid rule.
    tolerance : float
        Of that interpolation, for the logarithm of a density.
    section_grid : SectionGrid or None
        A grid on which sections of every member of the family are known, in float64 and without lost caps.
    """

    causes: tuple[Block, ...]
    lengths: tuple[bool, ...]
    smooth: bool = True
    steps: int = 96
    tolerance: float = 1e-8
    section_grid: Any = None

    @abc.abstractmethod
    def log_density(self, R: Tensor, theta: Tensor) -> Tensor:
        """ln f(R), f per unit of R."""

    @abc.abstractmethod
    def log_moment(self, k: float, theta: Tensor) -> Tensor:
        """ln E[R^k], ``(*)``."""

    @abc.abstractmethod
    def span(self, r: Tensor, theta: Tensor) -> tuple[Tensor, Tensor]:
        """An interval (r <= low < high) outside which f, as far as R > r, is negligible beside its peak there."""

    @abc.abstractmethod
    def quantile(self, z: Tensor, theta: Tensor, *, biased: bool = False) -> Tensor:
        """The radius whose cumulative probability is Phi(z), without derivative.

        With `biased`, of the spheres that a plane meets: density R f(R) / E[R].
        """

    def typical(self, theta: Tensor, *, biased: bool = False) -> tuple[Tensor, Tensor]:
        """Radii ``(*, J)`` and weights that sum to 1, for means over f, or with `biased` over R f(R) / E[R].

        By the trapezoid rule in the normal score, without derivative.
        """
        z = _SCORE_STEP * torch.arange(-_SCORES, _SCORES + 1, dtype=theta.dtype, device=theta.device)
        z = z.expand(*theta.shape[:-1], len(z))
        return self.quantile(z, theta, biased=biased), torch.softmax(-0.5 * z.square(), -1)

    @property
    def parameters(self) -> int:
        """Their number p."""
        return sum(block.size for block in self.causes)

    @property
    def names(self) -> tuple[str, ...]:
        """Of the parameters."""
        return tuple(block.name for block in self.causes)

    def density(self, R: Tensor, theta: Tensor) -> Tensor:
        """f(R)."""
        return self.log_density(R, theta).exp()

    def moment(self, k: float, theta: Tensor) -> Tensor:
        """E[R^k], ``(*)``."""
        return self.log_moment(k, theta).exp()

    def cdf(self, R: Tensor, theta: Tensor) -> Tensor:
        """P(radius <= R)."""
        return -torch.expm1(self.log_survival(R, theta))

    def biased_cdf(self, R: Tensor, theta: Tensor) -> Tensor:
        """Share below R of the spheres that a plane meets: ``E[radius; radius <= R] / E[radius]``."""
        u, log_weight = legendre(*self._arc(R, theta, None))
        both = (torch.sinh(u) * torch.cosh(u)).log()
        log_above = 2 * R.log() + self._total(R, theta, u, log_weight + both)
        return -torch.expm1(log_above - spread(self.log_moment(1, theta), R)).clamp(max=0)

    def log_survival(self, x: Tensor, theta: Tensor) -> Tensor:
        """ln P(R > x): with R = x cosh u, ``x integral f(x cosh u) sinh u du``."""
        u, log_weight = legendre(*self._arc(x, theta, None))
        log_sinh = torch.sinh(u).log()
        return x.log() + self._total(x, theta, u, log_weight + log_sinh)

    def log_chord(self, r: Tensor, theta: Tensor, cap: Tensor | None = None) -> Tensor:
        """ln of ``integral_0^U f(r cosh u) du``, to which the density of sections of radius r is proportional.

        Parameters
        ----------
        r : Tensor (*, m)
            Positive.
        theta : Tensor (*, p)
        cap : Tensor (*), optional
            U, where caps are lost; infinite without. See `spheres_microscope.cap_limit`.
        """
        low, high = self._arc(r, theta, cap)
        # a cap makes an end that is not smooth
        u, log_weight = trapezoid(low, high, self.steps) if cap is None else legendre(low, high)
        return self._total(r, theta, u, log_weight)

    def log_beyond(self, x: Tensor, theta: Tensor, cap: Tensor | None = None) -> Tensor:
        """ln of ``integral_x^inf r integral f(r cosh u) du dr = E[min(sqrt(R^2 - x^2), R cos phi); R > x]``.

        Without lost caps, by the trapezoid rule for ``x^2 integral sinh^2(u) f(x cosh u) du``.
        """
        if cap is None:
            u, log_weight = trapezoid(*self._arc(x, theta, None), self.steps)
            return 2 * x.log() + self._total(x, theta, u, log_weight + 2 * torch.sinh(u).log())
        low, high = self._arc(x, theta, None)
        limit = spread(cap, x)
        middle = torch.minimum(torch.maximum(limit, low), high)
        inner, outer = legendre(low, middle), legendre(middle, high)
        parts = [self._total(x, theta, inner[0], inner[1] + 2 * torch.sinh(inner[0]).log())]
        cosine = torch.tanh(limit)[..., None]  # cos phi, as sin phi = 1 / cosh U
        both = (torch.cosh(outer[0]) * torch.sinh(outer[0]) * cosine).log()
        parts.append(self._total(x, theta, outer[0], outer[1] + both))
        return 2 * x.log() + log_sum_exp(torch.stack(parts))

    def _arc(self, r: Tensor, theta: Tensor, cap: Tensor | None) -> tuple[Tensor, Tensor]:
        """The interval of u in which f(r cosh u) matters, cut at `cap`."""
        low, high = (arccosh1((end - r) / r) for end in self.span(r, theta.detach()))
        if cap is None:
            return low, high
        limit = spread(cap, r)
        # where all that matters lies beyond the limit, what little remains is wanted, and from 0 on
        return torch.where(low < 0.5 * limit, low, 0), torch.minimum(high, limit)

    def _total(self, r: Tensor, theta: Tensor, u: Tensor, log_weight: Tensor) -> Tensor:
        terms = self.log_density(r[..., None] * torch.cosh(u), theta) + log_weight
        return torch.logsumexp(terms, -1)


def spread(theta: Tensor, like: Tensor) -> Tensor:
    """A tensor ``(*)`` with axes appended until it broadcasts against `like` ``(*, ...)``."""
    return theta.reshape((*theta.shape, *[1] * (like.ndim - theta.ndim)))


def unbind(theta: Tensor, like: Tensor) -> tuple[Tensor, ...]:
    """The parameters one by one, each ready to broadcast against `like` ``(*, ...)``."""
    return tuple(spread(one, like) for one in theta.unbind(-1))


def log_sum_exp(terms: Tensor) -> Tensor:
    """ln sum exp over the first axis, -inf with the slope 0 where all terms are -inf."""
    some = (terms > -torch.inf).any(0)
    safe = torch.where(some, terms, 0)
    return torch.where(some, torch.logsumexp(safe, 0), -torch.inf)


def arccosh1(d: Tensor) -> Tensor:
    """arccosh(1 + d), accurate for small d >= 0."""
    return torch.log1p(d + torch.sqrt(d * (2 + d)))


def trapezoid(low: Tensor, high: Tensor, steps: int) -> tuple[Tensor, Tensor]:
    """Nodes ``(*, steps + 1)`` and the logarithms of their weights.

    Spectrally accurate for an analytic integrand that is even about `low`, or negligible there, and negligible at
    `high` (Trefethen & Weideman 2014, SIAM Rev. 56:385, theorem 5.1).
    """
    step = ((high - low) / steps)[..., None]
    j = torch.arange(steps + 1, dtype=low.dtype, device=low.device)
    half = torch.zeros_like(j)
    half[0] = half[-1] = -np.log(2)
    return low[..., None] + step * j, step.log() + half


def legendre(low: Tensor, high: Tensor) -> tuple[Tensor, Tensor]:
    """Gauss-Legendre nodes ``(*, N)`` and the logarithms of their weights; both ends may be anything."""
    x, w = (torch.as_tensor(a, dtype=low.dtype, device=low.device) for a in _gauss())
    half = (0.5 * (high - low)).clamp(min=torch.finfo(low.dtype).tiny)[..., None]
    return low[..., None] + half * (1 + x), half.log() + w.log()


@functools.cache
def _gauss() -> tuple[np.ndarray, np.ndarray]:
    return np.polynomial.legendre.leggauss(_GAUSS)
