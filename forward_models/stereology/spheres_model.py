"""`Spheres`: which sizes the spheres in a material have, and how many there are."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from physgen.panel import Panel
from physgen.space import Block, Space

from .size_families import family
from .sizes import Sizes

_NUMBER = Block("number_density", "mm-3", (0.0, math.inf), "number of spheres per volume")
_MM3 = 1e9  # um3


def section_conditions() -> Space:
    """What a microscope does to profiles, each optional; see `SectionSizes`."""
    return Space(
        Block("smallest", "um", (0.0, math.inf), "size below which no profile is seen (um2 if areas are measured)"),
        Block("thickness", "um", (0.0, math.inf), "thickness of the section"),
        Block("cap_angle", "degree", (0.0, 89.0), "polar angle of the caps that are lost"),
        Block("field_area", "mm2", (0.0, math.inf), "area on which every profile was listed"),
    )


@dataclass(frozen=True, eq=False)
class Spheres:
    """Spheres in a material: from the parameters of their sizes to those of their radii, which sections depend on.

    The causes are the parameters of the family, in um where they are lengths: ``geometric_mean`` and
    ``multiplicative_sd`` of "lognormal"; ``shape`` and ``scale`` of "gamma" and "weibull"; ``mean`` and ``sd`` of
    "normal"; ``mean`` of "exponential"; ``mode`` of "rayleigh"; ``low`` and ``exponent`` of "pareto"; ``low`` and
    ``high`` of "uniform"; of a mixture ``weight_1`` and the like of every component, numbered. With `counts` follows
    ``number_density``, in mm-3. The noise is `SectionSizes` or `SectionHistogram`, of the same sizes and counts.

    Parameters
    ----------
    sizes : str or Sizes
        The family; see `family`.
    size : {"diameter", "radius"}
        What the family describes. Sections may be measured in another way.
    counts : bool
        Whether the number of spheres is asked for too; needs the condition `field_area`.

    Raises
    ------
    ValueError, TypeError
        If a name is unknown.
    """

    sizes: str | Sizes = "lognormal"
    size: str = "diameter"
    counts: bool = False

    def __post_init__(self) -> None:
        if self.size not in ("diameter", "radius"):
            raise ValueError(f"Unknown size {self.size!r}. Must be one of diameter, radius.")
        _ = self._family

    @property
    def noise_settings(self) -> dict[str, str | Sizes | bool]:
        """What the noise must have in common with the model; a recipe passes it on."""
        return {"sizes": self.sizes, "counts": self.counts}

    @cached_property
    def causes(self) -> Space:
        """Parameters of the sizes, then ``number_density`` with `counts`."""
        return Space(*self._family.causes, *([_NUMBER] if self.counts else []))

    @property
    def conditions(self) -> Space:
        """Those of the microscope, each optional; the noise takes them."""
        return section_conditions()

    def __call__(self, x: Tensor, /) -> Tensor:
        """Parameters of the radius ``(*, n)`` of causes ``(*, n)``: lengths are halved if they are of diameters."""
        return x * self._scale.to(x)

    def jacobian(self, x: Tensor, /) -> tuple[Tensor, Tensor]:
        """The same, and their derivatives ``(R, n, n)`` by the causes ``(R, n)``."""
        scale = self._scale.to(x)
        return x * scale, torch.diag(scale).expand(*x.shape, x.shape[-1])

    def volume_fraction(self, x: Tensor) -> Tensor:
        """Share of the volume that the spheres fill, ``(*)``: ``4 pi / 3 N_V E[R^3]``; `counts` only.

        Raises
        ------
        TypeError
            Without `counts`.
        """
        if not self.counts:
            raise TypeError("The volume fraction needs the number of spheres. Make the model with counts=True.")
        theta = self(x)
        return 4 * math.pi / 3 * theta[..., -1] / _MM3 * self._family.moment(3, theta[..., :-1])

    def mean_size(self, x: Tensor) -> Tensor:
        """Mean size of the spheres by number, ``(*)``, in um."""
        p = self._family.parameters
        return self._family.moment(1, self(x)[..., :p]) * (2 if self.size == "diameter" else 1)

    def panels(self, x: Tensor) -> list[Panel]:
        """The density of the sizes, per um, of causes ``(S, n)``; see `Panel`."""
        p, half = self._family.parameters, 0.5 if self.size == "diameter" else 1.0
        theta = self(x)[:, :p]
        mean, square = (self._family.moment(k, theta).median() for k in (1, 2))
        top = float(mean + 4 * torch.sqrt((square - mean**2).clamp(min=1e-6 * float(mean) ** 2)))
        R = torch.linspace(1e-3 * top, top, 300).to(theta)
        density = half * self._family.density(R.expand(len(theta), -1), theta)
        return [Panel(f"{self.size} of the spheres", f"{self.size} (um)", "density (um-1)", R / half, density)]

    @cached_property
    def _family(self) -> Sizes:
        return family(self.sizes)

    @cached_property
    def _scale(self) -> Tensor:
        """0.5 for the lengths of a diameter, else 1; float64."""
        length = 0.5 if self.size == "diameter" else 1.0
        return torch.tensor(
            [length if flag else 1.0 for flag in self._family.lengths] + [1.0] * self.counts, dtype=torch.float64
        )
