"""The likelihood of lists of radii of profiles, its score and its Fisher information."""

from __future__ import annotations

import functools
from dataclasses import dataclass, fields

import numpy as np
import torch
from torch import Tensor

from .microscope import Microscope, log_profiles
from .section_grid import SectionGrid
from .section_interpolation import Nodes
from .sizes import Sizes

_DEGREES = (40, 64, 128, 256, 512)
_BLOCK = 1 << 18  # numbers that stay in the cache
_CHORDS = 8
_GRID_ROWS = 64


@dataclass(frozen=True, eq=False)
class Profiles:
    """B lists of radii.

    Attributes
    ----------
    r : Tensor (B, m)
        Positive everywhere; what the mask leaves out does not matter.
    mask : boolean Tensor (B, m)
    """

    r: Tensor
    mask: Tensor

    @property
    def count(self) -> Tensor:
        """Number of profiles ``(B)``."""
        return self.mask.sum(-1).to(self.r.dtype)

    @property
    def log_sum(self) -> Tensor:
        """Sum of ln r, ``(B)``."""
        return (self.r.log() * self.mask).sum(-1)


def at(microscope: Microscope, rows: Tensor) -> Microscope:
    """The microscope of some rows."""
    values = {f.name: getattr(microscope, f.name) for f in fields(Microscope)}
    return Microscope(**{k: None if v is None else v[rows] for k, v in values.items()})


def log_rates(profiles: Profiles, owner: Tensor, sizes: Sizes, theta: Tensor, microscope: Microscope) -> Tensor:
    """``sum_i ln(profiles per area and radius)`` for one sphere in the unit volume, ``(R)``.

    Parameters
    ----------
    profiles : Profiles
    owner : integer Tensor (R)
        Which list each row of parameters is for.
    sizes : Sizes
    theta : Tensor (R, p)
    microscope : Microscope
        With one value for each row.

    Notes
    -----
    Where the family is smooth and the list long, by interpolation of ln(rate / r), with an error of about `tolerance`
    for each profile; rows on which that fails are summed profile by profile, as short lists are.
    """
    out = torch.zeros(len(theta), dtype=theta.dtype, device=theta.device)
    pending = torch.arange(len(theta), device=theta.device)
    if sizes.section_grid is not None and theta.dtype == torch.float64 and microscope.cap_angle is None:
        return _log_rates_on_grid(profiles, owner, sizes, sizes.section_grid, theta, microscope)
    for degree in _DEGREES if sizes.smooth and theta.dtype == torch.float64 else ():
        if not len(pending) or 2 * degree > profiles.r.shape[-1]:
            break
        nodes, unresolved = Nodes.of(profiles.r, profiles.mask, degree), []
        for rows in pending.split(_rows(degree, sizes)):
            r = nodes.r[owner[rows]]
            values = log_profiles(r, sizes, theta[rows], at(microscope, rows)) - r.log()
            total = (nodes.weight[owner[rows]] * values).sum(-1) + profiles.log_sum[owner[rows]]
            good = nodes.resolved(values, sizes.tolerance)
            out = out.index_copy(0, rows[good], total[good])
            unresolved.append(rows[~good])
        pending = torch.cat(unresolved)
    for rows in pending.split(_rows(profiles.r.shape[-1], sizes)) if len(pending) else ():
        values = log_profiles(profiles.r[owner[rows]], sizes, theta[rows], at(microscope, rows))
        total = torch.where(profiles.mask[owner[rows]], values, 0).sum(-1)
        out = out.index_copy(0, rows, total)
    return out


def _log_rates_on_grid(
    profiles: Profiles, owner: Tensor, sizes: Sizes, grid: SectionGrid, theta: Tensor, microscope: Microscope
) -> Tensor:
    """The same, on the grid that the family has; radii beyond it, which no sphere shows, are taken one by one."""
    within = profiles.r <= grid.r[-1]
    weight = grid.weights(torch.where(within, profiles.r, 1), profiles.mask & within)
    total, beyond = (profiles.r.log() * (profiles.mask & within)).sum(-1), profiles.mask & ~within
    parts = []
    for rows in torch.arange(len(theta), device=theta.device).split(_GRID_ROWS):
        t = None if microscope.thickness is None else microscope.thickness[rows]
        values = grid.rates(theta[rows], t)
        parts.append((weight[owner[rows]] * values).sum(-1) + total[owner[rows]])
    out = torch.cat(parts)
    for row in torch.nonzero(beyond.any(-1)[owner]).flatten().tolist():
        r = profiles.r[owner[row]][beyond[owner[row]]]
        one = torch.tensor([row], device=theta.device)
        out = out.index_add(0, one, log_profiles(r[None], sizes, theta[one], at(microscope, one)).sum(-1))
    return out


