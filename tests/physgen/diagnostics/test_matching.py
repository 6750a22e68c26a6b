"""The mean correlation coefficient."""

import math

import numpy as np
import pytest
import torch

from physgen.diagnostics.matching import cross_seed_mcc, match_codes, mcc


def sources(n=2000, d=4, seed=0):
    return torch.from_numpy(np.random.default_rng(seed).laplace(size=(n, d)))


def test_identity_and_what_it_does_not_distinguish():
    s = sources()
    assert float(mcc(s, s)) == pytest.approx(1, abs=1e-12)
    found = match_codes(s[:, [2, 0, 3, 1]] * torch.tensor([-1.0, 2, 1e-3, 5]) + 7, s)
    assert float(found.mcc) == pytest.approx(1, abs=1e-12)
    assert found.code.tolist() == [1, 3, 0, 2]
    assert float(found.correlation[0, 2]) == pytest.approx(-1, abs=1e-12)


def test_equals_numpy_and_finds_the_best_of_all_orders():
    rng = np.random.default_rng(1)
    s = rng.laplace(size=(500, 3))
    c = s @ rng.standard_normal((3, 3))
    r = np.abs(np.corrcoef(c.T, s.T)[:3, 3:])
    orders = [(0, 1, 2), (0, 2, 1), (1, 0, 2), (1, 2, 0), (2, 0, 1), (2, 1, 0)]
    best = max(np.mean([r[i, j] for j, i in enumerate(o)]) for o in orders)
    assert float(mcc(torch.from_numpy(c), torch.from_numpy(s))) == pytest.approx(best, rel=1e-12)


def test_rank_correlation_forgives_a_monotone_bend():
    s = sources()
    bent = torch.sign(s) * s.abs() ** 3
    assert float(mcc(bent, s, rank=True)) == pytest.approx(1, abs=1e-12)
    assert float(mcc(bent, s)) < 0.9


def test_rotated_normals_of_45_degrees():
    s = torch.from_numpy(np.random.default_rng(2).standard_normal((20000, 2)))
    turn = torch.tensor([[1.0, 1.0], [-1.0, 1.0]]).double() / math.sqrt(2)
    assert float(mcc(s @ turn, s)) == pytest.approx(math.sqrt(0.5), abs=0.01)


def test_a_factor_without_a_code_and_a_constant_code_count_nothing():
    s = sources(d=3)
    found = match_codes(s[:, :2], s)
    assert float(found.mcc) == pytest.approx(2 / 3, abs=1e-12)
    assert found.code.tolist() == [0, 1, -1]
    constant = s.clone()
    constant[:, 1] = 0.1
    assert float(mcc(constant, s)) == pytest.approx(2 / 3, abs=0.03)
    assert float(mcc(torch.cat([s, sources(d=3, seed=5)], 1), s)) == pytest.approx(1, abs=1e-12)


def test_cross_seed():
    s = sources()
    mean, each = cross_seed_mcc([s, s[:, [1, 0, 3, 2]], -s])
    assert float(mean) == pytest.approx(1, abs=1e-12)
    assert each.shape == (3, 3)
    mean, each = cross_seed_mcc([s, sources(seed=1), s])
    assert float(mean) == pytest.approx((1 + 2 * float(each[0, 1])) / 3, abs=1e-12)
    assert float(each[0, 1]) < 0.1


def test_refused():
    s = sources(20)
    with pytest.raises(ValueError, match="Too few fits: 1"):
        cross_seed_mcc([s])
    with pytest.raises(ValueError, match="Every fit must give one code"):
        cross_seed_mcc([s, s[:, :2]])
    with pytest.raises(ValueError, match="20 rows of codes, 19 of factors"):
        mcc(s, s[:19])
    with pytest.raises(ValueError, match="At least 10 rows"):
        mcc(s[:9], s[:9])
