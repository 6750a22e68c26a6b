"""Conformal intervals: the coverage that they promise, for any posterior, with finitely many pairs."""

from __future__ import annotations

import pytest
import torch

from physgen.diagnostics.conformal import central, conformal
from physgen.diagnostics.known_replications import FAULTS, known_replications


@pytest.mark.parametrize("fault", ["0.8 sd", "1.25 sd", "shift 0.3 sd", "the prior"])
@pytest.mark.parametrize("scaled", [True, False])
def test_coverage_is_the_level_whatever_the_posterior(fault: str, scaled: bool) -> None:
    """Of 19 pairs, the mean over many calibrations: ceil(20 x 0.9) / 20 = 0.9 exactly."""
    times, n = 120, 19
    every = known_replications("angles", times * (n + 20), 40, fault=FAULTS[fault], seed=1)
    inside = []
    for i in range(times):
        rows = slice(i * (n + 20), (i + 1) * (n + 20))
        own = every.select(rows)
        found = conformal(own.select(slice(0, n)), level=0.9, scaled=scaled)
        low, high = found.interval(own.draws[:, n:])
        inside.append(((own.truth[n:] >= low) & (own.truth[n:] <= high)).double().mean())
    shares = torch.stack(inside)
    assert float(shares.mean()) == pytest.approx(0.9, abs=4 * float(shares.std()) / times**0.5)


def test_margins_have_the_sign_of_the_fault() -> None:
    narrow, wide = (
        conformal(known_replications("sizes", 400, 100, fault=FAULTS[f])).margin for f in ("0.8 sd", "1.25 sd")
    )
    # of a normal, 1.645 sd are wanted: in units of the posterior's own sd, 1.645 (1 / 0.8 - 1) and 1.645 (1 / 1.25 - 1)
    torch.testing.assert_close(narrow, torch.full((2,), 1.645 * 0.25), atol=0.25, rtol=0)
    torch.testing.assert_close(wide, torch.full((2,), -1.645 * 0.2), atol=0.25, rtol=0)


def test_says_what_it_is_not() -> None:
    found = conformal(known_replications("sizes", 100, 40), level=0.8)
    assert found.words.startswith("Conformal 80 % intervals, learned from 100 simulated pairs")
    assert "They are no posterior intervals" in found.words


def test_an_interval_is_never_turned_round() -> None:
    found = conformal(known_replications("sizes", 400, 100, fault=FAULTS["1.25 sd"]), level=0.5)
    low, high = found.interval(known_replications("sizes", 50, 100, seed=9).draws)
    assert bool((low <= high).all())
    draws = torch.arange(101.0)[:, None]
    assert [float(v) for v in central(draws, 0.9)] == pytest.approx([5.0, 95.0])


def test_bad_input() -> None:
    pairs = known_replications("sizes", 98, 40)
    with pytest.raises(ValueError, match=r"Too few replications for conformal intervals: 98 trusted of 98. At least 9"):
        conformal(pairs, level=0.99)
    assert conformal(known_replications("sizes", 99, 40), level=0.99).n == 99
    with pytest.raises(ValueError, match=r"Invalid level 90. Must lie between 0 and 1."):
        conformal(pairs, level=90)
