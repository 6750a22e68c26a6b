"""The base whose mean and scale depend on the conditions: what makes a code identifiable."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from .base_normal import Base, CodeMap
from .columns import total
from .flow_network import Perceptron
from .flow_spline import bent
from .frame import Frame
from .standard_normal import log_density

_SMALLEST = 1e-3  # where `bent` ends
_STAGE = 3000  # of the weights, beside those of the other networks of an autoencoder


@dataclass(frozen=True)
class ConditionalBase(Base):
    """s = mean(conditions) + sd(conditions) z, element by element.

    The conditions act through the code alone: the decoder does not see them, nor does the encoder, which could write a
    label that it sees into the code, whatever the causes. With enough different conditions the code
    is then identifiable up to order, sign and scale (Khemakhem et al. 2020, theorem 1; for a normal base up to that, if
    the variance varies too).

    Parameters
    ----------
    levels : mapping of str to sequence of float, optional
        Conditions that are labels, such as the number of a segment, with all the values that they take: each value has
        parameters of its own. A condition that is not named is a number, which mean and scale are functions of.
    hidden : sequence of int
        Widths of the hidden layers of those functions; none makes mean and log sd linear.

    Raises
    ------
    ValueError
        If there are fewer than two values of a label, or one is there twice.

    References
    ----------
    Khemakhem, Kingma, Monti & Hyvärinen (2020), Variational autoencoders and nonlinear ICA: a unifying framework,
    *AISTATS*, eqs 5 to 7.
    """

    levels: Mapping[str, Sequence[float]] = field(default_factory=dict)
    hidden: Sequence[int] = ()
    kind = "conditional"

    def __post_init__(self) -> None:
        object.__setattr__(self, "levels", {n: tuple(float(v) for v in values) for n, values in self.levels.items()})
        for name, values in self.levels.items():
            if len(values) < 2 or len(set(values)) < len(values):
                raise ValueError(
                    f"Invalid levels of {name!r}. Give every value that the label takes once, at least two."
                )

    def made(self, code: int, frame: Frame, *, seed: int) -> CodeMap:
        if not frame.conditions:
            raise ValueError("A conditional base without conditions. Give those of every sample as `conditions`.")
        unknown = sorted(self.levels.keys() - set(frame.conditions))
        if unknown:
            known = ", ".join(frame.conditions)
            raise ValueError(f"Unknown label {', '.join(map(repr, unknown))}. The conditions are {known}.")
        levels = [self._standardised(name, i, frame) for i, name in enumerate(frame.conditions)]
        return ConditionalMap(code, levels, self.hidden, seed=seed)

    def _standardised(self, name: str, i: int, frame: Frame) -> Tensor | None:
        if name not in self.levels:
            return None
        values = torch.tensor(self.levels[name], dtype=torch.float64)
        return (values - frame.condition_mean[i]) / frame.condition_sd[i]

    def check(self, conditions: Mapping[str, Any]) -> None:
        for name in self.levels.keys() & conditions.keys():
            values = torch.as_tensor(conditions[name]).detach()
            known = torch.tensor(self.levels[name], dtype=torch.float64, device=values.device)
            unknown = ((values.double()[..., None] - known).abs() > 1e-3 * _gap(known)).all(-1)
            try:
                any_unknown = bool(unknown.any())
            except RuntimeError:  # inside vmap the values are not to be seen: an unknown one gives NaN
                continue
            if any_unknown:
                raise ValueError(
                    f"Unknown {name} {float(values[unknown].flatten()[0]):g}. "
                    f"Its {len(known)} values lie from {float(known.min()):g} to {float(known.max()):g}."
                )

    def to_json(self) -> dict[str, Any]:
        return {"kind": self.kind, "levels": {n: list(v) for n, v in self.levels.items()}, "hidden": list(self.hidden)}


class ConditionalMap(CodeMap):
    """The map of a `ConditionalBase`.

    Parameters
    ----------
    code : int
    levels : sequence of Tensor or None
        For each condition the standardised values of a label, or None for a number.
    hidden : sequence of int
    seed : int
    """

    owns_context = True
    level_0: Tensor

    def __init__(self, code: int, levels: Sequence[Tensor | None], hidden: Sequence[int], *, seed: int) -> None:
        super().__init__()
        self.code = code
        self._count = [1 if v is None else len(v) for v in levels]
        # not in the state: the settings say them
        for i, values in enumerate(levels):
            self.register_buffer(f"level_{i}", values, persistent=False)
        self._numbers = [v is None for v in levels]
        self.linear = self._numbers == [False]  # one label alone: its values have covariances to begin with
        sizes = [sum(self._count), *hidden, 2 * code]
        self.parameters_of = Perceptron(sizes, seed=seed, stage=_STAGE, last=0.5)

    def features(self, context: Tensor) -> Tensor:
        """Numbers as they are, a label as one row of 0 and 1 for each of its values; NaN for a value that is none."""
        parts = [
            context[i : i + 1] if number else _one_hot(context[i], getattr(self, f"level_{i}").to(context))
            for i, number in enumerate(self._numbers)
        ]
        return torch.cat(parts)

    def forward(self, z: Tensor, context: Tensor) -> Tensor:
        mean, log_sd = self.moments(context)
        return mean + log_sd.exp() * z

    def log_density(self, code: Tensor, context: Tensor) -> Tensor:
        mean, log_sd = self.moments(context)
        return log_density((code - mean) * (-log_sd).exp()) - log_sd

    def log_ratio(self, code: Tensor, context: Tensor) -> Tensor:
        """log p(code | context) - log of its mean over all values of a single label, or over the rows' contexts."""
        every = self.level_0.to(context)[None] if self.linear else context
        mean, log_sd = (p[:, None] for p in self.moments(every))
        pairs = (log_density((code[:, :, None] - mean) * (-log_sd).exp()) - log_sd).sum(0)  # (R, contexts)
        return total(self.log_density(code, context)) - pairs.logsumexp(1) + math.log(every.shape[1])

    def level_of(self, column: Tensor) -> Tensor:
        """Number ``(R,)`` of the value of the first label, of standardised labels ``(R,)``."""
        return (column[:, None] - self.level_0.to(column)).abs().argmin(1)

    @torch.no_grad()
    def begin(self, code: Tensor, level: Tensor) -> None:
        """Take mean and deviation of the codes ``(R, k)`` of each value, where they are a linear function of it."""
        if len(self.parameters_of.weights) > 1:
            return
        weight, bias = self.parameters_of.weights[0], self.parameters_of.biases[0]
        for i in range(weight.shape[1]):
            own = code[level == i]
            if len(own) > 1:
                weight[:, i] = torch.cat([own.mean(0), to_bent(own.std(0).clamp(min=1e-2).log())]).to(weight)
        bias.zero_()

    def moments(self, context: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and log sd of the code, each ``(k, R)``."""
        made = self.parameters_of(self.features(context))
        return made[: self.code], bent(made[self.code :], 1)


def to_bent(log_sd: Tensor) -> Tensor:
    """What `bent` makes the log sd of."""
    return log_sd / (1 - (log_sd / math.log(_SMALLEST)).abs())


def _one_hot(column: Tensor, levels: Tensor) -> Tensor:
    """Rows ``(K, R)`` of 0 and 1, of a column ``(R,)``."""
    hot = ((column - levels[:, None]).abs() < 0.1 * _gap(levels)).to(column)
    return torch.where(hot.amax(0) > 0, hot, torch.nan)


def _gap(levels: Tensor) -> Tensor:
    return levels.sort().values.diff().min()
