"""MIG, SAP and modularity at codes whose scores are known."""

import numpy as np
import pytest
import torch

from physgen.diagnostics.disentanglement import attribute_predictability, modularity, mutual_information_gap


def continuous(n=2000, d=4, seed=0):
    return torch.from_numpy(np.random.default_rng(seed).standard_normal((n, d)))


def discrete(n=2000, d=4, seed=0):
    return torch.from_numpy(np.random.default_rng(seed).integers(0, 6, (n, d)))


STACKED = torch.cat([torch.eye(5), torch.eye(5)], dim=1)


@pytest.mark.parametrize("factors", [continuous(), discrete()], ids=["continuous", "discrete"])
def test_identity_and_duplicates(factors):
    twice = torch.cat([factors, factors], 1)
    assert float(mutual_information_gap(factors, factors)) >= 0.9
    assert float(mutual_information_gap(twice, factors)) <= 0.1
    assert float(attribute_predictability(factors, factors)) >= 0.9
    assert float(attribute_predictability(twice, factors)) <= 0.2


def test_mig_in_closed_form():
    # a code that shows the factor (4 classes) whole, and one that shows its parity: 1 - ln 2 / ln 4
    v = torch.from_numpy(np.random.default_rng(1).integers(0, 4, (8000, 1)))
    assert float(mutual_information_gap(torch.cat([v, v % 2], 1), v)) == pytest.approx(0.5, abs=0.01)


def test_sap_in_closed_form():
    v = continuous(20000, 2)
    noisy = v[:, :1] + continuous(20000, 1, seed=2)  # explains half of the variance
    assert float(attribute_predictability(torch.cat([v, noisy], 1), v)) == pytest.approx(0.75, abs=0.02)


def test_modularity_of_known_tables():
    assert float(modularity(STACKED)) == pytest.approx(8 / 9, abs=1e-6)
    assert float(modularity(torch.eye(5))) == 1
    assert float(modularity(torch.ones(3, 4))) == 0
    idle = torch.cat([torch.eye(3), torch.zeros(2, 3)])  # codes that tell nothing do not count
    assert float(modularity(idle)) == 1


def test_constant_factors_do_not_count():
    v = continuous()
    v[:, 0] = 3.0
    assert float(mutual_information_gap(v, v)) >= 0.9
    assert float(attribute_predictability(v, v)) >= 0.9


def test_a_single_code_has_no_rival():
    v = continuous(d=1)
    assert float(mutual_information_gap(v, v)) > 0.9
    assert float(attribute_predictability(v, v)) == pytest.approx(1)


def test_refused():
    v = torch.ones(300, 2)
    for score in (mutual_information_gap, attribute_predictability):
        with pytest.raises(ValueError, match=r"all are constant\. At least one must vary"):
            score(continuous(300), v)
        with pytest.raises(ValueError, match="NaN"):
            score(continuous(300), torch.full((300, 2), torch.nan))
    with pytest.raises(ValueError, match=r"factors >= 2"):
        modularity(torch.ones(3, 1))
    with pytest.raises(ValueError, match="all is 0"):
        modularity(torch.zeros(3, 2))
    with pytest.raises(ValueError, match="negative or missing"):
        modularity(-torch.ones(3, 2))
