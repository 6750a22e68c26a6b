"""Nonparametric maximum likelihood of sphere sizes by EM, with an optional smoothing step (EMS)."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from .classical import check_area, check_diameters, check_edges, class_kernel, mean_reach


@dataclass(frozen=True, eq=False)
class Mixture:
    """What EM found.

    Attributes
    ----------
    intensity : Tensor (*, k)
        theta, at least 0.
    log_likelihood : Tensor (iterations + 1, *)
        Before each iteration and after the last; without smoothing it never falls.
    gap : Tensor (*)
        The maximum of the log likelihood is at most this much above the last value (without smoothing).
    converged : Tensor (*)
        Whether `gap` (with smoothing: the last relative change of theta) is below the tolerance.
    """

    intensity: Tensor
    log_likelihood: Tensor
    gap: Tensor
    converged: Tensor


@dataclass(frozen=True, eq=False)
class LikeliestSizes:
    """Sphere diameters by classes, each with a uniform density within.

    Attributes
    ----------
    edges : Tensor (k + 1,)
        Limits of the classes, in the unit of the diameters.
    number : Tensor (k,)
        Spheres per volume in each class if the area was given, else relative frequencies, of sum 1.
    fit : Mixture
        With the log likelihood at every iteration. Its intensities are per field.
    """

    edges: Tensor
    number: Tensor
    fit: Mixture

    @property
    def diameter(self) -> Tensor:
        """The middle of each class, ``(k,)``."""
        return 0.5 * (self.edges[:-1] + self.edges[1:])

    @property
    def mean_diameter(self) -> Tensor:
        """Number-weighted, 0-d."""
        return (self.number * self.diameter).sum() / self.number.sum()


def expectation_maximisation(
    kernel: Tensor,
    counts: Tensor,
    exposure: Tensor | None = None,
    *,
    smoothing: int = 1,
    iterations: int = 5000,
    tolerance: float = 0.01,
) -> Mixture:
    r"""Maximise the likelihood of counts that are Poisson with mean K theta, theta >= 0.

    .. math:: \theta_j \leftarrow \frac{\theta_j}{e_j} \sum_i \frac{n_i K_{ij}}{\sum_l K_{il} \theta_l}

    then, with smoothing, a running mean of theta with binomial weights. It stops once

    .. math:: n \max_j \Big( \frac{1}{e_j} \sum_i \frac{n_i K_{ij}}{(K \theta)_i} - 1 \Big) < tolerance,

    an upper bound of what the log likelihood can still gain (Lindsay 1983), with n the sum of the counts.

    Parameters
    ----------
    kernel : Tensor (m, k)
        K, not negative: of classes of observations, or densities at single observations (with counts of 1).
    counts : Tensor (*, m)
        Of one data set, or of many at once. They may be weighted.
    exposure : Tensor (k,), optional
        e_j, the expected count for theta_j = 1; the sum of the rows of K unless given, as it must be with densities.
    smoothing : int
        J, the odd number of binomial weights; 1: none.
    iterations : int
        At most so many.
    tolerance : float
        In nats (with smoothing: relative to the largest theta, scaled by 1e-4).

    Returns
    -------
    Mixture

    Raises
    ------
    ValueError
        If shapes disagree, a number is negative or not finite, a count is in a class that no theta reaches, or
        `smoothing` is even.

    References
    ----------
    Silverman, Jones, Wilson & Nychka (1990), *A smoothed EM approach to indirect estimation problems*, J. R. Statist.
    Soc. B 52:271, section 2. Lindsay (1983), Ann. Statist. 11:86, theorem 3.1.
    """
    K, n = kernel, counts.to(kernel)
    e = K.sum(0) if exposure is None else exposure.to(K)
    _check(K, n, e, smoothing)
    S = _binomial(smoothing, K.shape[1]).to(K)
    total = n.sum(-1)
    theta = (total / e.sum())[..., None].expand(*n.shape[:-1], K.shape[1])
    trace, ratio, change = [], e, torch.ones_like(total)
    done = torch.zeros_like(total, dtype=torch.bool)
    for _ in range(iterations + 1):
        mean = theta @ K.T
        trace.append((torch.xlogy(n, mean)).sum(-1) - theta @ e)
        ratio = _quotient(n, mean) @ K / e
        gap = total * (ratio.amax(-1) - 1).clamp(min=0)
        done = (change < 1e-4 * tolerance) if smoothing > 1 else gap < tolerance
        if bool(done.all()) or len(trace) > iterations:
            break
        new = (theta * ratio) @ S
        change = (new - theta).abs().amax(-1) / new.amax(-1)
        theta = new
    return Mixture(theta, torch.stack(trace), gap, done)


def likeliest_sizes(
    diameters: Any,
    classes: int | Any = 30,
    *,
    area: float | None = None,
    smallest: float = 0.0,
    weights: Any = None,
    smoothing: int = 1,
    iterations: int = 5000,
    tolerance: float = 0.01,
) -> LikeliestSizes:
    """Sphere sizes that make the diameters of the profiles most likely, unbinned.

    The spheres of a class have uniformly distributed diameters (with single ones the likelihood has no maximum: the
    density of sections is infinite at the sphere's own diameter). Without smoothing the answer is a few spikes, as
    that of every such likelihood.

    Parameters
    ----------
    diameters : array_like (n,)
        Of the profiles, at least 10.
    classes : int or array_like (k + 1,)
        Equal classes of sphere diameters, from `smallest` to half a class above the largest profile; or their limits.
    area : float, optional
        Of the field, in the unit of the diameters squared. Without it the answer is relative frequencies.
    smallest : float
        Profiles below are not seen; spheres below are not estimated.
    weights : array_like (n,), optional
        Of the profiles, such as those of `field.Frame.weights`.
    smoothing, iterations, tolerance
        See `expectation_maximisation`; Silverman et al. use 3 to 7 for J.

    Returns
    -------
    LikeliestSizes

    Raises
    ------
    ValueError, TypeError
        If a diameter is invalid or below `smallest` (the row is named), or larger than all spheres; for the settings
        see `expectation_maximisation`.
    """
    d, w = check_diameters(diameters, weights)
    _check_smallest(d, smallest)
    edges = _sphere_edges(d, classes, smallest)
    kernel = _densities(d, edges[:-1], edges[1:])
    _check_reach(d, kernel)
    exposure = mean_reach(torch.as_tensor(smallest).to(d), edges[:-1], edges[1:])
    fit = expectation_maximisation(kernel, w, exposure, smoothing=smoothing, iterations=iterations, tolerance=tolerance)
    scale = 1 / fit.intensity.sum() if area is None else 1 / check_area(area)
    return LikeliestSizes(edges, fit.intensity * scale, fit)


def likeliest_sizes_of_counts(
    counts: Any,
    sections: Any,
    spheres: Any = None,
    *,
    smoothing: int = 1,
    iterations: int = 5000,
    tolerance: float = 0.01,
) -> Mixture:
    """The same for profiles that were counted by classes, for many fields at once.

    Parameters
    ----------
    counts : array_like (*, m)
        Profiles in each class.
    sections : array_like (m + 1,)
        Ascending limits of the classes of diameters.
    spheres : array_like (k + 1,), optional
        Limits of the classes of spheres; those of the sections unless given.
    smoothing, iterations, tolerance
        See `expectation_maximisation`.

    Returns
    -------
    Mixture
        Whose `intensity` divided by the area of the field is the number per volume.
    """
    n = torch.as_tensor(counts)
    n = n if n.is_floating_point() else n.to(torch.get_default_dtype())
    of_sections = check_edges("sections", sections, n)
    of_spheres = of_sections if spheres is None else check_edges("spheres", spheres, n)
    kernel = class_kernel(of_sections, of_spheres)
    return expectation_maximisation(kernel, n, smoothing=smoothing, iterations=iterations, tolerance=tolerance)


def _densities(d: Tensor, low: Tensor, high: Tensor) -> Tensor:
    """Density at each diameter d of the profiles per area of one sphere per volume, uniform on (low, high): (n, k).

    The mean of d / sqrt(D^2 - d^2) over D, Wicksell's kernel.
    """
    reach = torch.acosh((high / d[:, None]).clamp(min=1)) - torch.acosh((low / d[:, None]).clamp(min=1))
    return d[:, None] * reach / (high - low)


def _quotient(n: Tensor, mean: Tensor) -> Tensor:
    """n / mean, 0 where nothing was counted."""
    counted = n > 0
    return torch.where(counted, n / torch.where(counted, mean, 1), 0)


def _binomial(J: int, k: int) -> Tensor:
    """The smoothing matrix ``(k, k)``, whose rows sum to 1: weights that would fall beyond the ends are left out."""
    half = J // 2
    weights = torch.tensor([math.comb(J - 1, i) for i in range(J)], dtype=torch.float64)
    S = torch.zeros(k, k, dtype=torch.float64)
    for shift in range(-half, half + 1):
        S += torch.diag(weights[shift + half].expand(max(k - abs(shift), 0)), shift) if abs(shift) < k else 0
    return S / S.sum(1, keepdim=True)


def _sphere_edges(d: Tensor, classes: Any, smallest: float) -> Tensor:
    if not isinstance(classes, int):
        return check_edges("classes", classes, d)
    if isinstance(classes, bool) or classes < 1:
        raise ValueError(f"Invalid classes {classes!r}. Give a whole number of at least 1, or limits.")
    # the largest profile in the middle of the last class: at its end the density would be 0
    width = (d.max() - smallest) / (classes - 0.5)
    return smallest + width * torch.arange(classes + 1).to(d)


def _check_smallest(d: Tensor, smallest: float) -> None:
    if not (math.isfinite(smallest) and smallest >= 0):
        raise ValueError(f"Invalid smallest diameter {smallest:g}. Must be finite and at least 0.")
    low = (d < smallest).nonzero()
    if len(low):
        row = int(low[0])
        raise ValueError(
            f"Invalid diameter {d[row].item():g} in row {row}, below the smallest, {smallest:g}. "
            "Leave such profiles out, or state a lower detection limit."
        )


def _check_reach(d: Tensor, kernel: Tensor) -> None:
    beyond = (kernel.sum(1) <= 0).nonzero()
    if len(beyond):
        row = int(beyond[0])
        raise ValueError(f"Invalid diameter {d[row].item():g} in row {row}. The classes end below it.")


def _check(K: Tensor, n: Tensor, e: Tensor, smoothing: int) -> None:
    if K.ndim != 2 or n.shape[-1:] != K.shape[:1] or e.shape != K.shape[1:]:
        shapes = f"kernel {tuple(K.shape)}, counts {tuple(n.shape)}, exposure {tuple(e.shape)}"
        raise ValueError(f"Invalid shapes: {shapes}. They must be (m, k), (*, m) and (k,).")
    for name, x in (("kernel", K), ("counts", n)):
        if not bool((torch.isfinite(x) & (x >= 0)).all()):
            raise ValueError(f"Invalid {name}. Every number must be finite, and at least 0.")
    if not bool((torch.isfinite(e) & (e > 0)).all()):
        raise ValueError("Invalid exposure. Every class must be visible: exposures are positive and finite.")
    if bool(((n > 0) & (K.sum(1) == 0)).any()):
        raise ValueError("Invalid counts in a class that nothing reaches. Widen the classes of what is estimated.")
    if not bool((n.sum(-1) > 0).all()):
        raise ValueError("Invalid counts, all 0. There is nothing to estimate from.")
    if isinstance(smoothing, bool) or smoothing < 1 or smoothing % 2 == 0:
        raise ValueError(f"Invalid smoothing {smoothing}. Must be an odd number of weights: 1 (none), 3, 5, ...")
