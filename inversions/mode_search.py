"""The modes of many posteriors at once: one climb for every observation, and others where one may not be all."""

from __future__ import annotations

from dataclasses import dataclass, fields

import torch
from torch import Tensor

from physgen.problem import Posterior
from physgen.random import normal
from physgen.small_matrices import product

from .levenberg_marquardt import Modes, laplace_statistics, maximise

_APART = 4.0  # modes nearer than this squared distance, in posterior standard deviations, are one
_UNEXPLAINED = 8.0  # by so much may a log density exceed what the known modes make of it
_NEGLIGIBLE = 12.0  # a mode whose log evidence is lower than the best one's by more holds no mass


@dataclass(frozen=True)
class Search:
    """Settings of the search: see `OptimalEstimation`."""

    iterations: int = 25
    tolerance: float = 1e-2
    restarts: int = 2
    candidates: int = 64


@dataclass(frozen=True, eq=False)
class Found:
    """The modes of B observations, at most J each.

    Attributes
    ----------
    best : Modes
        The highest one.
    mean, covariance : Tensor (B, J, k), (B, J, k, k)
        Laplace approximations around all of them, the best one first, and in place of those that are missing.
    share : Tensor (B, J)
        Of the Laplace evidence; 0 where there is no such mode.
    """

    best: Modes
    mean: Tensor
    covariance: Tensor
    share: Tensor

    def select(self, rows: slice) -> Found:
        """Some of the observations."""
        return Found(self.best.select(rows), self.mean[rows], self.covariance[rows], self.share[rows])


def find_modes(posterior: Posterior, search: Search, *, seed: int, index: Tensor) -> Found:
    """Climb once for every observation, and again from elsewhere where the first climb leaves a doubt.

    There is a doubt where the climb did not converge, where its end does not fit, and where some draw of the prior
    has a density far above what the Laplace approximations so far make of it: it may stand on another hill.

    Parameters
    ----------
    posterior : Posterior
        Of B observations on one axis.
    search : Search
    seed, index
        Decide the random numbers; `index` (B,) is the number of each observation.
    """
    k = posterior.problem.prior.latent_dim
    pool = _candidates(search, index, seed, 0, k, posterior.y.dtype)
    value = _log_prob(posterior, pool)
    hills = [_climb(posterior, _pick(pool, value.argmax(0)), search)]
    doubt = ~hills[0].converged | _misfit(posterior, hills[0].z)
    for stage in range(1, search.restarts + 1):
        excess = value - _explained(pool, hills)
        rows = torch.nonzero(doubt | (excess > _UNEXPLAINED).any(0)).squeeze(-1)
        if not rows.numel():
            break
        start = _pick(pool, excess.argmax(0))[rows]
        here, afresh = posterior.select(rows), doubt[rows]
        fresh = _candidates(search, index[rows], seed, stage, k, posterior.y.dtype)
        if bool(afresh.any()):
            start = torch.where(afresh[:, None], _pick(fresh, _log_prob(here, fresh).argmax(0)), start)
        climbed = _climb(here, start, search)
        hills.append(_scattered(climbed, rows, hills[0]))
        new = torch.zeros_like(doubt)
        new[rows] = _distinct(climbed, [h.select(rows) for h in hills[:-1]])
        value = value.masked_fill(~(new | doubt), -torch.inf)  # the same hill again: the others would lead there too
    return _found(hills, search.restarts + 1)


def climb_higher(posterior: Posterior, modes: Modes, point: Tensor, search: Search) -> Modes:
    """The modes, after a climb from points (B, k) that stand higher than they do."""
    value = _log_prob(posterior, point[None])[0]
    rows = torch.nonzero(value > modes.log_prob + 1e-2).squeeze(-1)
    if not rows.numel():
        return modes
    return modes.replaced(rows, _climb(posterior.select(rows), point[rows], search))


def chi2(posterior: Posterior, z: Tensor) -> Tensor:
    """Sum of squared standardised residuals ``(B,)`` at the latents z ``(B, k)``."""
    _, prediction = posterior.predict(z)
    noise = posterior.problem.noise
    own = posterior.problem.noise_takes.pick(posterior.conditions)
    return (noise.standardise(posterior.y, prediction, **own) ** 2).sum(-1)


def _climb(posterior: Posterior, start: Tensor, search: Search) -> Modes:
    return maximise(posterior, start, iterations=search.iterations, tolerance=search.tolerance)


