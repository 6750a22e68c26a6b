"""Memorisation: copies, fresh draws, and draws that stray."""

import numpy as np
import pytest
import torch
from scipy import stats

from physgen.diagnostics.memorisation import memorisation, nearest_distance


def draws(n, seed, d=3):
    return torch.from_numpy(np.random.default_rng(seed).standard_normal((n, d)))


def test_copies_fresh_draws_and_strays():
    training, held = draws(400, 0), draws(300, 1)
    copied = memorisation(training[:200] + 1e-4 * draws(200, 2), training, held)
    assert copied.nearer == pytest.approx(1, abs=0.01)
    assert copied.copies > 0.95
    fresh = memorisation(draws(300, 3), training, held)
    assert abs(fresh.nearer - 0.5) < 4 * np.sqrt(601 / (12 * 300 * 300))  # of the U statistic
    assert fresh.copies < 0.05
    assert memorisation(draws(300, 3) + 4, training, held).nearer < 0.05


def test_a_half_copied_sample():
    training, held = draws(400, 0), draws(300, 1)
    mixed = torch.cat([training[:150], draws(150, 3)])
    found = memorisation(mixed, training, held)
    assert found.nearer == pytest.approx(0.75, abs=0.08)
    assert found.copies == pytest.approx(0.5, abs=0.03)


def test_p_values_are_uniform_for_fresh_draws():
    # the training set is shared by both samples, so that their distances are exchangeable
    found = [memorisation(draws(100, 3 * i), draws(100, 3 * i + 1), draws(80, 3 * i + 2)).p_value for i in range(150)]
    assert stats.kstest(found, "uniform").pvalue > 0.01


def test_nearest_distance():
    x, to = draws(2050, 1), draws(30, 2)
    expected = np.linalg.norm(x.numpy()[:, None] - to.numpy(), axis=-1).min(1)
    np.testing.assert_allclose(nearest_distance(x, to), expected, rtol=1e-12)
    assert nearest_distance(to + 1e8, to + 1e8).abs().max() == 0


def test_refused():
    with pytest.raises(ValueError, match="Too few held-out samples"):
        memorisation(draws(30, 0), draws(30, 1), draws(19, 2))
    with pytest.raises(ValueError, match="same columns"):
        memorisation(draws(30, 0), draws(30, 1, 2), draws(30, 2))
