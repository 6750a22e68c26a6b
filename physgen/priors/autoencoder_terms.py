"""Terms of an autoencoder's objective, each a function of one step's codes (all in nats a sample).

The mean KL divergence of the encoder from the base, which is N(0, I) or another p(z | conditions) of independent
elements, is mutual information + total correlation + dimension-wise KL (Chen et al. 2018, eq. 2), with q(z) the mean of
q(z | x) over the samples.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property

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
    base : Tensor (k, B), optional
        log p(code_j | conditions) of the base; that of N(0, 1) by default.
    penalty : Tensor (), optional
        - log of the prior density of the decoder's mask.
    log_ratio : callable, optional
        Gives log p(code | conditions) - log of its mean over conditions ``(B,)``.
    labels : Tensor (l, B), optional
        Standardised, for the first l elements of the code; NaN where there is none.
    ratio : Tensor (B,), optional
        log q(z) / prod_j q(z_j) at each code, as a critic estimates it.
    """

    seen: Tensor
    mean: Tensor
    log_sd: Tensor
    code: Tensor
    samples: int
    base: Tensor | None = field(default=None, kw_only=True)
    penalty: Tensor | None = field(default=None, kw_only=True)
    log_ratio: Callable[[], Tensor | None] | None = field(default=None, kw_only=True)
    labels: Tensor | None = field(default=None, kw_only=True)
    ratio: Tensor | None = field(default=None, kw_only=True)

    @cached_property
    def log_base(self) -> Tensor:
        """log p(code | conditions) ``(B,)``."""
        return total(log_density(self.code) if self.base is None else self.base)

    @cached_property
    def log_posterior(self) -> Tensor:
        """log q(code | x) ``(B,)``."""
        return total(log_density((self.code - self.mean) * (-self.log_sd).exp()) - self.log_sd)

    @cached_property
    def aggregate(self) -> tuple[Tensor, Tensor, Tensor]:
        """log q(z | x) ``(B,)``, log q(z) ``(B,)`` and log q(z_j) ``(k, B)``: stratified estimates.

        Chen et al. (2018), appendix C.2. Of the N components of q(z) the row's own has the weight 1 / N, the others of
        the step share the rest alike (the paper gives one of them an odd weight; this is the mean over which one).
        """
        scaled = (self.code[:, :, None] - self.mean[:, None, :]) * (-self.log_sd)[:, None, :].exp()
        pairs = log_density(scaled) - self.log_sd[:, None, :]  # (k, B of the codes, B of the components)
        log_weight = _log_weights(self.code.shape[1], self.samples).to(pairs)
        joint = torch.logsumexp(pairs.sum(0) + log_weight, 1)
        each = torch.logsumexp(pairs + log_weight, 2)
        return pairs.sum(0).diagonal(), joint, each


def reconstruction(step: Step) -> Tensor:
    """- E log p(x | code)."""
    return -step.seen.mean()


def kl(step: Step) -> Tensor:
    """E KL(q(code | x) || base): in closed form for N(0, I) (Kingma & Welling 2014, appendix B), else at the codes."""
    if step.base is not None:
        return (step.log_posterior - step.log_base).mean()
    each = 0.5 * (step.mean**2 + (2 * step.log_sd).exp() - 1) - step.log_sd
    return total(each).mean()


def mutual_information(step: Step) -> Tensor:
    """E log q(z | x) / q(z), between code and sample."""
    own, joint, _ = step.aggregate
    return (own - joint).mean()


def total_correlation(step: Step) -> Tensor:
    """E log q(z) / prod_j q(z_j): how far the elements of the code are from independent."""
    _, joint, each = step.aggregate
    return (joint - total(each)).mean()


def adversarial_correlation(step: Step) -> Tensor:
    """The total correlation again, as a critic that learns beside the decoder estimates it (Kim & Mnih 2018, eq. 3)."""
    if step.ratio is None:
        raise ValueError("The term 'adversarial_correlation' needs a critic. Only the fit of a decoder brings one.")
    return step.ratio.mean()


def dimension_wise_kl(step: Step) -> Tensor:
    """E log prod_j q(z_j) / p(z_j | conditions)."""
    *_, each = step.aggregate
    return (total(each) - step.log_base).mean()


def dip_i(step: Step) -> Tensor:
    """Squared departure of the covariance of the means from I: 10 off the diagonal to 1 on it.

    Kumar et al. (2018), eq. 6 (DIP-VAE-I), with lambda_od = 10 lambda_d.
    """
    return _departure(_covariance(step.mean), 10.0)


def dip_ii(step: Step) -> Tensor:
    """Squared departure of the covariance of the codes from I (Kumar et al. 2018, eq. 7, DIP-VAE-II)."""
    within = (2 * step.log_sd).exp().mean(1)
    return _departure(_covariance(step.mean) + torch.diag(within), 1.0)


def contrast(step: Step) -> Tensor:
    """- E log p(code | conditions) / p(code), p(code) the base's mean over the conditions.

    Minus a lower bound of the information that the code has about the conditions; of a label, with the values equally
    frequent, it is the loss of classifying the value by the base's densities, less the log of their number: the
    time-contrastive learning of Hyvärinen & Morioka (2016), eq. 4. Unlike the bound it does not change when the code is
    stretched, so that what is easy to reconstruct does not decide what the code is.
    """
    ratio = None if step.log_ratio is None else step.log_ratio()
    if ratio is None:
        raise ValueError("The term 'contrast' needs a base that depends on conditions. Give `base=ConditionalBase()`.")
    return -ratio.mean()


def spike_slab(step: Step) -> Tensor:
    """- log p(mask) / N, of a decoder with a sparse mask (Moran et al. 2022, eq. 5)."""
    if step.penalty is None:
        raise ValueError("The term 'spike_slab' needs a mask. Give the decoder `sparse=SpikeSlab()`.")
    return step.penalty / step.samples


def label(step: Step) -> Tensor:
    """Half the mean squared distance of the labelled elements of the code from their labels; 0 without labels."""
    if step.labels is None:
        raise ValueError("The term 'label' needs labels. Give `labels` of the samples, NaN where there is none.")
    known = ~torch.isnan(step.labels)
    difference = torch.where(known, step.mean[: len(step.labels)] - torch.where(known, step.labels, 0.0), 0.0)
    return 0.5 * difference.square().sum() / known.sum().clamp(min=1)


def _covariance(columns: Tensor) -> Tensor:
    centred = columns - columns.mean(1, keepdim=True)
    return centred @ centred.mT / columns.shape[1]


def _departure(covariance: Tensor, off: float) -> Tensor:
    difference = covariance - torch.eye(len(covariance), dtype=covariance.dtype, device=covariance.device)
    on = difference.diagonal().square().sum()
    return on + off * (difference.square().sum() - on)


def _log_weights(rows: int, samples: int) -> Tensor:
    """Log weights ``(B, B)`` of component j for the code of row i; those of a row add up to 1."""
    if rows < 2:
        raise ValueError("Invalid step of one row. The terms of the code need at least 2, better hundreds.")
    others = (1 - 1 / samples) / (rows - 1)
    weights = torch.full((rows, rows), math.log(others), dtype=torch.float64)
    return weights.fill_diagonal_(-math.log(samples))
