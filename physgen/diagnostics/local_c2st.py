"""Local classifier two-sample test: can causes and observations together tell the truth from a draw, and where?

Linhart, Gramfort & Rodrigues (2023), *L-C2ST: local diagnostics for posterior approximations in simulation-based
inference*, NeurIPS, algorithms 1 and 2. One classifier is trained on (truth, observation) against (draw, observation)
for all observations at once, and then asked at one of them, or at any other (`local_c2st_at`): how far from chance is
it on the draws there? Here it is Fisher's linear discriminant on squares and products of the standardised causes and on
their products with the observation's principal components: it is trained anew, in closed form, for every exchange of
truths and draws.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from .check import Check
from .exchange import TIMES, candidates, draw_places, exchange_test
from .observed_features import ObservedFeatures, observations_of
from .rank_words import rounded
from .replications import FEWEST_DRAWS, Replications

FEWEST = 100
_DRAWS = 9  # of each replication: more would add little, as there is one truth
_RIDGE = 0.01  # of the mean square of a feature
_ASKED = 100  # draws of a given observation, at most
_NUMBERS = 1 << 20  # scores held at once


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
    _, features = _train(own)
    inverse = _inverse(features)

    def distance(chosen: Tensor) -> Tensor:
        mean = chosen.sum(1)
        return torch.einsum("tp,pq,tq->t", mean, inverse, mean)[:, None]

    tested = exchange_test(features, distance, times=times, seed=seed)
    local = _share(_mean_square(features, _weights(features, inverse, min(times, 200), seed)))
    return Check(
        "local C2ST",
        float(tested.statistic[0]),
        tested.p_value,
        _words(tested.p_value, local, len(own)),
        {},
        len(own),
        {"local_p_value": rounded(local)},
    )


@dataclass(frozen=True, eq=False)
class LocalC2ST:
    """Result of `local_c2st_at`, each ``(b,)``; NaN where the draws are not finite.

    Attributes
    ----------
    statistic : Tensor
        Mean square, over the draws, of the classifier's score at each observation.
    p_value : Tensor
        Share of classifiers trained where truth and draws are alike whose mean square there is as large.
    """

    statistic: Tensor
    p_value: Tensor

    def __str__(self) -> str:
        """Two sentences."""
        known = self.p_value[torch.isfinite(self.p_value)]
        told = int((known <= 0.05).sum())
        if told == 0:
            return f"A classifier cannot tell truths from draws at these {len(known)} observations. Use their draws."
        return (
            f"At {told} of {len(known)} observations a classifier tells truths from draws (p <= 0.05; 5 % by chance). "
            "Do not rely on the posterior there."
        )


def local_c2st_at(
    replications: Replications,
    draws: Tensor,
    y: Tensor,
    *,
    conditions: Mapping[str, Tensor | float] | None = None,
    times: int = TIMES,
    seed: int = 0,
) -> LocalC2ST:
    """Whether the method's posterior can be relied on at given observations, of which no truth is known.

    The classifier is trained on the replications, (truth, observation) against (draw, observation), and asked at
    draws of the given observations' own posteriors; so are the classifiers of the exchanged replications (Linhart et
    al. 2023, algorithm 2). If the method is exact, the p-value is uniform at each observation.

    Parameters
    ----------
    replications : Replications
        With their observations `y`, at least 100, of the same problem and method.
    draws : Tensor (S, b, k)
        Of the posteriors of the given observations, as in `Result.draws`; at least 20.
    y : Tensor (b, m)
        The observations, NaN where not measured.
    conditions : mapping of str to Tensor (b, *own), optional
        Or one number for all.
    times, seed
        See `local_c2st`.

    Returns
    -------
    LocalC2ST

    Raises
    ------
    ValueError
        If replications or draws are too few, or shapes or conditions do not fit.

    Notes
    -----
    The classifier knows of an observation what its principal components say, linearly. If the method is plainly wrong
    somewhere, the p-value is small nearly everywhere, and the statistic says where more is wrong. An observation that
    is unlike the simulated ones is answered by extrapolation: ask for its `range_p` first.
    """
    own = replications.usable("the local classifier test", FEWEST)
    _check(own, draws, y)
    learned, features = _train(own)
    weights = _weights(features, _inverse(features), times, seed)
    known = torch.isfinite(draws).all(-1).all(0)
    seen = learned.observed(y, {k: _each(k, v, len(y)) for k, v in (conditions or {}).items()})
    statistic, p_value = (own.truth.new_full((len(y),), torch.nan) for _ in range(2))
    x = draws[torch.arange(min(_ASKED, len(draws)), device=draws.device) * len(draws) // min(_ASKED, len(draws))]
    for rows in torch.nonzero(known)[:, 0].split(max(1, _NUMBERS // len(weights))):
        columns = _columns(_standardised(x[:, rows].to(own.truth)), seen[rows])
        square = _mean_square((columns - columns.mean(0)) / learned.scale, weights)
        statistic[rows], p_value[rows] = square[:, 0], _share(square).to(p_value)
    return LocalC2ST(statistic, p_value)


@dataclass(frozen=True, eq=False)
class _Learned:
    """What of the observations the classifier knows, and the root mean square (p,) of its features."""

    observed: ObservedFeatures
    scale: Tensor


def _train(own: Replications) -> tuple[_Learned, Tensor]:
    """Features (M + 1, n, p) of the truth and some draws, about their mean in each replication, and their scale."""
    x = candidates(own.truth, own.draws)
    kept = torch.arange(min(_DRAWS, len(own.draws))) * len(own.draws) // min(_DRAWS, len(own.draws)) + 1
    u = _standardised(x)[torch.cat([torch.zeros(1, dtype=kept.dtype), kept]).to(x.device)]
    n, k = u.shape[1:]
    observed = ObservedFeatures.of(own, most=max(1, min(10, n // (20 * k))))
    columns = _columns(u, observed(observations_of(own), own.conditions))
    columns = columns - columns.mean(0)
    scale = columns.square().mean((0, 1)).sqrt().clamp(min=1e-12)
    return _Learned(observed, scale), columns / scale


def _standardised(x: Tensor) -> Tensor:
    """Candidates (S, n, k) about their mean, in their standard deviations."""
    sd = x.std(0)
    return (x - x.mean(0)) / torch.where(sd > 0, sd, 1)


def _columns(u: Tensor, seen: Tensor) -> Tensor:
    """Features (S, n, p) of standardised candidates (S, n, k) and what is seen (n, f)."""
    i, j = torch.triu_indices(u.shape[-1], u.shape[-1])
    with_y = [(p[..., None] * seen[:, None, :]).flatten(-2) for p in (u, u.square() - 1)]
    return torch.cat([u, u[..., i] * u[..., j], *with_y], -1)


def _inverse(features: Tensor) -> Tensor:
    """Of the features' second moments (p, p), with a ridge."""
    flat = features.reshape(-1, features.shape[-1])
    return torch.linalg.inv(flat.mT @ flat + _RIDGE * len(flat) * torch.eye(flat.shape[1]).to(flat))


