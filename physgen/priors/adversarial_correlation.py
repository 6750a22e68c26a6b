"""The total correlation of a code by a critic, which learns to tell codes from codes with permuted elements.

At its optimum the critic's logit is log q(z) / prod_j q(z_j), whose mean over q(z) is the total correlation (Kim & Mnih
2018, *Disentangling by factorising*, eq. 3 and algorithm 2). The gradient of that mean with respect to what makes the
codes is exact with the critic held.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from .adversarial_terms import critic_loss
from .adversarial_training import CRITIC_STAGE, step_orders
from .flow_network import Perceptron


class DensityRatio(nn.Module):
    """Logits ``(R,)`` of codes ``(k, R)``: an estimate of log q(z) / prod_j q(z_j).

    Parameters
    ----------
    code : int
    hidden : sequence of int
    seed : int
        Of the weights.
    """

    def __init__(self, code: int, *, hidden: Sequence[int] = (64, 64), seed: int = 0) -> None:
        super().__init__()
        self.logit = Perceptron([code, *hidden, 1], seed=seed, stage=CRITIC_STAGE)

    def forward(self, code: Tensor) -> Tensor:
        return self.logit(code)[0]

    def held(self, code: Tensor) -> Tensor:
        """The same, with the critic's parameters held: only the codes get a gradient."""
        parameters = {n: p.detach() for n, p in self.named_parameters()}
        return torch.func.functional_call(self, parameters, (code,))

    def loss(self, code: Tensor, orders: Tensor) -> Tensor:
        """The critic's loss ``(R,)`` against the codes with their elements put in other orders ``(k, R)``."""
        code = code.detach()
        return critic_loss(self(code), self(permuted(code, orders)))


def permuted(code: Tensor, orders: Tensor) -> Tensor:
    """Codes ``(k, R)`` each of whose elements comes from a row of its own: nearly draws of prod_j q(z_j)."""
    return code.gather(1, orders.to(code.device))


def orders_of(code: Tensor, *, seed: int, step: int) -> Tensor:
    """Random orders of the elements of a step's codes, ``(k, R)``."""
    return step_orders(*code.shape, seed=seed, step=step, which=3)
