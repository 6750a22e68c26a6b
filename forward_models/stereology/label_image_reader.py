"""Label images as observations: sizes of the profiles in a file, without those that the border favours or cuts."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch

from .label_image import Sections, measure_sections

_MEASURES = {"diameter": "equivalent_diameter", "area": "area"}


def read_label_image(
    path: Path, *, pixel_size: float = 1.0, measure: str = "diameter", planes: int = 1, least_pixels: int = 4
) -> tuple[np.ndarray, dict[str, float]]:
    """Sizes of the profiles in a label image, and what the likelihood of them must know.

    A profile counts if the centre of its bounding box lies in the image without a margin of half the largest box: no
    such profile is cut by the border, and small ones are no likelier to count than large ones (the unbiased counting
    rule of Gundersen 1977 with a guard area, applied to centres).

    Parameters
    ----------
    path : Path
        An image that scikit-image reads (TIFF, PNG), or netCDF with one variable of integers; (rows, columns), or
        (planes, rows, columns).
    pixel_size : float
        Side of a pixel, um.
    measure : {"diameter", "area"}
        Diameter of the circle of equal area, um, or area, um2.
    planes : int
        Of a stack, every so-manieth plane. Planes that lie closer than the bodies are thick show the same bodies
        again, which the likelihood takes for others.
    least_pixels : int
        Profiles of fewer pixels are left out; what that does is in `smallest`.

    Returns
    -------
    ndarray (n,)
        Sizes.
    dict
        ``smallest``, in the unit of the sizes, and ``field_area``, mm2, that of all planes without the margins.

    Raises
    ------
    ValueError, TypeError
        If a setting is invalid, the image is no label image, or the margins leave nothing of it.
    """
    if measure not in _MEASURES:
        raise ValueError(f"Unknown measure {measure!r}. Must be one of {', '.join(_MEASURES)}.")
    if planes < 1 or least_pixels < 1:
        raise ValueError(f"Invalid planes {planes} or least_pixels {least_pixels}. Both must be at least 1.")
    stack = _stack(path)[planes // 2 :: planes]
    measured = [(plane, measure_sections(plane, pixel_size)) for plane in stack if len(np.unique(plane)) > 2]
    if not measured:
        raise ValueError(f"No plane of {path.name} shows two profiles. Give an image in which profiles are numbered.")
    margin = 0.5 * max(float(torch.maximum(s.box_width, s.box_height).max()) for _, s in measured)
    rows, columns = stack.shape[1] * pixel_size - 2 * margin, stack.shape[2] * pixel_size - 2 * margin
    if rows <= 0 or columns <= 0:
        raise ValueError(f"A profile of {path.name} is as wide as the image. Give an image that shows more of them.")
    sizes = [getattr(s, _MEASURES[measure])[_kept(plane, s, margin, pixel_size)] for plane, s in measured]
    smallest = least_pixels * pixel_size**2
    limit = smallest if measure == "area" else 2 * (smallest / np.pi) ** 0.5
    seen = np.concatenate([s.numpy() for s in sizes])
    return seen[seen >= limit], {"smallest": limit, "field_area": rows * columns * len(stack) * 1e-6}


def _kept(plane: np.ndarray, sections: Sections, margin: float, side: float) -> torch.Tensor:
    """Which profiles have the centre of their box inside the margin, ``(n,)``."""
    from skimage.measure import regionprops

    boxes = torch.tensor([region.bbox for region in regionprops(plane)], dtype=torch.float64)
    centre = 0.5 * (boxes[:, :2] + boxes[:, 2:]) * side
    size = torch.tensor(plane.shape, dtype=torch.float64) * side
    return ((centre >= margin) & (centre <= size - margin)).all(-1) & ~sections.touches_border


def _stack(path: Path) -> np.ndarray:
    """Labels (planes, rows, columns)."""
    if path.suffix in (".nc", ".nc4"):
        labels = _netcdf(path)
    else:
        from skimage.io import imread

        labels = imread(path)
        if labels.dtype.kind not in "iub":
            raise TypeError(
                f"Invalid label image {path.name} of type {labels.dtype}. Give whole numbers: one for each profile, "
                "0 outside."
            )
    if labels.ndim not in (2, 3):
        raise ValueError(f"Invalid label image of shape {labels.shape}. Give (rows, columns) or a stack of them.")
    return labels if labels.ndim == 3 else labels[None]


def _netcdf(path: Path) -> Any:
    import xarray as xr

    with xr.open_dataset(path) as data:
        found = [v for v in data.data_vars.values() if v.dtype.kind in "iu" and v.ndim in (2, 3)]
        if len(found) != 1:
            raise ValueError(f"{path.name} holds {len(found)} variables that may be label images. Give one.")
        return found[0].values
