"""Everything that is known against the answers of a result: figures and one code for each observation."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor

from ..problem import Problem
from ..result import Result
from .misfit import Misfit, misfit
from .observation_embedding import NoResidual
from .out_of_range import Embedding, OutOfRange, learn_range
from .power_scaling import power_scaling
from .sensitivity_verdict import Verdict
from .trust_verdict import FALSE_ALARMS, INFORMED, Levels, trust_codes

_ENOUGH = 50  # draws, below which no sensitivity is known


@dataclass(frozen=True, eq=False)
class Judge:
    """What has been learned about a problem, ready for any number of results of it.

    The answer for one observation does not depend on which others are asked about.

    Attributes
    ----------
    problem : Problem
    range : OutOfRange, optional
        None where the observations cannot be compared with simulated ones.
    causes : tuple of str, optional
        Those whose answer matters: prior-dominated is an observation that informs none of them. All by default.
    levels : Levels
    sensitivity : bool
        Whether power-scaling is asked, the dearest part.
    """

    problem: Problem
    range: OutOfRange | None = None
    causes: tuple[str, ...] | None = None
    levels: Levels = field(default_factory=Levels.of)
    sensitivity: bool = True

    def figures(self, result: Result) -> dict[str, Tensor]:
        """Statistics ``(*batch, *own)`` by the names of `physgen.datatree.STATISTICS`, the code `trust` among them.

        Raises
        ------
        ValueError
            If the result has other causes, conditions or observations than the problem, or no draws.
        """
        batch = result.status.shape
        found = misfit(self.problem, result)
        out = {"predictive_p": found.predictive_p, "conflict_p": found.conflict_p, "range_p": self._range(result)}
        out = {name: value.reshape(batch) for name, value in out.items()}
        for name in ("chi2", "dofs"):
            if name not in result.stats:
                out[name] = getattr(found, name).reshape(batch)
        dominated, sensitivities = self._dominated(result, found)
        codes = trust_codes(
            result.status, **{k: out[k] for k in _TESTS}, dominated=dominated.reshape(batch), levels=self.levels
        )
        return {**out, **sensitivities, "trust": codes}

    def judge(self, result: Result) -> Result:
        """The result with these statistics."""
        return replace(result, stats={**result.stats, **self.figures(result)})

    def _range(self, result: Result) -> Tensor:
        if self.range is None:
            return result.y.new_full(tuple(result.status.shape), torch.nan)
        return self.range.p_values(result.y, result.conditions).to(result.y)

    def _dominated(self, result: Result, found: Misfit) -> tuple[Tensor, dict[str, Tensor]]:
        """Where no cause of interest is informed (b,), and the sensitivities that say so."""
        few = found.dofs < INFORMED
        if not self.sensitivity or len(result.draws) < _ENOUGH:
            return few, {}
        try:
            scaling = power_scaling(self.problem, result)
        except TypeError:  # neither a density nor an inverse
            return few, {}
        codes = scaling.verdict.reshape(-1, result.causes.size)[:, _columns(result, self.causes)]
        prior_only = (codes == Verdict.LIKELIHOOD_NONINFORMATIVE) | (codes == Verdict.NEITHER_MATTERS)
        alone = prior_only.all(-1) & (codes == Verdict.LIKELIHOOD_NONINFORMATIVE).any(-1)
        return few | alone, scaling.stats


_TESTS = ("range_p", "predictive_p", "conflict_p")


def learn_judge(
    problem: Problem,
    *,
    conditions: Mapping[str, Any] | None = None,
    embedding: Embedding | None = None,
    causes: Sequence[str] | None = None,
    false_alarms: float = FALSE_ALARMS,
    simulations: int = 4000,
    sensitivity: bool = True,
    seed: int = 0,
) -> Judge:
    """Learn, from simulations, what the problem's observations look like: a function of the arguments alone.

    Parameters
    ----------
    problem : Problem
    conditions : mapping, optional
        Those of the observations to come, or of some of them: simulations take theirs from there.
    embedding : callable, optional
        See `learn_range`. Without one, a problem whose predictions are not the expected observations has no `range_p`.
    causes : sequence of str, optional
        Those whose answer matters; all by default.
    false_alarms : float
        Share of observations from the model that may be flagged.
    simulations : int
    sensitivity : bool
        Whether to ask power-scaling.
    seed : int

    Raises
    ------
    ValueError
        If a setting is out of range, a cause is unknown, or simulations are too few.
    """
    levels = Levels.of(false_alarms)
    unknown = [c for c in causes or () if c not in problem.prior.causes]
    if unknown:
        raise ValueError(f"Unknown cause {unknown[0]!r}. The causes are {', '.join(problem.prior.causes.names)}.")
    half = simulations // 2
    settings: dict[str, Any] = {"conditions": conditions, "embedding": embedding, "seed": seed}
    learned = None
    with suppress(NoResidual):  # sizes of a distribution, say: how to compare them is for the user to say
        learned = learn_range(problem, n=half, held_out=simulations - half, **settings)
    return Judge(problem, learned, None if causes is None else tuple(causes), levels, sensitivity)


def _columns(result: Result, causes: Sequence[str] | None) -> list[int]:
    """The columns of the draws that hold the causes of interest."""
    names = [b.name for b in result.causes for _ in range(b.size)]
    return [i for i, name in enumerate(names) if causes is None or name in causes]
