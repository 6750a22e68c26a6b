"""DCI at importances whose scores are known, and of codes that are the factors, or mix them."""

import math

import numpy as np
import pytest
import torch

from physgen.diagnostics.dci import completeness, dci, disentanglement


def factors(n=1500, d=4, seed=0):
    return torch.from_numpy(np.random.default_rng(seed).uniform(size=(n, d)))


def test_known_importances():
    stacked = torch.cat([torch.eye(5), torch.eye(5)], 1)  # 5 codes, 10 factors
    assert float(disentanglement(stacked)) == pytest.approx(1 - math.log(2) / math.log(10), abs=1e-6)
    assert round(float(disentanglement(stacked)), 4) == 0.699
    assert float(completeness(stacked)) == pytest.approx(1)
    assert float(disentanglement(stacked.mT)) == pytest.approx(1)
    assert float(disentanglement(torch.diag(torch.tensor([1.0, 2.0, 5.0])))) == pytest.approx(1)
    assert float(disentanglement(torch.ones(3, 4))) == pytest.approx(0, abs=1e-6)


def test_codes_weigh_by_their_total():
    r = torch.tensor([[3.0, 0.0], [0.5, 0.5]])
    assert float(disentanglement(r)) == pytest.approx(3 / 4)


def test_identity_and_a_rotation():
    v = factors()
    same = dci(v[:, [2, 0, 1, 3]], v)
    assert float(same.disentanglement) > 0.98
    assert float(same.completeness) > 0.98
    assert float(same.informativeness.min()) > 0.98
    assert same.importance.argmax(0).tolist() == [1, 2, 0, 3]
    turn = torch.linalg.qr(torch.from_numpy(np.random.default_rng(1).standard_normal((4, 4))))[0]
    mixed = dci(v @ turn, v)
    assert float(mixed.disentanglement) < 0.6
    assert float(mixed.informativeness.min()) > 0.9  # nothing is lost


def test_noise_is_uninformative():
    found = dci(factors(seed=1), factors())
    assert float(found.informativeness.max()) < 0.1


def test_refused():
    with pytest.raises(ValueError, match="At least 100"):
        dci(factors(99), factors(99))
    for bad in (torch.zeros(2, 2), -torch.eye(2), torch.full((2, 2), math.nan)):
        with pytest.raises(ValueError, match=r"Invalid importance\. It must be finite"):
            disentanglement(bad)
    with pytest.raises(ValueError, match=r"Give \(codes, factors\)"):
        completeness(torch.ones(3))
