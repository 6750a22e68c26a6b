"""`Canopy`: PROSPECT leaves in a 4SAIL canopy over a soil, as a sensor sees it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import torch
from torch import Tensor

from physgen.space import Block, Coordinate, Space

from .canopy_jacobian import spectral_jacobian
from .leaf import LeafCoefficients, prospect
from .leaf_angles import campbell, verhoef
from .leaf_model import leaf_causes, leaf_coefficients
from .sail import (
    FourStream,
    Geometry,
    Layer,
    absorptance,
    bidirectional_reflectance,
    fractional_cover,
    geometry,
    layer,
    reflectance_factors,
)
from .sensors import Quadrature, Sensor, band_average
from .soil import BasisSoil, DryWetSoil
from .tables import solar_irradiance

_SOILS: dict[str, BasisSoil | DryWetSoil] = {"dry-wet": DryWetSoil(), "basis": BasisSoil(rank=3)}
_ANGLES = {
    "campbell": (Block("ala", "degree", (0.0, 90.0), "average leaf angle"),),
    "verhoef": (
        Block("lidfa", "1", (-1.0, 1.0), "mean leaf slope parameter"),
        Block("lidfb", "1", (-1.0, 1.0), "leaf slope bimodality parameter"),
    ),
}


class _Tables(NamedTuple):
    """What depends on wavelength only, in one dtype on one device."""

    leaf: LeafCoefficients
    soil: Tensor
    quadrature: Quadrature


@dataclass(frozen=True, eq=False)
class Canopy:
    """Bidirectional reflectance of vegetation in the bands of a sensor.

    The conditions are `solar_zenith`, `view_zenith`, `relative_azimuth` (degrees) and, optionally, `diffuse_fraction`:
    the share of skylight, by which the reflectance is ``(1 - f) rso + f rdo`` instead of rso.

    Parameters
    ----------
    sensor : str or Sensor
        "sentinel-2a", "sentinel-2b", "landsat-8", "landsat-9", "emit", "full" (every nanometre), or one's own.
    leaf : {"D", "PRO", "5", "4"}
        Version of PROSPECT.
    soil : {"basis", "dry-wet"} or BasisSoil or DryWetSoil
        "basis": three coefficients of measured soils and a wetness.
    leaf_angles : {"campbell", "verhoef"}
        Law of leaf inclination: by average leaf angle, or by two parameters.
    bands : sequence of str, optional
        Some of the sensor's bands, in this order.
    exact : bool
        Integrate the sensor's response at every nanometre, not by the short quadrature.

    Raises
    ------
    ValueError
        If a name is unknown.
    """

    sensor: str | Sensor = "sentinel-2a"
    leaf: str = "D"
    soil: str | BasisSoil | DryWetSoil = "basis"
    leaf_angles: str = "campbell"
    bands: Sequence[str] | None = None
    exact: bool = False

    def __post_init__(self) -> None:
        for what, value, known in (("soil", self.soil, _SOILS), ("leaf_angles", self.leaf_angles, _ANGLES)):
            if isinstance(value, str) and value not in known:
                raise ValueError(f"Unknown {what} {value!r}. Must be one of {', '.join(known)}.")
        _ = self.causes, self.observables

    @cached_property
    def causes(self) -> Space:
        """Leaf traits, `lai`, leaf angles, `hotspot`, soil."""
        return Space(
            *leaf_causes(self.leaf),
            Block("lai", "m2 m-2", (0.0, 15.0), "leaf area index"),
            *_ANGLES[self.leaf_angles],
            Block("hotspot", "1", (0.0, float("inf")), "hot-spot size: leaf size over canopy height"),
            *self._soil.causes,
        )

    @property
    def conditions(self) -> Space:
        """Angles in degrees, and the share of diffuse light."""
        return Space(
            Block("solar_zenith", "degree", (0.0, 89.0), "solar zenith angle"),
            Block("view_zenith", "degree", (0.0, 89.0), "view zenith angle"),
            Block("relative_azimuth", "degree", (-360.0, 360.0), "azimuth between sun and view"),
            Block("diffuse_fraction", "1", (0.0, 1.0), "share of diffuse light"),
        )

    @cached_property
    def observables(self) -> Space:
        """Reflectance (band,), with the names of the bands and their central wavelengths."""
        sensor = self._sensor
        labels = {
            "band": Coordinate("band", sensor.bands, "", f"band of {sensor.name}"),
            "wavelength": Coordinate("band", tuple(sensor.centre.tolist()), "nm", "central wavelength"),
        }
        shape, dims = (len(sensor.bands),), ("band",)
        # a corrected measurement may be slightly negative, and bright above 1; digital numbers lie far above
        block = Block("reflectance", "1", (-0.2, 1.5), "surface reflectance", shape, dims, labels)
        return Space(block)

    @property
    def width(self) -> int:
        """Wavelengths that are computed."""
        return self._quadrature.wavelengths.numel()

    def __call__(
        self,
        x: Tensor,
        /,
        *,
        solar_zenith: Tensor,
        view_zenith: Tensor,
        relative_azimuth: Tensor,
        diffuse_fraction: Tensor | None = None,
    ) -> Tensor:
        """Reflectance ``(*, band)`` of causes ``(*, n)``; each condition ``(*,)``."""
        tables = self._tables(x)
        parts = self._stack(x, tables, solar_zenith, view_zenith, relative_azimuth)
        return band_average(_reflectance(*parts, diffuse_fraction), tables.quadrature)

    def jacobian(
        self,
        x: Tensor,
        /,
        *,
        solar_zenith: Tensor,
        view_zenith: Tensor,
        relative_azimuth: Tensor,
        diffuse_fraction: Tensor | None = None,
    ) -> tuple[Tensor, Tensor]:
        """Reflectance ``(R, band)`` and its derivatives ``(R, band, n)`` by the causes ``(R, n)``."""
        tables, lai, soil = self._tables(x), self._lai, len(self._soil.causes)

        def structure(s: Tensor) -> Geometry:
            angles = solar_zenith, view_zenith, relative_azimuth
            return geometry(s[:, 0], s[:, -1], self._inclination(s[:, 1:-1]), *angles)

        def reflectance(rho: Tensor, tau: Tensor, ground: Tensor, canopy: Geometry) -> Tensor:
            return _reflectance(layer(rho, tau, canopy), ground, canopy, diffuse_fraction)

        value, columns = spectral_jacobian(
            (x[:, 0], x[:, 1:lai], tables.leaf),
            (x[:, lai:-soil], structure),
            (x[:, -soil:], tables.soil, self._soil),
            reflectance,
        )
        spectra = band_average(torch.stack([value, *columns], -2), tables.quadrature)
        return spectra[:, 0], spectra[:, 1:].mT

    def factors(
        self, x: Tensor, /, *, solar_zenith: Tensor, view_zenith: Tensor, relative_azimuth: Tensor
    ) -> FourStream:
        """The four reflectance factors in the sensor's bands, each ``(*, band)``."""
        tables = self._tables(x)
        stack, soil, canopy = self._stack(x, tables, solar_zenith, view_zenith, relative_azimuth)
        each = reflectance_factors(stack, soil, canopy)
        return FourStream(*(band_average(spectrum, tables.quadrature) for spectrum in each))

    def fapar(self, x: Tensor, /, *, solar_zenith: Tensor, diffuse_fraction: float | Tensor = 0.0) -> Tensor:
        """Fraction of photosynthetically active radiation that the leaves absorb, ``(*,)``.

        Photons of 400 to 700 nm, with the sun's spectrum above the atmosphere for weights.
        """
        wavelengths = torch.arange(400.0, 701.0, 5.0, dtype=torch.float64)
        tables = self._tables(x, wavelengths)
        nadir = torch.zeros_like(solar_zenith)
        direct, diffuse = absorptance(*self._stack(x, tables, solar_zenith, nadir, nadir))
        photons = (solar_irradiance()[:301:5] * wavelengths).to(x)
        f = torch.as_tensor(diffuse_fraction, dtype=x.dtype, device=x.device)[..., None]
        return (((1 - f) * direct + f * diffuse) * (photons / photons.sum())).sum(-1)

    def cover(self, x: Tensor, /) -> Tensor:
        """Fraction of the ground that leaves hide from the zenith, ``(*,)``."""
        first = self._lai + 1
        return fractional_cover(x[..., self._lai], self._inclination(x[..., first : first + self._angles]))

    @cached_property
    def _soil(self) -> BasisSoil | DryWetSoil:
        return _SOILS[self.soil] if isinstance(self.soil, str) else self.soil

    @cached_property
    def _sensor(self) -> Sensor:
        with torch.inference_mode(False):  # what is kept may serve automatic differentiation later
            if isinstance(self.sensor, str):
                return Sensor.named(self.sensor, self.bands)
            return self.sensor if self.bands is None else self.sensor.select(self.bands)

    @cached_property
    def _quadrature(self) -> Quadrature:
        with torch.inference_mode(False):
            return self._sensor.exact if self.exact else self._sensor.quadrature

    @cached_property
    def _lai(self) -> int:
        return self.causes.names.index("lai")

    @cached_property
    def _made(self) -> dict[tuple[object, ...], _Tables]:
        return {}

    def _tables(self, x: Tensor, wavelengths: Tensor | None = None) -> _Tables:
        """The tables in the dtype and on the device of x, made once; at the quadrature's wavelengths by default."""
        key = (x.dtype, x.device, wavelengths is None)
        if key not in self._made:
            at = self._quadrature.wavelengths if wavelengths is None else wavelengths
            with torch.inference_mode(False):
                leaf = leaf_coefficients(self.leaf, at).to(x.dtype, x.device)
                soil = self._soil.prepare(at).to(x.device, x.dtype)
                _ = self._quadrature.identity, self._quadrature.matrix
                self._made[key] = _Tables(leaf, soil, self._quadrature)
        return self._made[key]

    @cached_property
    def _angles(self) -> int:
        return len(_ANGLES[self.leaf_angles])

    def _inclination(self, angles: Tensor) -> Tensor:
        """Weights of the 13 classes of leaf inclination, ``(*, 13)``, of the angle parameters ``(*, 1 or 2)``."""
        return campbell(angles[..., 0]) if self.leaf_angles == "campbell" else verhoef(angles[..., 0], angles[..., 1])

    def _stack(
        self, x: Tensor, tables: _Tables, solar_zenith: Tensor, view_zenith: Tensor, relative_azimuth: Tensor
    ) -> tuple[Layer, Tensor, Geometry]:
        """The layer of leaves, the reflectance of the soil, and the geometry, at the wavelengths of `tables`."""
        lai, soil = self._lai, len(self._soil.causes)
        rho, tau = prospect(x[..., 0], x[..., 1:lai], tables.leaf)
        ground = self._soil(x[..., -soil:], tables.soil)
        inclination = self._inclination(x[..., lai + 1 : lai + 1 + self._angles])
        hotspot = x[..., -soil - 1]
        canopy = geometry(x[..., lai], hotspot, inclination, solar_zenith, view_zenith, relative_azimuth)
        return layer(rho, tau, canopy), ground, canopy


def _reflectance(stack: Layer, ground: Tensor, canopy: Geometry, diffuse_fraction: Tensor | None) -> Tensor:
    """What a satellite sees of sunlight, or of sunlight and skylight, ``(*, w)``."""
    if diffuse_fraction is None:
        return bidirectional_reflectance(stack, ground, canopy)
    factors, f = reflectance_factors(stack, ground, canopy), diffuse_fraction[..., None]
    return (1 - f) * factors.rso + f * factors.rdo
