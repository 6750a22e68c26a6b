"""Variational: the nearest Gaussian, by its geometry (images of a million latents) or by its evidence bound."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from physgen.diagnostics.resampling import systematic
from physgen.noise import Noise
from physgen.problem import Posterior, Problem
from physgen.progress import Progress
from physgen.random import normal
from physgen.result import Result
from physgen.small_matrices import cholesky, inverse
from physgen.status import Status

from .adaptive_importance import Schedule, sample_posterior
from .batched import Layout, invert
from .geometric_vi import DENSE, Effort, displacements, energies, factor_of, fit, mode
from .gradient import Target, need_gradient
from .markov import mean_and_covariance, mean_of
from .variational_gaussian import GaussianFit, fit_gaussian
from .variational_hills import Hill, candidates, find_hills, height, highest

FAMILIES = ("geometric", "full-rank", "mean-field")
CORRECTED = 50  # latents up to which importance weights correct the draws
_COVARIANCE = 256  # latents up to which their covariance is reported
_FULL = 1024  # latents up to which a full matrix is learned
_STAGE = (1 << 21) + (1 << 16) * 4  # random stages of this method: 0 candidates, 1 to 3 draws, from 64 on the search
_SEARCH = _STAGE + 64
_DRAWS = _STAGE + (1 << 13)  # from here on two for each pair of draws
_CANDIDATES = 64
_FIRST_SD = 0.3  # of the Gaussian that a search begins with where no curvature is known


@dataclass(frozen=True)
class Variational:
    r"""The Gaussian nearest to the posterior, corrected by importance weights where there are few latents.

    "geometric" (metric Gaussian variational inference, Knollmuller & Ensslin 2019): :math:`N(m, (I + A^T A)^{-1})`, A
    the whitened Jacobian at m. Draws are made by perturbing and optimising with conjugate gradients, m minimises the
    mean energy of displaced points. Everything is done by products with the Jacobian, which is never formed: images of
    1e4 to 1e6 latents, one after the other. It needs a model that is differentiable twice, and a noise with `whiten`.
    Exact where the problem is linear with Gaussian noise, to the tolerance.

    "full-rank" and "mean-field": the Gaussian with, or without, correlations that maximises the evidence lower bound,
    by stochastic gradients (Kucukelbir et al. 2017), many observations at once. They begin at the mode and its
    curvature if the noise has `whiten`, but need a gradient only; "mean-field" knows no correlations, and its standard
    deviations are too small.

    Up to 50 latents the draws are then corrected: the Gaussian is the first proposal of the importance sampling of
    `OptimalEstimation`, which also begins from other hills where prior draws point to one, and the status is what its
    weights say. Of more latents the answer is APPROXIMATE.

    Parameters
    ----------
    draws : int
        Draws kept; geometric ones come in antithetic pairs, m + d and m - d.
    family : {"geometric", "full-rank", "mean-field"}
    correct : bool
        Whether to correct where there are at most 50 latents.
    tolerance : float
        Of the geometric family: error of draws and of m, in posterior standard deviations (root mean square over the
        directions of which the data say something).
    pairs : int
        Antithetic pairs of displaced points from which m is found.
    rounds : int
        Turns of drawing and optimising, at most.
    newton_steps, max_steps : int
        Of the optimisation in one turn, and of the conjugate gradients in one solution, at most.
    steps, samples, rate : int, int, float
        Of the other two families: steps of the search, draws of each (even), and how long the first ones are, in
        standard deviations.
    restarts : int
        Further beginnings where other hills are suspected, before the correction.
    accept_ess, accept_k_hat : float
        What a corrected answer must reach to be trusted.
    chunk : int
        Observations held at once.

    Raises
    ------
    ValueError
        If a setting is out of range.

    References
    ----------
    Knollmuller & Ensslin (2019), *Metric Gaussian variational inference*, arXiv:1901.11033; Papandreou & Yuille (2010),
    *Gaussian sampling by local perturbations*, NeurIPS; Kucukelbir, Tran, Ranganath, Gelman & Blei (2017), *Automatic
    differentiation variational inference*, JMLR 18:14; Yao, Vehtari, Simpson & Gelman (2018), *Yes, but did it work?
    Evaluating variational inference*, ICML (k_hat).
    """

    draws: int = 200
    family: str = "geometric"
    correct: bool = True
    tolerance: float = 0.02
    pairs: int = 4
    rounds: int = 12
    newton_steps: int = 40
    max_steps: int = 1000
    steps: int = 800
    samples: int = 16
    rate: float = 0.1
    restarts: int = 2
    accept_ess: float = 100.0
    accept_k_hat: float = 0.7
    chunk: int = 64

    def __post_init__(self) -> None:
        if self.family not in FAMILIES:
            raise ValueError(f"Unknown family {self.family!r}. Must be one of {', '.join(FAMILIES)}.")
        for name, least, most in (
            ("draws", 2, 20_000),  # each has stages of the random numbers
            ("pairs", 1, 4000),
            ("rounds", 1, 1000),
            ("newton_steps", 1, 10_000),
            ("max_steps", 1, 10**6),
            ("steps", 10, 8000),
            ("samples", 2, 10_000),
            ("restarts", 0, 10),
            ("chunk", 1, 10**6),
        ):
            if not least <= getattr(self, name) <= most:
                raise ValueError(f"Invalid {name} {getattr(self, name)}. Must lie within {least} to {most}.")
        if self.samples % 2:
            raise ValueError(f"Invalid samples {self.samples}. Must be even, as draws come in pairs.")
        for name in ("tolerance", "rate", "accept_ess", "accept_k_hat"):
            if not getattr(self, name) > 0:
                raise ValueError(f"Invalid {name} {getattr(self, name):g}. Must be above 0.")

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

        The result's `stats` are latent_mean, latent_sd, latent_covariance (of up to 256 latents), iterations,
        nonfinite, evidence_lower_bound (not of the geometric family), and of a corrected answer k_hat, ess,
        log_evidence and rounds.

        Raises
        ------
        TypeError
            If the forward model has no gradient, or the geometric family meets a noise without `whiten`.
        ValueError
            If there are more latents than a full matrix is learned of, or observations or conditions are of the wrong
            shape, names or range.
        """
        self._refuse(problem)

        def answer(posterior: Posterior, index: Tensor, advance: Callable[[int], None]) -> dict[str, Tensor]:
            out = self._answer(posterior, seed, index)
            advance(len(index))
            return out

        statistics: dict[str, tuple[int | str, ...]] = {"latent_mean": ("k",), "latent_sd": ("k",)}
        statistics |= dict.fromkeys(("k_hat", "ess", "log_evidence", "evidence_lower_bound"), ())
        if problem.prior.latent_dim <= _COVARIANCE:
            statistics["latent_covariance"] = ("k", "k")
        layout = Layout(1, self.draws, statistics, ("iterations", "rounds", "nonfinite"))
        settings = {"conditions": conditions, "seed": seed, "index": index, "progress": progress, "chunk": self.chunk}
        return invert(self, problem, y, answer, layout, **settings)

    def _refuse(self, problem: Problem) -> None:
        need_gradient(problem, "Variational needs", "SliceSampler, TemperedSMC or Ensemble")
        if self.family == "geometric" and type(problem.noise).whiten is Noise.whiten:
            raise TypeError(
                f"The geometric family needs a noise with whiten, and {type(problem.noise).__name__} has none. "
                'Use Variational(family="full-rank") or Hamiltonian.'
            )
        if self.family == "full-rank" and problem.prior.latent_dim > _FULL:
            raise ValueError(
                f"Invalid family full-rank for {problem.prior.latent_dim} latents, more than {_FULL}. "
                'Use Variational(family="geometric"), which holds no matrix, or "mean-field".'
            )

    def _answer(self, posterior: Posterior, seed: int, index: Tensor) -> dict[str, Tensor]:
        target = Target(posterior)
        pool, value = candidates(target, _CANDIDATES, seed=seed, index=index, stage=_STAGE)
        feasible = torch.isfinite(value).any(1)
        rows = torch.nonzero(feasible).squeeze(-1)
        none = torch.where(target.undefined > 0, int(Status.MODEL_UNDEFINED), int(Status.INFEASIBLE))
        out = {"status": none}
        if len(rows):
            here, pool, value = target.select(rows), pool[rows], value[rows]
            corrected = self.correct and target.k <= CORRECTED
            inner = self._corrected if corrected else self._uncorrected
            found = inner(here, pool, value, seed, index[rows])
            undefined = here.undefined > 0
            found["status"][undefined] = Status.MODEL_UNDEFINED
            lost = undefined | (found["status"] == Status.INFEASIBLE)
            found["samples"][lost] = torch.nan
            for name, part in (found | {"nonfinite": here.undefined}).items():
                fill = torch.nan if part.is_floating_point() else 0
                whole = out[name] if name in out else part.new_full((len(index), *part.shape[1:]), fill)
                whole[rows] = part
                out[name] = whole
        return out

    def _corrected(self, target: Target, pool: Tensor, value: Tensor, seed: int, index: Tensor) -> dict[str, Tensor]:
        """Importance sampling that begins with the approximations."""

        def fit_hill(target: Target, start: Tensor, rows: Tensor) -> Hill:
            return self._hill(target, start, seed, index[rows])

        hills = find_hills(target, pool, value, fit_hill, self.restarts)
        logs = torch.stack([hill.log_evidence for hill in hills], 1)
        share = torch.softmax(torch.where(torch.isfinite(logs).any(1, keepdim=True), logs, 0.0), 1)
        rounds = (max(200, self.draws), *Schedule().draws[1:])
        weighted = sample_posterior(
            target.posterior,
            torch.stack([hill.mean for hill in hills], 1),
            torch.stack([hill.covariance for hill in hills], 1),
            share,
            schedule=Schedule(rounds, accept_ess=self.accept_ess, accept_k_hat=self.accept_k_hat),
            draws=self.draws,
            seed=seed,
            index=index,
        )
        sampling = (Status.HEAVY_TAILS, Status.FEW_EFFECTIVE_DRAWS, Status.ROUNDS_DISAGREE)
        # good weights vouch for the draws wherever the search stopped; bad ones may be the search's fault
        unfinished = ~hills[0].converged & torch.isin(weighted.status, weighted.status.new_tensor(sampling))
        out = _summary(target.posterior, weighted.z)
        return out | {
            "status": torch.where(unfinished, int(Status.NOT_CONVERGED), weighted.status),
            "k_hat": weighted.k_hat,
            "ess": weighted.ess,
            "log_evidence": weighted.log_evidence,
            "rounds": weighted.rounds,
            "iterations": torch.stack([hill.iterations for hill in hills]).sum(0),
            "evidence_lower_bound": hills[0].bound,
        }

    def _uncorrected(self, target: Target, pool: Tensor, value: Tensor, seed: int, index: Tensor) -> dict[str, Tensor]:
        start = highest(pool, value)
        if self.family == "geometric":
            parts = [self._geometric(target, start, row, seed, index) for row in range(len(index))]
            z, mean, converged, steps = (torch.stack(part) for part in zip(*parts, strict=True))
            bound = torch.full_like(value[:, 0], torch.nan)
        else:
            found = self._gaussian(target, start, seed, index)
            eps = normal((self.draws, target.k), index, seed=seed, stage=_STAGE + 1, dtype=start.dtype)
            z, mean, converged, bound = found.draw(eps), found.mean, found.converged, found.bound
            steps = torch.full_like(index, self.steps)
        z, possible = self._feasible(target, z, seed, index)
        status = torch.where(converged, int(Status.APPROXIMATE), int(Status.NOT_CONVERGED))
        out = _summary(target.posterior, z)
        return out | {
            "status": torch.where(possible, status, int(Status.INFEASIBLE)),
            "latent_mean": mean,
            "iterations": steps,
            "evidence_lower_bound": bound,
        }

    def _feasible(self, target: Target, z: Tensor, seed: int, index: Tensor) -> tuple[Tensor, Tensor]:
        """Draws (b, S, k), those of no density replaced by others that have one; and whether any has (b,)."""
        one = (target.select(torch.tensor([row])) for row in range(len(z)))
        parts = []
        for row, own in enumerate(one):
            parts.append(torch.isfinite(energies(own, z[row])))
            target.undefined[row] = own.undefined[0]
        good = torch.stack(parts)
        possible = good.any(1)
        pick = systematic(good.double(), self.draws, index, seed=seed, stages=(_STAGE + 2, _STAGE + 3))
        picked = z.gather(1, pick[..., None].expand(-1, -1, z.shape[-1]))
        keep = good.all(1) | ~possible
        return torch.where(keep[:, None, None], z, picked), possible

    def _hill(self, target: Target, start: Tensor, seed: int, index: Tensor) -> Hill:
        """The approximation of few latents, with its covariance."""
        if self.family == "geometric":
            centres, factors, converged, steps = [], [], [], []
            for row in range(len(index)):
                own = target.select(torch.tensor([row]))
                found = fit(own, start[row], self._effort, seed=seed, index=index[row : row + 1], stage=_SEARCH)
                centres.append(found.centre)
                factors.append(factor_of(own, found.centre))
                converged.append(found.converged)
                steps.append(found.steps)
            mean, spread = torch.stack(centres), inverse(torch.stack(factors))
            good, count = torch.tensor(converged), torch.tensor(steps)
            bound = torch.full_like(mean[:, 0], torch.nan)
        else:
            g = self._gaussian(target, start, seed, index)
            mean, spread, good, bound = g.mean, g.covariance, g.converged, g.bound
            count = torch.full_like(index, self.steps)
        return Hill(mean, spread, good, count, bound, *height(target, mean, spread))

    @property
    def _effort(self) -> Effort:
        return Effort(self.tolerance, self.pairs, self.rounds, self.newton_steps, self.max_steps)

    def _geometric(
        self, target: Target, start: Tensor, row: int, seed: int, index: Tensor
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Draws (S, k), centre (k,), whether it was reached, and steps, of one observation."""
        own, number = target.select(torch.tensor([row])), index[row : row + 1]
        numbers = {"effort": self._effort, "seed": seed, "index": number}
        found = fit(own, start[row], stage=_SEARCH, **numbers)  # type: ignore[arg-type]
        drawn = displacements(own, found.centre, (self.draws + 1) // 2, stage=_DRAWS, **numbers)  # type: ignore[arg-type]
        z = found.centre + torch.stack([drawn.d, -drawn.d], 1).flatten(0, 1)[: self.draws]
        return z, found.centre, torch.tensor(found.converged and drawn.solved), torch.tensor(found.steps)

    def _gaussian(self, target: Target, start: Tensor, seed: int, index: Tensor) -> GaussianFit:
        mean, factor = self._begin(target, start)
        if self.family == "mean-field":
            factor = (
                (factor @ factor.mT).diagonal(dim1=-2, dim2=-1).rsqrt() if factor.ndim == 3 else factor.reciprocal()
            )
        elif factor.ndim == 3:
            factor = cholesky(inverse(factor))
        else:
            factor = torch.diag_embed(factor.reciprocal())
        settings = {"steps": self.steps, "samples": self.samples, "rate": self.rate}
        return fit_gaussian(target, mean, factor, seed=seed, index=index, stage=_SEARCH, **settings)  # type: ignore[arg-type]

    def _begin(self, target: Target, start: Tensor) -> tuple[Tensor, Tensor]:
        """Modes (b, k), and Cholesky factors of the precision (b, k, k), or the roots of its diagonal (b, k)."""
        if type(target.posterior.problem.noise).whiten is Noise.whiten:
            return start, torch.full_like(start, 1 / _FIRST_SD)
        modes, factors = [], []
        for row in range(len(start)):
            own = target.select(torch.tensor([row]))
            modes.append(mode(own, start[row], self._effort).centre)
            few = target.k <= DENSE
            factors.append(factor_of(own, modes[-1]) if few else torch.full_like(modes[-1], 1 / _FIRST_SD))
        return torch.stack(modes), torch.stack(factors)


def _summary(posterior: Posterior, z: Tensor) -> dict[str, Tensor]:
    """Samples, and moments of the latents, from draws (b, S, k)."""
    centre = mean_of(z)
    out = {"latent_mean": centre, "latent_sd": mean_of((z - centre[:, None]) ** 2).sqrt()}
    if z.shape[-1] <= _COVARIANCE:
        out["latent_covariance"] = mean_and_covariance(z)[1]
    return out | {"samples": posterior.decode(z.transpose(0, 1)).transpose(0, 1)[:, None]}
