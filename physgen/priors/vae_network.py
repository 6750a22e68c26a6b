"""The two networks of a variational autoencoder, rows along memory."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from ..random import normal, single_stream
from .autoencoder_terms import Step
from .columns import total
from .flow_network import Perceptron
from .flow_spline import bent
from .standard_normal import log_density

NOISES = ("common", "each", "network")
DRAW_STAGE = 1 << 35  # of the random codes of a fit


class AutoencoderNetwork(nn.Module):
    """Decoder w = f(code) + sd noise, and encoder q(code | w) = N(m(w), diag s(w)^2); both see the context.

    Parameters
    ----------
    features, code, context : int
        Lengths of w, of the code and of the context.
    hidden : sequence of int
        Widths of the hidden layers of each network; none makes them linear.
    noise : {"common", "each", "network"}
        Whether sd is one number, one for each feature, or a function of the code.
    seed : int
        Of the weights.
    """

    def __init__(
        self, features: int, code: int, context: int, *, hidden: Sequence[int], noise: str, seed: int = 0
    ) -> None:
        super().__init__()
        self.code, self.hidden, self.noise = code, tuple(hidden), noise
        self.mean = Perceptron([code + context, *hidden, features], seed=seed, stage=0, last=1.0)
        self.encoder = Perceptron([features + context, *hidden, 2 * code], seed=seed, stage=1000, last=0.1)
        if noise == "network":
            self.log_sd: nn.Module | nn.Parameter = Perceptron(
                [code + context, *hidden, features], seed=seed, stage=2000
            )
        else:
            self.log_sd = nn.Parameter(torch.zeros(features if noise == "each" else 1, 1))

    def decode(self, code: Tensor, context: Tensor) -> tuple[Tensor, Tensor]:
        """Mean ``(n, R)`` and log sd ``(n or 1, R or 1)`` of w, of codes ``(k, R)``."""
        inputs = torch.cat([code, context])
        raw = self.log_sd(inputs) if isinstance(self.log_sd, nn.Module) else self.log_sd
        return self.mean(inputs), bent(raw, 1)

    def encode(self, w: Tensor, context: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and log sd, each ``(k, R)``, of the code given w ``(n, R)``."""
        made = self.encoder(torch.cat([w, context]))
        return made[: self.code], bent(made[self.code :], 1)

    def terms(self, w: Tensor, context: Tensor, eps: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """log p(w | code), log p(code) and log q(code | w), each ``(R,)``, at code = m + s eps, eps ``(k, R)``.

        In log q the parameters of the encoder are held, which leaves the mean of the gradient as it is and takes its
        noise away where q is exact (Roeder et al. 2017, eq. 6).
        """
        step = self.step(w, context, eps)
        m, log_s = step.mean.detach(), step.log_sd.detach()
        held = (step.code - m) * (-log_s).exp()
        return step.seen, total(log_density(step.code)), total(log_density(held) - log_s)

    def step(self, w: Tensor, context: Tensor, eps: Tensor, *, samples: int = 0) -> Step:
        """What the terms of an objective are made of, at code = m + s eps."""
        m, log_s = self.encode(w, context)
        code = m + log_s.exp() * eps
        mean, log_sd = self.decode(code, context)
        seen = total(log_density((w - mean) * (-log_sd).exp()) - log_sd)
        return Step(seen, m, log_s, code, samples)


def draw_codes(code: int, rows: int, *, seed: int, stage: int) -> Tensor:
    """eps ``(k, R)`` of a step of a fit."""
    return normal((code, rows), single_stream(), seed=seed, stage=DRAW_STAGE + stage, dtype=torch.float32)


def log_mean(values: Tensor) -> Tensor:
    """log of the mean of exp over the first axis."""
    return torch.logsumexp(values, 0) - math.log(len(values))
