"""Soil reflectance: two soils mixed, or a basis of measured soils, wetted by a film of water."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from physgen.space import Block, Space

from .tables import interpolate, soil_table

WATER_INDEX = 1.33
"""Refractive index of liquid water, taken as constant over 400 to 2500 nm (it falls from 1.34 to 1.28)."""


def dry_wet_soil(rsoil: Tensor, psoil: Tensor, dry: Tensor, wet: Tensor) -> Tensor:
    """Brightness times a mixture of a dry and a wet soil.

    Parameters
    ----------
    rsoil, psoil : Tensor (*,)
        Brightness, and share of the dry soil.
    dry, wet : Tensor (w,)
        Reflectance of the two soils.

    Returns
    -------
    Tensor (*, w)
        rsoil (psoil dry + (1 - psoil) wet).
    """
    p = psoil[..., None]
    return rsoil[..., None] * (p * dry + (1 - p) * wet)


def basis_soil(coefficients: Tensor, mean: Tensor, basis: Tensor) -> Tensor:
    """Reflectance of a soil made of a basis in logit space, always within (0, 1).

    Parameters
    ----------
    coefficients : Tensor (*, k)
        Of mean 0, variance 1 and no correlation over measured soils.
    mean, basis : Tensor (w,), (k, w)
        As in `SoilTable`.

    Returns
    -------
    Tensor (*, w)
        1 / (1 + exp(-(mean + sum_j coefficients_j basis_j))).
    """
    logit = mean
    for j in range(basis.shape[0]):  # element by element: a matrix product rounds differently with the number of rows
        logit = logit + coefficients[..., j, None] * basis[j]
    if logit.dtype == torch.float64:  # where `torch.sigmoid` rounds differently with the number of rows
        return 0.5 + 0.5 * torch.tanh(0.5 * logit)
    return torch.sigmoid(logit)


def wet_soil(dry: Tensor, wetness: Tensor, water: Tensor, film: float = 0.015) -> Tensor:
    """Reflectance of a soil under a film of water.

    A share `wetness` of the surface carries a film of thickness `wetness * film`. Light enters it at near-normal
    incidence, is absorbed on the way down and up, and is reflected between soil and the film's inner surface::

        R_w = R12 + T12 T21 R_d T2 / (1 - R21 R_d T2),   T2 = exp(-2 alpha wetness film)
        R = (1 - wetness) R_d + wetness R_w

    Parameters
    ----------
    dry : Tensor (*, w)
        Reflectance R_d of the dry soil.
    wetness : Tensor (*,)
        0 (dry) to 1.
    water : Tensor (w,)
        Absorption alpha of liquid water, cm-1.
    film : float
        Thickness of the film at wetness 1, cm.

    Returns
    -------
    Tensor (*, w)

    References
    ----------
    Bablet et al. 2018, Remote Sens. Environ. 217:1 (MARMIT: a film over a share of the soil; here one `wetness` stands
    for share and thickness). Film thickness: Verhoef, van der Tol & Middleton 2018, Remote Sens. Environ. 204:942.
    """
    w = wetness[..., None]
    r12, r21 = _surface(WATER_INDEX)
    t2r = torch.exp(-2 * film * w * water) * dry
    wet = r12 + (1 - r12) * (1 - r21) * t2r / (1 - r21 * t2r)
    return dry + w * (wet - dry)


def _surface(n: float) -> tuple[float, float]:
    """Reflectance of a plane surface of refractive index n: from outside at normal incidence, from inside diffuse.

    The latter follows from that for diffuse light from outside (Duntley's integral of Fresnel's equations, given by
    Walsh 1926 and by Stern 1964, Appl. Opt. 3:111), transmittances being as 1 to n**2.
    """
    n2, n4 = n**2, n**4
    outside = 0.5 + (n - 1) * (3 * n + 1) / (6 * (n + 1) ** 2)
    outside += n2 * (n2 - 1) ** 2 / (n2 + 1) ** 3 * math.log((n - 1) / (n + 1))
    outside += 8 * n4 * (n4 + 1) / ((n2 + 1) * (n4 - 1) ** 2) * math.log(n)
    outside -= 2 * n**3 * (n2 + 2 * n - 1) / ((n2 + 1) * (n4 - 1))
    return ((n - 1) / (n + 1)) ** 2, 1 - (1 - outside) / n2


@dataclass(frozen=True)
class DryWetSoil:
    """Brightness times a mixture of one dry and one wet soil: causes `rsoil`, `psoil`."""

    @property
    def causes(self) -> Space:
        """Brightness and share of the dry soil."""
        return Space(
            Block("rsoil", "1", (0.0, 1.9), "soil brightness"),
            Block("psoil", "1", (0.0, 1.0), "share of dry soil"),
        )

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the causes."""
        return self.causes.names

    def prepare(self, wavelengths: Tensor) -> Tensor:
        """Table (2, w) of the two soils at `wavelengths` (w,), nm."""
        t = soil_table()
        return interpolate(torch.stack([t.dry, t.wet]), wavelengths)

    def __call__(self, parameters: Tensor, table: Tensor) -> Tensor:
        """Reflectance (*, w) for causes (*, 2) and what `prepare` made."""
        table = table.to(parameters)
        return dry_wet_soil(parameters[..., 0], parameters[..., 1], table[0], table[1])


@dataclass(frozen=True)
class BasisSoil:
    """Measured soils, as `rank` coefficients and a wetness: causes `soil_1`, ..., `wetness`.

    The coefficients of the measured (dry) soils have mean 0, variance 1 and no correlation: standard normal priors make
    soils that look like those measured. Every value gives a reflectance within (0, 1).

    Parameters
    ----------
    rank : int
        1 to 10. Error of reflectance over the measured soils: 0.016 at 3, 0.013 at 4, 0.006 at 6 (`soil_table().rmse`).
    film : float
        Thickness of the water film at wetness 1, cm.

    Raises
    ------
    ValueError
        If rank or film is out of range.
    """

    rank: int = 4
    film: float = 0.015

    def __post_init__(self) -> None:
        if self.rank not in range(1, 11):
            raise ValueError(f"Invalid rank {self.rank!r} of the soil basis. Must be an integer from 1 to 10.")
        if not 0 <= self.film < math.inf:
            raise ValueError(f"Invalid film {self.film!r} cm. Must be a thickness of at least 0.")

    @property
    def causes(self) -> Space:
        """The coefficients, then wetness."""
        names = [Block(f"soil_{j}", "1", long_name=f"soil coefficient {j}") for j in range(1, self.rank + 1)]
        return Space(*names, Block("wetness", "1", (0.0, 1.0), "soil wetness"))

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the causes."""
        return self.causes.names

    def prepare(self, wavelengths: Tensor) -> Tensor:
        """Table (rank + 2, w) at `wavelengths` (w,), nm: water absorption, mean, basis."""
        t = soil_table()
        return interpolate(torch.cat([t.water[None], t.mean[None], t.basis[: self.rank]]), wavelengths)

    def __call__(self, parameters: Tensor, table: Tensor) -> Tensor:
        """Reflectance (*, w) for causes (*, rank + 1) and what `prepare` made."""
        table = table.to(parameters)
        dry = basis_soil(parameters[..., :-1], table[1], table[2:])
        return wet_soil(dry, parameters[..., -1], table[0], self.film)
