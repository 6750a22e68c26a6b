"""Cumulative Jensen-Shannon distance between draws and the same draws weighted, for many quantities at once."""

from __future__ import annotations

import math

import torch
from torch import Tensor

_SERIES = [1 / (2 * k * (2 * k - 1)) for k in range(1, 9)]  # of the divergence, in powers of d^2
_NEAR = 0.01  # d^2 up to which these terms are exact to rounding, and faster: powers near 1 hardly ever exceed it


class Ordered:
    """Draws of many quantities in ascending order, against which several sets of weights are compared.

    Parameters
    ----------
    x : Tensor (S, b, n)
        Draws first.
    """

    def __init__(self, x: Tensor) -> None:
        value, self.order = x.permute(1, 2, 0).contiguous().sort(-1)
        self.width = value.double().diff(dim=-1)  # (b, n, S - 1)
        draws = x.shape[0]
        self.p = torch.arange(1, draws, dtype=torch.float64, device=x.device) / draws
        self.below = self.width @ self.p  # integrals of the distribution function, and of its complement
        self.above = self.width @ (1 - self.p)

    def distance(self, weight: Tensor) -> Tensor:
        """Distance ``(b, n)`` between plain and weighted draws; NaN where all draws are equal.

        The square of it is the Jensen-Shannon divergence of the cumulative distributions, over its bound, and the
        larger of the values for x and for -x is taken (Nguyen & Vreeken 2015; Kallioinen et al. 2023, eqs 6 to 8).

        Parameters
        ----------
        weight : Tensor (S, b)
            Not negative, of sum 1 over the draws.
        """
        w = weight.T.double()[:, None].expand(self.order.shape)
        q = w.gather(-1, self.order).cumsum(-1)[..., :-1].clamp(0, 1)
        gap = self.width * (q - self.p)  # its sum is the difference of the integrals
        shift = gap.sum(-1)
        up = (self.width * _divergence(self.p, q)).sum(-1) / (2 * self.below + shift)
        down = (self.width * _divergence(1 - self.p, 1 - q)).sum(-1) / (2 * self.above - shift)
        return torch.maximum(up, down).clamp(min=0).sqrt()


def _divergence(p: Tensor, q: Tensor) -> Tensor:
    """p log2(p / m) + q log2(q / m), m = (p + q) / 2, for p > 0 and q >= 0: without cancellation where q is near p.

    With d = (q - p) / (q + p) it is (p + q) / ln 2 times d atanh(d) + ln(1 - d^2) / 2, the sum over k from 1 of
    d^2k / (2 k (2 k - 1)).
    """
    total = p + q
    d = ((q - p) / total).clamp_(min=-1 + 1e-15)
    s = d * d
    value = torch.full_like(s, _SERIES[-1])
    for coefficient in _SERIES[-2::-1]:
        value.mul_(s).add_(coefficient)
    value.mul_(s)
    far = s > _NEAR
    if bool(far.any()):
        d = d[far]
        value[far] = d * torch.atanh(d) + 0.5 * torch.log1p(-d * d)
    return value.mul_(total).div_(math.log(2))
