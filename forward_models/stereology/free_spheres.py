"""`FreeSpheres`: sizes of spheres of no family, under a prior that only says how smooth their distribution is."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from physgen.panel import Panel
from physgen.space import Block, Coordinate, Space

from .sizes_free import FreeSizes
from .spheres_model import section_conditions


@dataclass(frozen=True, eq=False)
class FreeSpheres:
    """Spheres whose sizes have any smooth distribution.

    The cause ``log_density`` (K,) is the logarithm of the density of ln(size) at K knots, up to a constant: a number
    added to all changes nothing. A prior of smooth fields makes it a distribution, and `NestedLaplace` infers how
    smooth::

        model = FreeSpheres(low=2.0, high=200.0)
        problem = Problem(model, SmoothField(forward=model), SectionSizes(**model.noise_settings))
        result = NestedLaplace()(problem, diameters)

    How many small spheres there are, a plane hardly tells: it seldom meets them, and the answer's bands widen there.

    Parameters
    ----------
    low, high : float
        Range of the sizes in um; the largest should lie above the largest profile.
    knots : int
        K, equally spaced in ln(size).
    size : {"diameter", "radius"}
        What low and high, and the distribution, are of.

    Raises
    ------
    ValueError
        If a setting is out of range.
    """

    low: float
    high: float
    knots: int = 40
    size: str = "diameter"

    def __post_init__(self) -> None:
        if self.size not in ("diameter", "radius"):
            raise ValueError(f"Unknown size {self.size!r}. Must be one of diameter, radius.")
        _ = self.sizes

    @cached_property
    def sizes(self) -> FreeSizes:
        """The family of the radius, which the noise `SectionSizes` needs."""
        half = 0.5 if self.size == "diameter" else 1.0
        return FreeSizes(half * self.low, half * self.high, self.knots)

    @property
    def noise_settings(self) -> dict[str, FreeSizes]:
        """What the noise must have in common with the model; a recipe passes it on."""
        return {"sizes": self.sizes}

    @cached_property
    def causes(self) -> Space:
        """``log_density``, with its knots as ln(size) and as sizes."""
        grid = torch.linspace(math.log(self.low), math.log(self.high), self.knots, dtype=torch.float64)
        dim = "log_size"
        labels = {
            dim: Coordinate(dim, tuple(grid.tolist()), "1", f"natural logarithm of the {self.size} in um"),
            "size": Coordinate(dim, tuple(grid.exp().tolist()), "um", f"{self.size} of the spheres"),
        }
        whole = (-math.inf, math.inf)
        return Space(Block("log_density", "1", whole, "log density of log_size", (self.knots,), (dim,), labels))

    @property
    def conditions(self) -> Space:
        """Those of the microscope, each optional; the noise takes them."""
        return section_conditions()

    def __call__(self, x: Tensor, /) -> Tensor:
        """The values at the knots ``(*, K)``, less their mean, which means nothing."""
        return x - x.mean(-1, keepdim=True)

    def jacobian(self, x: Tensor, /) -> tuple[Tensor, Tensor]:
        """The same, and its derivatives ``(R, K, K)`` by the causes ``(R, K)``."""
        centred = torch.eye(self.knots, dtype=x.dtype, device=x.device) - 1 / self.knots
        return self(x), centred.expand(*x.shape, self.knots)

    def density(self, x: Tensor, size: Tensor) -> Tensor:
        """Density of the sizes ``(m,)``, per um, of causes ``(*, K)``: ``(*, m)``."""
        half = 0.5 if self.size == "diameter" else 1.0
        theta, R = self(x), (half * size).to(x)
        return half * self.sizes.density(R.expand(*theta.shape[:-1], len(R)), theta)

    def panels(self, x: Tensor) -> list[Panel]:
        """The density of the sizes, per um, of causes ``(S, K)``; see `Panel`."""
        size = torch.linspace(self.low, self.high, 400).to(x)
        density = self.density(x, size)
        # the tail beyond what one draw in two has fallen to a thousandth is an empty picture
        shown = density.median(0).values > 1e-3 * density.median(0).values.max()
        last = int(torch.nonzero(shown).max()) + 1
        label = f"{self.size} (um)"
        return [Panel(f"{self.size} of the spheres", label, "density (um-1)", size[:last], density[:, :last])]
