"""`Leaf`: PROSPECT as a forward model, from leaf traits to reflectance and transmittance."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from physgen.space import Block, Coordinate, Space

from .leaf import LeafCoefficients, prospect
from .tables import check_wavelengths, grid, leaf_table

_CONSTITUENTS = {
    "cab": ("ug cm-2", "leaf chlorophyll a+b content"),
    "car": ("ug cm-2", "leaf carotenoid content"),
    "ant": ("ug cm-2", "leaf anthocyanin content"),
    "cbrown": ("1", "leaf brown pigment, arbitrary units"),
    "cw": ("cm", "leaf equivalent water thickness"),
    "cm": ("g cm-2", "leaf dry matter per area"),
    "prot": ("g cm-2", "leaf protein per area"),
    "cbc": ("g cm-2", "leaf carbon-based constituents per area"),
}


def leaf_causes(version: str) -> Space:
    """The causes of a version of PROSPECT ("4", "5", "D" or "PRO"): structure `n`, then the constituents."""
    constituents = (Block(c, u, (0.0, float("inf")), name) for c, (u, name) in _named(version))
    return Space(Block("n", "1", (1.0, float("inf")), "leaf structure, number of plates"), *constituents)


def leaf_coefficients(version: str, wavelengths: Tensor) -> LeafCoefficients:
    """The coefficients of a version of PROSPECT at `wavelengths` (w,), nm, float64."""
    table = leaf_table(version).at(wavelengths)
    return LeafCoefficients(table.wavelength, table.refractive_index, table.absorption, table.constituents)


def _named(version: str) -> list[tuple[str, tuple[str, str]]]:
    return [(c, _CONSTITUENTS[c]) for c in leaf_table(version).constituents]


@dataclass(frozen=True, eq=False)
class Leaf:
    """Reflectance and transmittance of a leaf, directional-hemispherical.

    Parameters
    ----------
    version : {"D", "PRO", "5", "4"}
        Of PROSPECT.
    wavelengths : sequence of float, optional
        nm, within 400 to 2500; every nanometre by default.

    Raises
    ------
    ValueError
        If the version is unknown or a wavelength out of range.
    """

    version: str = "D"
    wavelengths: Sequence[float] | Tensor | None = None

    def __post_init__(self) -> None:
        _ = self._coefficients

    @property
    def causes(self) -> Space:
        """Structure `n` and the contents of the version's constituents."""
        return leaf_causes(self.version)

    @cached_property
    def observables(self) -> Space:
        """Reflectance and transmittance, each (w,)."""
        wavelengths = tuple(self._coefficients.wavelength.tolist())
        coordinate = {"wavelength": Coordinate("wavelength", wavelengths, "nm", "wavelength")}
        return Space(
            *(
                Block(name, "1", (-0.2, 1.5), f"leaf {name}", (len(wavelengths),), ("wavelength",), coordinate)
                for name in ("reflectance", "transmittance")
            )
        )

    def __call__(self, x: Tensor, /) -> Tensor:
        """Reflectance, then transmittance, ``(*, 2 w)`` of causes ``(*, n)``."""
        coefficients = self._coefficients.to(x.dtype, x.device)
        return torch.cat(prospect(x[..., 0], x[..., 1:], coefficients), dim=-1)

    @cached_property
    def _coefficients(self) -> LeafCoefficients:
        wavelengths = grid() if self.wavelengths is None else check_wavelengths(self.wavelengths)
        return leaf_coefficients(self.version, wavelengths)
