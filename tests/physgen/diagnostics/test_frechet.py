"""Fréchet distance against scipy's matrix root and closed forms."""

import numpy as np
import pytest
import torch
from scipy.linalg import sqrtm

from physgen.diagnostics.frechet import frechet_distance, gaussian_frechet


def test_equals_the_formula_with_scipys_root():
    rng = np.random.default_rng(0)
    x, y = rng.standard_normal((200, 4)) @ rng.standard_normal((4, 4)), rng.standard_normal((150, 4)) + 0.5
    a, b = np.cov(x.T), np.cov(y.T)
    expected = np.sum((x.mean(0) - y.mean(0)) ** 2) + np.trace(a + b - 2 * sqrtm(a @ b).real)
    assert float(frechet_distance(torch.from_numpy(x), torch.from_numpy(y))) == pytest.approx(expected, rel=1e-9)


def test_commuting_covariances():
    a, b = torch.tensor([4.0, 1, 0]).double(), torch.tensor([1.0, 9, 0]).double()
    zero = torch.zeros(3).double()
    assert float(gaussian_frechet(zero, a.diag(), zero + 1, b.diag())) == pytest.approx(3 + 1 + 4, abs=1e-12)


def test_one_feature_and_given_features():
    rng = np.random.default_rng(1)
    x, y = (torch.from_numpy(rng.standard_normal((300, 2, 2)) * s) for s in (1.0, 2.0))
    mean = frechet_distance(x, y, lambda t: t.mean((1, 2)))
    m = [t.mean((1, 2)) for t in (x, y)]
    expected = (m[0].mean() - m[1].mean()) ** 2 + (m[0].std() - m[1].std()) ** 2
    assert float(mean) == pytest.approx(float(expected), rel=1e-9)
    assert float(frechet_distance(x, x)) == pytest.approx(0, abs=1e-12)


def test_refused():
    with pytest.raises(ValueError, match=r"Too few samples: 5 and 9 for 5 features\. Give more"):
        frechet_distance(torch.ones(5, 5), torch.ones(9, 5))
    with pytest.raises(ValueError, match="NaN"):
        frechet_distance(torch.full((9, 2), torch.nan), torch.ones(9, 2))
