"""`SpheroidSections`: how many sections of each size and aspect a field of known area shows."""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise

import numpy as np
import torch
from torch import Tensor

from physgen.space import Block, Coordinate, Space

from .classical import check_edges
from .spheroids import aspect_integral, check_shape

_NODES = {"size": 64, "aspect": 96}  # the logistic function has poles: 64 would err by 1e-7 at aspect_sd = 2
_REACH = 8.5  # standard deviations beyond which a normal density is below 1e-16
_SHORTEST = 1e-6  # length of an interval that holds nothing: its root has a derivative


@dataclass(frozen=True, eq=False)
class SpheroidSections:
    r"""Expected numbers of sections by classes of size and aspect, for spheroids all prolate or all oblate.

    The size w (see `spheroids`) is log-normal, the aspect q logit-normal, both independent of each other:

    .. math:: \ln w = \ln \texttt{size} + \ln(\texttt{size\_sd}) z_1, \qquad
              \mathrm{logit}\, q = \mathrm{logit}\, \texttt{aspect} + \texttt{aspect\_sd}\, z_2

    .. math:: \lambda_{ij} = \texttt{area} \cdot \texttt{number} \cdot 2 \, E[\Delta_i \sqrt{w^2 - m^2}_+]
              \; E[\Delta_j K(s|q)]

    with K the integral of kappa. Classes below the smallest limits are not observed. To every class comes the rounding
    error of the total (in float64, 1e-14 of it), so that no expectation is 0.

    The causes are `number` (spheroids per volume), `size` (geometric mean), `size_sd` (multiplicative), `aspect`
    (median), `aspect_sd` (of the logit); the condition is `area`, of the field.

    Parameters
    ----------
    size_classes : sequence of float (k + 1,)
        Ascending limits of the sections' semi-axes: the smaller if the particles are prolate, the larger if oblate.
    aspect_classes : sequence of float (l + 1,)
        Ascending limits of the sections' aspects; the last is at most 1.
    shape : {"prolate", "oblate"}
    unit : str
        Of the semi-axes; `number` is then in unit^-3 and `area` in unit^2.

    Raises
    ------
    ValueError
        If the limits do not ascend, or the shape is neither (mixtures cannot be identified).

    References
    ----------
    Cruz-Orive (1976), J. Microsc. 107:235.
    """

    size_classes: Sequence[float]
    aspect_classes: Sequence[float]
    shape: str
    unit: str = "um"

    def __post_init__(self) -> None:
        check_shape(self.shape)
        like = torch.empty((), dtype=torch.float64)
        check_edges("size_classes", self.size_classes, like)
        aspects = check_edges("aspect_classes", self.aspect_classes, like)
        if float(aspects[0]) <= 0 or float(aspects[-1]) > 1:
            raise ValueError("Invalid aspect_classes. They must begin above 0 and end at 1 or below.")

    @cached_property
    def causes(self) -> Space:
        """Number per volume, and the two distributions."""
        which = "twofold semi-axis"
        return Space(
            Block("number", f"{self.unit}-3", (0.0, math.inf), "spheroids per volume"),
            Block("size", self.unit, (0.0, math.inf), f"geometric mean of the {which}"),
            Block("size_sd", "1", (1.0, math.inf), f"multiplicative standard deviation of the {which}"),
            Block("aspect", "1", (0.0, 1.0), "median of the smaller semi-axis over the larger"),
            Block("aspect_sd", "1", (0.0, math.inf), "standard deviation of the logit of the aspect"),
        )

    @cached_property
    def conditions(self) -> Space:
        """The area of the field."""
        return Space(Block("area", f"{self.unit}2", (0.0, math.inf), "area of the field"))

    @cached_property
    def observables(self) -> Space:
        """Numbers of profiles (size_class, aspect_class)."""
        shape = len(self.size_classes) - 1, len(self.aspect_classes) - 1
        labels = {
            "size": Coordinate("size_class", _middles(self.size_classes), self.unit, "semi-axis of the section"),
            "aspect": Coordinate("aspect_class", _middles(self.aspect_classes), "1", "aspect of the section"),
        }
        dims = ("size_class", "aspect_class")
        return Space(Block("profiles", "1", (0.0, math.inf), "number of profiles", shape, dims, labels))

    def __call__(self, x: Tensor, /, *, area: Tensor) -> Tensor:
        """Expected numbers ``(*, k l)`` of causes ``(*, 5)``; area ``(*,)``."""
        number, size, size_sd, aspect, aspect_sd = x.unbind(-1)
        mu, sigma = size.log(), size_sd.log()
        by_size = _size_reach(x.new_tensor(self.size_classes), mu, sigma)
        by_aspect = _aspect_reach(x.new_tensor(self.aspect_classes), torch.logit(aspect), aspect_sd, self.shape)
        in_sizes = _falls(by_size, _mean(mu, sigma))
        in_aspects = _falls(-by_aspect, torch.ones_like(mu))
        share = (2 * area * number)[..., None, None]
        return (share * in_sizes[..., :, None] * in_aspects[..., None, :]).flatten(-2)


