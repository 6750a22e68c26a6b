"""What the particles of a twisted sampler come to, and whether they can be relied on."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from physgen.diagnostics.convergence import rhat
from physgen.diagnostics.resampling import systematic
from physgen.status import Status

_FAMILIES = 8  # effective number of origins below which what they differ by tells nothing of an error
_SHIFT = 0.1  # standard deviations by which an answer in half as many steps may differ, beside its error
_APART = 0.03  # greatest difference of the distribution functions, the same
_CHANCE = 1.95  # the latter by chance, in one of a thousand (Kolmogorov 1933), times the root of 1 / draws


@dataclass(frozen=True, eq=False)
class Weighed:
    """Causes x (B, P, n) of C islands of N particles, and what they are worth.

    Attributes
    ----------
    weight : Tensor (B, P)
        Of the sum 1.
    log_evidence, evidence_error : Tensor (B,)
        The latter is a standard error, from what the islands differ by; of the logarithm.
    mean, sd, error : Tensor (B, n)
        Of the causes; the standard error of the mean.
    ess : Tensor (B,)
        Effective draws: of mean and spread, the smallest over the causes.
    """

    x: Tensor
    weight: Tensor
    log_evidence: Tensor
    evidence_error: Tensor
    mean: Tensor
    sd: Tensor
    error: Tensor
    ess: Tensor

    @staticmethod
    def of(x: Tensor, log_weight: Tensor, eve: Tensor) -> Weighed:
        """From unnormalised log weights (B, C, N), and which particle each (B, P) descends from."""
        flat = log_weight.flatten(1)
        dead = torch.isneginf(flat).all(-1, keepdim=True)
        weight = torch.softmax(torch.where(dead, 0.0, flat), -1)
        each = torch.logsumexp(log_weight, -1) - math.log(log_weight.shape[-1])
        count = each.shape[1]
        relative = (each - each.amax(-1, keepdim=True)).exp()
        middle = relative.cumsum(-1)[:, -1] / count
        scattered = (relative - middle[:, None]).square().cumsum(-1)[:, -1] / (count - 1) / count
        mean = (weight[..., None] * x).cumsum(1)[:, -1]
        off = x - mean[:, None]
        variance, error = _moments(off, weight, eve)
        spread = off.square() - variance[:, None]
        spread_variance, spread_error = _moments(spread, weight, eve)
        ess = torch.minimum(variance / error**2, spread_variance / spread_error**2)
        ess = torch.nan_to_num(ess, nan=torch.inf).amin(-1).minimum(1 / weight.square().cumsum(-1)[:, -1])
        families = 1 / _families(weight, weight, eve).square().cumsum(-1)[:, -1]
        ess = torch.where(families < _FAMILIES, ess.minimum(families), ess)
        return Weighed(
            x,
            weight,
            torch.logsumexp(each, -1) - math.log(count),
            scattered.sqrt() / middle,
            mean,
            variance.sqrt(),
            error,
            ess,
        )

    def agrees(self, other: Weighed, most: float) -> Tensor:
        """Whether (B,) the other, of half as many steps, tells the same but for the errors of both."""
        error = (self.error.square() + other.error.square()).sqrt() / self.sd
        shift = (self.mean - other.mean).abs() / self.sd
        spread = (other.sd / self.sd).log().abs()
        relative = (1 / self.ess + 1 / other.ess).sqrt()[:, None]
        same = (shift <= _SHIFT + 3 * error) & (spread <= _SHIFT + 3 * relative)
        same = same & (self._distance(other) <= _APART + _CHANCE * relative) | (self.sd == 0)
        apart = (self.log_evidence - other.log_evidence).abs()
        return same.all(-1) & (apart <= most + 3 * (self.evidence_error + other.evidence_error))

    def _distance(self, other: Weighed) -> Tensor:
        """The greatest difference (B, n) of the distribution functions of each cause."""
        x = torch.cat([self.x, other.x], 1)
        signed = torch.cat([self.weight, -other.weight], 1)
        order = x.sort(dim=1, stable=True).indices
        return signed[..., None].expand_as(x).gather(1, order).cumsum(1).abs().amax(1)

    def draws(self, count: int, index: Tensor, *, seed: int, stage: int) -> Tensor:
        """Equally weighted causes (B, count, n)."""
        place = systematic(self.weight, count, index, seed=seed, stages=(stage, stage + 1))
        return self.x.gather(1, place[..., None].expand(-1, -1, self.x.shape[-1]))


def between(found: Weighed, islands: int, index: Tensor, *, seed: int, stage: int) -> Tensor:
    """R-hat (B,) between islands, the largest over the causes; each is resampled by its own weights."""
    batch, n = len(found.x), found.x.shape[-1]
    x = found.x.reshape(batch, islands, -1, n)
    weight = found.weight.reshape(batch, islands, -1)
    parts = []
    for c in range(islands):
        own = weight[:, c] + torch.finfo(weight.dtype).tiny
        place = systematic(own, x.shape[2], index, seed=seed, stages=(stage + 2 * c, stage + 2 * c + 1))
        parts.append(x[:, c].gather(1, place[..., None].expand(-1, -1, n)))
    stacked = torch.stack(parts, 1).permute(1, 2, 0, 3)
    each = torch.stack([rhat(one.contiguous()) for one in stacked.unbind(2)])
    return torch.nan_to_num(each, nan=0.0).amax(-1)


def verdict(
    found: Weighed,
    control: Weighed,
    rhat: Tensor,
    undefined: Tensor,
    *,
    accept_rhat: float,
    accept_error: float,
    accept_ess: float,
) -> Tensor:
    """A status (B,): TRUSTED where effective draws, islands and steps allow it."""
    agree = (rhat <= accept_rhat) & (found.evidence_error <= accept_error) & found.agrees(control, accept_error)
    status = torch.where(agree, int(Status.TRUSTED), int(Status.APPROXIMATE))
    status = torch.where(found.ess >= accept_ess, status, int(Status.FEW_EFFECTIVE_DRAWS))
    status = torch.where(torch.isfinite(found.log_evidence), status, int(Status.INFEASIBLE))
    return torch.where(undefined > 0, int(Status.MODEL_UNDEFINED), status)


def _moments(f: Tensor, weight: Tensor, eve: Tensor) -> tuple[Tensor, Tensor]:
    """Variance (B, n) of f (B, P, n), whose weighted mean is 0, and the standard error of that mean.

    Draws of one origin are not independent: what they add up to is (Chan & Lai 2013, eq. 2.5; Lee & Whiteley 2018),
    pooled over the islands, so that it becomes what the islands differ by when each has one origin left.
    """
    part = weight[..., None] * f
    share = _families(weight, weight, eve).square().cumsum(-1)[:, -1:]
    square = _families(part, weight, eve).square().cumsum(1)[:, -1] / (1 - share).clamp(min=1e-9)
    return (part * f).cumsum(1)[:, -1], square.sqrt()


def _families(part: Tensor, weight: Tensor, eve: Tensor) -> Tensor:
    """Sums (B, P, *) of parts (B, P, *) of one origin."""
    own = eve.reshape(*eve.shape, *(1 for _ in part.shape[weight.ndim :])).expand_as(part)
    return torch.zeros_like(part).scatter_add_(1, own, part)
