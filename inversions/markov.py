"""What Markov chains of many observations have in common: their starts, their metric, and what they come to.

Positions are ``(B, C, k)``: observations, chains, latents.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from physgen.diagnostics.convergence import ess_bulk, folded, nested_rhat, rank_normalise, rhat
from physgen.noise import Noise
from physgen.problem import Posterior
from physgen.random import normal
from physgen.small_matrices import cholesky, product
from physgen.status import Status

from .climb import climb, nearest_normal
from .gradient import Target
from .mode_search import Search, find_modes

_CANDIDATES = 64  # prior draws, of which the best ones are starts where there is no mode to climb to
_CLIMBED = 256  # latents, at most, of which the curvature is taken where the noise gives none
_CLIMBS = 8  # at least, where there is a gradient but no quadratic model
_LOWER = 20.0  # nats by which the best one's bound of the evidence may exceed that of a climb that is of use
_TRIALS = 16  # draws that measure how near a normal distribution is to the posterior
_MASS = 0.01  # share of the evidence from which on a mode gets a superchain of its own
_BORDER = 0.05  # share of the draws
_SHRINK, _TINY = 5.0, 1e-3  # of the estimated metric towards a small multiple of I, as Stan has it


@dataclass(frozen=True, eq=False)
class Start:
    """Where chains begin.

    Attributes
    ----------
    z : Tensor (B, C, k)
        Chains of a superchain share their start.
    mean : Tensor (B, k)
        The centre that the posterior seems to have: its highest mode, or the prior's centre.
    factor : Tensor (B, k, k)
        Lower Cholesky factor of the covariance that it seems to have.
    status : integer Tensor (B,)
        TRUSTED, or why there can be no chain.
    """

    z: Tensor
    mean: Tensor
    factor: Tensor
    status: Tensor

    def select(self, rows: Tensor) -> Start:
        """Some of the observations."""
        return Start(self.z[rows], self.mean[rows], self.factor[rows], self.status[rows])


def start(posterior: Posterior, chains: int, superchains: int, *, seed: int, index: Tensor, stage: int) -> Start:
    """Starts drawn from the Laplace approximations around the modes, or from the best of some prior draws.

    Parameters
    ----------
    posterior : Posterior
        Of B observations on one axis.
    chains, superchains : int
        The second divides the first.
    seed, index, stage
        Decide the random numbers; `index` (B,) is the number of each observation. Two stages are used.
    """
    k, dtype = posterior.problem.prior.latent_dim, posterior.y.dtype
    eps = normal((superchains, k), index, seed=seed, stage=stage, dtype=dtype)
    if can_climb(posterior):
        found = find_modes(posterior, Search(), seed=seed, index=index)
        # stratified, so that a mode of a fair share gets a superchain
        at = (torch.arange(superchains, dtype=dtype, device=eps.device) + 0.5) / superchains
        hill = (at > found.share.cumsum(-1)[..., None]).sum(1).clamp(max=found.share.shape[1] - 1)  # (B, K)
        hill = _every_hill(hill, found.share)
        factors = cholesky(found.covariance)
        every = torch.arange(len(index), device=eps.device)[:, None]
        z = found.mean[every, hill] + product(factors[every, hill], eps[..., None]).squeeze(-1)
        mean, factor, status = found.best.z, factors[:, 0], _status(posterior, found.best.z)
    else:
        pool = normal((max(_CANDIDATES, 4 * superchains), k), index, seed=seed, stage=stage + 1, dtype=dtype)
        value = torch.nan_to_num(posterior.log_prob(pool.transpose(0, 1)).mT, nan=-torch.inf)
        best = value.topk(max(superchains, _CLIMBS), dim=1).indices
        climbers = pool.gather(1, best[..., None].expand(-1, -1, k))
        z = climbers[:, :superchains]
        mean = torch.zeros_like(z[:, 0])
        factor = torch.eye(k, dtype=dtype, device=z.device).expand(len(index), k, k).clone()
        status = torch.where(torch.isneginf(value).all(1), int(Status.INFEASIBLE), int(Status.TRUSTED))
        if posterior.problem.differentiable and k <= _CLIMBED:
            z, mean, factor = _climbed(posterior, _feasible(posterior, climbers), eps, pool[:, :_TRIALS])
    z = _feasible(posterior, z)
    return Start(z.repeat_interleave(chains // superchains, 1), mean, factor, status)


def _climbed(posterior: Posterior, z: Tensor, eps: Tensor, trial: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Starts (B, K, k) drawn from the best of the normal approximations along climbs, and mean and factor of the best.

    Climbs begin at z (B, J, k), J of K or more. One that was caught on a lower hill is of no use: its chains would not
    leave it, and the metric would be that of the distance between the hills.
    """
    target = Target(posterior)
    means, factors, bound = nearest_normal(target, climb(target, z), trial)
    bound, order = torch.nan_to_num(bound, nan=-torch.inf).sort(dim=1, descending=True, stable=True)
    useful = (bound > bound[:, :1] - _LOWER).sum(1, keepdim=True).clamp(min=1)
    pick = order.gather(1, torch.arange(eps.shape[1], device=z.device) % useful)
    every = torch.arange(len(z), device=z.device)[:, None]
    means, factors = means[every, pick], factors[every, pick]
    return means + product(factors, eps[..., None]).squeeze(-1), means[:, 0], factors[:, 0]


