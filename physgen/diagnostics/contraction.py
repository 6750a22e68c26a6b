"""Posterior z-score against contraction: how far off the truth is, and how much was learned.

Betancourt (2018), *Calibrating model-based inferences and decisions*, section 4; Schad, Betancourt & Vasishth (2021),
*Toward a principled Bayesian workflow in cognitive science*, Psychological Methods 26:103, eqs 7 and 8. Over simulated
data the z-scores of an exact posterior have mean 0 and mean square 1, whatever the contraction.
"""

from __future__ import annotations

import torch
from torch import Tensor

from .check import Check
from .exchange import TIMES, candidates, exchange_test
from .rank_words import rounded
from .replications import Replications


def posterior_z_score(replications: Replications) -> Tensor:
    """(posterior mean - truth) / posterior sd, ``(n, k)``; NaN where all draws are equal."""
    sd = replications.draws.std(0)
    return torch.where(sd > 0, (replications.draws.mean(0) - replications.truth) / sd, torch.nan)


def contraction(replications: Replications) -> Tensor:
    """1 - posterior variance / prior variance, ``(n, k)``: 0 if nothing was learned, 1 if all; below 0 if less.

    The prior's variance is that of `prior_sd`, or of the truths, which are drawn from it.
    """
    prior = replications.truth.std(0) if replications.prior_sd is None else replications.prior_sd
    return 1 - replications.draws.var(0) / prior.square()


def z_score(replications: Replications, *, times: int = TIMES, seed: int = 0) -> Check:
    """Whether z-scores have mean 0 and mean square 1.

    Parameters
    ----------
    replications : Replications
    times : int
        Exchanges, see `exchange_test`: z-scores need not be normal.
    seed : int

    Returns
    -------
    Check
        Two parts for each cause, "shift" and "width"; its figures are the mean z-score, its root mean square, and the
        mean contraction of each cause.

    Raises
    ------
    ValueError
        If replications or draws are too few.
    """
    own = replications.usable("z-scores")
    x = candidates(own.truth, own.draws)
    sd = x.std(0)
    z = (x.mean(0) - x) / torch.where(sd > 0, sd, 1)
    tested = exchange_test(z, _moments, times=times, seed=seed)
    mine, learned = posterior_z_score(own), contraction(own)
    names = [f"{name}: {part}" for part in ("shift", "width") for name in own.names]
    spread = mine.square().nanmean(0).sqrt()
    figures = {
        "names": list(own.names),
        "mean": rounded(mine.nanmean(0)),
        "root_mean_square": rounded(spread),
        "contraction": rounded(learned.mean(0)),
    }
    worst = tested.worst
    return Check(
        "z-score",
        tested.largest,
        tested.p_value,
        _words(own.names, mine.nanmean(0), spread, learned.mean(0), worst, tested.p_value),
        dict(zip(names, tested.parts.tolist(), strict=True)),
        len(own),
        figures,
    )


def _moments(z: Tensor) -> Tensor:
    """Departures of mean and of log mean square, (T, 2 q), of z-scores (T, n, q)."""
    return torch.cat([z.mean(1).abs(), z.square().mean(1).clamp(min=1e-300).log().abs()], -1)


def _words(names: tuple[str, ...], mean: Tensor, spread: Tensor, learned: Tensor, worst: int, p_value: float) -> str:
    if p_value > 0.05:
        most, least = int(learned.argmax()), int(learned.argmin())
        return (
            f"z-scores have mean 0 and mean square 1 as they should (p {p_value:.2g}). The data take "
            f"{100 * float(learned[most]):.0f} % of the prior variance of {names[most]} away, and "
            f"{100 * float(learned[least]):.0f} % of that of {names[least]}."
        )
    i = worst % len(names)
    if worst < len(names):
        side = "above" if float(mean[i]) > 0 else "below"
        return (
            f"The posterior mean of {names[i]} lies {abs(float(mean[i])):.2f} posterior sd {side} the truth on average "
            f"(p {p_value:.2g}). The method is biased there."
        )
    return (
        f"The truth of {names[i]} lies {float(spread[i]):.2f} posterior sd from the mean, root mean square, which "
        f"should be 1 (p {p_value:.2g}). The posterior is too {'narrow' if float(spread[i]) > 1 else 'wide'}."
    )
