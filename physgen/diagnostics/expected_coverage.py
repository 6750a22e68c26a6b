"""Expected coverage: does the region that should hold the truth in 90 % of the cases hold it in 90 %?

Marginal: central intervals of each cause, by ranks. Highest-density: the region of the draws that are more probable
than the truth, in all causes at once (Hermans, Delaunoy, Rozet, Wehenkel, Begy & Louppe 2022, *A trust crisis in
simulation-based inference? Your posterior approximations can be unfaithful*, eqs 2 and 3). Central coverage is nearly
blind to a shift, which moves as many truths out of an interval as a little more width would.
"""

from __future__ import annotations

import torch
from torch import Tensor

from .check import Check
from .ecdf_band import gamma_statistic, uniform_points
from .exchange import TIMES, Exchanged, candidates, exchange_test, ranks
from .rank_words import pit_values, rounded
from .replications import Replications

LEVELS = (0.5, 0.68, 0.8, 0.9, 0.95)
_KINDS = ("marginal", "highest-density")


def expected_coverage(
    replications: Replications, *, kind: str = "marginal", times: int = TIMES, seed: int = 0
) -> Check:
    """Coverage at all levels at once.

    Parameters
    ----------
    replications : Replications
    kind : {"marginal", "highest-density"}
        Central intervals of each cause; or regions of highest posterior density, which need `log_prob_truth` and
        `log_prob_draws`.
    times : int
        Exchanges, see `exchange_test`.
    seed : int

    Returns
    -------
    Check
        Its figures hold `levels`, the `coverage` of each part at them, and the `error` of such a coverage.

    Raises
    ------
    ValueError
        If replications or draws are too few, the kind is unknown, or the density is missing.
    """
    if kind not in _KINDS:
        raise ValueError(f"Unknown kind of coverage {kind!r}. Choose from {', '.join(_KINDS)}.")
    own = replications.usable("expected coverage")
    names, level, table, points = _levels(own, kind, seed)
    tested = exchange_test(table, lambda r: gamma_statistic(r, points), times=times, seed=seed)
    n = len(own)
    wanted = torch.tensor(LEVELS, dtype=level.dtype)
    share = (level[:, :, None] <= wanted.to(level)).to(torch.float64).mean(0)  # (parts, levels)
    figures = {
        "levels": list(LEVELS),
        "coverage": {name: rounded(row) for name, row in zip(names, share, strict=True)},
        "error": rounded(torch.sqrt(wanted * (1 - wanted) / n)),
    }
    return Check(
        f"{kind} coverage",
        tested.largest,
        tested.p_value,
        _words(kind, names, share, tested, n),
        dict(zip(names, tested.parts.tolist(), strict=True)),
        n,
        figures,
    )


def _levels(own: Replications, kind: str, seed: int) -> tuple[tuple[str, ...], Tensor, Tensor, tuple[float, ...]]:
    """Names of the parts, the level (n, q) of the smallest region that holds the truth, and what is tested."""
    count = len(own.draws)
    if kind == "marginal":
        table = ranks(candidates(own.truth, own.draws), seed=seed)
        pit = pit_values(table[0], count, seed=seed)
        # from the middle outwards: two ranks at a time, but for the middle one where there is one
        folded = (2 * table - count).abs() // 2
        first = 1 + count % 2
        steps = tuple((first + 2 * i) / (count + 1) for i in range(int((count + 1 - first) // 2)))
        return own.names, 2 * (pit - 0.5).abs(), folded, steps
    if own.log_prob_truth is None or own.log_prob_draws is None:
        raise ValueError(
            "Highest-density coverage needs the log density of truth and draws. Give log_prob_truth and "
            "log_prob_draws, or use a prior that can encode."
        )
    table = ranks(-candidates(own.log_prob_truth, own.log_prob_draws)[..., None], seed=seed)
    return ("all causes together",), pit_values(table[0], count, seed=seed), table, uniform_points(count)


def _words(kind: str, names: tuple[str, ...], share: Tensor, tested: Exchanged, n: int) -> str:
    worst, at = tested.worst, LEVELS.index(0.9)
    found = f"{100 * float(share[worst, at]):.0f} %"
    regions = "intervals" if kind == "marginal" else "regions"
    if tested.p_value > 0.05:
        mean = 100 * float(share[:, at].mean())
        return (
            f"The 90 % {regions} hold {mean:.0f} % of {n} truths, and other levels fit too (p {tested.p_value:.2g}). "
            "Nothing speaks against the method."
        )
    advice = (
        "Widen them by conformal recalibration"
        if float(share[worst].mean()) < sum(LEVELS) / len(LEVELS)
        else ("They claim less than the method knows: narrow them by conformal recalibration")
    )
    return (
        f"The 90 % {regions} of {names[worst]} hold {found} of {n} truths (p {tested.p_value:.2g}). "
        f"{advice}, or use another method."
    )
