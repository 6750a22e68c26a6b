"""Pathfinder: normal approximations along climbs, corrected by importance weights; for any noise that has a density."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from physgen.problem import Posterior, Problem
from physgen.progress import Progress
from physgen.random import normal
from physgen.result import Result
from physgen.small_matrices import product
from physgen.status import Status

from .adaptive_importance import Schedule, sample_posterior
from .batched import Layout, invert
from .climb import POINTS, climb, normals
from .gradient import Target, need_gradient
from .markov import mean_and_covariance
from .variational_hills import candidates

MOST = 256  # latents of which the curvature is taken by differences
_STAGE = (1 << 21) + (1 << 16) + (1 << 15)  # random stages: candidates, and the draws that measure an approximation
_TRIALS = 16  # of these
_EXPLORE = 0.2  # share of the first proposal that all points of all paths have alike


@dataclass(frozen=True)
class Pathfinder:
    """Normal approximations along climbs of the density, and importance sampling that begins with them.

    What `OptimalEstimation` is to a noise with a quadratic model: each climb passes points of which the curvature
    makes a normal distribution. Their mixture, most of it the one nearest to the posterior, is the first proposal of
    adaptive importance sampling; later ones are mixtures of normal approximations around its weighted draws. After a
    few hundred gradients only densities are evaluated, thousands at a time: where one call of the model is slow, as
    that of a differential equation, that takes a minute.

    Parameters
    ----------
    draws : int
        Draws kept, resampled from the weighted ones.
    paths, candidates : int
        Climbs; and draws of the prior, at the best and at far ones of which they begin.
    round_draws : tuple of int
        Draws of each round, at most.
    components : int
        Points around which the density is approximated anew, from the second round on.
    defence : float
        Share of every proposal that is the prior itself.
    stop_ess, stop_share : float
        Effective draws, and their share of all, after which no further round is run.
    accept_ess, accept_k_hat, accept_share : float
        What an answer must reach to be trusted; the last is the share of its draws that is effective. In funnels whose
        neck no draw had reached it was 0.05 to 0.07.
    undefined : float
        Share of the draws at which the model may be undefined. They have no weight; beyond, nothing is answered.
    chunk : int
        Observations held at once.

    Raises
    ------
    ValueError
        If a setting is out of range.

    References
    ----------
    Zhang, Carpenter, Gelman & Vehtari (2022), *Pathfinder: parallel quasi-Newton variational inference*, JMLR 23:306
    (here with the curvature of the density itself); Cornuet, Marin, Mira & Robert (2012), *Adaptive multiple
    importance sampling*, Scandinavian Journal of Statistics; Vehtari et al. (2024), *Pareto smoothed importance
    sampling*, JMLR.
    """

    draws: int = 1000
    paths: int = 8
    candidates: int = 256
    round_draws: tuple[int, ...] = (1000, 1500, 2500, 3500)
    components: int = 8
    defence: float = 0.03
    stop_ess: float = 1000.0
    stop_share: float = 0.6
    accept_ess: float = 1000.0
    accept_k_hat: float = 0.7
    accept_share: float = 0.125
    undefined: float = 0.05
    chunk: int = 16

    def __post_init__(self) -> None:
        object.__setattr__(self, "round_draws", tuple(self.round_draws))
        for name in ("draws", "paths", "components", "chunk"):
            if getattr(self, name) < 1:
                raise ValueError(f"Invalid {name} {getattr(self, name)}. Must be at least 1.")
        if self.candidates < self.paths:
            raise ValueError(f"Invalid candidates {self.candidates}. Must be at least the {self.paths} paths.")
        if not self.round_draws or min(self.round_draws) < 20:
            raise ValueError(f"Invalid round_draws {self.round_draws}. Give at least one round of 20 draws or more.")
        if not 0 < self.defence <= 0.5:
            raise ValueError(f"Invalid defence {self.defence}. Must be above 0 and at most 0.5.")

    def __call__(
        self,
        problem: Problem,
        y: Any,
        *,
        conditions: Mapping[str, Any] | None = None,
        seed: int = 0,
        index: Any = None,
        progress: Progress = False,
    ) -> Result:
        """Invert observations ``(*batch, m)``; see `physgen.inversions.inversion.Inversion`.

        The result's `stats` are k_hat, ess, log_evidence, rounds, latent_mean, latent_covariance, and nonfinite
        (draws at which the model was undefined).

        Raises
        ------
        TypeError
            If the forward model has no gradient.
        ValueError
            If there are more than 256 latents, or observations or conditions are of the wrong shape, names or range.
        """
        need_gradient(problem, "Pathfinder needs")
        if problem.prior.latent_dim > MOST:
            raise ValueError(
                f"Pathfinder takes at most {MOST} latents, and this prior has {problem.prior.latent_dim}. "
                "Use Hamiltonian or Microcanonical."
            )

        def answer(posterior: Posterior, index: Tensor, advance: Callable[[int], None]) -> dict[str, Tensor]:
            out = self._answer(posterior, seed, index)
            advance(len(index))
            return out

        statistics: dict[str, tuple[int | str, ...]] = dict.fromkeys(("k_hat", "ess", "log_evidence"), ())
        statistics |= {"latent_mean": ("k",), "latent_covariance": ("k", "k")}
        each = 2 + 2 * self.paths * POINTS // problem.prior.latent_dim  # a draw, and its distance from each component
        layout = Layout(1, self.draws, statistics, ("rounds", "nonfinite"), states=sum(self.round_draws) * each)
        settings = {"conditions": conditions, "seed": seed, "index": index, "progress": progress, "chunk": self.chunk}
        return invert(self, problem, y, answer, layout, **settings)

    def _answer(self, posterior: Posterior, seed: int, index: Tensor) -> dict[str, Tensor]:
        target = Target(posterior)
        pool, value = candidates(target, self.candidates, seed=seed, index=index, stage=_STAGE)
        trial = normal((_TRIALS, target.k), index, seed=seed, stage=_STAGE + 1, dtype=pool.dtype)
        path = climb(target, _starts(pool, value, self.paths))
        mean, factor, bound = (part.flatten(1, 2) for part in normals(target, path, trial))
        weighted = sample_posterior(
            posterior,
            mean,
            product(factor, factor.mT),
            _shares(bound),
            schedule=Schedule(
                self.round_draws,
                self.components,
                self.defence,
                self.stop_ess,
                self.stop_share,
                self.accept_ess,
                self.accept_k_hat,
                self.accept_share,
                self.undefined,
            ),
            draws=self.draws,
            seed=seed,
            index=index,
        )
        samples = posterior.decode(weighted.z.transpose(0, 1)).transpose(0, 1)
        lost = (weighted.status == Status.MODEL_UNDEFINED) | (weighted.status == Status.INFEASIBLE)
        samples[lost] = torch.nan
        centre, covariance = mean_and_covariance(weighted.z)
        return {
            "samples": samples[:, None],
            "status": weighted.status,
            "k_hat": weighted.k_hat,
            "ess": weighted.ess,
            "log_evidence": weighted.log_evidence,
            "rounds": weighted.rounds,
            "nonfinite": weighted.undefined,
            "latent_mean": centre,
            "latent_covariance": covariance,
        }


def _starts(pool: Tensor, value: Tensor, count: int) -> Tensor:
    """Of places (B, C, k) and their log densities (B, C): the best one, and others that are far from each other.

    These are of the better quarter, each the farthest from those before it. Returns (B, count, k).
    """
    few = max(count, pool.shape[1] // 4)
    better = value.topk(few, dim=1)
    place = pool.gather(1, better.indices[..., None].expand(-1, -1, pool.shape[-1]))
    chosen, distance = [place[:, 0]], torch.where(torch.isfinite(better.values), torch.inf, -1.0).to(pool)
    every = torch.arange(len(pool), device=pool.device)
    for _ in range(count - 1):
        distance = torch.minimum(distance, (place - chosen[-1][:, None]).square().sum(-1))
        chosen.append(place[every, distance.argmax(1)])
    return torch.stack(chosen, 1)


def _shares(bound: Tensor) -> Tensor:
    """Shares (B, J) of approximations in the first proposal, from their bounds of the log evidence.

    Each has a small one: in a funnel, a path leads through the neck, of which no other proposal would tell.
    """
    bound = torch.nan_to_num(bound, nan=-torch.inf)
    lost = torch.isneginf(bound).all(1, keepdim=True)
    share = torch.softmax(torch.where(lost, 0, bound), 1)
    return (1 - _EXPLORE) * share + _EXPLORE / bound.shape[1]
