"""Networks of a flow: coupling layers of splines, rows along memory."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn

from ..random import single_stream, uniform
from .columns import total
from .flow_spline import line, parameter_count, spline

WEIGHTS_STAGE = 1 << 33  # of the random numbers that weights begin with


class Perceptron(nn.Module):
    """A network of fully connected layers, ``(in, R) -> (out, R)``, smooth (SiLU), which starts as 0.

    Parameters
    ----------
    sizes : sequence of int
        Inputs, hidden units, outputs.
    seed, stage : int
        Of the weights.
    last : float
        Scale of the last layer's first weights; 0 makes the network start as 0.
    """

    def __init__(self, sizes: Sequence[int], *, seed: int, stage: int = 0, last: float = 0.0) -> None:
        super().__init__()
        layers = list(pairwise(sizes))
        weights, biases = [], []
        for i, (fan_in, fan_out) in enumerate(layers):
            scale = (last if i == len(layers) - 1 else 1.0) / math.sqrt(max(fan_in, 1))
            u = uniform((fan_out, fan_in + 1), single_stream(), seed=seed, stage=WEIGHTS_STAGE + stage + i)
            weights.append(nn.Parameter((scale * (2 * u[:, :-1] - 1)).float()))
            biases.append(nn.Parameter((scale * (2 * u[:, -1:] - 1)).float()))
        self.weights, self.biases = nn.ParameterList(weights), nn.ParameterList(biases)

    def forward(self, columns: Tensor) -> Tensor:
        """Outputs ``(out, R)`` of inputs ``(in, R)``."""
        for i, (weight, bias) in enumerate(zip(self.weights, self.biases, strict=True)):
            if i:
                columns = nn.functional.silu(columns)
            columns = torch.addmm(bias, weight, columns)
        return columns


class Coupling(nn.Module):
    """One layer: some features go through splines that a network makes of the others and of the context.

    Dinh et al. (2017), *Density estimation using Real NVP*, eqs 4 and 5, with the splines of `flow_spline`.

    Parameters
    ----------
    moved : sequence of bool
        Which features go through the splines.
    context, bins : int
    hidden : sequence of int
    seed, stage : int
        Of the weights.
    """

    order: Tensor
    restore: Tensor

    def __init__(
        self, moved: Sequence[bool], context: int, bins: int, hidden: Sequence[int], *, seed: int, stage: int
    ) -> None:
        super().__init__()
        given = [i for i, m in enumerate(moved) if not m]
        self._moved = [i for i, m in enumerate(moved) if m]
        order = torch.tensor(given + self._moved)
        self.register_buffer("order", order, persistent=False)
        self.register_buffer("restore", order.argsort(), persistent=False)
        self._given, self._parameters_each = len(given), parameter_count(bins)
        self._straight = bins == 1
        outputs = self._parameters_each * len(self._moved)
        self.network = Perceptron([len(given) + context, *hidden, outputs], seed=seed, stage=stage)

    def forward(self, columns: Tensor, context: Tensor, inverse: bool, slope: bool) -> tuple[Tensor, Tensor]:
        """Features ``(n, R)`` after the layer, and the log determinant ``(R,)``."""
        ordered = columns.index_select(0, self.order)
        given, moved = ordered[: self._given], ordered[self._given :]
        phi = self.network(torch.cat([given, context]))
        phi = phi.reshape(self._parameters_each, len(self._moved), -1)
        if self._straight:
            made, log_slope = line(moved, phi, inverse=inverse)
        else:
            made, log_slope = spline(moved, phi, inverse=inverse, slope=slope)
        log_det = total(log_slope) if slope else torch.zeros_like(columns[0])
        return torch.cat([given, made]).index_select(0, self.restore), log_det


class CouplingFlow(nn.Module):
    """An invertible network ``(n, R) -> (n, R)`` that costs the same in both directions, and starts as the identity.

    The features that a layer moves are those with one value of a binary digit of their number. The digits take turns,
    so that any two features are parted by one of the first ceil(log2 n) layers, and each digit comes with its other
    value in the next turn.

    Parameters
    ----------
    features, context : int
        Numbers n of features and of context features.
    transforms : int
        Number of layers.
    bins : int
        Of each spline; 1 for straight lines instead.
    hidden : sequence of int
        Widths of the hidden layers of each network.
    seed : int
        Of the weights.
    """

    def __init__(
        self, features: int, context: int, *, transforms: int, bins: int, hidden: Sequence[int], seed: int = 0
    ) -> None:
        super().__init__()
        self.transforms, self.bins, self.hidden = transforms, bins, tuple(hidden)
        digits = max(1, math.ceil(math.log2(features)))
        layers = []
        for i in range(transforms):
            turn, digit = divmod(i, digits)
            moved = [(j >> digit) % 2 == (turn + digit) % 2 for j in range(features)]
            if any(moved):
                layers.append(Coupling(moved, context, bins, hidden, seed=seed, stage=1000 * i))
        self.layers = nn.ModuleList(layers)

    def forward(
        self, columns: Tensor, context: Tensor, *, inverse: bool = False, slope: bool = True
    ) -> tuple[Tensor, Tensor]:
        """Features ``(n, R)`` after every layer, and the log determinant ``(R,)`` (0 if not wanted)."""
        total = torch.zeros_like(columns[0])
        for layer in reversed(self.layers) if inverse else self.layers:
            columns, log_slope = layer(columns, context, inverse, slope)
            total = total + log_slope
        return columns, total
