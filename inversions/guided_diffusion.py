"""GuidedDiffusion: draws of a diffusion prior that a measurement guides on their way from noise."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor

from physgen.noise import Noise
from physgen.priors.diffusion_levels import karras_levels
from physgen.problem import Posterior, Problem
from physgen.progress import Progress
from physgen.random import normal
from physgen.result import Result
from physgen.status import Status

from .batched import Layout, invert
from .gradient import need_gradient
from .guided_diffusion_steps import Guide
from .twisted_particles import FEWEST_STEPS, MOST_ISLANDS, MOST_STEPS, STAGES, Arrived, Run
from .twisted_rows import rowwise
from .twisted_scatter import PILOTS
from .twisted_summary import Weighed, between, verdict

GUIDANCES = ("moment-matching", "dps")
_STAGE = (1 << 21) + (1 << 16) * 4 + (1 << 15)  # random stages: start, draws for a scale, then one for each step
_TWISTED = (1 << 21) + (1 << 16) * 6  # random stages with particles: two runs
_LAST = STAGES - 64  # of them the comparison of islands
_STATES = 8  # of each particle: where it is, what it is pushed by, fresh noise, ...
_WEIGHED = ("ess", "rhat", "log_evidence", "log_evidence_error")
_SCALE_DRAWS = 64
_PATH = 2 * 1000 / math.sqrt(3 * 256**2)  # steps of 2 zeta, shared out over the elements of an image


@dataclass(frozen=True)
class GuidedDiffusion:
    """Posterior draws from the denoiser of a diffusion prior, each guided by the measurement: fast, and approximate.

    A draw goes from noise to a cause in steps (ancestral sampling), and at each the denoised value is moved towards the
    measurement. What that would take exactly, the distribution of clean values given noisy ones, is not known, only its
    mean, the denoiser. "moment-matching" (Rozet et al. 2024) adds its covariance, from the denoiser's Jacobian, and is
    exact for a normal prior, a linear model and Gaussian noise; "dps" (Chung et al. 2023) has the mean alone and a step
    length to be tuned. Neither weighs separated modes as it should: `benchmarks/guided_gap.py` shows by how much. So
    every answer is APPROXIMATE; SliceSampler and TemperedSMC go through the probability flow of the same prior, and are
    exact.

    With `particles`, the draws are weighed on their way (twisted diffusion sampler, Wu et al. 2023): the answer tends
    to the posterior as particles and steps grow in number, whatever the guidance, and has an evidence. It is TRUSTED
    where independent islands of particles agree, an answer in half as many steps agrees, and the effective draws are
    enough; elsewhere APPROXIMATE or FEW_EFFECTIVE_DRAWS.

    Parameters
    ----------
    draws : int
        Draws, independent of each other.
    guidance : {"moment-matching", "dps"}
    steps : int
        Noise levels (Karras et al. 2022, eq. 5) between the prior's largest and smallest.
    churn : float
        Without particles: share of fresh noise in a step: 1 for ancestral sampling, 0 for the deterministic path.
    products : int
        Without particles: conjugate gradients in one step of moment matching, at most.
    zeta : float
        Without particles: step length of "dps", for residuals that have a unit variance under the prior: 1 is that of
        Chung et al. for 1,000 steps and images of 256 x 256 pixels, in each element, and the same path for other
        numbers of both.
    particles : int
        Of each island; 0 for draws that nothing weighs. "dps" then is the choice of Wu et al.; "moment-matching" has
        the covariance of clean values as a mean over the prior, and needs far fewer particles where the data are
        precise.
    islands : int
        Independent sets of particles; `chains` of the result are not these, but 1.
    accept_rhat, accept_error, accept_ess : float
        With particles: R-hat between islands, standard error of the log evidence, and effective draws that an answer
        must reach to be trusted.
    chunk : int
        Observations between two entries of the progress, held at once with particles.

    Raises
    ------
    ValueError
        If a setting is out of range.

    References
    ----------
    Chung, Kim, Mccann, Klasky & Ye (2023), *Diffusion posterior sampling for general noisy inverse problems*, ICLR;
    Rozet, Andry, Lanusse & Louppe (2024), *Learning diffusion priors from observations by expectation maximization*,
    NeurIPS, section 4; Wu, Trippe, Naesseth, Blei & Cunningham (2023), *Practical and asymptotically exact conditional
    sampling in diffusion models*, NeurIPS, algorithm 1.
    """

    draws: int = 200
    guidance: str = "moment-matching"
    steps: int = 100
    churn: float = 1.0
    products: int = 20
    zeta: float = 1.0
    particles: int = 0
    islands: int = 4
    accept_rhat: float = 1.05
    accept_error: float = 0.5
    accept_ess: float = 100.0
    chunk: int = 16

    def __post_init__(self) -> None:
        if self.guidance not in GUIDANCES:
            raise ValueError(f"Unknown guidance {self.guidance!r}. Must be one of {', '.join(GUIDANCES)}.")
        for name, most in (("draws", 10**6), ("steps", 30_000), ("products", 10**6), ("chunk", 10**6)):
            if not 1 <= getattr(self, name) <= most:
                raise ValueError(f"Invalid {name} {getattr(self, name)}. Must lie within 1 to {most}.")
        if not 0 <= self.churn <= 1:
            raise ValueError(f"Invalid churn {self.churn:g}. Must lie within 0 to 1.")
        if not 0 < self.zeta < math.inf:
            raise ValueError(f"Invalid zeta {self.zeta:g}. Must be above 0.")
        self._check_particles()

    def _check_particles(self) -> None:
        if not (self.particles == 0 or 8 <= self.particles <= 10**6):
            raise ValueError(f"Invalid particles {self.particles}. Must lie within 8 to 1000000, or be 0 for none.")
        if not 2 <= self.islands <= MOST_ISLANDS:
            raise ValueError(f"Invalid islands {self.islands}. Must lie within 2 to {MOST_ISLANDS}.")
        if self.particles and not FEWEST_STEPS <= self.steps <= MOST_STEPS:
            raise ValueError(
                f"Invalid steps {self.steps}. Must lie within {FEWEST_STEPS} to {MOST_STEPS} with particles."
            )
        if not self.accept_rhat > 1 or not self.accept_error > 0 or not self.accept_ess > 0:
            raise ValueError(
                f"Invalid accept_rhat {self.accept_rhat:g}, accept_error {self.accept_error:g} or accept_ess "
                f"{self.accept_ess:g}. The first must be greater than 1, the others positive."
            )

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

        The result's `stats` are chi2 (mean over the draws of the sum of squared standardised residuals, about the
        number of measured elements where the draws fit), measured, steps, and nonfinite; with particles besides ess
        (of the draws, as far as they descend from different particles; the smallest over the causes), rhat (between
        islands), log_evidence and log_evidence_error.

        Raises
        ------
        TypeError
            If the prior has no denoiser, the forward model no gradient, or the noise not what the guidance reads.
        ValueError
            If observations or conditions are of the wrong shape, names or range.
        """
        _refuse(problem, self.guidance)

        def answer(posterior: Posterior, index: Tensor, advance: Callable[[int], None]) -> dict[str, Tensor]:
            if self.particles:
                out = self._weighed(posterior, seed, index)
                advance(len(index))
                return out
            parts = []
            for row in range(len(index)):
                parts.append(self._one(Guide(posterior.select([row])), seed, index[row : row + 1]))
                advance(1)
            return {name: torch.stack([part[name] for part in parts]) for name in parts[0]}

        names = ("chi2", *(_WEIGHED if self.particles else ()))
        states = _STATES * self.islands * self.particles + _STATES * PILOTS if self.particles else 0
        counts = ("measured", "steps", "nonfinite")
        layout = Layout(1, self.draws, dict.fromkeys(names, ()), counts, states=states)
        settings = {"conditions": conditions, "seed": seed, "index": index, "progress": progress, "chunk": self.chunk}
        return invert(self, problem, y, answer, layout, **settings)

    def _one(self, guide: Guide, seed: int, index: Tensor) -> dict[str, Tensor]:
        """Everything about one observation."""
        prior, y = guide.prior, guide.posterior.y
        levels = karras_levels(prior.sigmas[0], prior.sigmas[-1], self.steps, prior.rho)
        own: dict[str, Any] = {"seed": seed, "dtype": y.dtype}
        shape = (self.draws, prior.causes.size)
        w = levels[0] * normal(shape, index, stage=_STAGE, **own)[0]
        scale = self._scale(guide, normal((_SCALE_DRAWS, shape[1]), index, stage=_STAGE + 1, **own)[0])
        bad = 0
        for number, (now, after) in enumerate(pairwise((*levels, 0.0))):
            mean, shift, good = self._guided(guide, w, now, scale)
            bad += int((~good).sum())
            fresh = self.churn * after * math.sqrt(1 - (after / now) ** 2)
            w = mean + math.sqrt(after**2 - fresh**2) / now * (w - mean) + shift
            if fresh:
                w = w + fresh * normal(shape, index, stage=_STAGE + 2 + number, **own)[0]
        x, residual = guide.causes(w), guide.residual(w)
        failed = int(Status.MODEL_UNDEFINED) if bad else int(Status.NOT_CONVERGED)
        whole = bool(torch.isfinite(x).all() and torch.isfinite(residual).all()) and not bad
        return {
            "samples": (x if whole else torch.full_like(x, torch.nan))[None],
            "status": torch.tensor(int(Status.APPROXIMATE) if whole else failed),
            "chi2": residual.square().sum(-1).mean(),
            "measured": (~torch.isnan(y)).sum(),
            "steps": torch.tensor(len(levels)),
            "nonfinite": torch.tensor(bad),
        }

    def _weighed(self, posterior: Posterior, seed: int, index: Tensor) -> dict[str, Tensor]:
        """Everything about B observations, from particles: islands in all steps, half as many in half of them."""
        prior: Any = posterior.problem.prior  # with a denoiser, as `_refuse` has seen
        own: dict[str, Any] = {"seed": seed, "index": index}
        made: list[Arrived] = []
        lost = torch.zeros_like(index)
        for number in (1, 2):
            run = Run(
                posterior,
                max(2, self.islands // number),
                self.particles,
                inflate=self.guidance == "moment-matching",
                stage=_TWISTED + (number - 1) * STAGES,
                **own,
            )
            levels = karras_levels(prior.sigmas[0], prior.sigmas[-1], self.steps // number, prior.rho)
            made.append(arrived := run(levels))
            lost = lost + arrived.undefined
        x, residual = rowwise(posterior, _causes_and_residuals, made[0].w)
        found = Weighed.of(x, made[0].log_weight, made[0].eve)
        (control_x, _) = rowwise(posterior, _causes_and_residuals, made[1].w)
        control = Weighed.of(control_x, made[1].log_weight, made[1].eve)
        apart = between(found, self.islands, stage=_TWISTED + _LAST, **own)
        accept = {n: getattr(self, n) for n in ("accept_rhat", "accept_error", "accept_ess")}
        status = verdict(found, control, apart, lost, **accept)
        chi2 = (found.weight * residual.square().sum(-1)).cumsum(-1)[:, -1]
        samples = found.draws(self.draws, index, seed=seed, stage=_TWISTED + 4)
        broken = (status == Status.MODEL_UNDEFINED) | (status == Status.INFEASIBLE)
        return {
            "samples": torch.where(broken[:, None, None], torch.nan, samples)[:, None],
            "status": status,
            "chi2": chi2,
            "ess": found.ess,
            "rhat": apart,
            "log_evidence": found.log_evidence,
            "log_evidence_error": found.evidence_error,
            "measured": (~torch.isnan(posterior.y)).sum(-1),
            "steps": torch.full_like(index, self.steps + 1),
            "nonfinite": lost,
        }

    def _guided(self, guide: Guide, w: Tensor, sigma: float, scale: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """The mean (R, n) that a step aims at, by what it is shifted (R, n), and where the model is defined (R,)."""
        if self.guidance == "moment-matching":
            mean, good = guide.moment_matching(w, sigma, self.products)
            return mean, torch.zeros_like(mean), good
        mean, slope, good = guide.distance_slope(w, sigma, scale)
        measured = int((~torch.isnan(guide.posterior.y)).sum())
        # in the variables of Chung et al., w / sqrt(1 + sigma^2), gradient and step have its root as a factor each
        length = self.zeta * _PATH / self.steps * math.sqrt(measured) * (1 + sigma**2)
        return mean, -length * slope, good

    def _scale(self, guide: Guide, noise: Tensor) -> Tensor:
        """Root mean variance () of the standardised residuals under the prior."""
        if self.guidance != "dps":
            return noise.new_ones(())
        own = guide.posterior.problem.prior_takes.pick(guide.posterior.conditions)
        rows = {name: value.expand(len(noise), *value.shape[1:]) for name, value in own.items()}
        residual = guide.residual(guide.prior.frame_values(guide.prior.decode(noise, **rows), **rows))
        return residual.var(0).mean().sqrt().clamp(min=1e-12)


def _causes_and_residuals(guide: Guide, _: Tensor, w: Tensor) -> tuple[Tensor, Tensor]:
    """Causes (b, p, n) and standardised residuals (b, p, m) of clean values (b, p, n)."""
    flat, lead = w.flatten(0, 1), w.shape[:2]
    return guide.causes(flat).reshape(*lead, -1), guide.residual(flat).reshape(*lead, -1)


def _refuse(problem: Problem, guidance: str) -> None:
    if not all(hasattr(problem.prior, name) for name in ("denoise", "frame_causes", "frame_values", "sigmas")):
        raise TypeError(
            f"GuidedDiffusion needs a prior with a denoiser, such as Diffusion, and {type(problem.prior).__name__} has "
            "none. Use Hamiltonian, TemperedSMC or SliceSampler, which work with every prior."
        )
    if "log_factor" in problem.prior.capabilities:
        raise TypeError(
            f"GuidedDiffusion cannot weigh its draws, and {type(problem.prior).__name__} is a weighted prior. "
            "Use TemperedSMC or SliceSampler."
        )
    need_gradient(problem, "GuidedDiffusion needs", "SliceSampler, TemperedSMC or Ensemble")
    for name in ("standardise", "whiten") if guidance == "moment-matching" else ("standardise",):
        if getattr(type(problem.noise), name) is getattr(Noise, name):
            raise TypeError(
                f"GuidedDiffusion needs a noise with {name}, and {type(problem.noise).__name__} has none. "
                "Use Hamiltonian, TemperedSMC or SliceSampler."
            )
