"""Leaf reflectance and transmittance: the plate model PROSPECT (Jacquemoud & Baret 1990).

A leaf is a pile of `n` absorbing plates with rough surfaces: one plate that meets light within 40 degrees of its
normal, and n - 1 plates under diffuse light, n being any real number >= 1. Everything that depends on the refractive
index alone is computed once per set of coefficients.

Stokes (1862) solves the pile by powers of b = exp(mu), which divides 0 by 0 where nothing is absorbed and overflows
where everything is. With the dimensionless ``gamma = (2 r21 - t12) / (2 - t12)`` and the transmittance tau of a
plate's inside, the same mu is given without cancellation by

    cosh mu - 1 = (1 - tau) (1 + gamma tau) / ((1 - gamma) tau),

and the pile by decaying exponentials of mu (`_pile`), which are smooth, in value and gradient, at both ends.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import NamedTuple

import torch
from torch import Tensor

from .exponential_integral import exponential_integral, exponential_moment

__all__ = [
    "Interface",
    "LeafCoefficients",
    "absorption_per_plate",
    "interface",
    "interface_transmissivity",
    "plate",
    "plate_elementwise",
    "prospect",
]

ROUGHNESS_ANGLE = 40.0  # degrees; widest incidence on the first surface (Jacquemoud & Baret 1990, section 2.3)


class Interface(NamedTuple):
    """What a set of refractive indices fixes, each ``(wavelengths,)``.

    ``entry_*`` belong to the first surface, lit within 40 degrees; the rest to surfaces under diffuse light. `r21` is
    the reflectance of a surface seen from inside the plate, ``t12``, ``t21`` transmittances inwards and outwards.
    """

    r21_squared: Tensor
    gamma: Tensor
    one_minus_gamma: Tensor
    entry_reflectance: Tensor
    entry_t: Tensor
    entry_back: Tensor
    reflectance: Tensor
    t: Tensor
    back: Tensor


@dataclass(frozen=True, eq=False)
class LeafCoefficients:
    """Optical coefficients of leaf tissue.

    Parameters
    ----------
    wavelength : Tensor
        ``(wavelengths,)``, nm.
    refractive_index : Tensor
        ``(wavelengths,)``, dimensionless, > 1.
    absorption : Tensor
        ``(constituents, wavelengths)``, specific absorption, inverse units of each constituent's content.
    constituents : tuple of str
        Names of the rows of `absorption`.

    Raises
    ------
    ValueError
        If the shapes disagree or a refractive index is not above 1.
    """

    wavelength: Tensor
    refractive_index: Tensor
    absorption: Tensor
    constituents: tuple[str, ...]
    interface: Interface = field(init=False, repr=False)

    def __post_init__(self) -> None:
        expected = (len(self.constituents), *self.wavelength.shape)
        if self.absorption.shape != expected or self.refractive_index.shape != self.wavelength.shape:
            raise ValueError(f"Invalid shape {tuple(self.absorption.shape)} of absorption. Must be {expected}.")
        if not bool((self.refractive_index > 1.0).all()):
            raise ValueError("Invalid refractive index <= 1. Must be above 1 at every wavelength.")
        object.__setattr__(self, "interface", interface(self.refractive_index))

    def to(self, dtype: torch.dtype | None = None, device: torch.device | str | None = None) -> LeafCoefficients:
        """Return the coefficients in another dtype or on another device, rounded from what this dtype computed."""
        return self._with_each(lambda x: x.to(device=device, dtype=dtype))

    def at(self, index: Tensor | slice) -> LeafCoefficients:
        """Return the coefficients at some of the wavelengths."""
        return self._with_each(lambda x: x[..., index])

    def _with_each(self, change: Callable[[Tensor], Tensor]) -> LeafCoefficients:
        changed = object.__new__(LeafCoefficients)
        for name in ("wavelength", "refractive_index", "absorption"):
            object.__setattr__(changed, name, change(getattr(self, name)))
        object.__setattr__(changed, "constituents", self.constituents)
        object.__setattr__(changed, "interface", Interface(*map(change, self.interface)))
        return changed


def interface_transmissivity(refractive_index: Tensor, angle: float) -> Tensor:
    """Transmissivity of a dielectric surface for unpolarised light from all directions within a cone.

    The average of Fresnel's transmittance over ``d(sin^2 theta)`` up to `angle`, in closed form.

    Parameters
    ----------
    refractive_index : Tensor
        Index n of the inner over the outer medium, > 1, any shape.
    angle : float
        Half-width of the cone of incidence, degrees, in (0, 90].

    Returns
    -------
    Tensor
        Transmissivity, same shape.

    Raises
    ------
    ValueError
        If `angle` is outside (0, 90].

    References
    ----------
    Stern (1964), Applied Optics 3:111; Allen (1973), Applied Optics 12:2448.
    """
    if not 0.0 < angle <= 90.0:
        raise ValueError(f"Invalid angle {angle} degrees. Must lie above 0 and not above 90.")
    n2 = refractive_index**2
    below, above = (n2 - 1.0) ** 2, n2 + 1.0
    sin2 = math.sin(math.radians(angle)) ** 2
    # y substitutes for the angle of incidence: its values at the normal and at the edge of the cone.
    y0 = 0.5 * (refractive_index + 1.0) ** 2
    depth = 0.5 * above - sin2
    y1 = depth + torch.sqrt((depth**2 - 0.25 * below).clamp(min=0.0)) if angle < 90.0 else depth
    k = -0.25 * below
    perpendicular = k**2 / 6.0 * (y1**-3 - y0**-3) + k * (1.0 / y1 - 1.0 / y0) - 0.5 * (y1 - y0)
    q0, q1 = 2.0 * above * y0 - below, 2.0 * above * y1 - below
    parallel = (
        -2.0 * n2 * (y1 - y0) / above**2
        - 2.0 * n2 * above * torch.log(y1 / y0) / below
        + 0.5 * n2 * (1.0 / y1 - 1.0 / y0)
        + 16.0 * n2**2 * (n2**2 + 1.0) * torch.log(q1 / q0) / (above**3 * below)
        + 16.0 * n2**3 * (1.0 / q1 - 1.0 / q0) / above**3
    )
    return (perpendicular + parallel) / (2.0 * sin2)


def interface(refractive_index: Tensor) -> Interface:
    """Return all that the plate model needs to know of the refractive index; ``(wavelengths,)`` to `Interface`."""
    t12 = interface_transmissivity(refractive_index, 90.0)
    entry = interface_transmissivity(refractive_index, ROUGHNESS_ANGLE)
    t21 = t12 / refractive_index**2
    r21 = 1.0 - t21
    gamma = (2.0 * r21 - t12) / (2.0 - t12)
    return Interface(
        r21_squared=r21**2,
        gamma=gamma,
        one_minus_gamma=2.0 * t21 / (2.0 - t12),
        entry_reflectance=1.0 - entry,
        entry_t=entry * t21,
        entry_back=entry * t21 * r21,
        reflectance=1.0 - t12,
        t=t12 * t21,
        back=t12 * t21 * r21,
    )


def prospect(n: Tensor, contents: Tensor, coefficients: LeafCoefficients) -> tuple[Tensor, Tensor]:
    """Reflectance and transmittance of leaves, directional-hemispherical.

    Parameters
    ----------
    n : Tensor
        Leaf structure, number of plates, >= 1, shape ``(*,)``.
    contents : Tensor
        Content of each constituent per leaf area, ``(*, constituents)``, in the order and the inverse units of
        `coefficients`.
    coefficients : LeafCoefficients
        Of the same dtype and device.

    Returns
    -------
    reflectance, transmittance : Tensor
        ``(*, wavelengths)``.

    References
    ----------
    Jacquemoud & Baret (1990), Remote Sens. Environ. 34:75; Feret et al. (2008) 112:3030; (2017) 193:204 (PROSPECT-D);
    (2021) 252:112173 (PROSPECT-PRO).
    """
    return plate(n, absorption_per_plate(n, contents, coefficients.absorption), coefficients.interface)


def absorption_per_plate(n: Tensor, contents: Tensor, absorption: Tensor) -> Tensor:
    """Return the optical depth of one plate ``k = sum_i K_i c_i / n`` (Feret et al. 2008, eq. 2), ``(*, wavelengths)``.

    A sum over constituents, not a matrix product, whose rounding would depend on the number of rows.
    """
    share = (contents / n[..., None]).unbind(-1)
    k = share[0][..., None] * absorption[0]
    for content, specific in zip(share[1:], absorption[1:], strict=True):
        k = torch.addcmul(k, content[..., None], specific)
    return k


def plate(n: Tensor, k: Tensor, surface: Interface) -> tuple[Tensor, Tensor]:
    """Reflectance and transmittance of a pile of `n` plates of optical depth `k` each.

    Parameters
    ----------
    n : Tensor
        Number of plates, >= 1, ``(*,)``.
    k : Tensor
        Optical depth of one plate, >= 0, ``(*, wavelengths)``.
    surface : Interface
        From `interface`.

    Returns
    -------
    reflectance, transmittance : Tensor
        ``(*, wavelengths)``; finite with their gradients from ``k = 0``, where they add up to 1, to any k.

    References
    ----------
    Jacquemoud & Baret (1990), eqs 1-11, for one plate; Stokes (1862), Proc. R. Soc. 11:545, for the pile.
    """
    return plate_elementwise(n[..., None], k, surface)


def plate_elementwise(n: Tensor, k: Tensor, surface: Interface) -> tuple[Tensor, Tensor]:
    """`plate` with one `n` for each `k`, ``(*, wavelengths)`` or ``(*, 1)``.

    Each element of the result depends on the same element of `n` and `k` only, so that one backward pass of ones
    gives all derivatives to both.
    """
    one = torch.ones((), dtype=k.dtype, device=k.device)
    tau = 2.0 * exponential_integral(k, 3) + torch.finfo(k.dtype).tiny ** 0.45
    inside = tau / torch.addcmul(one, surface.r21_squared, tau * tau, value=-1.0)  # reflected to and fro any times
    back = tau * inside
    t = surface.t * inside
    r = torch.addcmul(surface.reflectance, surface.back, back)
    entry_t = surface.entry_t * inside
    entry_r = torch.addcmul(surface.entry_reflectance, surface.entry_back, back)
    cosh_minus_1 = (1.0 - tau) * torch.addcmul(one, surface.gamma, tau) / (surface.one_minus_gamma * tau)
    reflected, transmitted = _pile(n - 1.0, cosh_minus_1, t)
    return torch.addcmul(entry_r, entry_t * r, reflected), entry_t * transmitted


def _pile(m: Tensor, cosh_minus_1: Tensor, t: Tensor) -> tuple[Tensor, Tensor]:
    """Light that meets m plates behind the first: the factors of `r` on its way back and of what gets through.

    With y = exp(-m mu), Q = (1 - y^2) / sinh(mu) and t of one plate, transmitted is 2 y / D and reflected Q / D, where
    D = 1 + y^2 + (cosh(mu) - t) Q counts all reflections between the first plate and the pile.
    """
    # The floor keeps mu off its square-root singularity; the results depend on mu^2, so it changes them by no more.
    one = torch.ones((), dtype=t.dtype, device=t.device)
    floor = torch.full((), 2.0 * torch.finfo(t.dtype).eps, dtype=t.dtype, device=t.device)
    exp_minus_1 = cosh_minus_1 + torch.sqrt(torch.addcmul(floor, cosh_minus_1, cosh_minus_1 + 2.0))
    mu = torch.log1p(exp_minus_1)
    y = torch.exp(-m * mu)
    # 1 - y^2 = 2 m mu M_0(2 m mu) and mu / sinh(mu) = exp(-mu) / M_0(2 mu), both without cancellation at mu = 0.
    q = (2.0 * m) * exponential_moment((2.0 * m) * mu) / ((exp_minus_1 + 1.0) * exponential_moment(2.0 * mu))
    denominator = torch.addcmul(torch.addcmul(one, y, y), (cosh_minus_1 + 1.0) - t, q)
    return q / denominator, 2.0 * y / denominator