def _candidates(search: Search, index: Tensor, seed: int, stage: int, k: int, dtype: torch.dtype) -> Tensor:
    """Places to start from (C, B, k): draws of the prior, every other one halfway, and their mirror images.

    The mirror images see to it that no half of the prior goes unseen. The first place of all is the prior's centre.
    """
    count = search.candidates
    z = normal(((count + 1) // 2, k), index, seed=seed, stage=stage, dtype=dtype).transpose(0, 1).clone()
    z[1::2] *= 0.5
    z = torch.cat([z, -z])[:count]
    if stage == 0:
        z[0] = 0
    return z


def _log_prob(posterior: Posterior, z: Tensor) -> Tensor:
    return torch.nan_to_num(posterior.log_prob(z), nan=-torch.inf)


def _pick(pool: Tensor, which: Tensor) -> Tensor:
    """One candidate (B, k) of each column of the pool (C, B, k)."""
    return pool.gather(0, which[None, :, None].expand(1, -1, pool.shape[-1])).squeeze(0)


def _misfit(posterior: Posterior, z: Tensor) -> Tensor:
    """Whether chi2 is so far above its expectation that its probability under the model is below 1e-4."""
    measured = (~torch.isnan(posterior.y)).sum(-1)
    return chi2(posterior, z) > measured + 4 * torch.sqrt(2.0 * measured) + 6


def _distance(z: Tensor, mode: Modes) -> Tensor:
    """Squared distance (C, B) of z (C, B, k) from a mode, in its posterior standard deviations."""
    d = (z - mode.z).transpose(0, 1)
    return ((d * d).sum(-1) + (d * product(d, mode.information)).sum(-1)).mT


def _explained(z: Tensor, hills: list[Modes]) -> Tensor:
    """The highest log density (C, B) that the Laplace approximations give to z (C, B, k)."""
    logs = [h.log_prob - 0.5 * _distance(z, h) for h in hills]
    return torch.stack([torch.nan_to_num(value, nan=-torch.inf) for value in logs]).amax(0)


def _distinct(mode: Modes, others: list[Modes]) -> Tensor:
    """Whether a mode (B,) is none of the others: far from each, as either sees it."""
    out = mode.converged.clone()
    for other in others:
        near = torch.minimum(_distance(mode.z[None], other), _distance(other.z[None], mode))[0] < _APART
        out &= ~(near & torch.isfinite(other.log_prob))
    return out


def _scattered(modes: Modes, rows: Tensor, like: Modes) -> Modes:
    """Modes of some rows among all; the others are absent (log density -inf)."""
    new = {f.name: torch.zeros_like(getattr(like, f.name)) for f in fields(Modes)}
    new["log_prob"] = torch.full_like(like.log_prob, -torch.inf)
    return Modes(**{name: value.index_copy(0, rows, getattr(modes, name)) for name, value in new.items()})


def _found(hills: list[Modes], count: int) -> Found:
    """The best of `count` hills, and those besides it that are hills of their own and hold mass."""
    best, every = hills[0], torch.arange(len(hills[0].z), device=hills[0].z.device)
    for hill in hills[1:]:
        best = best.replaced(every, hill)
    stats = laplace_statistics(best.information)
    evidence = best.log_prob - stats["information_content"]
    means, covariances, logs = [best.z], [stats["latent_covariance"]], [evidence]
    others = [_instead(hill, best, hills[0]) for hill in hills[1:]]
    for number, hill in enumerate(others):
        own = laplace_statistics(hill.information)
        log_evidence = hill.log_prob - own["information_content"]
        keep = _distinct(hill, [best, *others[:number]]) & (log_evidence > evidence - _NEGLIGIBLE)
        means.append(torch.where(keep[:, None], hill.z, best.z))
        covariances.append(torch.where(keep[:, None, None], own["latent_covariance"], covariances[0]))
        logs.append(torch.where(keep, log_evidence, -torch.inf))
    share = torch.stack(logs, -1) - evidence[:, None]
    missing = count - len(hills)  # the shape is always the same, so that the answers are, to the last bit
    return Found(
        best,
        torch.stack([*means, *[best.z] * missing], 1),
        torch.stack([*covariances, *[covariances[0]] * missing], 1),
        torch.nn.functional.pad(torch.softmax(torch.nan_to_num(share, nan=0.0), -1), (0, missing)),
    )


def _instead(hill: Modes, best: Modes, first: Modes) -> Modes:
    """A hill; the first one where this has become the best."""
    chosen = (hill.z == best.z).all(-1)
    new = {}
    for f in fields(Modes):
        old = getattr(hill, f.name)
        new[f.name] = torch.where(chosen.reshape(-1, *[1] * (old.ndim - 1)), getattr(first, f.name), old)
    return Modes(**new)
