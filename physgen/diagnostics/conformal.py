"""Recalibration: intervals that hold the truth as often as they say, learned from held-out pairs. Not a posterior.

Split conformal regression on posterior quantiles (Romano, Patterson & Candès 2019, *Conformalized quantile regression*,
NeurIPS, theorem 1). A margin, the same for all observations up to their own posterior's width, is added at both ends so
that enough of the held-out truths lie inside. It holds for any posterior, however wrong, and for finitely many pairs;
but on average over observations like those of the pairs, not at each.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from .replications import Replications


@dataclass(frozen=True, eq=False)
class Conformal:
    """Intervals that `conformal` has calibrated.

    Attributes
    ----------
    names : tuple of str
    level : float
        At least this share of truths lies inside, at most 1 / (n + 1) more, on average over pairs and observations.
    margin : Tensor (k,)
        Added at both ends, in posterior standard deviations (`scaled`) or in the units of the causes; negative where
        the posterior is too wide, -inf never.
    scaled : bool
    n : int
        Pairs that it was learned from.
    """

    names: tuple[str, ...]
    level: float
    margin: Tensor
    scaled: bool
    n: int

    @property
    def words(self) -> str:
        """What these intervals are, to be written beside them."""
        return (
            f"Conformal {100 * self.level:g} % intervals, learned from {self.n} simulated pairs: on average over "
            "observations like the simulated ones they hold the truth that often. They are no posterior intervals, and "
            "may hold it less often at any one observation."
        )

    def interval(self, draws: Tensor) -> tuple[Tensor, Tensor]:
        """Lower and upper ends ``(*batch, k)`` from posterior draws ``(S, *batch, k)``.

        Where a negative margin would turn the ends round, both are the middle.
        """
        low, high = central(draws, self.level)
        margin = self.margin.to(draws) * (draws.std(0) if self.scaled else 1)
        middle = (low + high) / 2
        return torch.minimum(low - margin, middle), torch.maximum(high + margin, middle)


def conformal(replications: Replications, *, level: float = 0.9, scaled: bool = True) -> Conformal:
    """Calibrate central intervals of each cause on pairs of truth and posterior.

    Parameters
    ----------
    replications : Replications
        Pairs that nothing else was learned from; trusted ones only are used.
    level : float
    scaled : bool
        Whether the margin grows with an observation's own posterior standard deviation.

    Raises
    ------
    ValueError
        If the level is out of range, or the pairs are too few for it, saying how many are needed.
    """
    if not 0 < level < 1:
        raise ValueError(f"Invalid level {level}. Must lie between 0 and 1.")
    own = replications.usable("conformal intervals", fewest=math.ceil(level / (1 - level) - 1e-9))
    low, high = central(own.draws, level)
    score = torch.maximum(low - own.truth, own.truth - high)
    if scaled:
        sd = own.draws.std(0)
        score = score / torch.where(sd > 0, sd, torch.finfo(sd.dtype).tiny)
    n = len(own)
    place = min(n, math.ceil((n + 1) * level - 1e-9))
    return Conformal(own.names, level, score.sort(0).values[place - 1], scaled, n)


def central(draws: Tensor, level: float) -> tuple[Tensor, Tensor]:
    """Ends of the central interval of draws ``(S, *batch, k)``, ``(*batch, k)`` each."""
    ends = torch.tensor([(1 - level) / 2, (1 + level) / 2], dtype=draws.dtype, device=draws.device)
    low, high = torch.quantile(draws, ends, dim=0)
    return low, high
