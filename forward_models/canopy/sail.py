"""Radiative transfer in a turbid layer of leaves over a soil: 4SAIL (Verhoef et al. 2007).

`geometry` gathers what does not depend on wavelength, once per canopy; `layer` solves the four-stream equations
element by element for every wavelength; `bidirectional_reflectance`, `reflectance_factors` and `absorptance` put the
layer on its soil. Directions: s from the sun, o to the observer, d diffuse; rdo is diffuse in, observer out.

The textbook solution divides 0 by 0 for leaves that do not absorb (m = 0), and where the extinction k of a beam equals
the attenuation m of diffuse light. Here

* layer reflectances and transmittances are integrals of the beam over the layer, ``∫ exp(-k x) cosh(m x) dx`` and the
  like, built by `exponential_moment` and by parts, so that neither limit is special;
* the multiply scattered rso obeys two identities, ``d_A rso = N_A`` with ``d_A = 1 - rinf^2`` (zero at m = 0) and
  ``d_B rso = N_B`` with ``d_B = ko^2 - m^2``. As ``d_A + d_B > 0``, ``rso = (N_A + N_B) / (d_A + d_B)`` is good
  everywhere and needs no switch.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor

from .exponential_integral import exponential_moment
from .hotspot import angular_distance, hotspot
from .leaf_angles import class_cosines, volume_scattering

__all__ = [
    "FourStream",
    "Geometry",
    "Layer",
    "absorptance",
    "bidirectional_reflectance",
    "fractional_cover",
    "geometry",
    "layer",
    "reflectance_factors",
    "sail",
]


class Geometry(NamedTuple):
    """What 4SAIL needs of a canopy apart from its spectra, each ``(*, 1)``, to broadcast over wavelengths.

    `lai` leaf area index; `ks`, `ko` extinction coefficients; `bf` mean squared cosine of the leaf inclination; `sob`,
    `sof` bidirectional scattering by leaf reflectance and transmittance; `tss`, `too` direct transmittances; `z` their
    joint mean ``∫ exp(-(ks + ko) x) dx``; `single` the same with the hot spot; `tsstoo` joint gap with the hot spot.
    """

    lai: Tensor
    ks: Tensor
    ko: Tensor
    bf: Tensor
    sob: Tensor
    sof: Tensor
    tss: Tensor
    too: Tensor
    z: Tensor
    single: Tensor
    tsstoo: Tensor


class Layer(NamedTuple):
    """Optical properties of the canopy layer without soil, each ``(*, wavelengths)``; `rso` includes the hot spot."""

    rdd: Tensor
    tdd: Tensor
    rsd: Tensor
    tsd: Tensor
    rdo: Tensor
    tdo: Tensor
    rso: Tensor


class FourStream(NamedTuple):
    """Reflectance factors of the canopy on its soil, ``(*, wavelengths)``.

    `rso` bidirectional, `rdo` hemispherical-directional, `rsd` directional-hemispherical, `rdd` bi-hemispherical (in
    the Fortran rsot, rdot, rsdt, rddt).
    """

    rso: Tensor
    rdo: Tensor
    rsd: Tensor
    rdd: Tensor


def sail(
    rho: Tensor,
    tau: Tensor,
    soil: Tensor,
    *,
    lai: Tensor,
    hotspot_size: Tensor,
    leaf_angles: Tensor,
    solar_zenith: Tensor,
    view_zenith: Tensor,
    relative_azimuth: Tensor,
) -> FourStream:
    """Four reflectance factors of a canopy.

    Parameters
    ----------
    rho, tau : Tensor
        Leaf reflectance and transmittance, ``(*, wavelengths)``, ``rho + tau <= 1``.
    soil : Tensor
        Reflectance of a Lambertian soil, ``(*, wavelengths)``.
    lai, hotspot_size, leaf_angles, solar_zenith, view_zenith, relative_azimuth : Tensor
        See `geometry`.

    Returns
    -------
    FourStream
        Each ``(*, wavelengths)``.

    References
    ----------
    Verhoef, Jia, Xiao & Su (2007), IEEE Trans. Geosci. Remote Sens. 45:1808.
    """
    canopy = geometry(lai, hotspot_size, leaf_angles, solar_zenith, view_zenith, relative_azimuth)
    return reflectance_factors(layer(rho, tau, canopy), soil, canopy)


def geometry(
    lai: Tensor,
    hotspot_size: Tensor,
    leaf_angles: Tensor,
    solar_zenith: Tensor,
    view_zenith: Tensor,
    relative_azimuth: Tensor,
) -> Geometry:
    """Everything about a canopy that does not depend on wavelength.

    Parameters
    ----------
    lai : Tensor
        Leaf area index, m2 m-2, >= 0, ``(*,)``.
    hotspot_size : Tensor
        Leaf size over canopy height, >= 0, ``(*,)``.
    leaf_angles : Tensor
        Weights of the 13 classes of leaf inclination, ``(*, 13)``.
    solar_zenith, view_zenith : Tensor
        Degrees, in [0, 90), ``(*,)``.
    relative_azimuth : Tensor
        Degrees, any real number, ``(*,)``.

    Returns
    -------
    Geometry
        Each ``(*, 1)``.

    References
    ----------
    Verhoef (1998), section 4.2; Verhoef et al. (2007), table I.
    """
    sun, view = torch.deg2rad(solar_zenith), torch.deg2rad(view_zenith)
    azimuth = torch.deg2rad(_fold(relative_azimuth))
    cos_sun, cos_view = torch.cos(sun), torch.cos(view)
    chi_s, chi_o, frho, ftau = volume_scattering(sun, view, azimuth)
    ks = (leaf_angles * chi_s).sum(-1) / cos_sun
    ko = (leaf_angles * chi_o).sum(-1) / cos_view
    per_area = math.pi / (cos_sun * cos_view)
    integral, tsstoo = hotspot(lai, ks, ko, hotspot_size, angular_distance(torch.tan(sun), torch.tan(view), azimuth))
    tss, too = torch.exp(-ks * lai), torch.exp(-ko * lai)
    scalars = Geometry(
        lai=lai,
        ks=ks,
        ko=ko,
        bf=(leaf_angles * class_cosines(lai.dtype, lai.device)[0] ** 2).sum(-1),
        sob=(leaf_angles * frho).sum(-1) * per_area,
        sof=(leaf_angles * ftau).sum(-1) * per_area,
        tss=tss,
        too=too,
        z=lai * exponential_moment((ks + ko) * lai),
        single=lai * integral,
        tsstoo=tsstoo,
    )
    return Geometry(*(x[..., None] for x in scalars))


def _fold(degrees: Tensor) -> Tensor:
    """Relative azimuth, of any turn and sign, to [0, 180] degrees."""
    return (degrees - 360.0 * torch.round(degrees / 360.0)).abs()


def layer(rho: Tensor, tau: Tensor, canopy: Geometry) -> Layer:
    """Reflectances and transmittances of the canopy layer alone.

    Every output element depends on the same element of every (broadcast) input only.

    Parameters
    ----------
    rho, tau : Tensor
        Leaf reflectance and transmittance, ``(*, wavelengths)``.
    canopy : Geometry
        From `geometry`.

    Returns
    -------
    Layer
        Each ``(*, wavelengths)``.

    References
    ----------
    Verhoef et al. (2007), eqs 18-31 and the appendix, in the form described at the top of this file.
    """
    diffuse = _diffuse(rho, tau, canopy.lai, canopy.bf)
    sun = _beam(rho, tau, canopy.ks, canopy.tss, canopy.lai, canopy.bf, diffuse)
    view = _beam(rho, tau, canopy.ko, canopy.too, canopy.lai, canopy.bf, diffuse)
    once = torch.addcmul(canopy.sob * rho, canopy.sof, tau)
    rso = torch.addcmul(_multiple(sun, view, diffuse, canopy), once, canopy.single)
    return Layer(
        rdd=diffuse.sigma * diffuse.sinh * diffuse.scale,
        tdd=2.0 * diffuse.e1 * diffuse.scale,
        rsd=sun.reflectance,
        tsd=sun.transmittance,
        rdo=view.reflectance,
        tdo=view.transmittance,
        rso=rso,
    )


class _Diffuse(NamedTuple):
    """Diffuse light: attenuation a, backscatter sigma, eigenvalue m; e1 = exp(-m L); 2 e1 sinh(m L) / m; a scale."""

    a: Tensor
    sigma: Tensor
    m2: Tensor
    m: Tensor
    m_lai: Tensor
    e1: Tensor
    sinh: Tensor
    scale: Tensor


class _Beam(NamedTuple):
    """A beam, or by reciprocity the view: its sources of diffuse light b backwards and f forwards, its integrals

    ``j1 = ∫ exp(-k x - m (L - x)) dx`` and ``j2 = ∫ exp(-k x - m x) dx`` over the layer, what the layer reflects and
    transmits diffusely, and ``back = a b + sigma f - k b``, ``forth = a f + sigma b + k f``.
    """

    b: Tensor
    f: Tensor
    j1: Tensor
    j2: Tensor
    reflectance: Tensor
    transmittance: Tensor
    back: Tensor
    forth: Tensor


def _diffuse(rho: Tensor, tau: Tensor, lai: Tensor, bf: Tensor) -> _Diffuse:
    sigma = torch.addcmul((0.5 + 0.5 * bf) * rho, 0.5 - 0.5 * bf, tau)
    alpha = 1.0 - rho - tau  # what leaves absorb
    a = alpha + sigma
    # The floor keeps m off its square-root singularity; results depend on m^2, so it changes them by no more. Where
    # rounding made it negative, the value is lifted and the derivative kept.
    floor = torch.full((), 2.0 * torch.finfo(a.dtype).eps, dtype=a.dtype, device=a.device)
    m2 = alpha * (a + sigma)
    m2 = m2 - (m2.detach() - floor).clamp(max=0.0)
    m = torch.sqrt(m2)
    m_lai = m * lai
    e1 = torch.exp(-m_lai)
    sinh = (2.0 * lai) * exponential_moment(2.0 * m_lai)
    scale = torch.addcmul(torch.addcmul(torch.ones_like(floor), e1, e1), a, sinh).reciprocal()
    return _Diffuse(a, sigma, m2, m, m_lai, e1, sinh, scale)


def _beam(rho: Tensor, tau: Tensor, k: Tensor, t: Tensor, lai: Tensor, bf: Tensor, diffuse: _Diffuse) -> _Beam:
    a, sigma, _, m, m_lai, e1, sinh, scale = diffuse
    towards, away = 0.5 * (k + bf), 0.5 * (k - bf)
    b, f = torch.addcmul(towards * rho, away, tau), torch.addcmul(away * rho, towards, tau)
    j1 = lai * e1 * exponential_moment(k * lai - m_lai)
    j2 = (1.0 - t * e1) / (k + m)
    # Integrals with sinh(m x) / m from those with cosh(m x), by parts: k Is = Ic - t S and k Js = S - Jc.
    up, down = torch.addcmul(sigma * f, a, b), torch.addcmul(sigma * b, a, f)
    back, forth = torch.addcmul(up, k, b, value=-1.0), torch.addcmul(down, k, f)
    factor = scale / k
    reflectance = torch.addcmul(up * sinh, back, torch.addcmul(j2, e1, j1), value=-1.0) * factor
    transmittance = torch.addcmul(forth * torch.addcmul(j1, e1, j2), t * down, sinh, value=-1.0) * factor
    return _Beam(b, f, j1, j2, reflectance, transmittance, back, forth)


def _multiple(sun: _Beam, view: _Beam, diffuse: _Diffuse, canopy: Geometry) -> Tensor:
    """Light scattered more than once from sun to view, by identities A and B (top of this file)."""
    a, sigma, m2, m = diffuse[:4]
    inverse = (a + m).reciprocal()
    rinf = sigma * inverse
    # A: amplitudes of both eigenmodes, down and up.
    down_s, up_s = torch.addcmul(sun.f, sun.b, rinf), torch.addcmul(sun.b, sun.f, rinf)
    down_o, up_o = torch.addcmul(view.f, view.b, rinf), torch.addcmul(view.b, view.f, rinf)
    g1 = torch.addcmul(canopy.z, canopy.too, sun.j1, value=-1.0) / (canopy.ko + m)
    g2 = torch.addcmul(canopy.z, canopy.tss, view.j1, value=-1.0) / (canopy.ks + m)
    echo = torch.addcmul(view.reflectance * up_s * sun.j2, view.transmittance * down_s, sun.j1)
    n = torch.addcmul(up_o * down_s * g1, down_o * up_s, g2)
    n = torch.addcmul(n, echo, rinf, value=-1.0)
    # B: fluxes weighted by exp(-ko x).
    p = torch.addcmul(canopy.too * sun.transmittance, sun.f, canopy.z, value=-1.0)
    q = torch.addcmul(sun.reflectance, sun.b, canopy.z, value=-1.0)
    n = torch.addcmul(torch.addcmul(n, view.back, p), view.forth, q)
    return n / torch.addcmul(canopy.ko * canopy.ko - m2, m, inverse, value=2.0)


def reflectance_factors(stack: Layer, soil: Tensor, canopy: Geometry) -> FourStream:
    """Four reflectance factors of the layer on a Lambertian soil.

    Parameters
    ----------
    stack : Layer
        From `layer`.
    soil : Tensor
        Soil reflectance, ``(*, wavelengths)``.
    canopy : Geometry
        From `geometry`.

    Returns
    -------
    FourStream
        Each ``(*, wavelengths)``.

    References
    ----------
    Verhoef et al. (2007), eqs 33-36.
    """
    trapped, lit, seen = _ground(stack, soil, canopy)
    return FourStream(
        rso=_bidirectional(stack, soil, canopy, trapped, lit, seen),
        rdo=torch.addcmul(stack.rdo, trapped * stack.tdd, seen),
        rsd=torch.addcmul(stack.rsd, trapped * stack.tdd, lit),
        rdd=torch.addcmul(stack.rdd, trapped * stack.tdd, stack.tdd),
    )


def bidirectional_reflectance(stack: Layer, soil: Tensor, canopy: Geometry) -> Tensor:
    """`rso` of `reflectance_factors` alone: what a satellite sees in clear air, ``(*, wavelengths)``."""
    return _bidirectional(stack, soil, canopy, *_ground(stack, soil, canopy))


def absorptance(stack: Layer, soil: Tensor, canopy: Geometry) -> tuple[Tensor, Tensor]:
    """Fraction of the incident light that the leaves absorb, all reflections by the soil included.

    Parameters
    ----------
    stack, soil, canopy
        See `reflectance_factors`.

    Returns
    -------
    direct, diffuse : Tensor
        For sunlight and for isotropic skylight, ``(*, wavelengths)``. Averaged over 400 to 700 nm with the weights of
        the incident light, this is fAPAR.

    References
    ----------
    Verhoef et al. (2007), eqs 34 and 36, with the conservation of energy.
    """
    trapped, lit, _ = _ground(stack, soil, canopy)
    # Light at the ground, reflections included, is trapped / soil times what first arrives.
    sunk = 1.0 / (1.0 - soil * stack.rdd) - trapped
    direct = 1.0 - stack.rsd - lit * (trapped * stack.tdd + sunk)
    diffuse = 1.0 - stack.rdd - stack.tdd * (trapped * stack.tdd + sunk)
    return direct, diffuse


def fractional_cover(lai: Tensor, leaf_angles: Tensor) -> Tensor:
    """Fraction of the ground that leaves hide from the zenith.

    Parameters
    ----------
    lai : Tensor
        Leaf area index, ``(*,)``.
    leaf_angles : Tensor
        Weights of the 13 classes of leaf inclination, ``(*, 13)``.

    Returns
    -------
    Tensor
        ``1 - exp(-ko LAI)`` with the extinction of a vertical view, ``(*,)``.

    References
    ----------
    Nilson (1971), Agric. Meteorol. 8:25, eq. 1, for randomly placed leaves.
    """
    projection = (leaf_angles * class_cosines(lai.dtype, lai.device)[0]).sum(-1)
    return -torch.expm1(-projection * lai)


def _ground(stack: Layer, soil: Tensor, canopy: Geometry) -> tuple[Tensor, Tensor, Tensor]:
    """Soil reflectance with its echoes under the canopy, sunlight that reaches the ground, ground that is seen."""
    trapped = soil / (1.0 - soil * stack.rdd)
    return trapped, stack.tsd + canopy.tss, stack.tdo + canopy.too


def _bidirectional(stack: Layer, soil: Tensor, canopy: Geometry, trapped: Tensor, lit: Tensor, seen: Tensor) -> Tensor:
    # Of light that meets the ground once and directly, the hot spot changes the share that is seen.
    correlated = torch.addcmul(stack.rso, soil, canopy.tsstoo - canopy.tss * canopy.too)
    return torch.addcmul(correlated, trapped * lit, seen)