def _size_reach(m: Tensor, mu: Tensor, sigma: Tensor) -> Tensor:
    """E[sqrt(w^2 - m^2)_+] for log-normal w, ``(*, k + 1)``: descending from E[w] at m = 0.

    With z the normal score of w and z_m that of m, ``E[w] * integral phi(z - sigma) sqrt(1 - (m/w)^2) dz`` from z_m;
    v^2 = z - z_m takes out the root. Where m = 0, or all of w is above, z starts where the density does.
    """
    mu, sigma = mu[..., None], sigma[..., None]
    start = (m.clamp(min=torch.finfo(m.dtype).tiny).log() - mu) / sigma
    length = (sigma + _REACH - start).clamp(_SHORTEST, 2 * _REACH)
    v, weight = _rule(length.sqrt(), "size")
    z = (sigma + _REACH - length)[..., None] + v.square()
    above = (z - start[..., None]).clamp(min=1e-30)  # not 0, where a root has no derivative
    root = (-torch.expm1(-2 * sigma[..., None] * above)).sqrt()
    total = (_phi(z - sigma[..., None]) * root * 2 * v * weight).sum(-1)
    return _mean(mu, sigma) * total


def _aspect_reach(s: Tensor, mu: Tensor, sigma: Tensor, shape: str) -> Tensor:
    """E[K(s|q)] for logit-normal q, ``(*, l + 1)``: ascending.

    ``integral phi(z) K(s|q(z)) dz`` up to z_s, the normal score of s; v^2 = z_s - z takes out the root.
    """
    mu, sigma = mu[..., None], sigma[..., None]
    end = (torch.logit(s.clamp(max=1 - torch.finfo(s.dtype).eps)) - mu) / sigma
    first = -_REACH - sigma  # of a prolate one, K grows as 1/q, which moves the weight by sigma
    high = torch.where(s < 1, end, torch.inf).clamp(max=_REACH)
    length = (high - first).clamp(min=_SHORTEST)
    v, weight = _rule(length.sqrt(), "aspect")
    z = (first + length)[..., None] - v.square()
    q = torch.sigmoid(mu[..., None] + sigma[..., None] * z)
    reach = aspect_integral(s[:, None], q.clamp(max=1 - torch.finfo(q.dtype).eps), shape)
    return (_phi(z) * reach * 2 * v * weight).sum(-1)


def _mean(mu: Tensor, sigma: Tensor) -> Tensor:
    return (mu + 0.5 * sigma.square()).exp()


def _falls(cumulative: Tensor, total: Tensor) -> Tensor:
    """By how much a descending sequence ``(*, k + 1)`` falls, ``(*, k)``, and the rounding error of its total."""
    falls = (cumulative[..., :-1] - cumulative[..., 1:]).clamp(min=0)
    return falls + 40 * torch.finfo(cumulative.dtype).eps * total[..., None]


def _rule(end: Tensor, which: str) -> tuple[Tensor, Tensor]:
    """Gauss-Legendre nodes and weights on (0, end), ``(*, nodes)``."""
    x, w = (torch.as_tensor(a, dtype=end.dtype, device=end.device) for a in _gauss(_NODES[which]))
    return end[..., None] * x, end[..., None] * w


@functools.cache
def _gauss(nodes: int) -> tuple[np.ndarray, np.ndarray]:
    x, w = np.polynomial.legendre.leggauss(nodes)
    return 0.5 * (x + 1), 0.5 * w


def _phi(z: Tensor) -> Tensor:
    return torch.exp(-0.5 * z.square()) / math.sqrt(2 * math.pi)


def _middles(edges: Sequence[float]) -> tuple[float, ...]:
    return tuple(0.5 * (a + b) for a, b in pairwise(edges))
