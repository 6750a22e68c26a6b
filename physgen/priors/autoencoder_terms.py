"""Terms of an autoencoder's objective, each a function of one step's codes (all in nats a sample).

The mean KL divergence of the encoder from N(0, I) is mutual information + total correlation + dimension-wise KL
(Chen et al. 2018, eq. 2), with q(z) the mean of q(z | x) over the samples.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from .columns import total
from .standard_normal import log_density


@dataclass(frozen=True, eq=False)
class Step:
    """What a step of a fit knows.

    Parameters
    ----------
    seen : Tensor (B,)
        log p(x | code).
    mean, log_sd : Tensor (k, B)
        Of q(code | x).
    code : Tensor (k, B)
        One draw of it for each row.
    samples : int
        Size N of the data set, of which the B rows are a random part.
    """

    seen: Tensor
    mean: Tensor
    log_sd: Tensor
    code: Tensor
    samples: int


def reconstruction(step: Step) -> Tensor:
    """- E log p(x | code)."""
    return -step.seen.mean()


def kl(step: Step) -> Tensor:
    """E KL(q(code | x) || N(0, I)), in closed form (Kingma & Welling 2014, appendix B)."""
    each = 0.5 * (step.mean**2 + (2 * step.log_sd).exp() - 1) - step.log_sd
    return total(each).mean()


def mutual_information(step: Step) -> Tensor:
    """E log q(z | x) / q(z), between code and sample."""
    own, joint, _ = _aggregate(step)
    return (own - joint).mean()


def total_correlation(step: Step) -> Tensor:
    """E log q(z) / prod_j q(z_j): how far the elements of the code are from independent."""
    _, joint, each = _aggregate(step)
    return (joint - total(each)).mean()


def dimension_wise_kl(step: Step) -> Tensor:
    """E log prod_j q(z_j) / p(z_j)."""
    *_, each = _aggregate(step)
    return (total(each) - total(log_density(step.code))).mean()


def dip_i(step: Step) -> Tensor:
    """Squared departure of the covariance of the means from I: 10 off the diagonal to 1 on it.

    Kumar et al. (2018), eq. 6 (DIP-VAE-I), with lambda_od = 10 lambda_d.
    """
    return _departure(_covariance(step.mean), 10.0)


def dip_ii(step: Step) -> Tensor:
    """Squared departure of the covariance of the codes from I (Kumar et al. 2018, eq. 7, DIP-VAE-II)."""
    within = (2 * step.log_sd).exp().mean(1)
    return _departure(_covariance(step.mean) + torch.diag(within), 1.0)


def _covariance(columns: Tensor) -> Tensor:
    centred = columns - columns.mean(1, keepdim=True)
    return centred @ centred.mT / columns.shape[1]


def _departure(covariance: Tensor, off: float) -> Tensor:
    difference = covariance - torch.eye(len(covariance), dtype=covariance.dtype, device=covariance.device)
    on = difference.diagonal().square().sum()
    return on + off * (difference.square().sum() - on)


def _aggregate(step: Step) -> tuple[Tensor, Tensor, Tensor]:
    """log q(z | x) ``(B,)``, log q(z) ``(B,)`` and log q(z_j) ``(k, B)``: stratified estimates.

    Chen et al. (2018), appendix C.2. Of the N components of q(z) the row's own has the weight 1 / N, the others of the
    step share the rest alike (the paper gives one of them an odd weight; this is the mean over which one).
    """
    scaled = (step.code[:, :, None] - step.mean[:, None, :]) * (-step.log_sd)[:, None, :].exp()
    pairs = log_density(scaled) - step.log_sd[:, None, :]  # (k, B of the codes, B of the components)
    log_weight = _log_weights(step.code.shape[1], step.samples).to(pairs)
    joint = torch.logsumexp(pairs.sum(0) + log_weight, 1)
    each = torch.logsumexp(pairs + log_weight, 2)
    return pairs.sum(0).diagonal(), joint, each


def _log_weights(rows: int, samples: int) -> Tensor:
    """Log weights ``(B, B)`` of component j for the code of row i; those of a row add up to 1."""
    if rows < 2:
        raise ValueError("Invalid step of one row. The terms of the code need at least 2, better hundreds.")
    others = (1 - 1 / samples) / (rows - 1)
    weights = torch.full((rows, rows), math.log(others), dtype=torch.float64)
    return weights.fill_diagonal_(-math.log(samples))
