"""Proper scores of posteriors by the truth, and whether the truth scores as the posterior's own draws do.

The continuous ranked probability score of each cause, and the energy score of all together (Gneiting & Raftery 2007,
*Strictly proper scoring rules, prediction, and estimation*, JASA 102:359, eqs 21 and 22), by the package scoringrules.
A score alone says which of two posteriors is better, not whether one is right. But if it is exact, each of its draws
scores against the others as the truth does: a comparison that is a test.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from .check import Check
from .exchange import TIMES, candidates, exchange_test
from .rank_words import rounded
from .replications import Replications

_BLOCK = 1 << 22  # distances held at once
_KINDS = ("crps", "energy")


def crps(replications: Replications) -> Tensor:
    """Continuous ranked probability score of each truth, ``(n, k)``, in the units of the causes; smaller is better.

    The estimator by probability-weighted moments, which is the fair one: its mean does not depend on how many draws
    there are.
    """
    from scoringrules import crps_ensemble

    truth, draws = replications.truth.detach().cpu().double(), replications.draws.detach().cpu().double()
    found = crps_ensemble(truth.numpy(), draws.numpy(), m_axis=0, estimator="pwm", backend="numpy")
    return torch.as_tensor(np.asarray(found)).to(replications.truth)


def energy_score(replications: Replications) -> Tensor:
    """Energy score of each truth, ``(n,)``, of causes in units of the prior's standard deviation; smaller is better.

    The fair estimator, as for `crps`.
    """
    from scoringrules import es_ensemble

    scale = prior_scale(replications)
    truth = (replications.truth / scale).detach().cpu().double().numpy()
    draws = (replications.draws / scale).detach().cpu().double().numpy()
    draws = draws.transpose(1, 0, 2)
    size = max(1, _BLOCK // draws[0].size // draws.shape[1])  # it holds every difference of two draws
    cuts = [slice(i, i + size) for i in range(0, len(truth), size)]
    parts = [es_ensemble(truth[c], draws[c], estimator="fair", backend="numpy") for c in cuts]
    return torch.as_tensor(np.concatenate(parts)).to(replications.truth)


def scores(replications: Replications, *, kind: str = "crps", times: int = TIMES, seed: int = 0) -> Check:
    """Whether the truth scores as the posterior's own draws do.

    Parameters
    ----------
    replications : Replications
    kind : {"crps", "energy"}
        Of each cause by itself, in units of the posterior's standard deviation; or of all together.
    times : int
        Exchanges, see `exchange_test`.
    seed : int

    Returns
    -------
    Check
        Its figures hold, for each part, the mean score of the truth and that of the draws.

    Raises
    ------
    ValueError
        If replications or draws are too few, or the kind is unknown.
    """
    if kind not in _KINDS:
        raise ValueError(f"Unknown kind of score {kind!r}. Choose from {', '.join(_KINDS)}.")
    own = replications.usable(f"the {kind} score")
    x = candidates(own.truth, own.draws)
    if kind == "crps":
        names, sd = own.names, x.std(0)
        table = candidate_scores(_sums(x)) / torch.where(sd > 0, sd, 1)
    else:
        names, table = ("all causes together",), candidate_scores(_distances(x / prior_scale(own)))[..., None]
    middle = table.mean(0)  # what the score has on average when any candidate is in the truth's place
    tested = exchange_test(table - middle, lambda s: s.mean(1).abs(), times=times, seed=seed)
    true, drawn = table[0].mean(0), table[1:].mean((0, 1))
    return Check(
        "CRPS" if kind == "crps" else "energy score",
        tested.largest,
        tested.p_value,
        _words(names, true / drawn, tested.worst, tested.p_value, len(own)),
        dict(zip(names, tested.parts.tolist(), strict=True)),
        len(own),
        {"names": list(names), "truth": rounded(true), "draws": rounded(drawn)},
    )


def candidate_scores(sums: Tensor) -> Tensor:
    """Fair score of every candidate against all others, from its distances to them.

    Parameters
    ----------
    sums : Tensor (S + 1, ...)
        Sum of the distances of each candidate to all others.

    Returns
    -------
    Tensor (S + 1, ...)
        E|X - x| - E|X - X'| / 2 over the S others.
    """
    S = len(sums) - 1
    return sums / S - (sums.sum(0) - 2 * sums) / (2 * S * (S - 1))


def prior_scale(replications: Replications) -> Tensor:
    """Standard deviation of each cause under the prior ``(k,)``: as given, or of the truths."""
    sd = replications.truth.std(0) if replications.prior_sd is None else replications.prior_sd
    return torch.where(sd > 0, sd, 1)


def _sums(x: Tensor) -> Tensor:
    """Sum of |x_i - x_j| over i, of candidates (S + 1, ...), by sorting."""
    ordered, order = x.sort(0)
    count = len(x)
    place = torch.arange(count, device=x.device, dtype=x.dtype).reshape(-1, *[1] * (x.ndim - 1))
    before = ordered.cumsum(0) - ordered
    after = ordered.sum(0) - before - ordered
    total = place * ordered - before + after - (count - 1 - place) * ordered
    return torch.empty_like(x).scatter_(0, order, total)


def _distances(x: Tensor) -> Tensor:
    """Sum of the Euclidean distances of each candidate (S + 1, n, k) to all others, (S + 1, n)."""
    rows = x.transpose(0, 1)
    size = max(1, _BLOCK // len(x) ** 2)
    return torch.cat([torch.cdist(part, part).sum(-1) for part in rows.split(size)]).mT


def _words(names: tuple[str, ...], ratio: Tensor, worst: int, p_value: float, n: int) -> str:
    if p_value > 0.05:
        return f"{n} truths score as the posterior's own draws do (p {p_value:.2g}). Nothing speaks against the method."
    more = float(ratio[worst])
    what = "The posterior is too narrow or shifted" if more > 1 else "The posterior is wider than it need be"
    return f"For {names[worst]} the truth scores {more:.2f} times what draws do (p {p_value:.2g}). {what}."
