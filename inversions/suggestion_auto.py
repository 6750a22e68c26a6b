"""Auto: the method that `suggest` would take, and others for the observations that it does not answer."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from physgen.problem import Posterior, Problem
from physgen.progress import Progress
from physgen.result import Result
from physgen.status import Status

from .batched import Layout, invert
from .escalation import escalate
from .optimal_estimation import OptimalEstimation
from .pathfinder import Pathfinder
from .suggestion import DENSE, NEEDS, Facts, method_class, suggest

# one chain, draws at will
_OWN_DRAWS = ("OptimalEstimation", "Pathfinder", "NestedLaplace", "Variational", "Grid", "LookupTable")
_ROUNDS = {method.__name__: (method.draws, method.round_draws) for method in (OptimalEstimation, Pathfinder)}
_FULL_RANK = 1024  # latents up to which `Variational` learns a full matrix


@dataclass(frozen=True)
class Auto:
    """The methods that `suggest` takes, one after the other, each for the observations not answered before it.

    The statistic `answered_by` says which method answered each observation (`physgen.inversions.escalation.answered_by`
    gives its name), and every status is that method's own. Where none is to be trusted, the last one's answer stands.

    Parameters
    ----------
    draws : int, optional
        Posterior draws kept for each observation, evenly spread over the chains of the method. Importance sampling goes
        on until that many are effective, and is not trusted where fewer than half are. Unless given, 10,000, from which
        means are about 0.015 standard deviations off, or 1,000 where there are more than 2,000 latents. For thousands
        of pixels, 200 may do.
    methods : tuple of str, optional
        Class names, to be asked in this order instead, at their default settings.
    chunk : int
        Observations held at once.

    Raises
    ------
    ValueError
        If a setting is out of range, or a method unknown.
    """

    draws: int | None = None
    methods: tuple[str, ...] | None = None
    chunk: int = 512

    def __post_init__(self) -> None:
        for name in ("draws", "chunk"):
            if getattr(self, name) is not None and getattr(self, name) < 1:
                raise ValueError(f"Invalid {name} {getattr(self, name)}. Must be at least 1.")
        if self.methods is None:
            return
        object.__setattr__(self, "methods", tuple(self.methods))
        known = [name for name in NEEDS if method_class(name)]
        unknown = [name for name in self.methods if name not in known]
        if unknown or not self.methods:
            raise ValueError(f"Invalid methods {self.methods}. Give one or more of {', '.join(known)}.")

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

        The result's `stats` are answered_by, latent_mean, latent_covariance, and rhat, ess, k_hat and log_evidence
        where the method that answered has them.

        Raises
        ------
        TypeError
            If one of `methods` needs what the problem lacks.
        ValueError, TypeError
            If observations or conditions are of the wrong shape, names or range.
        """
        k = problem.prior.latent_dim
        draws = self.draws or (10_000 if k <= DENSE else 1000)
        methods = self._made(problem, draws)
        statistics: dict[str, tuple[int | str, ...]] = {"latent_mean": ("k",)}
        statistics |= {"latent_covariance": ("k", "k")} if k <= DENSE else {}
        statistics |= dict.fromkeys(("rhat", "ess", "k_hat", "log_evidence"), ())
        layout = Layout(1, draws, statistics, ("answered_by",))

        def answer(posterior: Posterior, index: Tensor, advance: Callable[[int], None]) -> dict[str, Tensor]:
            unanswered = torch.full_like(index, int(Status.NOT_CONVERGED))
            out = escalate(posterior, index, layout.blank(posterior, unanswered), methods, seed=seed)
            advance(len(index))
            return out

        settings = {"conditions": conditions, "seed": seed, "index": index, "progress": progress, "chunk": self.chunk}
        return invert(self, problem, y, answer, layout, **settings)

    def _made(self, problem: Problem, draws: int) -> Sequence[Any]:
        """The methods to be asked, each with settings that suit."""
        plan = suggest(problem)
        names = plan.take if self.methods is None else self.methods
        refused = [name for name in names if name in plan.refused]
        if refused:
            raise TypeError(f"{refused[0]} {plan.refused[refused[0]]}. Use {', '.join(plan.take)}.")
        return [_make(name, draws, plan.facts) for name in names]


def _make(name: str, draws: int, facts: Facts) -> Any:
    method = method_class(name)
    if method is None:
        raise ValueError(f"Unknown method {name!r}. Give one of {', '.join(NEEDS)}.")
    settings: dict[str, Any] = {"draws": draws} if name in _OWN_DRAWS else {}
    few, rounds = _ROUNDS.get(name, (draws, ()))
    if draws > few:
        settings["round_draws"] = tuple(round(draws / few * size) for size in rounds)
        settings |= {"stop_ess": float(draws), "accept_ess": max(draws / 2, method().accept_ess)}
    if name == "SliceSampler" and facts.latents > DENSE:
        settings["precondition"] = False
    if name == "Variational" and not facts.whitening:
        settings["family"] = "full-rank" if facts.latents <= _FULL_RANK else "mean-field"
    return method(**settings)
