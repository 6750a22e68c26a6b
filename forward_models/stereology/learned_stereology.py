"""Generative models of particles and of section images whose latents speak of physical size.

One of 3D particles with latent Z3 and one of images of single sections with latent Z2 are learned separately, each from
its own data. What joins them is physics, not pairs: section images -> Z2 -> size of the profiles -> the distribution of
the particles' sizes, by the section operator of `learned_kernel` or by `FreeSpheres` -> the distribution of Z3. This
file holds the first and the last arrow: `SizedPrior` is such a model with its learned, monotone map between latent and
size.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import torch
from scipy.optimize import isotonic_regression
from torch import Tensor

from physgen.priors.ppca import PPCA
from physgen.random import normal

_FEWEST = 20  # images of known size: fewer do not show a monotone map


@dataclass(frozen=True, eq=False)
class SizeMap:
    """A monotone map between a direction of the latents and size: t = w . z, and s^p is piecewise linear in t.

    Beyond the outermost nodes the end pieces go on. Learned by `learn_size`.

    Attributes
    ----------
    direction : Tensor (k,)
        w, of unit length: along it the latents change with size.
    index, powered : Tensor (nodes,)
        t and s^p at the nodes, both increasing.
    power : float
        p: 2 where data are linear in the area of a profile, 3 in a volume; 0 stands for ln s, as of log radii.
    """

    direction: Tensor
    index: Tensor
    powered: Tensor
    power: float

    def size(self, code: Tensor) -> Tensor:
        """Sizes ``(*)`` of codes ``(*, k)``; what falls to 0 or below becomes a thousandth of the smallest node's."""
        value = _along(code @ self.direction.to(code), self.index.to(code), self.powered.to(code))
        if self.power == 0:
            return value.exp()
        return value.clamp(min=1e-3**self.power * float(self.powered[0].abs())) ** (1 / self.power)

    def position(self, size: Tensor) -> Tensor:
        """t ``(*)`` of sizes ``(*)``: the inverse of `size`."""
        value = size.log() if self.power == 0 else size**self.power
        return _along(value, self.powered.to(size), self.index.to(size))


@dataclass(frozen=True, eq=False)
class SizedPrior:
    """A generative model and what its latents say of size.

    Attributes
    ----------
    prior : PPCA
        x = g(z): of particles (log radii in fixed directions), or of images of sections.
    map : SizeMap
        From the code to size.
    """

    prior: PPCA
    map: SizeMap

    def size(self, x: Tensor) -> Tensor:
        """Physical sizes ``(*)`` of particles or images ``(*, n)``."""
        return self.map.size(self.code(x))

    def code(self, x: Tensor) -> Tensor:
        """Codes ``(*, k)`` of particles or images ``(*, n)``."""
        return self.prior.encode(x)[..., : self.prior.code_dim]

    def latents(self, size: Tensor, *, seed: int = 0, residual: bool = True) -> Tensor:
        """Latents ``(*, n)`` drawn from N(0, I) given the sizes ``(*)``: all that is not size is free, t is not.

        Parameters
        ----------
        size : Tensor (*)
            Physical, as `size` returns them.
        seed : int
            Of the draws.
        residual : bool
            Whether the latents beyond the code are drawn, which are the model's noise, or 0.
        """
        k, n = self.prior.code_dim, self.prior.latent_dim
        w = self.map.direction.to(size)
        z = normal((n,), torch.arange(size.numel()), seed=seed, dtype=size.dtype).reshape(*size.shape, n).to(size)
        code, rest = z[..., :k], z[..., k:]
        code = code + (self.map.position(size) - code @ w)[..., None] * w
        return torch.cat([code, rest if residual else torch.zeros_like(rest)], -1)

    def generate(self, size: Tensor, *, seed: int = 0, residual: bool = True) -> Tensor:
        """Particles or images ``(*, n)`` of given sizes ``(*)``; see `latents`."""
        return self.prior.decode(self.latents(size, seed=seed, residual=residual))


def learn_size(prior: PPCA, x: Any, size: Any, *, power: float, nodes: int = 16) -> SizedPrior:
    """Learn what the latents of a generative model say of size, from a few examples of known size.

    The direction w is that of least squares of s^p on the code; along it, the isotonic regression of s^p (Barlow et
    al. 1972), averaged in groups of equal number, gives the nodes of a map that only increases.

    Parameters
    ----------
    prior : PPCA
        Learned from other examples, of unknown size.
    x : array_like (n, m)
        Examples of this one kind: particles or images, never both.
    size : array_like (n,)
        Their physical sizes, positive.
    power : float
        See `SizeMap`.
    nodes : int
        Groups, at most.

    Raises
    ------
    ValueError
        If there are fewer than 20 examples or not more than the code is long, a size is not positive, or the code does
        not tell the size.
    """
    x, s = torch.as_tensor(x, dtype=torch.float64), torch.as_tensor(size, dtype=torch.float64)
    _check(prior, x, s, power, nodes)
    value = s.log() if power == 0 else s**power
    code = prior.encode(x)[..., : prior.code_dim]
    w = torch.linalg.lstsq(code - code.mean(0), (value - value.mean())[:, None]).solution[:, 0]
    w = w / torch.linalg.vector_norm(w)
    t, order = (code @ w).sort()
    fitted = torch.as_tensor(isotonic_regression(value[order].numpy()).x)
    groups = [part.mean(-1) for part in torch.stack([t, fitted]).tensor_split(min(nodes, len(t) // 4), dim=1)]
    node = torch.stack(groups, 1)
    rising = torch.cat([torch.ones(1, dtype=torch.bool), node[1].diff() > 1e-9 * (node[1, -1] - node[1, 0])])
    node = node[:, rising]
    if node.shape[1] < 2 or not _tells(node, t, value[order]):
        raise ValueError("The code does not tell the size. Lengthen it, or give examples of more different sizes.")
    return SizedPrior(prior, SizeMap(w, node[0], node[1], float(power)))


def _tells(node: Tensor, t: Tensor, value: Tensor) -> bool:
    """Whether the map explains at least half of the variance."""
    left = value - _along(t, node[0], node[1])
    return bool(left.square().mean() < 0.5 * value.var(correction=0))


def _along(x: Tensor, nodes: Tensor, values: Tensor) -> Tensor:
    """Piecewise linear through the nodes, the end pieces going on."""
    i = torch.searchsorted(nodes[1:-1].contiguous(), x.contiguous())
    slope = values.diff() / nodes.diff()
    return values[i] + slope[i] * (x - nodes[i])


def _check(prior: PPCA, x: Tensor, s: Tensor, power: float, nodes: int) -> None:
    if x.ndim != 2 or s.shape != x.shape[:1]:
        raise ValueError(f"Invalid shapes {tuple(x.shape)} and {tuple(s.shape)}. Give examples (n, m) and sizes (n,).")
    fewest = max(_FEWEST, prior.code_dim + 2)
    if len(x) < fewest:
        raise ValueError(f"Too few examples of known size: {len(x)}. Give at least {fewest}.")
    bad = (~((s > 0) & torch.isfinite(s))).nonzero()
    if len(bad):
        row = int(bad[0])
        raise ValueError(f"Invalid size {float(s[row]):g} in row {row}. Sizes must be positive and finite.")
    if not (math.isfinite(power) and power >= 0) or nodes < 2:
        raise ValueError(f"Invalid power {power:g} or nodes {nodes}. Powers are at least 0, nodes at least 2.")
