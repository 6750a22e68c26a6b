"""Local classifier two-sample test: can causes and observations together tell the truth from a draw, and where?

Linhart, Gramfort & Rodrigues (2023), *L-C2ST: local diagnostics for posterior approximations in simulation-based
inference*, NeurIPS, algorithms 1 and 2. One classifier is trained on (truth, observation) against (draw, observation)
for all observations at once, and then asked at one of them: how far from chance is it on the draws there? Here it is
Fisher's linear discriminant on squares and products of the standardised causes and on their products with the
observation's principal components: it is trained anew, in closed form, for every exchange of truths and draws.
"""

from __future__ import annotations

import torch
from torch import Tensor

from .check import Check
from .exchange import TIMES, candidates, draw_places, exchange_test
from .observed_features import observed_features
from .rank_words import rounded
from .replications import Replications

FEWEST = 100
_DRAWS = 9  # of each replication: more would add little, as there is one truth
_RIDGE = 0.01  # of the mean square of a feature


def local_c2st(replications: Replications, *, times: int = TIMES, seed: int = 0) -> Check:
    """Whether a classifier tells truths from draws, over all observations and at each.

    Parameters
    ----------
    replications : Replications
        With their observations `y`, at least 100.
    times : int
        Exchanges: classifiers trained where truth and draws are alike.
    seed : int

    Returns
    -------
    Check
        Its statistic is the classifier's, over all observations; its figures hold `local_p_value`, of each trusted
        replication's own observation.

    Raises
    ------
    ValueError
        If replications or draws are too few, or there are no observations.
    """
    own = replications.usable("the local classifier test", FEWEST)
    features = _centred(own)
    flat = features.reshape(-1, features.shape[-1])
    inverse = torch.linalg.inv(flat.mT @ flat + _RIDGE * len(flat) * torch.eye(flat.shape[1]).to(flat))

    def distance(chosen: Tensor) -> Tensor:
        mean = chosen.sum(1)
        return torch.einsum("tp,pq,tq->t", mean, inverse, mean)[:, None]

    tested = exchange_test(features, distance, times=times, seed=seed)
    local = _local(features, inverse, min(times, 200), seed)
    return Check(
        "local C2ST",
        float(tested.statistic[0]),
        tested.p_value,
        _words(tested.p_value, local, len(own)),
        {},
        len(own),
        {"local_p_value": rounded(local)},
    )


def _centred(own: Replications) -> Tensor:
    """Features (M + 1, n, p) of the truth and some draws, about their mean in each replication."""
    x = candidates(own.truth, own.draws)
    sd = x.std(0)
    u = (x - x.mean(0)) / torch.where(sd > 0, sd, 1)
    kept = torch.arange(min(_DRAWS, len(own.draws))) * len(own.draws) // min(_DRAWS, len(own.draws)) + 1
    u = u[torch.cat([torch.zeros(1, dtype=kept.dtype), kept]).to(u.device)]
    n, k = u.shape[1:]
    seen = observed_features(own, most=max(1, min(10, n // (20 * k))))
    i, j = torch.triu_indices(k, k)
    with_y = [(p[..., None] * seen[:, None, :]).flatten(-2) for p in (u, u.square() - 1)]
    columns = torch.cat([u, u[..., i] * u[..., j], *with_y], -1)
    columns = columns - columns.mean(0)
    return columns / columns.square().mean((0, 1)).sqrt().clamp(min=1e-12)


def _local(features: Tensor, inverse: Tensor, times: int, seed: int) -> Tensor:
    """P-value (n,) at each observation: the classifier's mean square on its candidates against those under exchange."""
    count, n, _ = features.shape
    place = draw_places(times, n, count, seed=seed, stage=8).to(features.device)
    chosen = torch.stack([features[p, torch.arange(n, device=p.device)].sum(0) for p in place])
    weights = chosen @ inverse  # (times + 1, p)
    square = torch.zeros(n, len(weights)).to(features)
    for part in features:
        square += (part @ weights.mT).square()
    return (square >= square[:, :1] * (1 - 1e-9)).to(torch.float64).mean(1)


def _words(p_value: float, local: Tensor, n: int) -> str:
    if p_value > 0.05:
        return (
            f"A classifier cannot tell {n} truths from draws (p {p_value:.2g}). Nothing speaks against the method, at "
            "no kind of observation."
        )
    share = 100 * float((local <= 0.05).to(torch.float64).mean())
    return (
        f"A classifier tells truths from draws (p {p_value:.2g}). At {share:.0f} % of the observations its own test "
        "says so: do not rely on the posterior there."
    )
