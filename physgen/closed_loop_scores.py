"""What a closed loop watches: held-out marginal likelihood, and the distance from generated to observed."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from .diagnostics.sample_table import permutation
from .diagnostics.two_sample import sliced_wasserstein
from .problem import Problem
from .result import Result
from .status import Status

_FEWEST = 20
_SPLITS = 8


@dataclass(frozen=True)
class Turn:
    """One turn of one start.

    Attributes
    ----------
    start, turn : int
    log_evidence : float
        Mean log marginal likelihood of the held-out observations, nats.
    gain, gain_error : float
        The same less that under the problem's own prior, over the observations that have both; its standard error.
    distance : float
        Sliced Wasserstein distance between generated and held-out observations, in deviations of the latter.
    trusted : float
        Share of all observations whose posterior is trusted.
    """

    start: int
    turn: int
    log_evidence: float
    gain: float
    gain_error: float
    distance: float
    trusted: float

    def __str__(self) -> str:
        gain = f"{self.gain:+.4f} +- {self.gain_error:.4f}"
        own = f"{self.start:>5} {self.turn:>4} {self.log_evidence:>13.4f} {gain:>18}"
        return f"{own} {self.distance:>9.4f} {100 * self.trusted:>6.1f} %"


def score(result: Result, held: Tensor) -> Tensor:
    """Log marginal likelihood ``(H,)`` of the held-out observations; NaN where there is none.

    Raises
    ------
    TypeError
        If the inversion gives none.
    """
    if "log_evidence" not in result.stats:
        raise TypeError("The inversion gives no log_evidence. Use OptimalEstimation, or another one that does.")
    value = result.stats["log_evidence"][held].double()
    return torch.where(torch.isfinite(value), value, torch.nan)


def compare(start: int, turn: int, evidence: Tensor, reference: Tensor, distance: float, result: Result) -> Turn:
    """A turn, from the evidence ``(H,)`` of the held-out observations now and under the problem's own prior."""
    both = torch.isfinite(evidence) & torch.isfinite(reference)
    if int(both.sum()) < 2:
        raise ValueError("Hardly any held-out observation has an evidence. Give a wider prior, or other observations.")
    difference = (evidence - reference)[both]
    return Turn(
        start,
        turn,
        float(evidence.nanmean()),
        float(difference.mean()),
        float(difference.std() / len(difference) ** 0.5),
        distance,
        float((result.status == Status.TRUSTED).double().mean()),
    )


@dataclass(frozen=True, eq=False)
class Scale:
    """Features of observations, and by how much they vary."""

    features: Callable[[Tensor], Tensor]
    mean: Tensor
    sd: Tensor

    @classmethod
    def of(cls, y: Tensor, held: Tensor, features: Callable[[Tensor], Tensor] | None) -> Scale:
        """The scale of the observations ``(N, m)``.

        Raises
        ------
        ValueError
            If too few of them are complete.
        """
        function = features or (lambda rows: rows)
        whole = [_complete(function(part)) for part in (y[held], y[~held])]
        if min(map(len, whole)) < _FEWEST:
            raise ValueError(
                f"Only {min(map(len, whole))} observations are complete. Give `features` that all of them have."
            )
        values = torch.cat(whole)
        sd = values.std(0)
        return cls(function, values.mean(0), torch.where(sd > 0, sd, 1))

    def distance(
        self, problem: Problem, conditions: Mapping[str, Tensor], y: Tensor, held: Tensor, *, seed: int
    ) -> float:
        """From what the problem generates, under the conditions learned from, to the held-out observations."""
        own = {k: v[~held] for k, v in conditions.items()}
        _, generated = problem.simulate(int((~held).sum()), seed=seed, **own)
        return self._between(generated.to(y), y[held])

    def floor(self, y: Tensor, held: Tensor, *, seed: int) -> float:
        """Mean distance between two parts of the observations, of the sizes compared."""
        rows = (permutation(len(y), seed=seed, stage=i) for i in range(_SPLITS))
        count = int(held.sum())
        return sum(self._between(y[order[count:]], y[order[:count]]) for order in rows) / _SPLITS

    def _between(self, a: Tensor, b: Tensor) -> float:
        x, z = ((_complete(self.features(part)) - self.mean) / self.sd for part in (a, b))
        return float(sliced_wasserstein(x, z))


def _complete(values: Tensor) -> Tensor:
    return values[torch.isfinite(values).all(-1)]
