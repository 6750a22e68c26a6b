"""Leaf inclination in the 13 classes of 4SAIL: how it is distributed, and what each class intercepts and scatters.

Nine classes of 10 degrees would be too coarse near the vertical, where most of the extinction of low sun happens:
eight are 10 degrees wide, up to 80 degrees, and five are 2 degrees wide.
"""

from __future__ import annotations

import math
from functools import cache
from typing import Any

import torch
from torch import Tensor

from physgen.known_signature import known_signature

from .exponential_integral import horner

__all__ = ["CLASS_CENTRES", "CLASS_EDGES", "campbell", "class_cosines", "verhoef", "volume_scattering"]

CLASS_EDGES = (0.0, 10.0, 20.0, 30.0, 40.0, 50.0, 60.0, 70.0, 80.0, 82.0, 84.0, 86.0, 88.0, 90.0)
ATANH_SERIES = tuple(1.0 / (2 * j + 1) for j in range(18))
CLASS_CENTRES = (5.0, 15.0, 25.0, 35.0, 45.0, 55.0, 65.0, 75.0, 81.0, 83.0, 85.0, 87.0, 89.0)


def verhoef(lidfa: Tensor, lidfb: Tensor) -> Tensor:
    """Verhoef's two-parameter distribution of leaf inclination.

    Parameters
    ----------
    lidfa : Tensor
        Mean slope, ``(*,)``: 1 planophile, -1 erectophile.
    lidfb : Tensor
        Bimodality, ``(*,)``. ``|lidfa| + |lidfb| <= 1``; beyond, weights can be negative.

    Returns
    -------
    Tensor
        Weight of each class, ``(*, 13)``, adding up to 1.

    References
    ----------
    Verhoef (1998), Theory of radiative transfer models, Wageningen, section 4.1 and appendix I.
    """
    a, b = torch.broadcast_tensors(lidfa, lidfb)
    inner = 2.0 * torch.deg2rad(torch.tensor(CLASS_EDGES[1:-1], dtype=a.dtype, device=a.device))
    x = _Phase.apply(a[..., None], b[..., None], inner)
    cumulative = (2.0 * x - inner) / math.pi
    zero = torch.zeros_like(cumulative[..., :1])
    return torch.cat([cumulative, zero + 1.0], -1) - torch.cat([zero, cumulative], -1)


def campbell(ala: Tensor) -> Tensor:
    """Campbell's ellipsoidal distribution of leaf inclination.

    With chi, the ratio of the ellipsoid's horizontal to its vertical axis, ``eta = 1 - 1 / chi^2`` and c, s the cosine
    and sine of the inclination, the share of leaves steeper than it is proportional to
    ``c (chi^2 / (c^2 + chi^2 s^2) + A(eta c^2))``, ``A(v) = atanh(sqrt v) / sqrt v``, regular at the sphere, chi = 1.

    Parameters
    ----------
    ala : Tensor
        Average leaf angle, degrees, 0 (horizontal) to 90, ``(*,)``. Spherical near 57.

    Returns
    -------
    Tensor
        Weight of each class, ``(*, 13)``, adding up to 1.

    References
    ----------
    Campbell (1990), Agric. For. Meteorol. 49:173 (the distribution, eq. 12); the cubic from angle to ``ln chi`` is the
    one of the Fortran PRO4SAIL, to which results are compared.
    """
    log_chi = ((-1.6184e-5 * ala + 2.1145e-3) * ala - 1.2390e-1) * ala + 3.2491
    chi2 = torch.exp(2.0 * log_chi)[..., None]
    eta = -torch.expm1(-2.0 * log_chi)[..., None]
    c, s = _cosines(CLASS_EDGES[:-1], ala.dtype, ala.device)
    steeper = c * (chi2 / torch.addcmul(c * c, chi2, s * s) + _atanh_over_root(eta * (c * c)))
    steeper = steeper / steeper[..., :1]
    return steeper - torch.cat([steeper[..., 1:], torch.zeros_like(steeper[..., :1])], -1)


