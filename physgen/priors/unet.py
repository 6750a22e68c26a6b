"""A small U-Net: values on a grid seen at three resolutions, told the time."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from ..random import single_stream, uniform
from .flow_network import WEIGHTS_STAGE, Perceptron
from .score_network import FEATURES, time_features

_WIDTH = 48  # of the description of the time


class UNet(nn.Module):
    """Values ``(H W, R)`` of values ``(H W, R)``, a phase and conditions ``(c, R)``; starts as 0.

    Two halvings and two doublings of the grid, with what was seen on the way down joined on the way up (Ronneberger et
    al. 2015); at each resolution a residual block whose features are scaled and shifted by time and conditions.

    Parameters
    ----------
    grid : (int, int)
        H and W, multiples of 4.
    context : int
        c.
    channels : int
        Of the finest grid; the coarser ones have twice as many.
    periodic : bool
        Whether the grid goes on at its other edge. If not, it is surrounded by zeros, which tell where the edge is.
    seed : int
        Of the weights.

    Raises
    ------
    ValueError
        If a side is not a multiple of 4, or the channels not one.
    """

    kind = "unet"

    def __init__(self, grid: Sequence[int], context: int, *, channels: int, periodic: bool, seed: int = 0) -> None:
        super().__init__()
        if len(grid) != 2 or min(grid) < 8 or any(n % 4 for n in grid):
            raise ValueError(f"Invalid grid {tuple(grid)} of a U-Net. Both sides must be multiples of 4, at least 8.")
        if channels < 4 or channels % 4:
            raise ValueError(f"Invalid number of channels {channels}. It must be a multiple of 4.")
        self.grid, self.channels, self.periodic = tuple(grid), channels, periodic
        a, b = channels, 2 * channels
        self.time = Perceptron([FEATURES + context, _WIDTH, _WIDTH], seed=seed, stage=0, last=1.0)
        own: dict[str, Any] = {"periodic": periodic, "seed": seed}
        self.first = Convolution(1, a, stage=100, **own)
        self.down = nn.ModuleList([Block(a, a, stage=200, **own), Block(a, b, stage=300, **own)])
        self.middle = Block(b, b, stage=400, **own)
        self.up = nn.ModuleList([Block(2 * b, b, stage=500, **own), Block(b + a, a, stage=600, **own)])
        self.norm = nn.GroupNorm(4, a, dtype=torch.float32)
        self.last = Convolution(a, 1, stage=700, scale=0.0, **own)

    def forward(self, values: Tensor, phase: Tensor, context: Tensor) -> Tensor:
        features = time_features(phase).reshape(FEATURES, -1).expand(-1, values.shape[-1])
        told = nn.functional.silu(self.time(torch.cat([features, context]))).mT  # (R, width)
        h = self.first(values.mT.reshape(-1, 1, *self.grid))
        seen = []
        for block in self.down:
            h = block(h, told)
            seen.append(h)
            h = nn.functional.avg_pool2d(h, 2)
        h = self.middle(h, told)
        for block in self.up:
            h = h.repeat_interleave(2, -1).repeat_interleave(2, -2)
            h = block(torch.cat([h, seen.pop()], 1), told)
        h = self.last(nn.functional.silu(self.norm(h)))
        return h.reshape(len(h), -1).mT

    def settings(self) -> dict[str, Any]:
        """Plain values to make it of again."""
        return {"grid": list(self.grid), "channels": self.channels, "periodic": self.periodic}


class Convolution(nn.Module):
    """A convolution with a square kernel of odd side, weights made from the seed."""

    def __init__(
        self, inputs: int, outputs: int, *, stage: int, seed: int, periodic: bool, side: int = 3, scale: float = 1.0
    ) -> None:
        super().__init__()
        shape = (outputs, inputs, side, side)
        u = uniform(shape, single_stream(), seed=seed, stage=WEIGHTS_STAGE + stage)
        bound = scale * math.sqrt(3 / (inputs * side * side))  # unit variance is kept
        self.weight = nn.Parameter((bound * (2 * u - 1)).float())
        self.bias = nn.Parameter(torch.zeros(outputs, dtype=torch.float32))
        self._wrap = side // 2 if periodic else 0
        self._zeros = 0 if periodic else side // 2

    def forward(self, h: Tensor) -> Tensor:
        if n := self._wrap:  # joined by hand: `pad` of torch is slower to differentiate
            h = torch.cat([h[..., -n:, :], h, h[..., :n, :]], -2)
            h = torch.cat([h[..., -n:], h, h[..., :n]], -1)
        return nn.functional.conv2d(h, self.weight, self.bias, padding=self._zeros)


class Block(nn.Module):
    """Two convolutions beside a shortcut (He et al. 2016); time scales and shifts between them (Perez et al. 2018)."""

    def __init__(self, inputs: int, outputs: int, *, stage: int, seed: int, periodic: bool) -> None:
        super().__init__()
        own: dict[str, Any] = {"periodic": periodic, "seed": seed}
        self.norms = nn.ModuleList(
            [nn.GroupNorm(4, inputs, dtype=torch.float32), nn.GroupNorm(4, outputs, dtype=torch.float32)]
        )
        self.one = Convolution(inputs, outputs, stage=stage, **own)
        self.two = Convolution(outputs, outputs, stage=stage + 1, scale=0.3, **own)
        self.told = Perceptron([_WIDTH, 2 * outputs], seed=seed, stage=stage + 2, last=0.3)
        self.shortcut = (
            nn.Identity() if inputs == outputs else Convolution(inputs, outputs, stage=stage + 3, side=1, **own)
        )

    def forward(self, h: Tensor, told: Tensor) -> Tensor:
        new = self.one(nn.functional.silu(self.norms[0](h)))
        scale, shift = self.told(told.mT).mT[:, :, None, None].chunk(2, 1)
        new = self.norms[1](new) * (1 + scale) + shift
        return self.shortcut(h) + self.two(nn.functional.silu(new))
