"""What a known map leaves out: a learned correction inside it, which depends on a code of each sample."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from .flow_network import Perceptron

Correction = Callable[[Tensor], Tensor]
"""A function of inputs ``(R, *, inputs)`` with values ``(R, *, outputs)``, row by row."""


@dataclass(frozen=True)
class Discrepancy:
    """A network f_A(inputs; code) for the correction that a known map calls.

    Parameters
    ----------
    inputs, outputs : int
        What the map hands over (the state of an oscillator, say) and takes back (an acceleration): numbers of order 1.
    code : int
        Length of the code, by which the correction differs from sample to sample; 0 for one correction of all.
    hidden : sequence of int
        Widths of the hidden layers.

    Raises
    ------
    ValueError
        If a number is out of range.
    """

    inputs: int
    outputs: int = 1
    code: int = 1
    hidden: tuple[int, ...] = (32, 32)

    def __post_init__(self) -> None:
        object.__setattr__(self, "hidden", tuple(self.hidden))
        for name, least in (("inputs", 1), ("outputs", 1), ("code", 0)):
            if getattr(self, name) < least:
                raise ValueError(f"Invalid {name} {getattr(self, name)} of a discrepancy. It must be at least {least}.")

    def network(self, seed: int) -> DiscrepancyNetwork:
        """The network, which starts near 0."""
        return DiscrepancyNetwork(self, seed)


class DiscrepancyNetwork(nn.Module):
    """The network of a `Discrepancy`; bound to the codes of some samples it is a `Correction`.

    Parameters
    ----------
    settings : Discrepancy
    seed : int
        Of the weights.
    """

    def __init__(self, settings: Discrepancy, seed: int) -> None:
        super().__init__()
        self.settings = settings
        sizes = [settings.inputs + settings.code, *settings.hidden, settings.outputs]
        self.network = Perceptron(sizes, seed=seed, stage=3000, last=0.01)

    def bound(self, code: Tensor) -> Correction:
        """The correction of samples with the codes ``(k, R)``."""

        def correction(inputs: Tensor) -> Tensor:
            _check(inputs, self.settings.inputs)
            middle = inputs.shape[1:-1]
            own = code.reshape(len(code), -1, *(1 for _ in middle)).expand(-1, len(inputs), *middle)
            columns = torch.cat([inputs.movedim(-1, 0), own]).flatten(1)
            return self.network(columns).reshape(-1, *inputs.shape[:-1]).movedim(0, -1)

        return correction


def no_correction(outputs: int) -> Correction:
    """The correction of the known map by itself: 0."""
    return lambda inputs: inputs.new_zeros(*inputs.shape[:-1], outputs)


def _check(inputs: Tensor, expected: int) -> None:
    if inputs.shape[-1] != expected:
        raise ValueError(
            f"Invalid inputs of shape {tuple(inputs.shape)} of the correction. "
            f"The last axis must hold the {expected} that the discrepancy was declared with."
        )
