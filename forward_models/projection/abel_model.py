"""`AbelProjection`: what a detector sees of something round about an axis, or about a point."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from torch import Tensor

from physgen.space import Block, Coordinate, Space

from .abel_transform import (
    Maker,
    abel_matrix,
    apply_matrix,
    check_grid,
    check_places,
    positive_abel_matrix,
    transform_matrix,
)


@dataclass(frozen=True, eq=False)
class AbelProjection:
    r"""The Abel projection of a radial profile, row by row.

    .. math:: F(y) = 2 \int_y^\infty \frac{f(r)\, r}{\sqrt{r^2 - y^2}} \, dr

    One observation is one row of an image (a slice of a body that is round about an axis: a flame, a velocity map
    image) or the radial profile of a round image (a body that is round about a point: a galaxy, a cluster); many rows
    are a batch. The cause is the profile f as one block `profile`, and the map is linear, so that `jacobian` is exact.
    For the profile beneath noise take a smooth prior (`SmoothField`, `LogSmoothField`).

    Parameters
    ----------
    radii : int or sequence of float (n,)
        r, strictly increasing; a number n means n radii evenly from `inner` to `outer`, both included. f is even
        where the grid begins at 0, and 0 beyond its end. What lies within the first radius is not seen.
    inner, outer : float
        The first and the last radius, where `radii` is a number.
    offsets : sequence of float (m,), optional
        Distances y of the lines of sight from the axis, within the grid; the radii by default.
    positive : bool
        Join the samples of f by straight lines instead of a quintic spline, so that the projection of a profile that
        is nowhere negative is nowhere negative: what counts need (`PoissonNoise`). The error then falls like the
        square of the spacing.
    units, length_units : str
        CF units of f, and of r and y.

    Raises
    ------
    ValueError, TypeError
        If the grid has fewer than 6 radii, or is not increasing, or an offset lies outside.

    References
    ----------
    Hickstein et al. (2019), *Rev. Sci. Instrum.* 90:065115: the method's many uses. The numbers: `abel`.

    Examples
    --------
    >>> model = AbelProjection(radii=101)
    >>> model(torch.ones(101)).shape
    torch.Size([101])
    """

    radii: int | Sequence[float] = 257
    inner: float = 0.0
    outer: float = 1.0
    offsets: Sequence[float] | None = None
    positive: bool = False
    units: str = "1"
    length_units: str = "1"

    def __post_init__(self) -> None:
        if isinstance(self.radii, int) and not (self.radii > 5 and 0 <= self.inner < self.outer < float("inf")):
            raise ValueError(
                f"Invalid {self.radii} radii from {self.inner:g} to {self.outer:g}. Give 6 or more, from 0 or more "
                "to a larger, finite radius."
            )
        _ = self.causes, self.observables

    @cached_property
    def causes(self) -> Space:
        """The profile (radius,)."""
        r = tuple(self._grid.tolist())
        radius = Coordinate("radius", r, self.length_units, "distance from the axis")
        shape, dims = (len(r),), ("radius",)
        return Space(
            Block(
                "profile",
                self.units,
                long_name="radial profile",
                shape=shape,
                dims=dims,
                coordinates={"radius": radius},
            )
        )

    @cached_property
    def observables(self) -> Space:
        """The projection (offset,)."""
        y = tuple(self._offsets.tolist())
        offset = Coordinate("offset", y, self.length_units, "distance of the line of sight from the axis")
        factors = [u for u in (self.units, self.length_units) if u != "1"]
        shape, dims, units = (len(y),), ("offset",), " ".join(factors) or "1"
        return Space(
            Block(
                "projection", units, long_name="Abel projection", shape=shape, dims=dims, coordinates={"offset": offset}
            )
        )

    def __call__(self, x: Tensor, /) -> Tensor:
        """Projections ``(*, m)`` of profiles ``(*, n)``."""
        return apply_matrix(self._maker, x, self._grid, self._offsets)

    def jacobian(self, x: Tensor, /) -> tuple[Tensor, Tensor]:
        """Projections ``(R, m)`` of profiles ``(R, n)``, and the matrix of the transform, ``(R, m, n)``."""
        return self(x), self.matrix(x).expand(len(x), -1, -1)

    def matrix(self, like: Tensor) -> Tensor:
        """The matrix ``(m, n)`` of the transform, with the dtype and device of `like`."""
        key = like.dtype, like.device
        if key not in self._matrices:
            made = transform_matrix(self._maker, self._grid, self._offsets)
            with torch.inference_mode(False):  # what is kept may serve automatic differentiation later
                self._matrices[key] = torch.tensor(made, dtype=like.dtype, device=like.device)
        return self._matrices[key]

    @cached_property
    def _matrices(self) -> dict[tuple[torch.dtype, torch.device], Tensor]:
        return {}

    @property
    def _maker(self) -> Maker:
        return positive_abel_matrix if self.positive else abel_matrix

    @cached_property
    def _grid(self) -> np.ndarray:
        if isinstance(self.radii, int):
            return np.linspace(self.inner, self.outer, self.radii)
        return check_grid(self.radii)

    @cached_property
    def _offsets(self) -> np.ndarray:
        return self._grid if self.offsets is None else check_places(self.offsets, self._grid, "offsets")
