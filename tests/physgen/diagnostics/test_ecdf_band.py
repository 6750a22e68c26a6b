"""Bands of the ECDF of ranks, against enumeration, the definition, and simulation."""

from __future__ import annotations

import itertools
import math

import pytest
import torch
from scipy.stats import binom

from physgen.diagnostics.ecdf_band import ecdf_band, gamma_p_value, gamma_statistic, uniform_points


def by_definition(ranks: list[int], draws: int) -> float:
    """Minus the log of the smallest two-sided binomial probability."""
    n, smallest = len(ranks), 1.0
    for i in range(draws):
        below = sum(r <= i for r in ranks)
        z = (i + 1) / (draws + 1)
        smallest = min(smallest, 2 * min(binom.cdf(below, n, z), binom.sf(below - 1, n, z)))
    return -math.log(min(smallest, 1.0))


def test_statistic_is_its_definition() -> None:
    g = torch.Generator().manual_seed(0)
    ranks = torch.randint(0, 8, (5, 12, 2), generator=g)
    found = gamma_statistic(ranks, uniform_points(7))
    for t, q in itertools.product(range(5), range(2)):
        assert float(found[t, q]) == pytest.approx(by_definition(ranks[t, :, q].tolist(), 7))


def test_p_value_is_that_of_all_data_sets() -> None:
    draws, n = 3, 5
    every = torch.tensor(list(itertools.product(range(draws + 1), repeat=n)))[:, :, None]
    statistic = gamma_statistic(every, uniform_points(draws))[:, 0]
    for value in statistic.unique():
        share = float((statistic >= value - 1e-9).double().mean())
        assert gamma_p_value(float(value), n, draws) == pytest.approx(share)


@pytest.mark.parametrize(("n", "draws"), [(50, 19), (300, 100)])
def test_band_holds_as_many_as_it_says(n: int, draws: int) -> None:
    band = ecdf_band(n, draws)
    g = torch.Generator().manual_seed(1)
    ranks = torch.randint(0, draws + 1, (2500, n), generator=g)
    below = torch.stack([(ranks <= i).double().mean(1) for i in range(draws)], 1)
    inside = ((below >= band.low - 1e-9) & (below <= band.high + 1e-9)).all(1).double().mean()
    assert 0.95 - 0.014 < float(inside) < 0.975


def test_narrower_for_less_coverage() -> None:
    wide, narrow = ecdf_band(100, 50, coverage=0.99), ecdf_band(100, 50, coverage=0.5)
    assert narrow.gamma > wide.gamma
    assert float((narrow.high - narrow.low).sum()) < float((wide.high - wide.low).sum())


def test_bad_input() -> None:
    with pytest.raises(ValueError, match=r"Invalid coverage 1. Must lie between 0 and 1."):
        ecdf_band(10, 10, coverage=1)
    with pytest.raises(ValueError, match=r"Invalid 0 ranks of 10 draws. At least one of each is needed."):
        ecdf_band(0, 10)