def volume_scattering(sun: Tensor, view: Tensor, azimuth: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Interception and scattering by leaves of each class of inclination and of every azimuth.

    Parameters
    ----------
    sun, view, azimuth : Tensor
        Zenith angles, below pi/2, and relative azimuth in [0, pi], radians, ``(*,)``.

    Returns
    -------
    chi_s, chi_o, frho, ftau : Tensor
        Interception functions towards sun and view, and weights of leaf reflectance and transmittance in the
        bidirectional scattering, ``(*, 13)``.

    References
    ----------
    Verhoef (1998), section 2.3 (the functions chi and the volume scattering phase function).
    """
    sun, view, azimuth = sun[..., None], view[..., None], azimuth[..., None]
    cos_leaf, sin_leaf = class_cosines(sun.dtype, sun.device)
    cs, ss = cos_leaf * torch.cos(sun), sin_leaf * torch.sin(sun)
    co, so = cos_leaf * torch.cos(view), sin_leaf * torch.sin(view)
    beta_s, chi_s, ds = _transition(cs, ss)
    beta_o, chi_o, do = _transition(co, so)
    near = (beta_s - beta_o).abs()
    far = math.pi - (beta_s + beta_o - math.pi).abs()
    beta1, beta3 = torch.minimum(azimuth, near), torch.maximum(azimuth, far)
    beta2 = torch.maximum(torch.minimum(azimuth, far), near)
    t1 = 2.0 * cs * co + ss * so * torch.cos(azimuth)
    t2 = torch.sin(beta2) * (2.0 * ds * do + ss * so * torch.cos(beta1) * torch.cos(beta3))
    scale = 1.0 / (2.0 * math.pi**2)
    frho = (((math.pi - beta2) * t1 + t2) * scale).clamp(min=0.0)
    ftau = ((t2 - beta2 * t1) * scale).clamp(min=0.0)
    return chi_s, chi_o, frho, ftau


def _transition(c: Tensor, s: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Azimuth at which the lit side of a leaf changes, interception chi, and the constant of the phase function.

    Leaves flatter than the direction's elevation (``c >= s``) show the same side all around.
    """
    always = c >= s
    ratio = torch.where(always, 0.0, -c / s.clamp(min=1e-6))
    beta = torch.where(always, math.pi, torch.acos(ratio))
    sine = torch.sqrt(1.0 - ratio * ratio)
    partly = 2.0 / math.pi * ((beta - 0.5 * math.pi) * c + sine * s)
    return beta, torch.where(always, c, partly), torch.where(always, c, s)


def class_cosines(dtype: torch.dtype, device: torch.device) -> tuple[Tensor, Tensor]:
    """Cosine and sine of the inclination at the centre of each class, ``(13,)``."""
    return _cosines(CLASS_CENTRES, dtype, device)


@known_signature
class _Phase(torch.autograd.Function):
    """The root x in [0, pi] of ``x - a sin x - b/2 sin 2x = p``, with its derivatives by the implicit function."""

    generate_vmap_rule = True

    @staticmethod
    def forward(a: Tensor, b: Tensor, p: Tensor) -> Tensor:
        x = p + a * torch.sin(p) + 0.5 * b * torch.sin(2.0 * p)
        for _ in range(4):
            x = _laguerre_step(x, a, b, p)
        return x

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor, Tensor, Tensor], output: Tensor) -> None:
        a, b, _ = inputs
        ctx.save_for_backward(a, b, output)
        ctx.save_for_forward(a, b, output)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, Tensor, None]:  # type: ignore[override]
        by_a, by_b = _phase_derivatives(*ctx.saved_tensors)
        a, b, _ = ctx.saved_tensors
        return (grad * by_a).sum_to_size(a.shape), (grad * by_b).sum_to_size(b.shape), None

    @staticmethod
    def jvp(ctx: Any, a_tangent: Tensor, b_tangent: Tensor, _: None) -> Tensor:  # type: ignore[override]
        by_a, by_b = _phase_derivatives(*ctx.saved_tensors)
        return a_tangent * by_a + b_tangent * by_b


def _laguerre_step(x: Tensor, a: Tensor, b: Tensor, p: Tensor) -> Tensor:
    """Laguerre's method for a root up to threefold, as x = 0 and x = pi are at the corners of (a, b).

    Newton's method cycles there; this one needs four steps from anywhere within ``|a| + |b| <= 1``.
    """
    sine, cosine = torch.sin(x), torch.cos(x)
    f = x - p - sine * (a + b * cosine)
    slope = 1.0 - a * cosine - b * (2.0 * cosine * cosine - 1.0)
    curvature = sine * (a + 4.0 * b * cosine)
    root = torch.sqrt((4.0 * slope * slope - 6.0 * f * curvature).clamp(min=0.0))
    return (x - 3.0 * f / (slope + root).clamp(min=1e-3)).clamp(0.0, math.pi)


def _phase_derivatives(a: Tensor, b: Tensor, x: Tensor) -> tuple[Tensor, Tensor]:
    sine, cosine = torch.sin(x), torch.cos(x)
    slope = (1.0 - a * cosine - b * (2.0 * cosine * cosine - 1.0)).clamp(min=1e-3)
    return sine / slope, sine * cosine / slope


def _atanh_over_root(v: Tensor) -> Tensor:
    """``∫_0^1 ds / (1 - v s^2)``: atanh(sqrt v) / sqrt v, atan(sqrt -v) / sqrt -v below zero, for v < 1."""
    near = 0.1
    series = horner(ATANH_SERIES[: 18 if v.dtype == torch.float64 else 9], v.clamp(-near, near))
    above, below = torch.sqrt(v.clamp(min=near)), torch.sqrt((-v).clamp(min=near))
    # Two logarithms, as torch.atanh rounds differently with the place of an element in its tensor.
    outer = torch.where(v > 0.0, 0.5 * (torch.log1p(above) - torch.log1p(-above)) / above, torch.atan(below) / below)
    return torch.where(v.abs() < near, series, outer)


@cache
def _cosines(degrees: tuple[float, ...], dtype: torch.dtype, device: torch.device) -> tuple[Tensor, Tensor]:
    with torch.inference_mode(False):  # what is cached may serve automatic differentiation later
        angles = torch.deg2rad(torch.tensor(degrees, dtype=torch.float64))
        return torch.cos(angles).to(device, dtype), torch.sin(angles).to(device, dtype)
