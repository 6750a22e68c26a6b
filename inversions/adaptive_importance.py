"""Adaptive importance sampling of many posteriors at once, started from their Laplace approximations."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from physgen.diagnostics.psis import pareto_smooth
from physgen.diagnostics.resampling import systematic, unbiased
from physgen.noise import Noise
from physgen.problem import Posterior
from physgen.random import normal, uniform
from physgen.small_matrices import cholesky, inverse, solve
from physgen.status import Status

from .climb import curvature
from .gradient import Target
from .levenberg_marquardt import quadratic_model
from .student_mixture import StudentMixture, around, effective, log_sum_exp, mixture, searched

_STAGE = 16  # random stages of this method begin here; earlier ones belong to the search for modes
_TYPICAL = 0.45  # effective draws over those that a distribution without heavy weights would have
_RESAMPLING = (_STAGE - 1, _STAGE - 2)


@dataclass(frozen=True)
class Schedule:
    """How the rounds go.

    Attributes
    ----------
    draws : tuple of int
        New draws of each round.
    components : int
        Points around which the posterior is linearised anew, from the second round on.
    defence : float
        Share of every proposal that is the prior itself; of the later ones more where there are few latents.
    stop_ess, stop_share : float
        Effective draws that typical weights promise, and the share of all draws that are effective, after which no
        further round is run.
    accept_ess, accept_k_hat : float
        What an answer must reach to be trusted.
    accept_share : float
        Share of all draws that is effective in an answer that is trusted.
    undefined : float
        Share of the draws at which the model may be undefined: these have no weight.
    """

    draws: tuple[int, ...] = (200, 300, 500, 700)
    components: int = 8
    defence: float = 0.03
    stop_ess: float = 200.0
    stop_share: float = 0.6
    accept_ess: float = 100.0
    accept_k_hat: float = 0.7
    accept_share: float = 0.0
    undefined: float = 0.0


@dataclass(frozen=True, eq=False)
class Weighted:
    """What the rounds leave for B observations.

    Attributes
    ----------
    z : Tensor (B, draws, k)
        Latents resampled from the weighted draws.
    status : integer Tensor (B,)
    k_hat, ess, log_evidence : Tensor (B,)
    rounds : integer Tensor (B,)
    best : Tensor (B, k)
        The draw of the highest posterior density.
    undefined : integer Tensor (B,)
        Draws at which the model was undefined.
    """

    z: Tensor
    status: Tensor
    k_hat: Tensor
    ess: Tensor
    log_evidence: Tensor
    rounds: Tensor
    best: Tensor
    undefined: Tensor


def sample_posterior(
    posterior: Posterior,
    mean: Tensor,
    covariance: Tensor,
    share: Tensor,
    *,
    schedule: Schedule,
    draws: int,
    seed: int,
    index: Tensor,
) -> Weighted:
    """Rounds of importance sampling until the answer of each observation is good enough.

    The first proposal is the mixture of the Laplace approximations around the modes, for a few draws. Each later one
    is a mixture of the Laplace approximations around several of the weighted draws so far, which follows a posterior
    that is curved. Every draw is weighted by the mixture of all proposals used (Veach & Guibas 1995; Cornuet et al.
    2012), and the weights are Pareto-smoothed (Vehtari et al. 2024).

    Parameters
    ----------
    posterior : Posterior
        Of B observations on one axis.
    mean, covariance, share : Tensor (B, J, k), (B, J, k, k), (B, J)
        The Laplace approximations around the modes, and their shares of the mass.
    schedule : Schedule
    draws : int
        Draws to resample for each observation.
    seed, index
        Decide the random numbers; `index` (B,) is the number of each observation.
    """
    total, _, k = mean.shape
    out = _empty(total, draws, k, mean)
    active = torch.arange(total, device=mean.device)
    stretch = "log_factor" not in posterior.problem.prior.capabilities  # it could leave a selection's hard edge
    previous = _laplace_moments(mean, covariance, share)
    proposals = [around(mean, covariance, share, schedule.defence)]
    z, target = mean.new_empty(total, 0, k), mean.new_empty(total, 0)
    lost = torch.zeros_like(active)  # draws of no weight
    densities: list[Tensor] = []  # of all draws under each proposal
    for number, size in enumerate(schedule.draws):
        densities.append(proposals[-1].log_prob(z))
        new = _propose(proposals[-1], index[active], size, k, seed, number)
        z = torch.cat([z, new], dim=1)
        value = _log_target(posterior.select(active), new)
        lost = lost + torch.isnan(value).sum(1)
        few = lost <= schedule.undefined * z.shape[1]
        target = torch.cat([target, torch.where(torch.isnan(value) & few[:, None], -torch.inf, value)], dim=1)
        densities = [torch.cat([d, q.log_prob(new)], 1) for d, q in zip(densities, proposals, strict=True)]
        log_weight = target - _log_mixture(densities, schedule.draws[: number + 1])
        smooth, k_hat = pareto_smooth(log_weight.mT)
        weight = smooth.mT.exp().contiguous()
        ess = effective(weight)
        agree = moments(z[:, -size:], log_weight[:, -size:]).agrees(previous)
        status = judge(log_weight, k_hat, ess, agree, schedule)
        enough = (_typical_ess(weight) >= schedule.stop_ess) | (ess >= schedule.stop_share * z.shape[1])
        finished = (
            (enough & (status == Status.TRUSTED))
            | (status == Status.MODEL_UNDEFINED)
            | (number == len(schedule.draws) - 1)
        )
        rows = torch.nonzero(finished).squeeze(-1)
        if rows.numel():
            at = active[rows]
            out.z[at] = resample(z[rows], unbiased(weight[rows]), draws, index[at], seed, stretch, stages=_RESAMPLING)
            out.best[at] = z[rows, torch.nan_to_num(target[rows], nan=-torch.inf).argmax(-1)]
            out.status[at], out.k_hat[at], out.ess[at] = status[rows], k_hat[rows], ess[rows]
            out.log_evidence[at] = torch.logsumexp(log_weight[rows], -1) - torch.log(mean.new_tensor(z.shape[1]))
            out.rounds[at], out.undefined[at] = number + 1, lost[rows]
        rest = torch.nonzero(~finished).squeeze(-1)
        if not rest.numel():
            break
        active, z, target, lost = active[rest], z[rest], target[rest], lost[rest]
        proposals = [p.select(rest) for p in proposals]
        densities = [d[rest] for d in densities]
        previous = moments(z, log_weight[rest])
        proposals.append(_linearised(posterior.select(active), z, _tempered(log_weight[rest]), schedule))
    return out


def _empty(total: int, draws: int, k: int, like: Tensor) -> Weighted:
    nan = torch.full((total,), torch.nan, dtype=like.dtype, device=like.device)
    integers = torch.zeros(total, dtype=torch.int64, device=like.device)
    z, best = like.new_full((total, draws, k), torch.nan), like.new_full((total, k), torch.nan)
    return Weighted(
        z, integers.clone(), nan.clone(), nan.clone(), nan.clone(), integers.clone(), best, integers.clone()
    )


def _propose(proposal: StudentMixture, index: Tensor, size: int, k: int, seed: int, step: int) -> Tensor:
    stage, dtype = _STAGE + 2 * step, proposal.mean.dtype
    normals = normal((size, k), index, seed=seed, stage=stage, dtype=dtype)
    uniforms = uniform((size, max(proposal.df) // 2), index, seed=seed, stage=stage + 1, dtype=dtype)
    return proposal.sample(normals, uniforms)


def _linearised(posterior: Posterior, z: Tensor, weight: Tensor, schedule: Schedule) -> StudentMixture:
    """A mixture of the posteriors of the problem linearised at some of the weighted draws.

    Around each point, one Newton step leads to the centre of its Laplace approximation. A long step leaves the region
    where the linearisation holds, and is cut to two posterior standard deviations.
    """
    count, k = schedule.components, z.shape[-1]
    cumulative = weight.cumsum(-1)
    ladder = (torch.arange(count, dtype=z.dtype, device=z.device) + 0.5) / count * cumulative[:, -1:]
    pick = torch.searchsorted(cumulative, ladder).clamp(max=z.shape[1] - 1)
    points = z.gather(1, pick[..., None].expand(-1, -1, k))
    gradient, precision = _quadratic(posterior.repeat(count), points.flatten(0, 1))
    factor = cholesky(precision)
    step = solve(factor, gradient[..., None]).squeeze(-1)
    length = (gradient * step).sum(-1).clamp(min=1e-12).sqrt()
    step = step * (2 / length).clamp(max=1)[:, None]
    means = points + step.reshape(points.shape)
    factors = cholesky(inverse(factor)).reshape(*points.shape, k)
    return mixture(means, factors, z, weight, max(schedule.defence, searched(k)))


def _quadratic(posterior: Posterior, z: Tensor) -> tuple[Tensor, Tensor]:
    """Gradient (B, k) of the log density at z (B, k), and the precision (B, k, k) of its normal approximation."""
    if type(posterior.problem.noise).whiten is Noise.whiten:
        return curvature(Target(posterior), z)
    gradient, information, _ = quadratic_model(posterior, z)
    return gradient, information + torch.eye(z.shape[-1], dtype=z.dtype, device=z.device)


def _log_target(posterior: Posterior, z: Tensor) -> Tensor:
    """Unnormalised log posterior density (B, S) of z (B, S, k); NaN where the model is undefined.

    So far out that the prior holds nothing, an undefined model has no mass.
    """
    value = posterior.log_prob(z.transpose(0, 1)).mT
    return torch.where(torch.isnan(value) & ~Target(posterior).near(z), -torch.inf, value)


def _log_mixture(densities: list[Tensor], counts: Sequence[int]) -> Tensor:
    """Log density (B, S) of the mixture of all proposals used, each by its number of draws."""
    return log_sum_exp([d + math.log(n / sum(counts)) for d, n in zip(densities, counts, strict=True)])


@dataclass(frozen=True, eq=False)
class Moments:
    """Mean (B, k) and standard deviation (B, k) of the latents, from so many effective draws (B,)."""

    mean: Tensor
    sd: Tensor
    ess: Tensor

    def agrees(self, other: Moments) -> Tensor:
        """Whether two estimates differ by no more than Monte-Carlo error, and a quarter of a standard deviation."""
        error = torch.sqrt(1 / self.ess + 1 / other.ess)[:, None]
        shift = (self.mean - other.mean).abs() / torch.minimum(self.sd, other.sd)
        spread = torch.log(self.sd / other.sd).abs()
        return ((shift < 0.25 + 4 * error) & (spread < 0.25 + 4 * error)).all(-1)


def _laplace_moments(mean: Tensor, covariance: Tensor, share: Tensor) -> Moments:
    centre = (share[..., None] * mean).sum(1)
    variance = covariance.diagonal(dim1=-2, dim2=-1) + (mean - centre[:, None]) ** 2
    return Moments(centre, (share[..., None] * variance).sum(1).sqrt(), torch.full_like(share[:, 0], torch.inf))


def moments(z: Tensor, log_weight: Tensor) -> Moments:
    """Those of draws (B, S, k) with unnormalised log weights (B, S)."""
    weight = torch.softmax(torch.nan_to_num(log_weight, nan=-torch.inf), dim=-1)
    mean = (weight[..., None] * z).sum(1)
    variance = (weight[..., None] * (z - mean[:, None]) ** 2).sum(1)
    return Moments(mean, variance.sqrt(), effective(weight))


def judge(log_weight: Tensor, k_hat: Tensor, ess: Tensor, agree: Tensor, schedule: Schedule) -> Tensor:
    """A status (B,) from unnormalised log weights (B, S), their tail, effective draws, and whether rounds agree."""
    status = torch.full(k_hat.shape, int(Status.TRUSTED), dtype=torch.int64, device=k_hat.device)
    status[~agree] = Status.ROUNDS_DISAGREE
    least = max(schedule.accept_ess, schedule.accept_share * log_weight.shape[-1])
    status[~(ess >= least)] = Status.FEW_EFFECTIVE_DRAWS
    status[~(k_hat < schedule.accept_k_hat)] = Status.HEAVY_TAILS
    status[torch.isneginf(log_weight).all(-1)] = Status.INFEASIBLE
    status[torch.isnan(log_weight).any(-1) | torch.isposinf(log_weight).any(-1)] = Status.MODEL_UNDEFINED
    return status


def _typical_ess(weight: Tensor) -> Tensor:
    """Effective number of draws (B,) of normalised weights (B, S), the heaviest twentieth being cut down to the next.

    To stop by the effective number itself would be to stop sooner where, by chance, no heavy draw has come yet: tails
    would be missing from the answers.
    """
    count = weight.shape[-1]
    bound = weight.kthvalue(count - count // 20, dim=-1, keepdim=True).values
    return _TYPICAL * weight.clamp(max=bound).sum(-1) ** 2 / weight.clamp(max=bound).square().sum(-1)


def _tempered(log_weight: Tensor, least: float = 60.0) -> Tensor:
    """Normalised weights (B, S), flattened by a power just small enough for `least` effective draws.

    A mixture fitted to a handful of dominant draws would collapse onto them.
    """
    largest = log_weight.amax(-1, keepdim=True)
    log_weight = torch.where(torch.isneginf(largest), 0, log_weight - largest)  # no finite weight yet: all alike
    log_weight = torch.nan_to_num(log_weight, nan=-torch.inf, neginf=-1e4)
    least = min(least, 0.5 * log_weight.shape[-1])
    low, high = torch.zeros_like(log_weight[:, :1]), torch.ones_like(log_weight[:, :1])
    power = high
    for _ in range(12):
        enough = effective(torch.softmax(power * log_weight, -1))[:, None] >= least
        low, high = torch.where(enough, power, low), torch.where(enough, high, power)
        power = torch.where(enough & (power == 1), power, 0.5 * (low + high))
    return torch.softmax(power * log_weight, -1)


def resample(
    z: Tensor, weight: Tensor, draws: int, index: Tensor, seed: int, stretch: bool, *, stages: tuple[int, int]
) -> Tensor:
    """Resample `draws` latents for each observation; stretched about their mean by what so few draws leave out."""
    pick = systematic(weight, draws, index, seed=seed, stages=stages)
    drawn = z.gather(1, pick[..., None].expand(-1, -1, z.shape[-1]))
    if not stretch:
        return drawn
    mean, factor = _small_sample(z, weight)
    return mean + factor * (drawn - mean)


def _small_sample(z: Tensor, weight: Tensor) -> tuple[Tensor, Tensor]:
    """Mean (B, 1, k) of weighted draws, and by how much (B, 1, k) they must be stretched about it.

    Like the variance of n plain draws, that of weighted ones is too small by the variance of their mean, a share
    e = sum w^2 (z - m)^2 / sum w (z - m)^2 of it (Bessel's correction, latent by latent). And an interval around a mean
    that is itself uncertain must be wider by e again.
    """
    mean = (weight[..., None] * z).sum(1, keepdim=True)
    square = weight[..., None] * (z - mean) ** 2
    e = (weight[..., None] * square).sum(1, keepdim=True) / square.sum(1, keepdim=True).clamp(min=1e-30)
    e = e.clamp(max=0.2)  # with fewer than five effective draws there is nothing to correct
    return mean, torch.sqrt(1 / (1 - e) + e)
