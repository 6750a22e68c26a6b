"""The networks of a generative adversarial network, rows along memory."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from ..random import normal, single_stream
from .adversarial_training import CRITIC_STAGE
from .flow_network import WEIGHTS_STAGE, Perceptron
from .flow_spline import bent

_WAVES = 32  # sines and as many cosines
_WAVES_STAGE = 500
_FIRST_SD = 0.1


class Waves(nn.Module):
    """A network that also sees sines and cosines of random directions of its inputs, ``(in, R) -> (out, R)``.

    Networks of smooth units learn slow functions first; given the waves they also learn the quick ones that narrow and
    separate modes ask for (Tancik et al. 2020, *Fourier features let networks learn high frequency functions*).

    Parameters
    ----------
    sizes : sequence of int
        Inputs, hidden units, outputs.
    frequency : float
        Standard deviation of the angular frequencies; 0 for no waves.
    seed, stage : int
        Of frequencies and weights.
    last : float
        Scale of the last layer's first weights.
    """

    frequencies: Tensor

    def __init__(self, sizes: Sequence[int], frequency: float, *, seed: int, stage: int, last: float) -> None:
        super().__init__()
        count = _WAVES if frequency else 0
        drawn = normal((count, sizes[0]), single_stream(), seed=seed, stage=WEIGHTS_STAGE + stage + _WAVES_STAGE)
        self.register_buffer("frequencies", (frequency * drawn).float())
        self.network = Perceptron([sizes[0] + 2 * count, *sizes[1:]], seed=seed, stage=stage, last=last)

    def forward(self, columns: Tensor) -> Tensor:
        """Outputs ``(out, R)`` of inputs ``(in, R)``."""
        if not len(self.frequencies):
            return self.network(columns)
        angles = self.frequencies @ columns
        return self.network(torch.cat([columns, angles.sin(), angles.cos()]))


class Generator(nn.Module):
    """w = f(code; context) + sd noise, with the latents z = (code, noise).

    Parameters
    ----------
    features, code, context : int
        Lengths of w, of the code and of the context.
    hidden : sequence of int
        Widths of the hidden layers.
    frequency : float
        See `Waves`.
    residual : bool
        Whether there is a noise; its deviation is one number for each feature.
    seed : int
        Of the weights.
    """

    def __init__(
        self,
        features: int,
        code: int,
        context: int,
        *,
        hidden: Sequence[int],
        frequency: float,
        residual: bool,
        seed: int = 0,
    ) -> None:
        super().__init__()
        self.code, self.latents = code, code + (features if residual else 0)
        self.shape = {"code": code, "hidden": list(hidden), "frequency": frequency, "residual": residual}
        self.mean = Waves([code + context, *hidden, features], frequency, seed=seed, stage=0, last=1.0)
        if residual:
            self.log_sd = nn.Parameter(torch.full((features, 1), math.log(_FIRST_SD), dtype=torch.float32))

    def forward(self, z: Tensor, context: Tensor) -> Tensor:
        """w ``(n, R)`` of latents ``(k, R)``."""
        mean = self.mean(torch.cat([z[: self.code], context]))
        return mean + bent(self.log_sd, 1).exp() * z[self.code :] if self.latents > self.code else mean


class Critic(nn.Module):
    """Logits ``(R,)`` of samples and their context: the higher, the more real they look.

    Parameters
    ----------
    features, context : int
    hidden : sequence of int
    frequency : float
        See `Waves`.
    seed : int
        Of the weights.
    """

    def __init__(self, features: int, context: int, *, hidden: Sequence[int], frequency: float, seed: int = 0) -> None:
        super().__init__()
        self.logit = Waves([features + context, *hidden, 1], frequency, seed=seed, stage=CRITIC_STAGE, last=1.0)

    def forward(self, w: Tensor, context: Tensor) -> Tensor:
        return self.logit(torch.cat([w, context]))[0]


class Recogniser(nn.Module):
    """q(c | w) = N(m(w), diag s(w)^2) of the first latents c of a generator, given what it made.

    Parameters
    ----------
    features, codes, context : int
    hidden : sequence of int
    seed : int
        Of the weights.
    """

    def __init__(self, features: int, codes: int, context: int, *, hidden: Sequence[int], seed: int = 0) -> None:
        super().__init__()
        self.codes, self.hidden = codes, list(hidden)
        sizes = [features + context, *hidden, 2 * codes]
        self.guess = Perceptron(sizes, seed=seed, stage=2 * CRITIC_STAGE, last=0.1)

    def forward(self, w: Tensor, context: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and log sd, each ``(k, R)``."""
        made = self.guess(torch.cat([w, context]))
        return made[: self.codes], bent(made[self.codes :], 1)
