"""Tests of accuracy with random points: coverage of the balls around reference points.

Lemos, Coogan, Hezaveh & Perreault-Levasseur (2023), *Sampling-based accuracy testing of posterior estimators for
general inference*, ICML, theorem 3: a posterior is exact if and only if the truth's rank, by distance from a reference
point, is uniform *for every choice of reference points, those included that depend on the observation*. So a reference

- must not depend on the truth, given the observation: else an exact posterior fails;
- must depend on the observation: with references that do not, ranks of an estimator that returns the prior, whatever
  was measured, are uniform as well. To draw them uniformly over the box of all truths, as is done elsewhere, is to pass
  that estimator. Nor may the test compare the points of two curves as if they were samples: its p-value is near 1 then.

Here a reference is what the other half of the simulations, by a regression on the observation, expects of the causes;
and points at a distance from it.
"""

from __future__ import annotations

import torch
from torch import Tensor

from ..random import normal, single_stream
from .check import Check
from .ecdf_band import gamma_statistic, uniform_points
from .exchange import CALIBRATION_STAGE, TIMES, candidates, exchange_test, ranks
from .observed_features import held_out_regression, observed_features
from .rank_words import rounded
from .replications import Replications

FEWEST = 50
_FAR = 2.0  # distance of a reference, in standard deviations of what the regression leaves, per cause


def tarp(
    replications: Replications,
    *,
    references: Tensor | None = None,
    times: int = TIMES,
    seed: int = 0,
) -> Check:
    """Whether the truth's rank by distance from reference points is uniform.

    Parameters
    ----------
    replications : Replications
        With their observations `y`, at least 50.
    references : Tensor (R, n, k), optional
        R points for each replication, in the units of the causes: functions of the observation and of nothing else.
        By default those of `reference_points`.
    times : int
        Exchanges, see `exchange_test`.
    seed : int

    Raises
    ------
    ValueError
        If replications or draws are too few, or references do not fit.

    References
    ----------
    Lemos et al. (2023), theorem 3 and algorithm 2.
    """
    own = replications.usable("TARP", FEWEST)
    if references is None:
        found, names = reference_points(own, seed=seed)
    else:
        if references.ndim != 3 or tuple(references.shape[1:]) != tuple(own.truth.shape):
            raise ValueError(
                f"Invalid shape {tuple(references.shape)} of references. Give (R, n, k) for the "
                f"{len(own)} trusted replications of {own.truth.shape[1]} causes."
            )
        found, names = references.to(own.truth), tuple(f"reference {i + 1}" for i in range(len(references)))
    x = candidates(own.truth, own.draws)
    sd = own.truth.std(0)
    scale = torch.where(sd > 0, sd, 1)
    distance = torch.stack([((x - point) / scale).square().sum(-1) for point in found], -1)
    table = ranks(distance, seed=seed)
    points = uniform_points(len(own.draws))
    tested = exchange_test(table, lambda r: gamma_statistic(r, points), times=times, seed=seed)
    below = (table[0][:, :, None] <= torch.arange(len(own.draws)).to(table.device)).to(torch.float64).mean(0)
    return Check(
        "TARP",
        tested.largest,
        tested.p_value,
        _words(tested.p_value, names[tested.worst], len(own)),
        dict(zip(names, tested.parts.tolist(), strict=True)),
        len(own),
        {"points": list(points), "ecp": {n: rounded(row) for n, row in zip(names, below, strict=True)}},
    )


def reference_points(replications: Replications, *, seed: int = 0) -> tuple[Tensor, tuple[str, ...]]:
    """Reference points ``(3, n, k)`` and their names: functions of the observation, and of other replications.

    The first is what a regression expects; the second lies in a random direction from it, another one in each
    replication; the third in one random direction for all, which sees a common shift best.
    """
    centre, left = held_out_regression(observed_features(replications), replications.truth)
    n, k = centre.shape
    stage = CALIBRATION_STAGE + 3
    each = normal((n, k), single_stream(), seed=seed, stage=stage).to(centre)
    common = torch.sign(normal((k,), single_stream(), seed=seed, stage=stage + 1)).to(centre)
    points = torch.stack([centre, centre + _FAR * left * each, centre + _FAR * left * common])
    return points, ("expected", "random", "beside")


def _words(p_value: float, name: str, n: int) -> str:
    if p_value > 0.05:
        return (
            f"Balls around reference points hold as many of {n} truths as they should (p {p_value:.2g}). "
            "Nothing speaks against the method."
        )
    return (
        f"Balls around reference points ({name}) do not hold as many of {n} truths as they should (p {p_value:.2g}). "
        "The posterior is too narrow, too wide, shifted, or ignores part of the data: see the other checks."
    )
