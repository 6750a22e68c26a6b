"""The joint distribution of size and aspect of spheroids from that of their sections, by classes."""

from __future__ import annotations

import functools
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from .classical import check_area, check_diameters, check_edges, class_kernel
from .expectation_maximisation import Mixture, expectation_maximisation
from .spheroids import aspect_integral, check_shape

_GAUSS = 24


@dataclass(frozen=True, eq=False)
class SpheroidClasses:
    """Spheroids by classes of size and aspect.

    Attributes
    ----------
    size_edges, aspect_edges : Tensor (k + 1,), (l + 1,)
        Limits of the classes, ascending; sizes in the unit of the sections.
    sections : Tensor (k, l)
        Profiles in each class.
    number : Tensor (k, l)
        Spheroids per volume if the area was given, else relative frequencies, of sum 1. By "inverse", negative classes
        are kept.
    standard_error : Tensor (k, l) or None
        Of `number`, from Poisson counts; None by "em".
    fit : Mixture or None
        By "em".
    """

    size_edges: Tensor
    aspect_edges: Tensor
    sections: Tensor
    number: Tensor
    standard_error: Tensor | None
    fit: Mixture | None

    @property
    def negative(self) -> Tensor:
        """Which classes came out negative, ``(k, l)``."""
        return self.number < 0


def unfold_spheroids(
    sizes: Any,
    aspects: Any,
    size_classes: Any,
    aspect_classes: Any,
    *,
    shape: str,
    area: float | None = None,
    weights: Any = None,
    method: str = "inverse",
    within: str = "uniform",
) -> SpheroidClasses:
    r"""Spheroids by classes of size and aspect, all prolate or all oblate.

    .. math:: N_A = P \, N_V \, Q^T, \qquad \hat N_V = P^{-1} N_A Q^{-T}

    Parameters
    ----------
    sizes : array_like (n,)
        Of the sections: the smaller semi-axis if the particles are prolate, the larger if they are oblate.
    aspects : array_like (n,)
        Smaller over larger semi-axis, 0 to 1.
    size_classes, aspect_classes : array_like (k + 1,), (l + 1,)
        Ascending limits; the last of the aspects is 1.
    shape : {"prolate", "oblate"}
        Of the particles, which their sections do not tell.
    area : float, optional
        Of the field, in the unit of the sizes squared. Without it the answer is relative frequencies.
    weights : array_like (n,), optional
        Of the profiles, such as those of `field.Frame.weights`.
    method : {"inverse", "em"}
        The inverse matrices, or the maximum likelihood without negative classes.
    within : {"uniform", "limit"}
        Which spheroids stand for a class: all, with equal density; or the one of the largest size and smallest aspect.

    Returns
    -------
    SpheroidClasses

    Raises
    ------
    ValueError, TypeError
        If the shape is neither (mixtures cannot be identified), a size or an aspect is invalid (the message names the
        row), a section is larger than the last class or flatter than the first, or a setting is unknown.

    References
    ----------
    Cruz-Orive (1976), J. Microsc. 107:235, section 5.
    """
    check_shape(shape)
    m, w = check_diameters(sizes, weights)
    s = _check_aspects(aspects, m)
    of_size = check_edges("size_classes", size_classes, m)
    of_aspect = _check_aspect_edges(aspect_classes, m)
    P, Q = size_matrix(of_size, of_size, within), aspect_matrix(of_aspect, of_aspect, shape, within)
    counts, variance = _table(m, s, w, of_size, of_aspect)
    error, fit = None, None
    if method == "inverse":
        p, q = torch.linalg.inv(P), torch.linalg.inv(Q)
        number, error = p @ counts @ q.T, (p.square() @ variance @ q.square().T).sqrt()
    elif method == "em":
        fit = expectation_maximisation(torch.kron(P, Q), counts.flatten())
        number = fit.intensity.reshape(counts.shape)
    else:
        raise ValueError(f"Unknown method {method!r}. Must be inverse or em.")
    scale = 1 / number.sum() if area is None else torch.as_tensor(1 / check_area(area)).to(m)
    error = None if error is None else error * scale.abs()
    return SpheroidClasses(of_size, of_aspect, counts, number * scale, error, fit)


