"""Sphere sizes by classes, as the field has unfolded them since Scheil: Saltykov, Schwartz-Saltykov, Scheil.

For comparison with the likelihood, not instead of it: they amplify the noise of the counts, and say nothing of how sure
they are beyond the Poisson error of each class.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

_STEP = 10**-0.1  # Saltykov's ratio of successive diameters: 10^-0.2 in area
_FEWEST = 10


@dataclass(frozen=True, eq=False)
class SphereClasses:
    """Sphere diameters by classes, in the order of the edges.

    Attributes
    ----------
    edges : Tensor (k + 1,)
        Limits of the classes, ascending, in the unit of the diameters.
    diameter : Tensor (k,)
        The diameter that stands for the spheres of each class.
    sections : Tensor (k,)
        Profiles counted in each class, weighted if weights were given.
    number : Tensor (k,)
        Spheres per volume (of the unit cubed) if the area was given, else relative frequencies, of sum 1. Negative
        values are kept: they say that the classes are too many for the counts, or the particles no spheres.
    standard_error : Tensor (k,)
        Of `number`, from Poisson counts; correlated between classes. That of the total is not in it for frequencies.
    below : float
        Profiles smaller than the first class, not used.
    """

    edges: Tensor
    diameter: Tensor
    sections: Tensor
    number: Tensor
    standard_error: Tensor
    below: float

    @property
    def negative(self) -> Tensor:
        """Which classes came out negative, ``(k,)``."""
        return self.number < 0

    @property
    def mean_diameter(self) -> Tensor:
        """Number-weighted mean diameter, 0-d, negative classes included."""
        return (self.number * self.diameter).sum() / self.number.sum()

    def clipped(self) -> SphereClasses:
        """The same with negative classes at 0, as GrainSizeTools hides them; frequencies again have sum 1.

        Biased: what is cut off below is not taken from the other classes. The sum is that before clipping.
        """
        positive = self.number.clamp(min=0)
        scale = self.number.sum() / positive.sum()
        return replace(self, number=positive * scale, standard_error=self.standard_error * scale)


def saltykov(
    diameters: Any,
    classes: int = 12,
    *,
    area: float | None = None,
    largest: float | None = None,
    weights: Any = None,
) -> SphereClasses:
    r"""Sphere sizes by geometric classes, each diameter :math:`10^{0.1}` times the one before.

    .. math:: N_V(j) = \frac{1}{D_j} \sum_{n \ge 0} c_n N_A(j + n)

    with the coefficients of `saltykov_coefficients`; all spheres of a class have its largest diameter.

    Parameters
    ----------
    diameters : array_like (n,)
        Of the profiles, at least 10; positive.
    classes : int
        12 in the published tables.
    area : float, optional
        Of the field, in the unit of the diameters squared. Without it the answer is relative frequencies.
    largest : float, optional
        Upper limit of the last class; the largest diameter unless given.
    weights : array_like (n,), optional
        One for each profile, such as those of `field.Frame.weights`.

    Returns
    -------
    SphereClasses

    Raises
    ------
    ValueError, TypeError
        If a diameter, a weight or a setting is invalid (the message names the row).

    References
    ----------
    Saltykov (1967), in Elias (ed.), *Stereology*, Springer, pp. 163-173. Underwood (1970), *Quantitative Stereology*,
    section 5.5.
    """
    d, w = check_diameters(diameters, weights)
    top = _top(d, largest)
    edges = top * _STEP ** torch.arange(_count(classes), -1, -1).to(d)
    return _invert(d, w, edges, area)


def schwartz_saltykov(
    diameters: Any,
    classes: int = 15,
    *,
    area: float | None = None,
    largest: float | None = None,
    weights: Any = None,
) -> SphereClasses:
    r"""Sphere sizes by classes of equal width :math:`\Delta`.

    .. math:: N_V(j) = \frac{1}{\Delta} \sum_{i \ge j} \alpha_{ji} N_A(i)

    with the coefficients of `schwartz_saltykov_coefficients`; all spheres of a class have its largest diameter. For
    parameters, result and errors see `saltykov`; 7 to 15 classes are usual.

    References
    ----------
    Schwartz (1934), *Metals and Alloys* 5:139. Saltykov (1958), *Stereometric Metallography*, 2nd ed. Underwood (1970),
    *Quantitative Stereology*, table 5.2.
    """
    d, w = check_diameters(diameters, weights)
    return _invert(d, w, _equal(_top(d, largest), classes, d), area)


def scheil(
    diameters: Any,
    classes: int | Sequence[float] = 15,
    *,
    area: float | None = None,
    largest: float | None = None,
    weights: Any = None,
    spheres: str = "upper",
) -> SphereClasses:
    """Sphere sizes by successive subtraction, for classes of any limits.

    The profiles of the largest class come from its spheres alone; what these leave in smaller classes is taken off
    there, and so on downwards. With equal classes and ``spheres="upper"`` this is `schwartz_saltykov`, which keeps
    the result of the subtractions in a table.

    Parameters
    ----------
    classes : int or sequence of float
        Equal classes from 0, or k + 1 ascending limits (not below 0).
    spheres : {"upper", "middle", "uniform"}
        Which diameters the spheres of a class have: its largest, its middle, or all with equal density.

    Other parameters, result and errors are those of `saltykov`.

    References
    ----------
    Scheil (1931), *Z. anorg. allg. Chem.* 201:259. Sahagian & Proussevitch (1998), *J. Volcanol. Geotherm. Res.*
    84:173 (any classes).
    """
    d, w = check_diameters(diameters, weights)
    edges = _equal(_top(d, largest), classes, d) if isinstance(classes, int) else check_edges("classes", classes, d)
    counts, variance, below = _count_classes(d, w, edges)
    kernel = class_kernel(edges, edges, spheres)
    # rows: the counts, and one unit of each class, whose answer says how an error of that count spreads
    left = torch.cat([counts[None], torch.eye(len(counts)).to(d)])
    number = torch.zeros_like(left)
    for j in range(len(counts) - 1, -1, -1):
        number[:, j] = left[:, j] / kernel[j, j]
        left = left - number[:, j : j + 1] * kernel[:, j]
    error = (variance[:, None] * number[1:].square()).sum(0).sqrt()
    return _classes(edges, representative(edges, spheres), counts, number[0], error, below, area)


def saltykov_coefficients(classes: int = 12) -> Tensor:
    """The coefficients c_0, c_1, ... of `saltykov`, ``(classes,)``: 1.6461, -0.4561, -0.1162, -0.0415, ..."""
    edges = _STEP ** torch.arange(_count(classes), -1, -1, dtype=torch.float64)
    kernel = class_kernel(edges, edges, "upper")
    return torch.linalg.inv(kernel)[0] * edges[1]


def schwartz_saltykov_coefficients(classes: int = 15) -> Tensor:
    """The coefficients alpha of `schwartz_saltykov`, ``(classes, classes)``, upper triangular: spheres, sections."""
    edges = torch.arange(_count(classes) + 1, dtype=torch.float64)
    return torch.linalg.inv(class_kernel(edges, edges, "upper"))


def class_kernel(sections: Tensor, spheres: Tensor, within: str = "uniform") -> Tensor:
    r"""Profiles per area in each class of sections for one sphere per volume in each class of spheres.

    .. math:: K_{ij} = \langle \sqrt{D^2 - d_{i}^2}_+ - \sqrt{D^2 - d_{i+1}^2}_+ \rangle_j

    (Wicksell 1925: a length, since N_A = N_V K.) Diameters and diameters, or radii and 2 K of radii.

    Parameters
    ----------
    sections : Tensor (m + 1,)
        Ascending limits of the classes of section diameters.
    spheres : Tensor (k + 1,)
        Ascending limits of the classes of sphere diameters.
    within : {"upper", "middle", "uniform"}
        Which diameters the spheres of a class have.

    Returns
    -------
    Tensor (m, k)
    """
    if within == "uniform":
        reach = mean_reach(sections[:, None], spheres[:-1], spheres[1:])
    else:
        reach = (representative(spheres, within).square() - sections[:, None].square()).clamp(min=0).sqrt()
    return reach[:-1] - reach[1:]


def mean_reach(c: Tensor, low: Tensor, high: Tensor) -> Tensor:
    """Mean of sqrt(D^2 - c^2), 0 where D < c, over D uniform on (low, high): the broadcast shape of the three."""
    return (_integral(c, high) - _integral(c, low)) / (high - low)


def representative(edges: Tensor, within: str) -> Tensor:
    """The diameter that stands for each class ``(k,)``; for "uniform" the middle.

    Raises
    ------
    ValueError
        If `within` is unknown.
    """
    if within == "upper":
        return edges[1:]
    if within in ("middle", "uniform"):
        return 0.5 * (edges[:-1] + edges[1:])
    raise ValueError(f"Unknown spheres {within!r}. Must be upper, middle or uniform.")


def check_diameters(diameters: Any, weights: Any = None) -> tuple[Tensor, Tensor]:
    """Diameters ``(n,)`` and their weights (1 unless given), floating.

    Raises
    ------
    TypeError
        If they are not numbers.
    ValueError
        If one is not positive and finite (its row is named), there are fewer than 10, or the counts differ.
    """
    d = _vector("diameters", diameters)
    bad = (~((d > 0) & torch.isfinite(d))).nonzero()
    if len(bad):
        row = int(bad[0])
        raise ValueError(f"Invalid diameter {d[row].item():g} in row {row}. Sizes must be positive and finite.")
    if len(d) < _FEWEST:
        raise ValueError(f"Invalid number of profiles, {len(d)}. At least {_FEWEST} are needed.")
    if weights is None:
        return d, torch.ones_like(d)
    w = _vector("weights", weights).to(d)
    if w.shape != d.shape:
        raise ValueError(f"Invalid number of weights, {len(w)}. There are {len(d)} diameters.")
    bad = (~((w >= 0) & torch.isfinite(w))).nonzero()
    if len(bad):
        row = int(bad[0])
        raise ValueError(f"Invalid weight {w[row].item():g} in row {row}. Weights must be finite, and at least 0.")
    if not bool((w > 0).any()):
        raise ValueError("Invalid weights, all 0. At least one profile must count.")
    return d, w


def check_edges(name: str, edges: Any, like: Tensor) -> Tensor:
    """Ascending limits of classes ``(k + 1,)``, none below 0, as `like`; `ValueError` or `TypeError` otherwise."""
    e = _vector(name, edges).to(like)
    if len(e) < 2 or not bool(torch.isfinite(e).all()) or bool(e[0] < 0) or not bool((e.diff() > 0).all()):
        raise ValueError(f"Invalid {name}. Give at least two finite limits, ascending, none below 0.")
    return e


def check_area(area: float) -> float:
    """The area of a field, positive; `ValueError` otherwise."""
    if not (math.isfinite(area) and area > 0):
        raise ValueError(f"Invalid area {area:g}. The area of the field must be positive and finite.")
    return float(area)


def _integral(c: Tensor, D: Tensor) -> Tensor:
    """Integral of sqrt(D'^2 - c^2) over D' from c to D; 0 where D < c."""
    c, D = torch.broadcast_tensors(c, D)
    above = (c < D) & (c > 0)
    safe_c, safe_D = torch.where(above, c, 1), torch.where(above, D, 1)
    root = (safe_D.square() - safe_c.square()).clamp(min=0).sqrt()
    part = 0.5 * (safe_D * root - safe_c.square() * torch.acosh(safe_D / safe_c))
    return torch.where(above, part, torch.where(c == 0, 0.5 * D.square(), 0))


def _invert(d: Tensor, w: Tensor, edges: Tensor, area: float | None) -> SphereClasses:
    counts, variance, below = _count_classes(d, w, edges)
    inverse = torch.linalg.inv(class_kernel(edges, edges, "upper"))
    error = (inverse.square() @ variance).sqrt()
    return _classes(edges, edges[1:], counts, inverse @ counts, error, below, area)


def _classes(
    edges: Tensor, diameter: Tensor, counts: Tensor, number: Tensor, error: Tensor, below: float, area: float | None
) -> SphereClasses:
    scale = 1 / number.sum() if area is None else torch.as_tensor(1 / check_area(area)).to(number)
    return SphereClasses(edges, diameter, counts, number * scale, error * scale.abs(), below)


def _count_classes(d: Tensor, w: Tensor, edges: Tensor) -> tuple[Tensor, Tensor, float]:
    """Weighted profiles in each class, which holds its upper end, the variance of these sums, and what lies below."""
    at = torch.bucketize(d, edges) - 1
    if bool((at >= len(edges) - 1).any()):
        raise ValueError(f"Invalid largest diameter {edges[-1].item():g}. A profile has {d.max().item():g}.")
    inside = at >= 0
    zeros = torch.zeros_like(edges[1:])
    counts = zeros.index_add(0, at[inside], w[inside])
    variance = zeros.index_add(0, at[inside], w[inside].square())
    if not bool(counts.any()):
        raise ValueError("Invalid classes, which hold no profile. Give limits in the unit of the diameters.")
    return counts, variance, float(w[~inside].sum())


def _vector(name: str, values: Any) -> Tensor:
    try:
        v = torch.as_tensor(values)
    except (TypeError, ValueError, RuntimeError) as error:
        raise TypeError(f"Invalid {name} of type {type(values).__name__}. Give a list of numbers.") from error
    if v.is_complex() or v.dtype == torch.bool:
        raise TypeError(f"Invalid {name} of type {v.dtype}. Give a list of real numbers.")
    if v.ndim != 1:
        raise ValueError(f"Invalid {name} of shape {tuple(v.shape)}. Give one list of numbers.")
    return (v if v.is_floating_point() else v.to(torch.get_default_dtype())).contiguous()


def _top(d: Tensor, largest: float | None) -> Tensor:
    if largest is None:
        return d.max()
    if not (math.isfinite(largest) and largest > 0):
        raise ValueError(f"Invalid largest diameter {largest:g}. Must be positive and finite.")
    return torch.as_tensor(largest).to(d)


def _count(classes: int) -> int:
    if isinstance(classes, bool) or not isinstance(classes, int) or classes < 1:
        raise ValueError(f"Invalid classes {classes!r}. Give a whole number of at least 1.")
    return classes


def _equal(top: Tensor, classes: int, like: Tensor) -> Tensor:
    edges = top * torch.arange(_count(classes) + 1).to(like) / classes
    edges[-1] = top  # rounding must not leave the largest profile outside
    return edges
