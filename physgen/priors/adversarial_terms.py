"""Terms of a game between a generator and a critic, pure functions of what the critic and a recogniser say."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn.functional import softplus

from .columns import total
from .standard_normal import log_density

GAMES = ("relativistic", "plain")


def critic_loss(real: Tensor, made: Tensor, game: str = "plain") -> Tensor:
    """Loss ``(B,)`` of a critic whose logits ``(B,)`` say how real samples look.

    "plain": - log D(x) - log(1 - D(g(z))) with D = sigmoid(logit) (Goodfellow et al. 2014, eq. 1). "relativistic":
    - log sigmoid(logit of x - logit of g(z)), in pairs (Jolicoeur-Martineau 2019), whose landscape, unlike that of the
    plain game, has no basins in which modes are missing (Sun, Fang & Schwing 2020).
    """
    return softplus(made - real) if game == "relativistic" else softplus(-real) + softplus(made)


def adversarial(real: Tensor, made: Tensor, game: str = "plain") -> Tensor:
    """Loss ``(B,)`` of a generator against the logits of a critic, not saturating.

    "plain": - log D(g(z)) (Goodfellow et al. 2014, section 3); "relativistic": the critic's with the sides exchanged.
    """
    return softplus(real - made) if game == "relativistic" else softplus(-made)


def gradient_penalty(critic: Callable[[Tensor], Tensor], columns: Tensor) -> Tensor:
    """Half the squared gradient ``(B,)`` of the critic's logit at columns ``(n, B)``.

    At real samples this is R1, which makes the plain game converge near its solution also where data and generator
    lie on surfaces (Mescheder, Geiger & Nowozin 2018); at generated ones it is their R2. The relativistic game needs
    both (Huang et al. 2024).
    """
    at = columns.detach().requires_grad_()
    (slope,) = torch.autograd.grad(critic(at).sum(), at, create_graph=True)
    return 0.5 * total(slope.square())


def info(code: Tensor, mean: Tensor, log_sd: Tensor) -> Tensor:
    """Lower bound ``(B,)`` of the mutual information between code and generated sample, in nats: log q(c | x) / p(c).

    Its mean is E log q(c | x) + H(c) with the entropy of p(c) = N(0, I) (Chen et al. 2016, eq. 5); q is normal.

    Parameters
    ----------
    code : Tensor (k, B)
        That the samples were made of.
    mean, log_sd : Tensor (k, B)
        Of q(c | x).
    """
    guessed = log_density((code - mean) * (-log_sd).exp()) - log_sd
    return total(guessed - log_density(code))