def profile_rates(r: Tensor, sizes: Sizes, theta: Tensor, microscope: Microscope) -> Tensor:
    """`log_profiles` of radii ``(R, m)``, on the grid where the family has one."""
    grid = sizes.section_grid
    if grid is None or theta.dtype != torch.float64 or microscope.cap_angle is not None or bool((r > grid.r[-1]).any()):
        return log_profiles(r, sizes, theta, microscope)
    return grid.interpolate(grid.rates(theta, microscope.thickness), r) + r.log()


def _rows(radii: int, sizes: Sizes) -> int:
    """How many rows of so many radii are held at once."""
    return max(1, _BLOCK // (radii * sizes.steps))


def information(sizes: Sizes, theta: Tensor, microscope: Microscope) -> tuple[Tensor, Tensor]:
    """Mean (R, p) and covariance (R, p, p) of the derivative of ln(rate) by theta over the profiles that are seen.

    The Fisher information of one profile is the covariance. By quadrature over the sizes of the spheres that are met,
    at equal steps of their normal score, and over the distance of the plane from the centre.
    """
    if sizes.section_grid is not None and theta.dtype == torch.float64 and microscope.cap_angle is None:
        return sizes.section_grid.information(theta.detach(), microscope.thickness, microscope.smallest)
    r, weight = _typical(sizes, theta, microscope)
    each = torch.arange(len(theta), device=theta.device).repeat_interleave(r.shape[-1])
    with torch.enable_grad():  # one row of parameters for each radius: a single pass backwards gives every derivative
        leaf = theta.detach()[each].requires_grad_()
        value = log_profiles(r.reshape(-1, 1), sizes, leaf, at(microscope, each))
        (slopes,) = torch.autograd.grad(value.sum(), leaf)
    slopes = slopes.reshape(*r.shape, -1)
    slopes = torch.where(weight[..., None] > 0, slopes, 0)
    mean = (weight[..., None] * slopes).sum(1)
    centred = (slopes - mean[:, None]) * weight.sqrt()[..., None]
    return mean, (centred[..., :, None] * centred[..., None, :]).sum(1)  # not a BLAS product: rows stay alone


def _typical(sizes: Sizes, theta: Tensor, microscope: Microscope) -> tuple[Tensor, Tensor]:
    """Radii (R, J) of profiles, and their weights, which sum to 1."""
    rows = theta.detach()
    x, w = (torch.as_tensor(a, dtype=theta.dtype, device=theta.device) for a in _chords())
    cosine = torch.ones_like(rows[:, 0]) if microscope.cap is None else torch.tanh(microscope.cap)
    R, share = sizes.typical(rows, biased=True)
    r = (R[..., None] * torch.sqrt(1 - (cosine[:, None, None] * x).square())).flatten(1)
    weight = (share[..., None] * w).flatten(1)
    if microscope.thickness is not None:
        t, cut = microscope.thickness[:, None], 2 * (sizes.moment(1, rows) * cosine)[:, None]
        R, share = sizes.typical(rows)
        r, weight = torch.cat([r, R], -1), torch.cat([weight * cut, share * t], -1)
    if microscope.smallest is not None:
        weight = weight * (r > microscope.smallest[:, None])
    return r, weight / weight.sum(-1, keepdim=True).clamp(min=torch.finfo(r.dtype).tiny)


@functools.cache
def _chords() -> tuple[np.ndarray, np.ndarray]:
    """Gauss-Legendre rule on (0, 1)."""
    x, w = np.polynomial.legendre.leggauss(_CHORDS)
    return 0.5 * (1 + x), 0.5 * w
