"""Mixtures of families of sphere sizes."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from physgen.space import Block

from .sizes import Sizes, log_sum_exp, spread

_BISECTIONS = 60


class MixtureSizes(Sizes):
    """f(R) = sum_j w_j f_j(R), w_j a share of the number of spheres.

    theta holds first the weights: of J components J - 1 numbers v_j within (0, 1), v_1 the share of the first, v_2
    that of the second among the rest, and so on; then the parameters of each component. With two components,
    ``weight_1`` is simply the share of the first.

    Parameters
    ----------
    parts : sequence of Sizes
        Two or more.

    Raises
    ------
    ValueError
        If there are fewer.
    """

    def __init__(self, parts: Sequence[Sizes]) -> None:
        if len(parts) < 2:
            raise ValueError(f"Invalid mixture of {len(parts)} families. Give two or more.")
        self.parts = tuple(parts)
        self.smooth = all(p.smooth for p in parts)
        count = len(parts)
        weights = [
            Block(f"weight_{j}", "1", (0.0, 1.0), f"share of component {j} among those from it on")
            for j in range(1, count)
        ]
        named = [_numbered(block, j + 1) for j, part in enumerate(parts) for block in part.causes]
        self.causes = (*weights, *named)
        self.lengths = (*(False for _ in weights), *(flag for part in parts for flag in part.lengths))

    def log_density(self, R: Tensor, theta: Tensor) -> Tensor:
        return self._mixed(R, theta, lambda part, own: part.log_density(R, own))

    def log_moment(self, k: float, theta: Tensor) -> Tensor:
        return self._mixed(theta[..., 0], theta, lambda part, own: part.log_moment(k, own))

    def log_survival(self, x: Tensor, theta: Tensor) -> Tensor:
        return self._mixed(x, theta, lambda part, own: part.log_survival(x, own))

    def log_chord(self, r: Tensor, theta: Tensor, cap: Tensor | None = None) -> Tensor:
        return self._mixed(r, theta, lambda part, own: part.log_chord(r, own, cap))

    def log_beyond(self, x: Tensor, theta: Tensor, cap: Tensor | None = None) -> Tensor:
        return self._mixed(x, theta, lambda part, own: part.log_beyond(x, own, cap))

    def span(self, r: Tensor, theta: Tensor) -> tuple[Tensor, Tensor]:
        ends = [part.span(r, own) for part, own in zip(self.parts, self._split(theta)[1], strict=True)]
        return torch.stack([e[0] for e in ends]).amin(0), torch.stack([e[1] for e in ends]).amax(0)

    def quantile(self, z: Tensor, theta: Tensor, *, biased: bool = False) -> Tensor:
        """By bisection between those of the components."""
        theta, p = theta.detach(), torch.special.ndtr(z)
        log_weights, parts = self._shares(theta, biased)
        ends = [part.quantile(z, own, biased=biased) for part, own in zip(self.parts, parts, strict=True)]
        low, high = torch.stack(ends).amin(0), torch.stack(ends).amax(0)
        for _ in range(_BISECTIONS):
            middle = 0.5 * (low + high)
            under = self._below(middle, log_weights, parts, biased) < p
            low, high = torch.where(under, middle, low), torch.where(under, high, middle)
        return 0.5 * (low + high)

    def typical(self, theta: Tensor, *, biased: bool = False) -> tuple[Tensor, Tensor]:
        """Those of each component."""
        log_weights, parts = self._shares(theta.detach(), biased)
        each = [part.typical(own, biased=biased) for part, own in zip(self.parts, parts, strict=True)]
        shares = log_weights.exp().unbind(-1)
        weights = [share[..., None] * w for share, (_, w) in zip(shares, each, strict=True)]
        return torch.cat([R for R, _ in each], -1), torch.cat(weights, -1)

    def _shares(self, theta: Tensor, biased: bool) -> tuple[Tensor, list[Tensor]]:
        """ln of the share of each component ``(*, J)``, `biased` of what a plane meets; and the parameters of each."""
        log_weights, parts = self._split(theta)
        if not biased:
            return log_weights, parts
        means = [part.log_moment(1, own) for part, own in zip(self.parts, parts, strict=True)]
        return torch.log_softmax(log_weights + torch.stack(means, -1), -1), parts

    def _below(self, R: Tensor, log_weights: Tensor, parts: list[Tensor], biased: bool) -> Tensor:
        total = torch.zeros_like(R)
        for weight, part, own in zip(log_weights.exp().unbind(-1), self.parts, parts, strict=True):
            total = total + spread(weight, R) * (part.biased_cdf(R, own) if biased else part.cdf(R, own))
        return total

    def _mixed(self, like: Tensor, theta: Tensor, log_value: Callable[[Sizes, Tensor], Tensor]) -> Tensor:
        log_weights, parts = self._split(theta)
        terms = [
            spread(w, like) + log_value(part, own)
            for w, part, own in zip(log_weights.unbind(-1), self.parts, parts, strict=True)
        ]
        return log_sum_exp(torch.stack(terms))

    def _split(self, theta: Tensor) -> tuple[Tensor, list[Tensor]]:
        """ln w_j ``(*, J)``, and the parameters of each component."""
        count = len(self.parts) - 1
        v = theta[..., :count]
        rest = torch.log1p(-v).cumsum(-1)
        zero = torch.zeros_like(v[..., :1])
        log_weights = torch.cat([v.log(), zero], -1) + torch.cat([zero, rest], -1)
        return log_weights, list(theta[..., count:].split([len(p.causes) for p in self.parts], -1))


def _numbered(block: Block, number: int) -> Block:
    return Block(f"{block.name}_{number}", block.units, block.support, f"{block.long_name}, component {number}")