def _weights(features: Tensor, inverse: Tensor, times: int, seed: int) -> Tensor:
    """The classifier (times + 1, p), and those of exchanged replications."""
    count, n, _ = features.shape
    place = draw_places(times, n, count, seed=seed, stage=8).to(features.device)
    return torch.stack([features[p, torch.arange(n, device=p.device)].sum(0) for p in place]) @ inverse


def _mean_square(features: Tensor, weights: Tensor) -> Tensor:
    """Of each classifier's score over the candidates, (n, times + 1)."""
    square = features.new_zeros(features.shape[1], len(weights))
    for part in features:
        square += (part @ weights.mT).square()
    return square / len(features)


def _share(square: Tensor) -> Tensor:
    """P-value (n,): how many classifiers are as far from chance as the first."""
    return (square >= square[:, :1] * (1 - 1e-9)).to(torch.float64).mean(1)


def _each(name: str, value: Tensor | float, count: int) -> Tensor:
    """A condition of each of the observations (b, *own)."""
    value = torch.as_tensor(value)
    value = value.expand(count) if value.ndim == 0 else value
    if len(value) != count:
        raise ValueError(f"Invalid condition {name} of {len(value)} rows. Give one for each of {count} observations.")
    return value


def _check(own: Replications, draws: Tensor, y: Tensor) -> None:
    k = own.truth.shape[1]
    if y.ndim != 2 or draws.ndim != 3 or draws.shape[1:] != (len(y), k):
        raise ValueError(
            f"Invalid shapes {tuple(draws.shape)} of draws and {tuple(y.shape)} of observations. "
            f"Give draws (S, b, {k}) and observations (b, m)."
        )
    if len(draws) < FEWEST_DRAWS:
        raise ValueError(f"Too few draws of the observations: {len(draws)}. At least {FEWEST_DRAWS} are needed.")


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
