"""A decoder each of whose outputs sees a few elements of the code only: a mask under a spike-and-slab lasso prior."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor, nn

from ..random import single_stream, uniform
from .flow_network import WEIGHTS_STAGE, Perceptron

_STAGE = 5000  # of the first weights, beside those of the other networks of an autoencoder


@dataclass(frozen=True)
class SpikeSlab:
    """The prior of the mask's elements: w_jk ~ eta_k Laplace(slab) + (1 - eta_k) Laplace(spike), eta_k ~ Beta(1, n).

    Parameters
    ----------
    spike : float
        lambda_0, the rate of the narrow Laplace distribution, which pulls what is not needed to 0.
    slab : float
        lambda_1, the rate of the wide one; 0 < slab < spike. An element of size 1 costs about that many nats, once for
        all samples.

    Raises
    ------
    ValueError
        If they are not.

    References
    ----------
    Rockova & George (2018), The spike-and-slab lasso, *J. Am. Stat. Assoc.* 113, eq. 1.4; Moran, Sridhar, Wang & Blei
    (2022), Identifiable deep generative models via sparse decoding, *TMLR*, eqs 1 to 3.
    """

    spike: float = 100.0
    slab: float = 30.0

    def __post_init__(self) -> None:
        if not 0 < self.slab < self.spike < math.inf:
            raise ValueError(f"Invalid slab {self.slab:g} and spike {self.spike:g}. They must be 0 < slab < spike.")

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        return asdict(self)


class MaskedNetwork(nn.Module):
    """w_j = f_j(mask_j * code, context): one network for all outputs, which sees the code through each output's mask.

    Moran et al. (2022), eq. 1. The columns of the first layer have a fixed length, as otherwise the layer could grow
    while the mask shrinks into the spike.

    Parameters
    ----------
    features, code, context : int
    hidden : sequence of int
        Widths of the hidden layers; the last layer has weights of its own for each output.
    prior : SpikeSlab
    seed : int
    """

    def __init__(
        self, features: int, code: int, context: int, hidden: Sequence[int], prior: SpikeSlab, *, seed: int
    ) -> None:
        super().__init__()
        self.prior, self.code = prior, code
        width = hidden[-1] if hidden else code + context
        self.trunk = Perceptron([code + context, *hidden], seed=seed, last=1.0) if hidden else None
        self._length = math.sqrt(hidden[0] / (3 * (code + context))) if hidden else 1.0  # about the first one
        u = uniform((features, width + 1), single_stream(), seed=seed, stage=WEIGHTS_STAGE + _STAGE)
        self.last = nn.Parameter(((2 * u - 1) / math.sqrt(width)).float())
        # out of the spike's reach: what is needed must be used before the slab has pulled it there
        self.mask = nn.Parameter(torch.ones(features, code, dtype=torch.float32))
        self.logit = nn.Parameter(torch.zeros(code, dtype=torch.float32))  # of eta

    def forward(self, code: Tensor, context: Tensor) -> Tensor:
        """Outputs ``(n, R)`` of a code ``(k, R)`` and context ``(c, R)``."""
        n, rows = len(self.mask), code.shape[1]
        seen = (self.mask * self._scale()).mT[:, :, None] * code[:, None, :]
        inputs = torch.cat([seen, context[:, None, :].expand(-1, n, -1)]).reshape(-1, n * rows)
        if self.trunk is not None:
            inputs = nn.functional.silu(self.trunk(inputs))
        each = inputs.reshape(-1, n, rows).movedim(0, 1)  # (n, width, R)
        return (self.last[:, None, :-1] @ each)[:, 0] + self.last[:, -1:]

    def penalty(self) -> Tensor:
        """- log of the prior density of mask and eta, 0-d."""
        spike, slab = self._log_densities()
        log_rest = nn.functional.logsigmoid(-self.logit)
        return -torch.logaddexp(spike, slab).sum() - (len(self.mask) - 1) * log_rest.sum()

    def inclusion(self) -> Tensor:
        """Posterior probability ``(n, k)`` that an element of the mask belongs to the slab."""
        spike, slab = self._log_densities()
        return torch.sigmoid(slab - spike)

    @torch.no_grad()
    def prune(self) -> None:
        """Set to 0 what rather belongs to the spike."""
        self.mask.mul_(self.inclusion() > 0.5)

    def _scale(self) -> Tensor | float:
        """What gives the first layer's columns for the code ``(k,)`` their fixed length."""
        if self.trunk is None:
            return 1.0
        return self._length / self.trunk.weights[0][:, : self.code].square().sum(0).sqrt()

    def _log_densities(self) -> tuple[Tensor, Tensor]:
        """log((1 - eta) Laplace(spike)) and log(eta Laplace(slab)) at the mask's elements."""
        size, log_sigmoid = self.mask.abs(), nn.functional.logsigmoid
        pairs = ((self.prior.spike, log_sigmoid(-self.logit)), (self.prior.slab, log_sigmoid(self.logit)))
        spike, slab = (log_share + math.log(rate / 2) - rate * size for rate, log_share in pairs)
        return spike, slab
