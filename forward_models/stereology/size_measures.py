"""What is measured of a profile: its radius, its diameter or its area; and whether a table of sizes makes sense."""

from __future__ import annotations

import math
import warnings
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

MEASURES = {"radius": "um", "diameter": "um", "area": "um2"}
LEAST_PROFILES = 10
_LOWEST = 0.1  # share of the profiles, the smallest, whose law of sizes is looked at
_ENOUGH = 200  # profiles from which that law is known well enough
_AREAS = 1.35  # exponent below which sizes look like areas


def check_measure(measure: str) -> str:
    """The measure; `ValueError` unless it is one of `MEASURES`."""
    if measure not in MEASURES:
        raise ValueError(f"Unknown measure {measure!r}. Must be one of {', '.join(MEASURES)}.")
    return measure


def to_radius(size: Tensor, measure: str) -> Tensor:
    """Radius in um of a size: of a diameter, its half; of an area in um2, sqrt(area / pi)."""
    if measure == "radius":
        return size
    return 0.5 * size if measure == "diameter" else torch.sqrt(size / math.pi)


def from_radius(r: Tensor, measure: str) -> Tensor:
    """The size of a circle of radius r in um."""
    if measure == "radius":
        return r
    return 2 * r if measure == "diameter" else math.pi * r.square()


def log_jacobian(r: Tensor, measure: str) -> Tensor:
    """ln |dr / d size|: what turns a density of the radius into one of the size."""
    if measure == "area":
        return -(2 * math.pi * r).log()
    return torch.full_like(r, 0.0 if measure == "radius" else -math.log(2))


def section_sizes(
    values: Sequence[Any] | np.ndarray | Tensor,
    *,
    measure: str = "diameter",
    smallest: float | None = None,
    least: int = LEAST_PROFILES,
    first_row: int = 1,
) -> Tensor:
    """A column of measured sizes, checked, as a tensor (m,) in float64.

    Parameters
    ----------
    values : sequence (m,)
        Numbers or text.
    measure : {"diameter", "radius", "area"}
        What they are, in um or um2.
    smallest : float, optional
        The detection limit, as a size.
    least : int
        Profiles needed.
    first_row : int
        What an error calls the first value.

    Raises
    ------
    TypeError, ValueError
        If a value is no number, missing, not positive or below `smallest` (the error says which row), or if there are
        too few.

    Warns
    -----
    UserWarning
        If the smallest sizes follow the law of areas though they are said to be lengths; see `area_exponent`.
    """
    check_measure(measure)
    numbers = np.array([_number(value, first_row + i) for i, value in enumerate(values)])
    check_sizes(torch.as_tensor(numbers), None if smallest is None else torch.tensor(float(smallest)), first_row)
    if len(numbers) < least:
        raise ValueError(f"Invalid table of {len(numbers)} profiles. Give at least {least}.")
    if smallest is None and (doubt := like_areas(numbers, measure)):
        warnings.warn(doubt, stacklevel=2)
    return torch.as_tensor(numbers)


def like_areas(sizes: np.ndarray, measure: str) -> str | None:
    """Why sizes ``(m,)``, all of which are seen, look like areas though they are said to be lengths; None if not."""
    exponent = area_exponent(sizes)
    if measure == "area" or len(sizes) < _ENOUGH or exponent >= _AREAS:
        return None
    return (
        f"The smallest sizes are as frequent as areas would be: below x their number grows as x^{exponent:.2f}, "
        f"where that of a {measure} of sections grows as x^2. If they are areas, say measure='area'."
    )


def check_sizes(sizes: Tensor, smallest: Tensor | None = None, first_row: int = 0) -> None:
    """Raise `ValueError` unless all sizes ``(*, m)`` are positive, and none is below `smallest` ``(*)``.

    NaN passes: it stands for no profile.
    """
    bad = sizes <= 0
    if bool(bad.any()):
        row, value = _first(sizes, bad)
        raise ValueError(f"Invalid size {value:g} in row {row + first_row}. Sizes of profiles must be positive.")
    if smallest is None:
        return
    bad = sizes < smallest[..., None].to(sizes)
    if bool(bad.any()):
        row, value = _first(sizes, bad)
        limit = float(smallest.expand(bad.shape[:-1])[bad.any(-1)].reshape(-1)[0])
        raise ValueError(
            f"Invalid size {value:g} in row {row + first_row}, below the detection limit of {limit:g}. "
            "Remove what is smaller, or lower the condition smallest."
        )


def area_exponent(sizes: np.ndarray) -> float:
    """The exponent a of the law ``number below x ~ x^a`` among the smallest tenth of the sizes.

    A plane meets a sphere of radius R in a circle smaller than r << R with the probability r^2 / (2 R^2), so that
    a is near 2 for lengths and near 1 for areas; a detection limit raises it. Estimated as by Hill (1975), Ann.
    Statist. 3:1163, from the other end.
    """
    ordered = np.sort(sizes)
    k = max(int(_LOWEST * len(ordered)), 1)
    ratios = np.log(ordered[min(k, len(ordered) - 1)] / ordered[:k])
    return float(k / ratios.sum()) if ratios.sum() > 0 else math.inf


def _number(value: Any, row: int) -> float:
    try:
        number = float(value)
    except (TypeError, ValueError) as error:
        raise TypeError(f"Invalid size {value!r} in row {row}. Give a number.") from error
    if not math.isfinite(number):
        raise ValueError(f"Invalid size {number} in row {row}. Remove the row, or measure it again.")
    return number


def _first(sizes: Tensor, bad: Tensor) -> tuple[int, float]:
    where = torch.nonzero(bad)[0]
    return int(where[-1]), float(sizes[tuple(where)])
