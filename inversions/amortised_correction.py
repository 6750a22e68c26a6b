"""The importance correction of a learned posterior against the true likelihood."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from physgen.diagnostics.psis import pareto_smooth
from physgen.diagnostics.resampling import unbiased
from physgen.problem import Posterior, log_normal
from physgen.random import normal
from physgen.small_matrices import product

from .adaptive_importance import Schedule, judge, moments, resample
from .amortised_network import Embedded, PosteriorNetwork
from .amortised_training import STAGE
from .student_mixture import effective, log_sum_exp

_BEYOND = 12.0  # latents of larger size have no mass under any prior


def corrected(
    posterior: Posterior,
    network: PosteriorNetwork,
    given: Embedded,
    *,
    draws: int,
    schedule: Schedule,
    seed: int,
    index: Tensor,
) -> dict[str, Tensor]:
    """One round of importance sampling, whose proposal is the network's posterior and a share of the prior.

    Weights are Pareto-smoothed (Vehtari et al. 2024) and rid of the bias of the first order; the status asks for a
    light tail, enough effective draws, and that weights do not move the draws far (all three: none alone suffices).

    Parameters
    ----------
    posterior : Posterior
        Of B observations on one axis.
    network, given
        The latter is what the network makes of them.
    draws : int
        Draws S that are weighted, and latents that are resampled.
    schedule : Schedule
        Of which the share of the prior and what an answer must reach count.
    seed, index
        Decide the random numbers.

    Returns
    -------
    dict of Tensor
        z (B, S, k), latent_mean (B, k), latent_covariance (B, k, k), and k_hat, ess, log_evidence and status (B,).
    """
    k, dtype = network.latents, posterior.y.dtype
    u = normal((draws, k), index, seed=seed, stage=STAGE, dtype=dtype)
    of_prior = max(1, round(schedule.defence * draws))
    share = of_prior / draws
    z, log_q = network.sample(u[:, of_prior:].contiguous(), given)
    own = u[:, :of_prior]
    z = torch.cat([own, z], 1)
    log_q = torch.cat([network.log_prob_draws(own, given), log_q], 1)
    proposal = log_sum_exp([log_q + math.log1p(-share), log_normal(z) + math.log(share)])
    beyond = ~(z.abs().amax(-1) < _BEYOND)
    z = torch.where(beyond[..., None], 0.0, z)
    target = posterior.log_prob(z.transpose(0, 1)).mT
    log_weight = torch.where(beyond, -torch.inf, target - proposal)
    smooth, k_hat = pareto_smooth(log_weight.mT)
    weight = smooth.mT.exp().contiguous()
    ess = effective(weight)
    learned = moments(z[:, of_prior:], torch.zeros_like(log_weight[:, of_prior:]))
    agree = moments(z, log_weight).agrees(learned)
    weight = unbiased(weight)
    mean = (weight[..., None] * z).sum(1)
    off = z - mean[:, None]
    stretch = "log_factor" not in posterior.problem.prior.capabilities  # it could leave a selection's hard edge
    return {
        "z": resample(z, weight, draws, index, seed, stretch, stages=(STAGE + 1, STAGE + 2)),
        "latent_mean": mean,
        "latent_covariance": product(off.mT, weight[..., None] * off),
        "k_hat": k_hat,
        "ess": ess,
        "log_evidence": torch.logsumexp(log_weight, -1) - math.log(draws),
        "status": judge(log_weight, k_hat, ess, agree, schedule),
    }
