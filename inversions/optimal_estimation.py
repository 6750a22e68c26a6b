"""Optimal estimation: the mode, its Laplace posterior, and adaptive importance sampling to correct it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from types import MappingProxyType
from typing import Any

import torch
from torch import Tensor

from physgen.noise import Noise
from physgen.problem import Posterior, Problem
from physgen.progress import Progress
from physgen.result import Result
from physgen.status import Status

from .adaptive_importance import Schedule, Weighted, sample_posterior
from .batched import Layout, invert
from .gradient import need_gradient
from .levenberg_marquardt import laplace_statistics
from .mode_search import Found, Search, chi2, climb_higher, find_modes

_DRAW_ROWS = 512  # observations whose importance draws are held at once
_STATISTICS: Mapping[str, tuple[int | str, ...]] = MappingProxyType(
    dict.fromkeys(("dofs", "information_content", "chi2", "k_hat", "ess", "log_evidence"), ())
    | {"latent_mean": ("k",), "latent_covariance": ("k", "k"), "averaging_kernel": ("k", "k")}
)


@dataclass(frozen=True)
class OptimalEstimation:
    """Levenberg-Marquardt in latent space, then a Laplace posterior corrected by adaptive importance sampling.

    The classical method of atmospheric sounding (Rodgers 2000), made honest where the forward model is not linear:
    the draws come from the posterior itself, and `k_hat` and `ess` say how well. Needs a gradient.

    Parameters
    ----------
    draws : int
        Posterior draws kept for each observation.
    round_draws : tuple of int
        Importance draws of each round, at most.
    iterations : int
        Linearisations at most.
    tolerance : float
        A mode is reached when its squared distance, in posterior standard deviations, is below this.
    restarts : int
        New starts for an observation that did not converge, that fits badly, or that may have another mode.
    candidates : int
        Prior draws tried for each start.
    components, defence, stop_ess, stop_share, accept_ess, accept_k_hat
        Of the importance sampling: see `Schedule`.
    chunk : int
        Observations held at once; the answer does not depend on it.

    Raises
    ------
    ValueError
        If a setting is out of range.
    """

    draws: int = 200
    round_draws: tuple[int, ...] = (200, 300, 500, 700)
    iterations: int = 25
    tolerance: float = 1e-2
    restarts: int = 2
    candidates: int = 64
    components: int = 8
    defence: float = 0.03
    stop_ess: float = 200.0
    stop_share: float = 0.6
    accept_ess: float = 100.0
    accept_k_hat: float = 0.7
    chunk: int = 2048

    def __post_init__(self) -> None:
        object.__setattr__(self, "round_draws", tuple(self.round_draws))
        for name in ("draws", "iterations", "candidates", "components", "chunk"):
            if getattr(self, name) < 1:
                raise ValueError(f"Invalid {name} {getattr(self, name)}. Must be at least 1.")
        if not self.round_draws or min(self.round_draws) < 20:
            raise ValueError(f"Invalid round_draws {self.round_draws}. Give at least one round of 20 draws or more.")
        if not 0 <= self.restarts <= 10:  # each has a stage of the random numbers
            raise ValueError(f"Invalid restarts {self.restarts}. Must lie within 0 to 10.")
        if not 0 < self.defence <= 0.5:
            raise ValueError(f"Invalid defence {self.defence}. Must be above 0 and at most 0.5.")
        if not self.tolerance > 0:
            raise ValueError(f"Invalid tolerance {self.tolerance}. Must be above 0.")

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

        Raises
        ------
        TypeError
            If the forward model has no gradient, or the noise no `whiten`.
        ValueError
            If observations or conditions are of the wrong shape, names or range.
        """
        need_gradient(problem, "OptimalEstimation needs")
        if type(problem.noise).whiten is Noise.whiten:
            raise TypeError(
                f"OptimalEstimation needs a noise with whiten, and {type(problem.noise).__name__} has none. "
                "Use Pathfinder, or SliceSampler, which needs no gradient either."
            )

        def answer(posterior: Posterior, index: Tensor, advance: Callable[[int], None]) -> dict[str, Tensor]:
            return self._answer(posterior, seed, index, advance)

        layout = Layout(1, self.draws, _STATISTICS, ("measured", "rounds", "iterations"), states=sum(self.round_draws))
        settings = {"conditions": conditions, "seed": seed, "index": index, "progress": progress, "chunk": self.chunk}
        return invert(self, problem, y, answer, layout, **settings)

    def _answer(
        self, posterior: Posterior, seed: int, index: Tensor, advance: Callable[[int], None]
    ) -> dict[str, Tensor]:
        search = Search(self.iterations, self.tolerance, self.restarts, self.candidates)
        found = find_modes(posterior, search, seed=seed, index=index)
        weighted = self._draw(posterior, found, seed, index, advance)
        modes = climb_higher(posterior, found.best, weighted.pop("best"), search)
        del weighted["undefined"]  # nothing is answered where there are any
        # good weights vouch for the draws wherever the search stopped; bad ones may be the search's fault
        sampling = (Status.HEAVY_TAILS, Status.FEW_EFFECTIVE_DRAWS, Status.ROUNDS_DISAGREE)
        unfinished = ~found.best.converged & torch.isin(weighted["status"], weighted["status"].new_tensor(sampling))
        status = torch.where(unfinished, int(Status.NOT_CONVERGED), weighted["status"])
        status = torch.where(modes.undefined, int(Status.MODEL_UNDEFINED), status)
        samples = posterior.decode(weighted.pop("z").transpose(0, 1)).transpose(0, 1)
        samples[(status == Status.MODEL_UNDEFINED) | (status == Status.INFEASIBLE)] = torch.nan
        return {
            **weighted,
            **laplace_statistics(modes.information),
            "samples": samples[:, None],
            "status": status,
            "latent_mean": modes.z,
            "chi2": chi2(posterior, modes.z),
            "measured": (~torch.isnan(posterior.y)).sum(-1),
            "iterations": modes.iterations,
        }

    def _draw(
        self,
        posterior: Posterior,
        found: Found,
        seed: int,
        index: Tensor,
        advance: Callable[[int], None],
    ) -> dict[str, Tensor]:
        schedule = Schedule(
            self.round_draws,
            self.components,
            self.defence,
            self.stop_ess,
            self.stop_share,
            self.accept_ess,
            self.accept_k_hat,
        )
        parts: list[Weighted] = []
        for start in range(0, len(index), _DRAW_ROWS):
            cut = slice(start, start + _DRAW_ROWS)
            here, own = found.select(cut), index[cut]
            laplace = here.mean, here.covariance, here.share
            drawn = sample_posterior(
                posterior.select(cut), *laplace, schedule=schedule, draws=self.draws, seed=seed, index=own
            )
            parts.append(drawn)
            advance(len(own))
        names = (f.name for f in fields(Weighted))
        return {name: torch.cat([getattr(p, name) for p in parts]) for name in names}