def size_matrix(sections: Tensor, spheroids: Tensor, within: str = "uniform") -> Tensor:
    """P, twice Wicksell's kernel by classes ``(i, k)``, in the unit of the sizes; see `unfold_spheroids`."""
    _check_within(within)
    return 2 * class_kernel(sections, spheroids, "upper" if within == "limit" else within)


def aspect_matrix(sections: Tensor, spheroids: Tensor, shape: str, within: str = "uniform") -> Tensor:
    """Q, the kernel of aspects by classes ``(j, l)``, without unit.

    Parameters
    ----------
    sections, spheroids : Tensor (j + 1,), (l + 1,)
        Ascending limits of the aspects, at most 1.
    shape : {"prolate", "oblate"}
    within : {"uniform", "limit"}
        The class of spheroids has all its aspects with equal density, or its smallest.

    Raises
    ------
    ValueError
        If the shape or `within` is unknown.
    """
    low, high = spheroids[:-1], spheroids[1:]
    if within == "limit":
        return aspect_integral(sections[:, None], low, shape).diff(dim=0)
    _check_within(within)
    # up to each limit: q = t - (t - low) v^2, t the limit or the end of the class, takes out the root at q = s
    nodes, gauss = (torch.as_tensor(a).to(sections) for a in _rule())
    t = torch.minimum(torch.maximum(sections[:, None], low), high)[..., None]
    reach = t - low[:, None]
    q = t - reach * nodes.square()
    up_to = aspect_integral(sections[:, None, None], q.clamp(max=1 - torch.finfo(q.dtype).eps), shape)
    total = (up_to * 2 * reach * nodes * gauss).sum(-1) / (high - low)
    return total.diff(dim=0)


@functools.cache
def _rule() -> tuple[np.ndarray, np.ndarray]:
    """Gauss-Legendre on (0, 1)."""
    x, w = np.polynomial.legendre.leggauss(_GAUSS)
    return 0.5 * (x + 1), 0.5 * w


def _check_within(within: str) -> None:
    if within not in ("uniform", "limit"):
        raise ValueError(f"Unknown within {within!r}. Must be uniform or limit.")


def _check_aspects(aspects: Any, like: Tensor) -> Tensor:
    s = torch.as_tensor(aspects).to(like).contiguous()
    if s.shape != like.shape:
        raise ValueError(f"Invalid aspects of shape {tuple(s.shape)}. There are {len(like)} sizes.")
    bad = (~((s > 0) & (s <= 1))).nonzero()
    if len(bad):
        row = int(bad[0])
        raise ValueError(
            f"Invalid aspect {s[row].item():g} in row {row}. It is the smaller semi-axis over the larger, 0 to 1."
        )
    return s


def _check_aspect_edges(edges: Any, like: Tensor) -> Tensor:
    e = check_edges("aspect_classes", edges, like)
    if float(e[0]) <= 0 or float(e[-1]) != 1:
        raise ValueError(
            f"Invalid aspect_classes from {e[0].item():g} to {e[-1].item():g}. Must begin above 0, end at 1."
        )
    return e


def _table(m: Tensor, s: Tensor, w: Tensor, of_size: Tensor, of_aspect: Tensor) -> tuple[Tensor, Tensor]:
    """Weighted profiles in each class ``(k, l)``, and the variance; sizes below the first class are left out."""
    i, j = torch.bucketize(m, of_size) - 1, torch.bucketize(s, of_aspect) - 1
    if bool((i >= len(of_size) - 1).any()):
        raise ValueError(f"Invalid size_classes, which end below the largest section, {m.max().item():g}. Widen them.")
    if bool((j < 0).any()):
        raise ValueError(
            f"Invalid aspect_classes, which begin above the flattest section, {s.min().item():g}. Widen them."
        )
    shape, inside = (len(of_size) - 1, len(of_aspect) - 1), i >= 0
    at = (i * shape[1] + j)[inside]
    zeros = m.new_zeros(shape[0] * shape[1])
    counts, variance = zeros.index_add(0, at, w[inside]), zeros.index_add(0, at, w[inside].square())
    if not bool(counts.any()):
        raise ValueError("Invalid classes, which hold no section. Give limits in the unit of the sizes.")
    return counts.reshape(shape), variance.reshape(shape)
