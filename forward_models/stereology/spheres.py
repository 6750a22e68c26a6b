"""Wicksell's equations: how the radii of spheres and those of their circular sections determine each other."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor

from .microscope import Microscope, log_number, log_profiles
from .size_families import family
from .sizes import Sizes, arccosh1, log_sum_exp, spread, trapezoid


def section_density(r: Tensor, sizes: str | Sizes, theta: Tensor, microscope: Microscope | None = None) -> Tensor:
    """Density of the radius of a section, per unit of r, ``(*, m)``.

    ``g(r) = r / E[R] integral_0^inf f(r cosh u) du`` on a plane.

    Parameters
    ----------
    r : Tensor (*, m)
        Positive.
    sizes : str or Sizes
        Family of the radius of the spheres.
    theta : Tensor (*, p)
        Its parameters.
    microscope : Microscope, optional
        What comes between; the density is then that of the profiles that are seen.

    References
    ----------
    Wicksell (1925), *The corpuscle problem*, Biometrika 17:84, eq. 4.
    """
    sizes, microscope = family(sizes), microscope or Microscope()
    log_density = log_profiles(r, sizes, theta, microscope) - spread(log_number(sizes, theta, microscope), r)
    if microscope.smallest is None:
        return log_density.exp()
    return torch.where(r > spread(microscope.smallest, r), log_density.exp(), 0)


def section_cdf(r: Tensor, sizes: str | Sizes, theta: Tensor, microscope: Microscope | None = None) -> Tensor:
    """P(radius of a section <= r), ``(*, m)``: ``1 - E sqrt(R^2 - r^2)_+ / E[R]`` on a plane."""
    sizes, microscope = family(sizes), microscope or Microscope()
    whole = spread(log_number(sizes, theta, microscope), r)
    x = r if microscope.smallest is None else torch.maximum(r, spread(microscope.smallest, r))
    above = math.log(2) + sizes.log_beyond(x, theta, microscope.cap)
    if microscope.thickness is not None:
        full = spread(microscope.thickness, r).log() + sizes.log_survival(x, theta)
        above = log_sum_exp(torch.stack([above, full]))
    return -torch.expm1((above - whole).clamp(max=0))


def section_moment(k: float, sizes: str | Sizes, theta: Tensor) -> Tensor:
    """``E[r^k] = m_k E[R^(k + 1)] / E[R]`` of sections by a plane, ``(*)``, for k > -2.

    ``m_k = sqrt(pi) / 2 Gamma(k / 2 + 1) / Gamma(k / 2 + 3 / 2)``: pi / 4, 2 / 3, 3 pi / 16, 8 / 15 for k = 1 to 4 and
    pi / 2 for k = -1 (Watson 1971, Biometrika 58:483).
    """
    sizes = family(sizes)
    m = 0.5 * math.sqrt(math.pi) * math.gamma(k / 2 + 1) / math.gamma(k / 2 + 1.5)
    return m * (sizes.log_moment(k + 1, theta) - sizes.log_moment(1, theta)).exp()


def sphere_density(
    R: Tensor, density: Callable[[Tensor], Tensor], mean: Tensor | float, *, high: float, steps: int = 96
) -> Tensor:
    """The density of the radius of the spheres, from that of their sections: the inverse of `section_density`.

    ``f(R) = -(2 E[R] R / pi) integral_0^inf (g(r) / r)'|_(r = R cosh u) du``, by the trapezoid rule. Of a density
    that is known as a function; noisy sizes need a likelihood.

    Parameters
    ----------
    R : Tensor (*)
        Positive.
    density : callable
        g, element by element, of tensors that require a gradient.
    mean : Tensor or float
        E[R]; ``(pi / 2) / E[1 / r]`` if only the sections are known.
    high : float
        A radius beyond which g is negligible.
    steps : int
        Of the trapezoid rule.

    Returns
    -------
    Tensor (*)

    References
    ----------
    Wicksell (1925), Biometrika 17:84, eq. 7.
    """
    d = (high - R) / R
    u, log_weight = trapezoid(torch.zeros_like(R), arccosh1(d.clamp(min=0)), steps)
    with torch.enable_grad():
        r = (R[..., None] * torch.cosh(u)).detach().requires_grad_()
        (slope,) = torch.autograd.grad((density(r) / r).sum(), r)
    return torch.where(d > 0, -2 * mean * R / math.pi * (slope * log_weight.exp()).sum(-1), 0)
