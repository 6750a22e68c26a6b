"""A forward model of one's own: light that passes an absorbing layer twice and is reflected below it."""

import torch
from torch import Tensor

from physgen.space import Block, Coordinate, Space


class BeerLambert:
    """Radiance above a layer over a surface, in three directions: albedo * exp(-depth / mu).

    Parameters
    ----------
    cosines : list of float
        mu, of the angle between each direction and the vertical.
    """

    causes = Space(Block("depth", long_name="optical depth"), Block("albedo", long_name="surface albedo"))

    def __init__(self, cosines: list[float]) -> None:
        self.mu = torch.tensor(cosines, dtype=torch.float64)
        direction = Coordinate("direction", tuple(cosines), "1", "cosine of the zenith angle")
        self.observables = Space(
            Block(
                "radiance",
                "1",
                (-0.5, 1.5),
                "radiance over incoming radiance",
                shape=(len(cosines),),
                dims=("direction",),
                coordinates={"direction": direction},
            )
        )

    def __call__(self, x: Tensor) -> Tensor:
        """Radiance ``(*, m)`` of depth and albedo ``(*, 2)``."""
        return x[..., 1:] * torch.exp(-x[..., :1] / self.mu.to(x))