def _every_hill(hill: Tensor, share: Tensor) -> Tensor:
    """Which hill each superchain (B, K) begins on, with at least one on every hill that holds mass.

    Its draws then have too large a weight, but R-hat tells so; a hill that no chain has seen, nothing would tell of.
    """
    count = hill.shape[1]
    for number in range(1, share.shape[1]):
        unseen = (share[:, number] > _MASS) & ~(hill == number).any(1)
        place = max(count - number, 1)
        hill[:, place] = torch.where(unseen, number, hill[:, place])
    return hill


def can_climb(posterior: Posterior) -> bool:
    """Whether the problem has gradients, and a quadratic model that is no larger than memory."""
    noise = posterior.problem.noise
    if not posterior.problem.differentiable or type(noise).whiten is Noise.whiten:
        return False
    return posterior.y.shape[-1] * posterior.problem.prior.latent_dim <= 1 << 22


def _status(posterior: Posterior, z: Tensor) -> Tensor:
    value = posterior.log_prob(z)
    status = torch.where(torch.isneginf(value), int(Status.INFEASIBLE), int(Status.TRUSTED))
    return torch.where(torch.isnan(value), int(Status.MODEL_UNDEFINED), status)


def _feasible(posterior: Posterior, z: Tensor) -> Tensor:
    """Starts (B, K, k); those of no density are replaced by the first of its observation that has one."""
    value = posterior.log_prob(z.transpose(0, 1)).mT
    good = torch.isfinite(value)
    first = good.to(torch.int8).argmax(1)
    every = torch.arange(len(z), device=z.device)
    return torch.where(good[..., None], z, z[every, first][:, None])


def metric(z: Tensor) -> Tensor:
    """Cholesky factor (B, k, k) of the covariance of draws (B, S, k), shrunk a little towards 0.

    With fewer than five draws for each latent, of its diagonal alone.
    """
    count, k = z.shape[1:]
    if count < 5 * k:
        variance = mean_of((z - mean_of(z)[:, None]) ** 2)
        return torch.diag_embed(((count * variance + _SHRINK * _TINY) / (count + _SHRINK)).sqrt())
    covariance = mean_and_covariance(z)[1]
    identity = torch.eye(k, dtype=z.dtype, device=z.device)
    return cholesky((count * covariance + _SHRINK * _TINY * identity) / (count + _SHRINK))


def mean_of(x: Tensor) -> Tensor:
    """Mean over the second axis, in an order that does not depend on the number of observations."""
    return x.cumsum(1)[:, -1] / x.shape[1]


def at_borders(z: Tensor, value: Tensor) -> Tensor:
    """Means (B, 2, k) of values (B, C, S) over the outer twentieth of draws z (B, C, S, k), below and above.

    In each latent; NaN is left out.
    """
    flat, value = z.flatten(1, 2), value.flatten(1, 2)
    order = flat.argsort(1)
    count = max(1, round(_BORDER * order.shape[1]))
    ends = torch.stack([order[:, :count], order[:, -count:]], 1)  # (B, 2, count, k)
    rows = torch.arange(len(value), device=value.device)[:, None, None, None]
    return value[rows, ends].nanmean(2)


def mean_and_covariance(z: Tensor) -> tuple[Tensor, Tensor]:
    """Mean (B, k) and covariance (B, k, k) of draws (B, S, k)."""
    centre = mean_of(z)
    off = z - centre[:, None]
    return centre, product(off.mT, off) / z.shape[1]


def summary(posterior: Posterior, z: Tensor, superchains: int) -> dict[str, Tensor]:
    """What the draws (B, C, S, k) of chains come to.

    Returns
    -------
    dict of Tensor
        samples (B, C, S, n); latent_mean (B, k), latent_covariance (B, k, k); ess (B,), the smallest over the causes
        and their distances from the median; rhat (B,), the largest over the causes of R-hat, or of nested R-hat where
        there are superchains of several chains, both of ranks and of folded ranks; infinite where a latent never moved.
    """
    batch, chains, draws, k = z.shape
    x = posterior.decode(z.permute(1, 2, 0, 3))  # (C, S, B, n)
    # where chains jump from side to side, or move on an ellipse of the right shape, the mean forgets before the spread
    both = (x, folded(x))
    if 1 < superchains < chains:
        ratio = torch.maximum(*(nested_rhat(rank_normalise(part), superchains) for part in both))
    else:
        ratio = rhat(x)
    stuck = (z.amax((1, 2)) == z.amin((1, 2))).any(-1)
    centre, covariance = mean_and_covariance(z.reshape(batch, chains * draws, k))
    return {
        "samples": x.permute(2, 0, 1, 3),
        "latent_mean": centre,
        "latent_covariance": covariance,
        # a cause that is set by intervention is constant: it has no R-hat
        "rhat": torch.where(stuck, torch.inf, torch.nan_to_num(ratio, nan=0.0).amax(-1)),
        "ess": torch.minimum(*(each(ess_bulk, part) for part in both)).amin(-1),
    }


def each(statistic: Callable[[Tensor], Tensor], x: Tensor) -> Tensor:
    """A statistic (B, n) of chains (C, S, B, n), one by one: a Fourier transform rounds by its batch."""
    return torch.stack([statistic(part.contiguous()) for part in x.unbind(2)])


def judge(
    target: Target, started: Tensor, rhat: Tensor, ess: Tensor, *, accept_rhat: float, accept_ess: float
) -> Tensor:
    """A status (B,) from the chains' agreement and length."""
    status = torch.where(ess >= accept_ess, int(Status.TRUSTED), int(Status.CHAINS_TOO_SHORT))
    status = torch.where(rhat <= accept_rhat, status, int(Status.CHAINS_DISAGREE))
    status = torch.where(target.undefined > 0, int(Status.MODEL_UNDEFINED), status)
    return torch.where(started == Status.TRUSTED, status, started)
