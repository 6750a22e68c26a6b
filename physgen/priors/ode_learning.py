"""What the fits of `Diffusion` and `FlowMatching` share: the frame, the network and the noise of a step."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from ..random import normal, single_stream
from ..space import Block, Space
from .frame import Frame
from .samples import read_samples
from .score_network import ScoreNetwork
from .standard_normal import cdf
from .support_map import SupportMap
from .unet import UNet

NOISE_STAGE = 1 << 39  # of the noise of the steps of a fit, and of its levels or times
Network = ScoreNetwork | UNet
_FEWEST_FIELDS = 100


@dataclass(frozen=True)
class NetworkShape:
    """What the network looks like: `hidden` of a vector's, `channels` and `periodic` of a field's."""

    hidden: tuple[int, ...] = (64, 64, 64)
    channels: int = 16
    periodic: bool = False


def learned_network(
    table: Any,
    causes: Space | Sequence[Block | str] | None,
    conditions: Mapping[str, Any] | None,
    shape: NetworkShape,
    *,
    seed: int,
) -> tuple[Tensor, Tensor, Frame, Network]:
    """Standardised values ``(N, n)`` and conditions ``(N, c)`` of a table, their frame, and a network that starts as 0.

    Raises
    ------
    ValueError
        If the table cannot be learned from, or the grid is not one of a U-Net.
    """
    field = isinstance(causes, Space) and field_grid(causes) is not None
    own: dict[str, Any] = {"constant": "keep", "fewest": _FEWEST_FIELDS} if field else {}
    x, c, space, names = read_samples(table, causes, conditions, **own)
    w, context, frame = learning_frame(x, c, space, names)
    grid = field_grid(space)
    if grid is None:
        return w, context, frame, ScoreNetwork(space.size, len(names), hidden=shape.hidden, seed=seed)
    made = UNet(grid, len(names), channels=shape.channels, periodic=shape.periodic, seed=seed)
    return w, context, frame, made


def network_of(kind: str, frame: Frame, settings: Mapping[str, Any]) -> Network:
    """The network of a stored prior, before its weights are read."""
    if kind == "unet":
        return UNet(context=len(frame.conditions), **settings)
    return ScoreNetwork(frame.causes.size, len(frame.conditions), **settings)


def field_grid(space: Space) -> tuple[int, int] | None:
    """(H, W) if the causes are one field of two dimensions, for which a U-Net learns."""
    shapes = [b.shape for b in space]
    return shapes[0] if len(shapes) == 1 and len(shapes[0]) == 2 else None  # type: ignore[return-value]


def learning_frame(x: Tensor, c: Tensor, space: Space, names: Sequence[str]) -> tuple[Tensor, Tensor, Frame]:
    """Values ``(N, n)`` and conditions ``(N, c)`` in their frame, float32, and the frame.

    Vectors are whitened; the points of a field are all divided by one number, so that they remain a field.
    """
    field = field_grid(space) is not None
    frame = Frame.of(SupportMap(space).encode(x.mT).mT, c, space, names, whiten=not field, common=field)
    frame = replace(frame, factor=frame.factor.contiguous())  # as it is read from a file, so that the bits are the same
    context = (c - frame.condition_mean) / frame.condition_sd
    w, _ = frame.encode(x.mT, context.mT)
    return w.mT.float().contiguous(), context.float(), frame


def noise_of_step(elements: int, rows: int, *, seed: int, stage: int) -> tuple[Tensor, Tensor]:
    """Numbers of a step: quantiles ``(R,)`` in (0, 1), spread evenly over the rows, and normal noise ``(n, R)``."""
    draws = normal((elements + 1, rows), single_stream(), seed=seed, stage=NOISE_STAGE + stage, dtype=torch.float32)
    return (torch.arange(rows) + cdf(draws[-1])) / rows, draws[:-1]
