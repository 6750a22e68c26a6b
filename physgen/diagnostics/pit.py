"""Probability integral transforms of the truth, and a smooth test that says in which way they are not uniform.

Dawid (1984), *Statistical theory: the prequential approach*, J. R. Statist. Soc. A 147:278; Neyman (1937), *"Smooth
test" for goodness of fit*, with the first four orthonormal Legendre polynomials on (0, 1): shift, width, skewness and
tails.
"""

from __future__ import annotations

import torch
from torch import Tensor

from .check import Check
from .exchange import TIMES, candidates, exchange_test, ranks
from .rank_words import departure, pit_values, rounded
from .replications import Replications

_BINS = 10


def pit(replications: Replications, *, seed: int = 0) -> Tensor:
    """PIT values of the truths, ``(n, k)``: uniform on (0, 1) if the posterior is exact.

    Its rank among the draws stands for an interval, of which a random point is taken.
    """
    table = ranks(candidates(replications.truth, replications.draws), seed=seed)
    return pit_values(table[0], len(replications.draws), seed=seed)


def pit_uniformity(replications: Replications, *, times: int = TIMES, seed: int = 0) -> Check:
    """Neyman's smooth test of order 4 of the PIT values.

    Parameters
    ----------
    replications : Replications
    times : int
        Exchanges, see `exchange_test`.
    seed : int

    Returns
    -------
    Check
        Its parts are the causes; its figures a histogram of each cause's PIT values, and its four components.

    Raises
    ------
    ValueError
        If replications or draws are too few.
    """
    own = replications.usable("PIT values")
    S, n = len(own.draws), len(own)
    table = ranks(candidates(own.truth, own.draws), seed=seed)
    middle = (table.to(torch.float64) + 0.5) / (S + 1)
    tested = exchange_test(middle, lambda u: smooth_components(u).square().sum(-1), times=times, seed=seed)
    values = pit_values(table[0], S, seed=seed)
    counts = torch.stack([torch.histc(v, _BINS, 0.0, 1.0) for v in values.unbind(-1)])
    components = smooth_components(middle[:1])[0]
    worst = tested.worst
    return Check(
        "PIT",
        tested.largest,
        tested.p_value,
        _words(own.names[worst], departure(values[:, worst]), tested.p_value, n),
        dict(zip(own.names, tested.parts.tolist(), strict=True)),
        n,
        {
            "bins": _BINS,
            "histogram": {name: [int(c) for c in row] for name, row in zip(own.names, counts, strict=True)},
            "components": {name: rounded(row) for name, row in zip(own.names, components, strict=True)},
        },
    )


def smooth_components(u: Tensor) -> Tensor:
    """Neyman's components ``(T, q, 4)`` of PIT values ``(T, n, q)``: each about N(0, 1) if they are uniform."""
    x, n = 2 * u - 1, u.shape[1]
    square = x * x
    polynomials = (
        3**0.5 * x,
        5**0.5 * (3 * square - 1) / 2,
        7**0.5 * x * (5 * square - 3) / 2,
        3 * (35 * square * square - 30 * square + 3) / 8,
    )
    return torch.stack([p.sum(1) for p in polynomials], -1) / n**0.5


def _words(name: str, wrong: str, p_value: float, n: int) -> str:
    if p_value > 0.05:
        return f"PIT values of {n} truths look uniform (p {p_value:.2g}). Nothing speaks against the method."
    return (
        f"PIT values are not uniform (p {p_value:.2g}): for {name}, {wrong}. Do not rely on its intervals as they are."
    )
