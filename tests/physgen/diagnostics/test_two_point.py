"""Two-point statistics against the sum over pairs, closed forms, and fields that differ in nothing else."""

import math

import numpy as np
import pytest
import torch
from scipy import stats

from physgen.diagnostics.two_point import compare_two_point, power_spectrum, two_point_correlation


def smooth(n, size, length, seed):
    """Periodic Gaussian fields of unit variance with the covariance exp(-r^2 / (2 length^2)), nearly."""
    noise = np.fft.fft2(np.random.default_rng(seed).standard_normal((n, size, size)))
    k = 2 * np.pi * np.fft.fftfreq(size)
    power = np.exp(-(k[:, None] ** 2 + k**2) * length**2 / 2)
    return torch.from_numpy(np.fft.ifft2(noise * np.sqrt(power / power.mean())).real)


@pytest.mark.parametrize("periodic", [False, True])
def test_equals_the_sum_over_pairs(periodic):
    f = np.random.default_rng(0).standard_normal((5, 6))
    total, pairs = np.zeros(3), np.zeros(3)
    for i in np.ndindex(*f.shape):
        for j in np.ndindex(*f.shape):
            shift = np.abs(np.subtract(i, j))
            if periodic:
                shift = np.minimum(shift, np.array(f.shape) - shift)
            r = int(np.rint(np.hypot(*shift)))
            if r < 3:
                total[r] += f[i] * f[j]
                pairs[r] += 1
    lag, found = two_point_correlation(torch.from_numpy(f)[None], periodic=periodic)
    assert lag.tolist() == [0, 1, 2]
    np.testing.assert_allclose(found[0], total / pairs, atol=1e-12)


def test_a_known_covariance():
    fields = smooth(300, 32, 3.0, 1)
    lag, found = two_point_correlation(fields, periodic=True)
    mean, error = found.mean(0), found.std(0) / math.sqrt(300)
    # rings hold distances up to half a pixel away
    slope = lag / 9 * torch.exp(-(lag**2) / 18)
    assert bool(((mean - torch.exp(-(lag**2) / 18)).abs() < 4 * error + 0.1 * slope + 0.002).all())


def test_random_phase_of_two_colours():
    share = 0.3
    field = torch.from_numpy(np.random.default_rng(2).uniform(size=(40, 24, 24)) < share)
    _, found = two_point_correlation(field)
    assert float(found[:, 0].mean()) == pytest.approx(share, abs=0.01)  # S_2(0) is the share, S_2 elsewhere its square
    assert found[:, 1:].mean(0).numpy() == pytest.approx(share**2, abs=0.005)


def test_profiles_and_volumes():
    rng = np.random.default_rng(3)
    wave = torch.cos(2 * math.pi * torch.arange(32) / 16).double().expand(3, -1)
    _, found = two_point_correlation(wave, periodic=True)
    np.testing.assert_allclose(found[0], 0.5 * np.cos(2 * np.pi * np.arange(17) / 16), atol=1e-12)
    _, volume = two_point_correlation(torch.from_numpy(rng.standard_normal((2, 8, 8, 8))), centre=True)
    assert volume.shape == (2, 5)
    assert float(volume[:, 0].mean()) == pytest.approx(1, abs=4 * math.sqrt(2 / 1024))


def test_power_of_white_noise_and_of_a_wave():
    white = torch.from_numpy(2 * np.random.default_rng(4).standard_normal((200, 16, 16)))
    _, power = power_spectrum(white)
    assert power[:, 1:].mean(0).numpy() == pytest.approx(4, rel=0.2)
    wave = torch.cos(2 * math.pi * 3 * torch.arange(16) / 16).double().expand(1, 16, 16)
    wavenumber, power = power_spectrum(wave)
    assert int(wavenumber[power[0].argmax()]) == 3


def test_the_comparison_finds_another_length_and_accepts_the_same():
    found = [
        compare_two_point(smooth(20, 16, 2.0, 2 * i), smooth(20, 16, 2.0, 2 * i + 1), permutations=99)
        for i in range(60)
    ]
    assert stats.kstest([f.p_value for f in found], "uniform").pvalue > 0.01
    other = compare_two_point(smooth(40, 16, 2.0, 1), smooth(40, 16, 3.0, 2), permutations=199)
    assert other.p_value == 1 / 200
    assert other.error > 0.1
    assert other.lag.shape == other.real.shape == other.generated.shape


def test_refused():
    f = smooth(10, 16, 2.0, 0)
    with pytest.raises(ValueError, match="Both need the same"):
        compare_two_point(f, smooth(10, 8, 2.0, 0))
    with pytest.raises(ValueError, match="Give 8 or more"):
        compare_two_point(f[:7], f)
    with pytest.raises(ValueError, match=r"NaN or infinite values\. Leave"):
        two_point_correlation(torch.full((2, 8, 8), torch.nan))
    with pytest.raises(TypeError, match="real numbers"):
        two_point_correlation(f.to(torch.complex128))
