"""The network of a velocity or a score for vectors: fully connected, told the time and the conditions."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from .flow_network import Perceptron

_HARMONICS = 3
FEATURES = 1 + 2 * _HARMONICS
"""How many numbers describe a time."""


def time_features(phase: Tensor) -> Tensor:
    """A time, given as a phase of about -pi to pi, and its sines and cosines: ``(7,)`` or ``(7, R)``."""
    waves = [f(j * phase) for j in range(1, _HARMONICS + 1) for f in (torch.sin, torch.cos)]
    return torch.stack([phase, *waves])


class ScoreNetwork(nn.Module):
    """Values ``(n, R)`` of values ``(n, R)``, a phase and conditions ``(c, R)``; starts as 0.

    Parameters
    ----------
    elements, context : int
        n and c.
    hidden : sequence of int
        Widths of the hidden layers.
    seed : int
        Of the weights.
    """

    kind = "perceptron"

    def __init__(self, elements: int, context: int, *, hidden: Sequence[int], seed: int = 0) -> None:
        super().__init__()
        self.hidden = tuple(hidden)
        self.layers = Perceptron([elements + FEATURES + context, *hidden, elements], seed=seed)

    def forward(self, values: Tensor, phase: Tensor, context: Tensor) -> Tensor:
        features = time_features(phase).reshape(FEATURES, -1).expand(-1, values.shape[-1])
        return self.layers(torch.cat([values, features, context]))

    def settings(self) -> dict[str, Any]:
        """Plain values to make it of again."""
        return {"hidden": list(self.hidden)}
