"""A known map given by the user, from latents of physical parameters to standardised causes."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch
from torch import Tensor

from ..conditions import Takes, takes
from .discrepancy import Correction
from .frame import Frame
from .prior import Prior

KnownMap = Callable[..., Tensor]
"""``physics(theta, correction, **conditions)``: causes ``(R, n)`` of parameters ``(R, p)``."""


@dataclass(frozen=True, eq=False)
class PhysicsMap:
    """z_P -> theta = parameters(z_P) -> physics(theta, correction) -> w, columns along memory.

    Parameters
    ----------
    physics : callable
        ``physics(theta, correction, **conditions)``.
    parameters : Prior
        Of theta.
    frame : Frame
        Of the causes.
    """

    physics: KnownMap
    parameters: Prior
    frame: Frame

    def causes(self, z: Tensor, correction: Correction, raw: Tensor, *, physics: KnownMap | None = None) -> Tensor:
        """Causes without noise ``(R, n)`` of latents ``(p, R)`` under conditions ``(c, R)`` in their units.

        Raises
        ------
        ValueError
            If the known map returns another shape.
        """
        named = dict(zip(self.frame.conditions, raw.unbind(0), strict=True))
        theta = self.parameters.decode(z.mT, **self._parameters_take.pick(named))
        function = physics or self.physics
        x = function(theta, correction, **known_map_takes(function).pick(named))
        if physics is None and x.shape != (z.shape[1], self.frame.causes.size):
            raise ValueError(
                f"The known map returned the shape {tuple(x.shape)} for {z.shape[1]} rows. "
                f"It must be {(z.shape[1], self.frame.causes.size)}: one row of causes for each row of parameters."
            )
        return x

    def __call__(self, z: Tensor, correction: Correction, raw: Tensor) -> Tensor:
        """Standardised causes w ``(n, R)``."""
        return self.frame.encode_parts(self.causes(z, correction, raw).mT)[0]

    @cached_property
    def _parameters_take(self) -> Takes:
        return takes(self.parameters, "decode")


def known_map_takes(physics: KnownMap) -> Takes:
    """The conditions that a known map takes: its parameters after the first two."""
    return takes(physics, leading=2)


def raw_columns(conditions: Mapping[str, Any], names: Sequence[str], lead: tuple[int, ...], like: Tensor) -> Tensor:
    """Conditions in their units ``(c, R)``, R the columns of `like`; rows that fill up repeat the last one."""
    rows = []
    for name in names:
        values = torch.as_tensor(conditions[name], dtype=like.dtype, device=like.device).expand(lead).reshape(-1)
        rows.append(torch.cat([values, values[-1:].expand(like.shape[1] - len(values))]))
    return torch.stack(rows) if rows else like[:0]
