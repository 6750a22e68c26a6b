"""Classes and mutual information, against closed forms and scipy's entropy."""

import math

import numpy as np
import pytest
import torch
from scipy import stats

from physgen.diagnostics.binning import classes, mutual_information


def test_classes_of_few_values_and_of_many():
    x = torch.tensor([[3.0, 0.1], [-1.0, 0.2], [3.0, 0.3], [7.0, 0.4]])
    assert classes(x, 3)[:, 0].tolist() == [1, 0, 1, 2]
    many = classes(torch.from_numpy(np.random.default_rng(0).standard_normal((1000, 1)) ** 3), 8)
    assert torch.bincount(many[:, 0]).tolist() == [125] * 8
    assert classes(torch.ones(9, 1)).amax() == 0


def test_a_monotone_change_of_scale_does_not_matter():
    rng = np.random.default_rng(1)
    x, y = (torch.from_numpy(rng.standard_normal((500, 2))) for _ in range(2))
    a, b = mutual_information(x, y, bins=10), mutual_information(x.exp(), y**3, bins=10)
    torch.testing.assert_close(a, b)


def test_information_of_a_channel():
    # a bit that is flipped in one case of ten: ln 2 - H(0.1)
    rng = np.random.default_rng(2)
    bit = rng.integers(0, 2, 20000)
    seen = bit ^ (rng.uniform(size=20000) < 0.1)
    information, entropy = mutual_information(*(torch.from_numpy(v) for v in (seen, bit)), bins=2)
    expected = math.log(2) - stats.entropy([0.1, 0.9])
    assert float(information) == pytest.approx(expected, abs=4 * math.log(9) * 0.3 / math.sqrt(20000))
    assert float(entropy) == pytest.approx(math.log(2), abs=1e-3)


def test_information_of_correlated_normals():
    rho, rng = 0.9, np.random.default_rng(3)
    x = rng.standard_normal(20000)
    y = rho * x + math.sqrt(1 - rho**2) * rng.standard_normal(20000)
    information, _ = mutual_information(torch.from_numpy(x), torch.from_numpy(y), bins=40)
    assert float(information) == pytest.approx(-0.5 * math.log(1 - rho**2), abs=0.04)


def test_unrelated_columns_share_next_to_nothing():
    rng = np.random.default_rng(4)
    x, y = (torch.from_numpy(rng.standard_normal((4000, 5))) for _ in range(2))
    # uncorrected, they would share 19^2 / 8000 = 0.045 nats, with a standard deviation of sqrt(2) 19 / 8000 = 0.003
    assert float(mutual_information(x, y)[0].mean()) < 0.01


def test_refused():
    with pytest.raises(ValueError, match="At least 200 rows"):
        mutual_information(torch.zeros(199, 1), torch.zeros(199, 1))
    with pytest.raises(ValueError, match="300 rows of codes, 200 of factors"):
        mutual_information(torch.zeros(300, 1), torch.zeros(200, 1))
    with pytest.raises(ValueError, match="number of bins 1"):
        mutual_information(torch.zeros(300, 1), torch.zeros(300, 1), bins=1)
