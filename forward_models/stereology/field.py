"""The field of view: a rectangle of known area, and the weights that make up for profiles that its border cuts."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor


@dataclass(frozen=True)
class Frame:
    r"""A rectangular field.

    Of the profiles that a frame W meets, only those wholly inside can be measured, and large ones are so less often. A
    profile whose bounding box is w x h lies inside for a share of its positions in proportion to the eroded frame, so
    that each counts

    .. math:: \frac{|W|}{|W \ominus X|} = \frac{A B}{(A - w)(B - h)}

    times (Miles 1974, Lantuéjoul 1980). Weighted so, sums over the profiles inside divided by the area are unbiased for
    the sums per area over all profiles.

    Parameters
    ----------
    width, height : float
        A and B, in the unit of the profiles.

    Raises
    ------
    ValueError
        If a side is not positive and finite.

    References
    ----------
    Miles (1974), in Harding & Kendall (eds.), *Stochastic Geometry*, Wiley, p. 202. Lantuéjoul (1980), *Mikroskopie*
    37:120. Baddeley (1999), in *Stochastic Geometry: Likelihood and Computation*, section 2.4.
    """

    width: float
    height: float

    def __post_init__(self) -> None:
        for name in ("width", "height"):
            value = float(getattr(self, name))
            if not (math.isfinite(value) and value > 0):
                raise ValueError(f"Invalid {name} {value:g} of a frame. Must be positive and finite.")
            object.__setattr__(self, name, value)

    @property
    def area(self) -> float:
        """A B, in the unit squared."""
        return self.width * self.height

    def weights(self, widths: Any, heights: Any = None) -> Tensor:
        """The weights of profiles wholly inside, ``(n,)``, at least 1.

        Parameters
        ----------
        widths, heights : array_like (n,)
            Of the bounding boxes; of a circle both are the diameter, and `heights` may be left out.

        Raises
        ------
        ValueError
            If a box is not positive, or does not fit into the frame (the row is named).
        """
        w = torch.as_tensor(widths)
        w = w if w.is_floating_point() else w.to(torch.get_default_dtype())
        h = w if heights is None else torch.as_tensor(heights).to(w)
        fits = (w > 0) & (h > 0) & (w < self.width) & (h < self.height)
        bad = (~fits).nonzero()
        if len(bad):
            row = int(bad[0, 0]) if w.ndim else 0
            box = f"{w.reshape(-1)[row].item():g} x {h.reshape(-1)[row].item():g}"
            raise ValueError(
                f"Invalid bounding box {box} in row {row}. It must lie inside the frame of "
                f"{self.width:g} x {self.height:g}."
            )
        return self.area / ((self.width - w) * (self.height - h))

    def inside(self, x: Any, y: Any, widths: Any, heights: Any = None) -> Tensor:
        """Which profiles lie wholly inside, ``(n,)``; x and y are the centres of the boxes, from a corner."""
        x, y, w = torch.as_tensor(x), torch.as_tensor(y), torch.as_tensor(widths) / 2
        h = w if heights is None else torch.as_tensor(heights) / 2
        return (x > w) & (x < self.width - w) & (y > h) & (y < self.height - h)


def number_per_area(weights: Tensor, area: float) -> tuple[Tensor, Tensor]:
    """Profiles per area and its standard error, 0-d: the sum of the weights over the area of the frame.

    The error is that of independent (Poisson) profiles, ``sqrt(sum w^2) / area``.
    """
    return weights.sum() / area, weights.square().sum().sqrt() / area
