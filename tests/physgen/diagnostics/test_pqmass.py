"""PQMass: the figures of its paper, scipy's chi-squared test, uniform p-values."""

import numpy as np
import pytest
import torch
from scipy import stats

from physgen.diagnostics.pqmass import chi_squared, pqmass


def test_the_published_figures():
    rng = np.random.default_rng(0)
    equal, different = [], []
    for seed in range(20):
        x = torch.from_numpy(rng.standard_normal((500, 10)))
        equal.append(pqmass(x, torch.from_numpy(rng.standard_normal((400, 10))), seed=seed).statistic)
        different.append(pqmass(x, torch.from_numpy(rng.uniform(size=(400, 10))), seed=seed).statistic)
    assert 90 <= np.mean(equal) <= 100
    assert 540 <= np.mean(different) <= 585


def test_p_values_are_uniform_for_equal_samples():
    rng = np.random.default_rng(1)
    found = [
        pqmass(*(torch.from_numpy(rng.standard_normal((n, 2))) for n in (600, 400)), references=20, seed=i).p_value
        for i in range(200)
    ]
    assert stats.kstest(found, "uniform").pvalue > 0.01


def test_copies_give_a_p_value_near_one():
    x = torch.from_numpy(np.random.default_rng(2).standard_normal((1000, 3)))
    found = pqmass(x, x + 1e-9)
    assert found.p_value > 0.999
    assert found.statistic < 0.2 * found.freedom


def test_chi_squared_equals_scipy():
    counts = np.random.default_rng(3).poisson(8.0, (2, 12))
    expected = stats.chi2_contingency(counts, correction=False)
    with_empty = np.insert(counts, 5, 0, axis=1)
    found = chi_squared(torch.from_numpy(with_empty))
    assert found.statistic == pytest.approx(expected.statistic, rel=1e-12)
    assert found.freedom == expected.dof == 11
    assert found.p_value == pytest.approx(expected.pvalue, rel=1e-9)


def test_refused():
    x = torch.zeros(150, 2)
    with pytest.raises(ValueError, match=r"Too few samples: 150 and 300 for 100 references\. Give 200 of each"):
        pqmass(x, torch.zeros(300, 2))
    with pytest.raises(ValueError, match="number of references 1"):
        pqmass(x, x, references=1)
    with pytest.raises(ValueError, match="same columns"):
        pqmass(x, torch.zeros(150, 3))
    with pytest.raises(ValueError, match="two rows, each with a count"):
        chi_squared(torch.tensor([[1, 2], [0, 0]]))
