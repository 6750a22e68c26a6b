"""`SectionKernel`: how many profiles of each size particles of each size give, for spheres or sampled for any shape."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from physgen.space import Block, Coordinate, Space

from .bodies import StarBody
from .bodies_mesh import Mesh
from .classical import check_edges, class_kernel
from .random_sections import random_sections

_WITHIN = 16  # sizes that stand for a class, where the kernel is sampled


@dataclass(frozen=True, eq=False)
class SectionKernel:
    r"""A linear forward model: profiles per area in classes from particles per volume in classes.

    .. math:: N_A(i) = \sum_j K_{ij} N_V(j), \qquad K_{ij} = \langle H(s)\, P(r \in i \mid s) \rangle_{s \in j}

    with H the mean caliper, in which planes meet a particle. Sizes are uniform within a class. The cause ``number``
    ``(k,)`` is positive: a prior of smooth positive fields makes it a distribution, and `NestedLaplace` infers how
    smooth::

        model = SectionKernel.of_spheres(sections, sizes)
        prior = SmoothField(forward=model, log=True, centre=model.centre(counts), level_sd=1.0)
        result = NestedLaplace()(Problem(model, prior, PoissonNoise()), counts)

    Parameters
    ----------
    kernel : Tensor (m, k)
        K.
    sections : Tensor (m + 1,)
        Ascending limits of the classes of profiles: radius of the circle of equal area, in um. Profiles below the first
        are not seen, and need not be.
    sizes : Tensor (k + 1,)
        Ascending limits of the classes of particles: radius of the sphere of equal volume, in um.

    Raises
    ------
    ValueError
        If shapes disagree or limits do not ascend.

    References
    ----------
    Wicksell (1925), *Biometrika* 17:84. Miles (1972) for bodies of any shape.
    """

    kernel: Tensor
    sections: Tensor
    sizes: Tensor

    def __post_init__(self) -> None:
        check_edges("sections", self.sections, self.kernel)
        if not bool(check_edges("sizes", self.sizes, self.kernel)[0] > 0):
            raise ValueError("Invalid sizes that begin at 0. The smallest particle must have a size.")
        if self.kernel.shape != (len(self.sections) - 1, len(self.sizes) - 1):
            raise ValueError(f"Invalid kernel of shape {tuple(self.kernel.shape)}. Give (sections, sizes).")

    @classmethod
    def of_spheres(cls, sections: Tensor, sizes: Tensor) -> SectionKernel:
        """Of spheres, in closed form; limits of radii ``(m + 1,)`` and ``(k + 1,)``."""
        return cls(2 * class_kernel(sections, sizes), sections, sizes)

    @classmethod
    def of_bodies(
        cls, bodies: StarBody | Mesh, sections: Tensor, sizes: Tensor, *, count: int = 200, seed: int = 0
    ) -> SectionKernel:
        """Of particles of these shapes ``(*b)``, whatever their size, with sections at random of each.

        Parameters
        ----------
        bodies : StarBody or Mesh
            Of any size: shapes, equally likely at every size.
        sections, sizes : Tensor (m + 1,), (k + 1,)
            Limits of the classes.
        count : int
            Planes for each body.
        seed : int
            Of the planes.
        """
        mesh = bodies.mesh() if isinstance(bodies, StarBody) else bodies
        radius = (mesh.volume * (0.75 / math.pi)) ** (1 / 3)
        cut = random_sections(mesh, count, seed=seed).area
        profile = ((cut / math.pi).clamp(min=0).sqrt() / radius[..., None]).to(sizes)
        weight = (mesh.mean_caliper() / radius).to(sizes)[..., None].expand_as(profile) / profile.numel()
        return cls(_sampled(profile.reshape(-1), weight.reshape(-1), sections, sizes), sections, sizes)

    @cached_property
    def causes(self) -> Space:
        """``number``, with its classes as ln(size) and as size."""
        middle = (self.sizes[:-1] * self.sizes[1:]).sqrt()
        dim, k = "log_size", len(middle)
        labels = {
            dim: Coordinate(dim, tuple(middle.log().tolist()), "1", "natural logarithm of the radius in um"),
            "size": Coordinate(dim, tuple(middle.tolist()), "um", "radius of the particles"),
        }
        words = "particles per volume in each class"
        return Space(Block("number", "1", (0.0, math.inf), words, (k,), (dim,), labels))

    def __call__(self, x: Tensor, /) -> Tensor:
        """Profiles per area ``(*, m)`` of particles per volume ``(*, k)``."""
        return x @ self.kernel.to(x).mT

    def centre(self, counts: Tensor) -> float:
        """The number in every class that, were all alike, would give as many profiles: where a prior may lie."""
        return float(counts.sum(-1).double().mean() / self.kernel.sum())

    def count(self, radius: Tensor) -> Tensor:
        """Profiles ``(m,)`` in each class, of radii ``(n,)``; those below the first class are left out.

        Raises
        ------
        ValueError
            If one lies above the last class.
        """
        if bool((radius > self.sections[-1]).any()):
            top, most = float(self.sections[-1]), float(radius.max())
            raise ValueError(
                f"Invalid radius {most:g}, above the last class. Let the classes end above it, not at {top:g}."
            )
        seen = radius[radius > self.sections[0]].to(self.sections)
        at = torch.bucketize(seen, self.sections) - 1
        return torch.bincount(at, minlength=len(self.sections) - 1).to(self.sections)

    def cdf(self, x: Tensor, size: Tensor) -> Tensor:
        """Share ``(*, q)`` of particles of size ``(q,)`` at most, of numbers ``(*, k)``; linear in a class."""
        edges = self.sizes.to(x)
        below = torch.nn.functional.pad(x.cumsum(-1), (1, 0)) / x.sum(-1, keepdim=True)
        at = size.to(x).clamp(float(edges[0]), float(edges[-1])).contiguous()
        i = torch.searchsorted(edges, at, right=True).sub(1).clamp(0, len(edges) - 2)
        part = (at - edges[i]) / (edges[i + 1] - edges[i])
        return below[..., i] + part * (below[..., i + 1] - below[..., i])

    def quantile(self, x: Tensor, p: Tensor) -> Tensor:
        """Sizes ``(*, q)`` below which shares p ``(*, q)`` of the particles lie: draws, where p is uniform."""
        edges = self.sizes.to(x)
        below = (torch.nn.functional.pad(x.cumsum(-1), (1, 0)) / x.sum(-1, keepdim=True)).contiguous()
        i = torch.searchsorted(below, p.contiguous(), right=True).sub(1).clamp(0, x.shape[-1] - 1)
        low, high = below.gather(-1, i), below.gather(-1, i + 1)
        part = ((p - low) / (high - low).clamp(min=torch.finfo(x.dtype).tiny)).clamp(0, 1)
        return edges[i] + part * (edges[i + 1] - edges[i])


def section_classes(low: float, high: float, classes: int, *, start: float | None = None) -> tuple[Tensor, Tensor]:
    """Limits of classes of profiles and of sizes, equal in the logarithm, float64.

    Parameters
    ----------
    low, high : float
        Of the sizes.
    classes : int
        Of the sizes.
    start : float, optional
        The smallest profile that counts; `low` unless given. The classes of profiles are as wide.

    Raises
    ------
    ValueError
        If the limits are not positive and ascending.
    """
    start = low if start is None else start
    if not 0 < low < high < math.inf or not 0 < start < high or classes < 2:
        raise ValueError(f"Invalid classes from {low:g} and {start:g} to {high:g}. Limits must be positive and ascend.")
    own = max(2, round(classes * math.log(high / start) / math.log(high / low)))
    limits = [
        torch.linspace(math.log(a), math.log(high), n + 1, dtype=torch.float64).exp()
        for a, n in ((start, own), (low, classes))
    ]
    return limits[0], limits[1]


def _sampled(profile: Tensor, weight: Tensor, sections: Tensor, sizes: Tensor) -> Tensor:
    """K ``(m, k)`` of profiles per unit size ``(n,)`` with weights of sum <H> ``(n,)``."""
    ratio, order = profile.sort()
    total = torch.nn.functional.pad(weight[order].cumsum(0), (1, 0))
    part = (torch.arange(_WITHIN).to(sizes) + 0.5) / _WITHIN
    s = sizes[:-1, None] + part * sizes.diff()[:, None]
    below = total[torch.searchsorted(ratio, (sections[:, None, None] / s).contiguous())]
    return (s * below.diff(dim=0)).mean(-1)
