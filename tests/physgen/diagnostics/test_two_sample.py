"""Distances between samples against closed forms and scipy."""

import math

import numpy as np
import pytest
import torch
from scipy import stats

from physgen.diagnostics.two_sample import (
    energy_distance,
    gaussian_kernel,
    median_bandwidth,
    minus_distance,
    mmd,
    permutation_test,
    sliced_wasserstein,
    wasserstein,
)


def draws(n, d=1, *, shift=0.0, seed=0):
    return torch.from_numpy(np.random.default_rng(seed).standard_normal((n, d)) + shift)


def test_mmd_equals_its_closed_form_between_normals():
    d, bandwidth, delta, n = 3, 1.5, 0.8, 1500
    s = bandwidth**2

    def kernel_mean(square):  # E exp(-|x - y|^2 / (2 s)) with x - y ~ N(shift, 2 I)
        return (s / (s + 2)) ** (d / 2) * math.exp(-square / (2 * (s + 2)))

    expected = 2 * (kernel_mean(0) - kernel_mean(d * delta**2))
    found = [
        float(mmd(draws(n, d, seed=2 * i), draws(n, d, shift=delta, seed=2 * i + 1), bandwidth=bandwidth))
        for i in range(6)
    ]
    assert abs(np.mean(found) - expected) < 4 * np.std(found, ddof=1) / math.sqrt(6)
    assert np.std(found) < 0.1 * expected  # so that the comparison says something


def test_mmd_is_unbiased():
    found = [float(mmd(draws(40, 2, seed=2 * i), draws(60, 2, seed=2 * i + 1), bandwidth=1.0)) for i in range(300)]
    assert abs(np.mean(found)) < 4 * np.std(found) / math.sqrt(300)
    assert min(found) < 0 < max(found)


def test_unbiased_mmd_by_the_sum_over_pairs():
    x, y = draws(7, 2, seed=1), draws(5, 2, seed=2)

    def k(a, b):
        return math.exp(-float((a - b).square().sum()) / 2)

    own = [sum(k(a, b) for a in s for b in s if a is not b) / (len(s) * (len(s) - 1)) for s in (list(x), list(y))]
    cross = sum(k(a, b) for a in x for b in y) / 35
    assert float(mmd(x, y, bandwidth=1.0)) == pytest.approx(sum(own) - 2 * cross, abs=1e-12)


def test_energy_distance_equals_scipy_in_one_dimension():
    x, y = draws(700, seed=1), draws(530, shift=0.4, seed=2)
    expected = stats.energy_distance(x[:, 0].numpy(), y[:, 0].numpy()) ** 2
    assert float(energy_distance(x, y)) == pytest.approx(expected, rel=1e-9)
    assert float(energy_distance(x, x)) == pytest.approx(0, abs=1e-14)


def test_wasserstein_equals_scipy_for_unequal_numbers():
    x, y = draws(70, seed=1), draws(53, shift=0.4, seed=2)
    expected = stats.wasserstein_distance(x[:, 0].numpy(), y[:, 0].numpy())
    assert float(sliced_wasserstein(x, y, order=1)) == pytest.approx(expected, rel=1e-12)
    # squares: between copies of both, brought to one number
    a, b = np.sort(np.repeat(x.numpy(), 53)), np.sort(np.repeat(y.numpy(), 70))
    assert float(wasserstein(x, y, 2.0)[0]) == pytest.approx(np.mean((a - b) ** 2), rel=1e-12)


def test_sliced_wasserstein_of_a_shift():
    x, delta = draws(400, 6, seed=3), torch.tensor([1.0, 0, -2, 0, 0.5, 0]).double()
    # the mean of cos^2 over 4,096 directions has a relative error of sqrt(2 (d - 1) / (d + 2)) / 64
    found = float(sliced_wasserstein(x, x + delta, directions=4096)) ** 2
    assert found == pytest.approx(float(delta.square().sum()) / 6, rel=4 * math.sqrt(10 / 8) / 64)


def test_permutation_p_values_are_uniform_under_equality_and_small_elsewhere():
    kernel = gaussian_kernel(1.5)
    found = [
        permutation_test(draws(30, 2, seed=2 * i), draws(20, 2, seed=2 * i + 1), kernel, times=99) for i in range(120)
    ]
    assert stats.kstest(found, "uniform").pvalue > 0.01
    for k in (kernel, minus_distance):
        assert permutation_test(draws(80, 2, seed=1), draws(80, 2, shift=1.0, seed=2), k, times=99) == 0.01


def test_dtype_follows_and_blocks_do_not_matter():
    x, y = draws(1100, 2, seed=1), draws(600, 2, shift=0.3, seed=2)
    whole = torch.exp(-torch.cdist(x, y).square() / 2).mean()
    parts = torch.exp(-torch.cdist(x, x).square() / 2), torch.exp(-torch.cdist(y, y).square() / 2)
    own = [(p.sum() - len(p)) / (len(p) * (len(p) - 1)) for p in parts]
    assert float(mmd(x, y, bandwidth=1.0)) == pytest.approx(float(own[0] + own[1] - 2 * whole), abs=1e-12)
    for distance in (mmd, energy_distance, sliced_wasserstein):
        single = distance(x.float(), y.float())
        assert single.dtype == torch.float32
        assert float(single) == pytest.approx(float(distance(x, y)), abs=2e-5)


def test_images_are_flattened():
    x, y = draws(50, 12, seed=1), draws(60, 12, shift=0.3, seed=2)
    assert float(mmd(x.reshape(50, 3, 4), y.reshape(60, 3, 4))) == pytest.approx(float(mmd(x, y)), abs=1e-12)


@pytest.mark.parametrize("distance", [mmd, energy_distance, sliced_wasserstein])
def test_bad_samples_are_refused(distance):
    good = draws(20, 3)
    bad = good.clone()
    bad[4, 1] = torch.nan
    with pytest.raises(ValueError, match=r"column 1 has NaN or infinite values\. Leave"):
        distance(good, bad)
    with pytest.raises(ValueError, match="Both need the same columns"):
        distance(good, good[:, :2])
    with pytest.raises(ValueError, match="Too few generated samples"):
        distance(good, good[:1])
    with pytest.raises(TypeError, match="Give a tensor"):
        distance(good, good.numpy())


def test_bad_settings_are_refused():
    x = draws(20, 2)
    with pytest.raises(ValueError, match="Invalid bandwidth 0"):
        mmd(x, x, bandwidth=0.0)
    with pytest.raises(ValueError, match="most of them are equal"):
        median_bandwidth(torch.zeros(9, 2), torch.zeros(9, 2))
    with pytest.raises(ValueError, match="Invalid order"):
        sliced_wasserstein(x, x, order=0.5)
    with pytest.raises(ValueError, match="number of permutations"):
        permutation_test(x, x, minus_distance, times=0)
