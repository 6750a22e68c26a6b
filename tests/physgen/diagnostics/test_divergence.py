"""Jensen-Shannon divergence against scipy, its sampling floor against the first-order formula."""

import math

import numpy as np
import pytest
import torch
from scipy.spatial import distance

from physgen.diagnostics.divergence import histogram, jensen_shannon, quantile_edges, sampling_floor


def test_equals_scipy():
    rng = np.random.default_rng(0)
    p, q = rng.gamma(0.5, size=(4, 9)), rng.gamma(0.5, size=(4, 9))
    p[0, 3] = 0
    expected = distance.jensenshannon(p, q, base=2, axis=1) ** 2
    np.testing.assert_allclose(jensen_shannon(torch.from_numpy(p), torch.from_numpy(q)), expected, rtol=1e-10)


def test_bounds():
    p = torch.tensor([3, 5, 0, 0])
    assert float(jensen_shannon(p, 2 * p)) == 0
    assert float(jensen_shannon(p, torch.tensor([0, 0, 1, 1]))) == pytest.approx(1, abs=1e-6)


def test_sampling_floor_to_first_order():
    p = torch.tensor([0.1, 0.2, 0.3, 0.25, 0.15])
    floor = sampling_floor(p.double(), 400, 900, draws=4000)
    expected = 4 * (1 / 400 + 1 / 900) / (8 * math.log(2))
    # 8 ln 2 times the divergence is chi-squared with 4 degrees: its standard deviation is sqrt(8) / 4 of the mean
    assert float(floor.mean) == pytest.approx(expected, rel=4 * math.sqrt(0.5) / math.sqrt(4000) + 0.01)
    assert float(floor.high) == pytest.approx(expected * 9.488 / 4, rel=0.08)  # its 95 % quantile over its mean


def test_floor_covers_a_perfect_generator():
    rng = np.random.default_rng(1)
    p = np.array([0.4, 0.3, 0.2, 0.1])
    x, y = (torch.from_numpy(rng.multinomial(n, p, size=2000)) for n in (60, 60))
    share = (jensen_shannon(x, y) <= sampling_floor(torch.from_numpy(p), 60, 60).high).double().mean()
    assert float(share) == pytest.approx(0.95, abs=0.02)


def test_the_floor_of_an_average_has_the_same_mean_and_less_scatter():
    p = torch.tensor([0.1, 0.2, 0.3, 0.25, 0.15]).double().expand(12, -1)
    each, average = sampling_floor(p, 200, 200), sampling_floor(p, 200, 200, average=True)
    assert average.mean.shape == ()
    assert float(average.mean) == pytest.approx(float(each.mean.mean()), rel=1e-9)
    # the excess over the mean falls by sqrt(12), and that of a normal variable is smaller than that of chi-squared
    excess = (each.high - each.mean).mean() / (average.high - average.mean)
    assert 0.9 * math.sqrt(12) < float(excess) < 1.4 * math.sqrt(12)


def test_batches_and_seeds():
    p = torch.tensor([[1, 1, 1], [8, 1, 1]])
    floor = sampling_floor(p, 30, 30, draws=50)
    assert floor.mean.shape == floor.high.shape == (2,)
    assert torch.equal(floor.mean, sampling_floor(p, 30, 30, draws=50).mean)
    assert not torch.equal(floor.mean, sampling_floor(p, 30, 30, draws=50, seed=1).mean)


def test_bins_of_equal_share():
    x = torch.from_numpy(np.random.default_rng(2).gamma(1.0, size=1000))
    edges = quantile_edges(x, 8)
    assert histogram(x, edges).tolist() == [125] * 8
    many_zeros = torch.cat([torch.zeros(900), torch.rand(100, generator=torch.Generator().manual_seed(0))])
    few = quantile_edges(many_zeros, 8)
    assert int(histogram(many_zeros, few).sum()) == 1000
    assert len(few) < 7


def test_refused():
    p = torch.ones(3)
    with pytest.raises(ValueError, match="the same bins"):
        jensen_shannon(p, torch.ones(4))
    for bad in ([-1.0, 1, 1], [0.0, 0, 0], [math.nan, 1, 1]):
        with pytest.raises(ValueError, match=r"Invalid distribution\. Counts"):
            jensen_shannon(p, torch.tensor(bad))
    with pytest.raises(ValueError, match="Too few samples"):
        sampling_floor(p, 1, 10)
    with pytest.raises(ValueError, match="Too few samples"):
        quantile_edges(torch.arange(3.0), 8)
