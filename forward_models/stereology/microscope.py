"""What a microscope shows of spheres: profiles on a plane or through a slab, caps lost, small ones not seen."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from .sizes import Sizes, log_sum_exp, spread

_LONGEST = 30.0  # arccosh(1 / sin phi) of an angle that is as good as 0


@dataclass(frozen=True, eq=False)
class Microscope:
    """How profiles come about; each attribute is ``(*)`` or None, and spheres have the batch shape ``(*)``.

    Attributes
    ----------
    smallest : Tensor, optional
        Radius below which no profile is seen; 0 for none.
    thickness : Tensor, optional
        Of the section, through which opaque spheres are seen in projection; in the unit of the radii.
    cap_angle : Tensor, optional
        phi in degrees, within 0 to 90: a sphere of radius R that a face cuts in a circle of radius r < R sin(phi) is
        lost (Keiding, Jensen & Ranek 1972, Biometrics 28:813).
    """

    smallest: Tensor | None = None
    thickness: Tensor | None = None
    cap_angle: Tensor | None = None

    @property
    def cap(self) -> Tensor | None:
        """U = arccosh(1 / sin phi): a profile r stems from spheres of r <= R <= r cosh U."""
        if self.cap_angle is None:
            return None
        return -torch.tan(0.5 * torch.deg2rad(self.cap_angle)).log().clamp(min=-_LONGEST)


def log_profiles(r: Tensor, sizes: Sizes, theta: Tensor, microscope: Microscope) -> Tensor:
    """ln of the number of profiles per area and per radius, for one sphere in the unit volume.

    ``t f(r) + 2 r integral_r^(r / sin phi) f(R) / sqrt(R^2 - r^2) dR``: spheres whose equator lies within the section
    show it, the others the circle in which a face cuts them.

    Parameters
    ----------
    r : Tensor (*, m)
        Radii of profiles, not below `smallest`.
    sizes : Sizes
    theta : Tensor (*, p)
        Parameters of the radius.
    microscope : Microscope

    References
    ----------
    Wicksell (1925), Biometrika 17:84, eq. 3 (the plane). Bach (1959), Z. wiss. Mikrosk. 64:265; Goldsmith (1967), Brit.
    J. Appl. Phys. 18:813 (the slab).
    """
    cut = math.log(2) + r.log() + sizes.log_chord(r, theta, microscope.cap)
    if microscope.thickness is None:
        return cut
    t = spread(microscope.thickness, r)
    return log_sum_exp(torch.stack([cut, t.log() + sizes.log_density(r, theta)]))


def log_number(sizes: Sizes, theta: Tensor, microscope: Microscope) -> Tensor:
    """ln of the number of profiles per area ``(*)`` for one sphere in the unit volume.

    ``t P(R > x) + 2 E[min(sqrt(R^2 - x^2), R cos phi); R > x]``, x = `smallest`: t + 2 E[R] cos(phi) without it.
    """
    cap, x = microscope.cap, microscope.smallest
    whole = sizes.log_moment(1, theta)
    if cap is not None:
        whole = whole + torch.tanh(cap).log()  # cos phi
    cut, full = whole, torch.zeros_like(whole)
    if x is not None:
        limited = x > 0
        safe = torch.where(limited, x, whole.detach().exp())[..., None]
        cut = torch.where(limited, sizes.log_beyond(safe, theta, cap)[..., 0], whole)
        full = torch.where(limited, sizes.log_survival(safe, theta)[..., 0], 0)
    cut = math.log(2) + cut
    if microscope.thickness is None:
        return cut
    return log_sum_exp(torch.stack([cut, microscope.thickness.log() + full]))
