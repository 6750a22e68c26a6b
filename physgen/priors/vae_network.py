"""The two networks of a variational autoencoder, rows along memory."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from ..random import normal, single_stream
from .autoencoder_terms import Step
from .base_normal import CodeMap, NormalMap
from .columns import total
from .flow_network import Perceptron
from .flow_spline import bent
from .sparse_mask import MaskedNetwork, SpikeSlab
from .standard_normal import log_density

NOISES = ("common", "each", "network")
DRAW_STAGE = 1 << 35  # of the random codes of a fit


class AutoencoderNetwork(nn.Module):
    """Base code = b(z), decoder w = f(code) + sd noise, and encoder q(code | w) = N(m(w), diag s(w)^2).

    All see the context; but where the base takes it as its own, it is the only one.

    Parameters
    ----------
    features, code, context : int
        Lengths of w, of the code and of the context.
    hidden : sequence of int
        Widths of the hidden layers of each network; none makes them linear.
    noise : {"common", "each", "network"}
        Whether sd is one number, one for each feature, or a function of the code.
    base : CodeMap, optional
        From standard normal latents to codes; the identity by default.
    sparse : SpikeSlab, optional
        Whether each output of f sees the code through a mask, and the prior of that.
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
        noise: str,
        base: CodeMap | None = None,
        sparse: SpikeSlab | None = None,
        seed: int = 0,
    ) -> None:
        super().__init__()
        self.code, self.hidden, self.noise = code, tuple(hidden), noise
        self.base = base or NormalMap()
        own = 0 if self.base.owns_context else context
        sizes = [code + own, *hidden, features]
        self.mean: Perceptron | MaskedNetwork = (
            MaskedNetwork(features, code, own, self.hidden, sparse, seed=seed)
            if sparse is not None
            else Perceptron(sizes, seed=seed, stage=0, last=1.0)
        )
        self.encoder = Perceptron([features + own, *hidden, 2 * code], seed=seed, stage=1000, last=0.1)
        self.linear: nn.ParameterDict | None = None
        if self.base.linear and sparse is None:
            zeros = {
                n: nn.Parameter(torch.zeros(*s, dtype=torch.float32))
                for n, s in (("mix", (features, code)), ("unmix", (code, features)))
            }
            self.linear = nn.ParameterDict(zeros)
        if noise == "network":
            self.log_sd: nn.Module | nn.Parameter = Perceptron(sizes, seed=seed, stage=2000)
        else:
            self.log_sd = nn.Parameter(torch.zeros(features if noise == "each" else 1, 1))

    def decode(self, code: Tensor, context: Tensor) -> tuple[Tensor, Tensor]:
        """Mean ``(n, R)`` and log sd ``(n or 1, R or 1)`` of w, of codes ``(k, R)``."""
        own = self._own(context)
        inputs = torch.cat([code, own])
        raw = self.log_sd(inputs) if isinstance(self.log_sd, nn.Module) else self.log_sd
        mean = self.mean(code, own) if isinstance(self.mean, MaskedNetwork) else self.mean(inputs)
        if self.linear is not None:
            mean = torch.addmm(mean, self.linear["mix"], code)
        return mean, bent(raw, 1)

    def encode(self, w: Tensor, context: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and log sd, each ``(k, R)``, of the code given w ``(n, R)``."""
        made = self.encoder(torch.cat([w, self._own(context)]))
        mean = made[: self.code]
        if self.linear is not None:
            mean = torch.addmm(mean, self.linear["unmix"], w)
        return mean, bent(made[self.code :], 1)

    def _own(self, context: Tensor) -> Tensor:
        return context[:0] if self.base.owns_context else context

    def terms(self, w: Tensor, context: Tensor, eps: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """log p(w | code), log p(code | context) and log q(code | w), each ``(R,)``, at code = m + s eps.

        In log q the parameters of the encoder are held, which leaves the mean of the gradient as it is and takes its
        noise away where q is exact (Roeder et al. 2017, eq. 6).
        """
        step = self.step(w, context, eps)
        m, log_s = step.mean.detach(), step.log_sd.detach()
        held = (step.code - m) * (-log_s).exp()
        return step.seen, step.log_base, total(log_density(held) - log_s)

    def step(self, w: Tensor, context: Tensor, eps: Tensor, *, samples: int = 0, labels: Tensor | None = None) -> Step:
        """What the terms of an objective are made of, at code = m + s eps."""
        m, log_s = self.encode(w, context)
        code = m + log_s.exp() * eps
        mean, log_sd = self.decode(code, context)
        seen = total(log_density((w - mean) * (-log_sd).exp()) - log_sd)
        base = None if isinstance(self.base, NormalMap) else self.base.log_density(code, context)
        penalty = self.mean.penalty() if isinstance(self.mean, MaskedNetwork) else None
        own = {"base": base, "penalty": penalty, "labels": labels}
        return Step(seen, m, log_s, code, samples, log_ratio=lambda: self.base.log_ratio(code, context), **own)

    def prune(self) -> None:
        """Set the elements of a mask to 0 that rather belong to its spike."""
        if isinstance(self.mean, MaskedNetwork):
            self.mean.prune()


def draw_codes(code: int, rows: int, *, seed: int, stage: int) -> Tensor:
    """eps ``(k, R)`` of a step of a fit."""
    return normal((code, rows), single_stream(), seed=seed, stage=DRAW_STAGE + stage, dtype=torch.float32)


def log_mean(values: Tensor) -> Tensor:
    """log of the mean of exp over the first axis."""
    return torch.logsumexp(values, 0) - math.log(len(values))
