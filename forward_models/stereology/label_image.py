"""Label images of sections: every profile measured, and weighted for those that the border of the image cuts."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from .field import Frame, number_per_area


@dataclass(frozen=True, eq=False)
class Sections:
    """Profiles of one image, in the order of their labels; lengths in the unit of the pixel's size.

    Attributes
    ----------
    label : integer Tensor (n,)
    area : Tensor (n,)
        Of all pieces of a label, holes left out.
    equivalent_diameter : Tensor (n,)
        Of the circle of equal area, 2 sqrt(area / pi).
    perimeter : Tensor (n,)
        By Crofton's formula in four directions; NaN where the pixel is not square.
    major_axis, minor_axis : Tensor (n,)
        Full axes of the ellipse with the same second moments.
    box_width, box_height : Tensor (n,)
        Along columns and rows.
    touches_border : bool Tensor (n,)
        Whether a pixel lies at the border of the image: the profile may be cut, and its measures too small.
    weight : Tensor (n,)
        Of Miles and Lantuéjoul (see `field.Frame`); 0 where the border is touched.
    frame : Frame
        In which profiles that do not touch the border lie.
    field_area : float
        Of the whole image.
    """

    label: Tensor
    area: Tensor
    equivalent_diameter: Tensor
    perimeter: Tensor
    major_axis: Tensor
    minor_axis: Tensor
    box_width: Tensor
    box_height: Tensor
    touches_border: Tensor
    weight: Tensor
    frame: Frame
    field_area: float

    def __len__(self) -> int:
        return len(self.label)

    @property
    def aspect(self) -> Tensor:
        """Minor over major axis, ``(n,)``."""
        return self.minor_axis / self.major_axis

    @property
    def area_fraction(self) -> float:
        """Share of the image that profiles cover, cut ones too: it estimates the volume fraction (Delesse 1847)."""
        return float(self.area.sum()) / self.field_area

    def number_per_area(self) -> tuple[Tensor, Tensor]:
        """Profiles per area and its standard error, 0-d, corrected for the border."""
        return number_per_area(self.weight, self.frame.area)


def measure_sections(labels: Any, pixel_size: float | tuple[float, float] = 1.0) -> Sections:
    """Measure the profiles of a label image with scikit-image.

    Parameters
    ----------
    labels : integer array_like (rows, columns)
        A number for each profile, 0 outside. All pieces that bear one number are one profile.
    pixel_size : float or (float, float)
        Side of a pixel, or its height (along rows) and width.

    Returns
    -------
    Sections
        In float64.

    Raises
    ------
    TypeError
        If the labels are not integers: an image of intensities, or a mask (of which profiles must be numbered first).
    ValueError
        If the image is not two-dimensional, has negative labels, none, or only one; or the pixel's size is invalid.
    """
    image = _check_labels(labels)
    height, width = _check_pixel(pixel_size)
    from skimage.measure import regionprops  # here, so that the models start without it

    regions = regionprops(image, spacing=(height, width))
    boxes = np.array([region.bbox for region in regions])
    rows, columns = image.shape
    touches = (boxes[:, :2] == 0).any(1) | (boxes[:, 2] == rows) | (boxes[:, 3] == columns)
    area = _column(regions, "area")
    box_height = torch.as_tensor((boxes[:, 2] - boxes[:, 0]) * height)
    box_width = torch.as_tensor((boxes[:, 3] - boxes[:, 1]) * width)
    # a pixel belongs to a profile if its centre does: what touches no border pixel lies between their centres
    frame = Frame(max((columns - 1) * width, width), max((rows - 1) * height, height))
    square = math.isclose(height, width, rel_tol=1e-9)
    return Sections(
        label=torch.tensor([region.label for region in regions]),
        area=area,
        equivalent_diameter=2 * (area / math.pi).sqrt(),
        perimeter=_perimeters(regions, width) if square else torch.full_like(area, torch.nan),
        major_axis=_column(regions, "axis_major_length"),
        minor_axis=_column(regions, "axis_minor_length"),
        box_width=box_width,
        box_height=box_height,
        touches_border=torch.as_tensor(touches),
        weight=_weights(frame, box_width, box_height, torch.as_tensor(touches)),
        frame=frame,
        field_area=rows * columns * height * width,
    )


def _weights(frame: Frame, widths: Tensor, heights: Tensor, touches: Tensor) -> Tensor:
    out = torch.zeros(len(touches), dtype=torch.float64)
    whole = ~touches
    out[whole] = frame.weights(widths[whole], heights[whole])
    return out


def _column(regions: list[Any], name: str) -> Tensor:
    return torch.tensor([float(getattr(region, name)) for region in regions], dtype=torch.float64)


def _perimeters(regions: list[Any], side: float) -> Tensor:
    from skimage.measure import perimeter_crofton

    # the padded image of one profile: its neighbours and the border of the image must not be taken for its inside
    values = [perimeter_crofton(np.pad(region.image, 1), directions=4) for region in regions]
    return side * torch.tensor(values, dtype=torch.float64)


def _check_labels(labels: Any) -> np.ndarray:
    image = np.asarray(labels)
    if image.dtype == bool:
        raise TypeError("Invalid label image of booleans, a mask. Number its profiles first (skimage.measure.label).")
    if not np.issubdtype(image.dtype, np.integer):
        raise TypeError(
            f"Invalid label image of type {image.dtype}. Give whole numbers: one for each profile, 0 outside."
        )
    if image.ndim != 2 or image.size == 0:
        raise ValueError(f"Invalid label image of shape {image.shape}. Give one plane, (rows, columns).")
    if image.min() < 0:
        raise ValueError(f"Invalid label {image.min()}. Labels are positive, and 0 stands for what lies outside.")
    found = np.unique(image[image > 0])
    if len(found) == 0:
        raise ValueError("Invalid label image without a profile. At least one pixel must bear a label above 0.")
    if len(found) == 1:
        raise ValueError(
            f"Invalid label image with the one label {found[0]}, as a mask has. "
            "Number its profiles first (skimage.measure.label)."
        )
    return image


def _check_pixel(size: float | tuple[float, float]) -> tuple[float, float]:
    try:
        sides = np.broadcast_to(np.asarray(size, dtype=float), (2,))
    except (TypeError, ValueError) as error:
        raise TypeError(
            f"Invalid pixel size {size!r}. Give a length, or the height and the width of a pixel."
        ) from error
    if not (np.isfinite(sides).all() and (sides > 0).all()):
        raise ValueError(f"Invalid pixel size {size!r}. Must be positive and finite.")
    return float(sides[0]), float(sides[1])
