"""Simulation-based calibration: the rank of the truth among its posterior draws is uniform, for any quantity.

Talts, Betancourt, Simpson, Vehtari & Gelman (2018), *Validating Bayesian inference algorithms with simulation-based
calibration*, theorem 1. Quantities that depend on the data see what the causes alone cannot: a posterior that ignores
the data has uniform ranks of every cause, but not of the log likelihood (Modrák, Moon, Kim, Bürkner, Huurre,
Faltejsková, Gelman & Vehtari 2023, *Simulation-based calibration checking for Bayesian computation: the choice of test
quantities shapes sensitivity*, Bayesian Analysis, section 3).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from ..problem import Problem
from ..progress import Progress
from .check import Check
from .ecdf_band import ecdf_band, gamma_statistic, uniform_points
from .exchange import TIMES, candidates, exchange_test, ranks
from .rank_words import departure, pit_values, rounded
from .replications import Replications, replicate

Quantity = Callable[..., Tensor]
"""A test quantity: causes ``(*, n, k)`` and observations ``(n, m)``, conditions by keyword, to numbers ``(*, n)``."""

_LIKELIHOOD = "log likelihood"


@dataclass(frozen=True, eq=False)
class Ranks:
    """Ranks of n truths among S draws, for q quantities.

    Attributes
    ----------
    names : tuple of str
    table : integer Tensor (S + 1, n, q)
        Rank 0 to S of each candidate, the truth first.
    causes : int
        How many of the quantities, the first ones, are causes.
    """

    names: tuple[str, ...]
    table: Tensor
    causes: int

    @property
    def rank(self) -> Tensor:
        """Of the truth, ``(n, q)``."""
        return self.table[0]

    @property
    def draws(self) -> int:
        """S."""
        return len(self.table) - 1


def sbc_ranks(
    problem: Problem,
    inversion: Callable[..., Any],
    n: int,
    *,
    quantities: Mapping[str, Quantity] | None = None,
    conditions: Mapping[str, Any] | None = None,
    draws: int | None = None,
    seed: int = 0,
    progress: Progress = False,
) -> Ranks:
    """Simulate, invert, and rank.

    Parameters
    ----------
    problem : Problem
    inversion : Inversion
    n : int
        Simulations.
    quantities : mapping of str to callable, optional
        Besides the causes and the log likelihood: see `Quantity`.
    conditions, draws, seed, progress
        See `replicate`, which thins the draws by their effective sample size.

    Raises
    ------
    ValueError
        If simulations or draws are too few, saying how many are needed.
    """
    found = replicate(problem, inversion, n, seed=seed, conditions=conditions, draws=draws, progress=progress)
    return rank_replications(found, quantities=quantities, seed=seed)


def rank_replications(
    replications: Replications, *, quantities: Mapping[str, Quantity] | None = None, seed: int = 0
) -> Ranks:
    """Ranks of the causes, of the log likelihood where it is known, and of `quantities`; of trusted ones only.

    Raises
    ------
    ValueError
        If replications or draws are too few, or a quantity is NaN.
    """
    own = replications.usable("ranks")
    x = candidates(own.truth, own.draws)
    names, columns = list(own.names), list(x.unbind(-1))
    if own.log_likelihood_truth is not None and own.log_likelihood_draws is not None:
        names.append(_LIKELIHOOD)
        columns.append(candidates(own.log_likelihood_truth, own.log_likelihood_draws))
    for name, quantity in (quantities or {}).items():
        names.append(name)
        columns.append(_evaluate(name, quantity, x, own))
    return Ranks(tuple(names), ranks(torch.stack(columns, -1), seed=seed), len(own.names))


def sbc(
    replications: Replications | Ranks,
    *,
    quantities: Mapping[str, Quantity] | None = None,
    times: int = TIMES,
    seed: int = 0,
) -> Check:
    """Whether all ranks are uniform: the smallest gamma of the ECDF bands, over all quantities together.

    Parameters
    ----------
    replications : Replications or Ranks
    quantities : mapping, optional
        See `sbc_ranks`.
    times : int
        Exchanges, see `exchange_test`.
    seed : int

    Returns
    -------
    Check
        Its parts are the quantities; its figures the points, the 95 % band of one quantity, and the ECDF of each.
    """
    found = replications
    if isinstance(found, Replications):
        found = rank_replications(found, quantities=quantities, seed=seed)
    points = uniform_points(found.draws)
    tested = exchange_test(found.table, lambda r: gamma_statistic(r, points), times=times, seed=seed)
    n = len(found.rank)
    band = ecdf_band(n, found.draws)
    pit = pit_values(found.rank, found.draws, seed=seed)
    below = (found.rank[:, :, None] <= torch.arange(found.draws, device=found.rank.device)).to(torch.float64).mean(0)
    figures = {
        "points": rounded(band.points),
        "low": rounded(band.low),
        "high": rounded(band.high),
        "ecdf": {name: rounded(row) for name, row in zip(found.names, below, strict=True)},
    }
    worst = tested.worst
    return Check(
        "SBC ranks",
        tested.largest,
        tested.p_value,
        _words(found.names[worst], departure(pit[:, worst], worst < found.causes), tested.p_value, n),
        dict(zip(found.names, tested.parts.tolist(), strict=True)),
        n,
        figures,
    )


def _evaluate(name: str, quantity: Quantity, x: Tensor, own: Replications) -> Tensor:
    if own.y is None:
        raise ValueError(f"The quantity {name!r} needs observations. Give the replications their y.")
    value = torch.as_tensor(quantity(x, own.y, **own.conditions))
    if value.shape != x.shape[:-1] or bool(torch.isnan(value).any()):
        raise ValueError(
            f"The quantity {name!r} returned NaN or the shape {tuple(value.shape)}. It must map causes (*, n, k) to "
            "numbers (*, n)."
        )
    return value.to(x)


def _words(name: str, wrong: str, p_value: float, n: int) -> str:
    if p_value > 0.05:
        return (
            f"Ranks of {n} truths among their draws look uniform (p {p_value:.2g}). Nothing speaks against the method."
        )
    return f"Ranks are not uniform (p {p_value:.2g}): for {name}, {wrong}. Do not rely on its intervals as they are."
