"""Kuusk's hot spot: leaves seen along the sun's own path are lit more often than chance would have it."""

from __future__ import annotations

import torch
from torch import Tensor

from .exponential_integral import exponential_moment

__all__ = ["angular_distance", "hotspot"]

STEPS = 20
DECORRELATED = 200.0  # beyond this, sun and view are as good as independent (4SAIL's limit)


def angular_distance(tan_sun: Tensor, tan_view: Tensor, relative_azimuth: Tensor) -> Tensor:
    """Distance between the tangents of sun and view directions, ``sqrt(ts^2 + to^2 - 2 ts to cos psi)``.

    Parameters
    ----------
    tan_sun, tan_view : Tensor
        Tangents of the zenith angles, ``(*,)``.
    relative_azimuth : Tensor
        Radians, ``(*,)``.

    Returns
    -------
    Tensor
        ``(*,)``; written as a sum of squares, it is exact near the hot spot, and bounded just off its kink at zero.

    References
    ----------
    Verhoef (1998), section 4.3.3.
    """
    along = tan_sun - tan_view
    across = 4.0 * tan_sun * tan_view * torch.sin(0.5 * relative_azimuth) ** 2
    return torch.sqrt(along * along + across + torch.finfo(along.dtype).tiny ** 0.75)


def hotspot(lai: Tensor, ks: Tensor, ko: Tensor, size: Tensor, distance: Tensor) -> tuple[Tensor, Tensor]:
    """Bidirectional gap probability with the hot spot, at the ground and integrated over the canopy.

    Parameters
    ----------
    lai : Tensor
        Leaf area index, >= 0, ``(*,)``.
    ks, ko : Tensor
        Extinction coefficients towards sun and view, > 0, ``(*,)``.
    size : Tensor
        Hot-spot size parameter (leaf size over canopy height), >= 0, ``(*,)``. At 0 there is no hot spot.
    distance : Tensor
        From `angular_distance`, ``(*,)``.

    Returns
    -------
    integral : Tensor
        ``∫_0^1 P_so(x) dx`` over relative depth, ``(*,)``: exponential Simpson rule in 20 steps, which are equal in
        the slope of the joint gap probability.
    ground : Tensor
        Probability that a point on the ground is both lit and seen, ``(*,)``.

    References
    ----------
    Kuusk (1985), in Kanemasu et al.; Verhoef (1998), section 4.3.3; Verhoef et al. (2007), IEEE TGRS 45:1808, eq. 32.
    """
    alpha = _decorrelation(size, 2.0 * distance / (ks + ko))[..., None]
    step = torch.arange(1, STEPS, dtype=alpha.dtype, device=alpha.device) / STEPS
    part = -torch.expm1(-alpha)
    zero = torch.zeros_like(part)
    x = torch.cat([zero, -torch.log1p(-step * part) / alpha, zero + 1.0], -1)
    shade = torch.cat([zero, step * part, part], -1) / alpha
    lai, ks, ko = lai[..., None], ks[..., None], ko[..., None]
    y = (lai * torch.sqrt(ko * ks)) * shade - (lai * (ko + ks)) * x
    gap = torch.exp(y)
    steps = gap[..., :-1] * exponential_moment(y[..., :-1] - y[..., 1:]) * (x[..., 1:] - x[..., :-1])
    return steps.sum(-1), gap[..., -1]


def _decorrelation(size: Tensor, scaled: Tensor) -> Tensor:
    """``alpha = scaled / size``, at most 200, also where size or the distance is 0."""
    scaled = scaled + torch.finfo(scaled.dtype).tiny ** 0.75  # at the hot spot without a size, the size decides
    return scaled / torch.maximum(size, scaled / DECORRELATED)
