"""Convergence diagnostics against arviz_stats, direct sums and the closed form of an AR(1) process."""

import numpy as np
import pytest
import torch
from arviz_stats.base import array_stats

from physgen.diagnostics.convergence import autocorrelation_time, ess, ess_bulk, rank_normalise, rhat, split_chains

CASES = ["independent", "correlated", "antithetic", "shifted", "ties", "odd", "short", "cauchy"]


def autoregressive(rho, chains, draws, quantities, seed):
    """Stationary AR(1) of unit variance, (chain, draw, quantity)."""
    noise = np.random.default_rng(seed).standard_normal((draws, chains, quantities))
    x = np.empty_like(noise)
    x[0] = noise[0]
    for t in range(1, draws):
        x[t] = rho * x[t - 1] + np.sqrt(1 - rho**2) * noise[t]
    return torch.from_numpy(x.swapaxes(0, 1).copy())


@pytest.fixture(params=CASES)
def chains(request):
    draws = {"odd": 101, "short": 8}.get(request.param, 200)
    rho = {"correlated": 0.9, "antithetic": -0.7, "shifted": 0.5}.get(request.param, 0.0)
    x = autoregressive(rho, 4, draws, 6, seed=CASES.index(request.param))
    if request.param == "shifted":
        x[0] += 1
    if request.param == "ties":
        x = torch.round(2 * x)
    if request.param == "cauchy":
        x = torch.tan(np.pi * (torch.special.ndtr(x) - 0.5))
    return x


def arviz(function, x, **settings):
    return function(x.numpy(), chain_axis=0, draw_axis=1, **settings)


def test_rhat_equals_arviz(chains):
    np.testing.assert_allclose(rhat(chains), arviz(array_stats.rhat, chains, method="rank"), rtol=1e-12)


def test_ess_equals_arviz(chains):
    np.testing.assert_allclose(ess(chains), arviz(array_stats.ess, chains, method="identity"), rtol=1e-10)
    np.testing.assert_allclose(ess_bulk(chains), arviz(array_stats.ess, chains, method="bulk"), rtol=1e-10)


def test_ess_of_one_chain_equals_arviz():
    x = autoregressive(0.8, 1, 300, 5, seed=3)
    np.testing.assert_allclose(ess(x), arviz(array_stats.ess, x, method="identity"), rtol=1e-10)


def test_quantities_do_not_mix():
    x = autoregressive(0.6, 3, 64, 12, seed=4)
    shaped = x.reshape(3, 64, 2, 3, 2)
    for function in (rhat, ess, ess_bulk, autocorrelation_time):
        whole = function(shaped)
        assert whole.shape == (2, 3, 2)
        torch.testing.assert_close(whole[1, 2, 0], function(shaped[:, :, 1, 2, 0]), rtol=1e-12, atol=0)


@pytest.mark.parametrize("rho", [0.0, 0.5, 0.9])
def test_autocorrelation_time_of_an_ar1_process(rho):
    draws, chains, quantities = 4000, 16, 20
    expected = (1 + rho) / (1 - rho)
    tau = autocorrelation_time(autoregressive(rho, chains, draws, quantities, seed=5))
    # Sokal (1997), eq. 3.19: var(tau) = 2 (2 M + 1) / N tau^2, the window M = 5 tau; one cut at 5 tau drops exp(-10)
    error = expected * np.sqrt(2 * (10 * expected + 1) / (draws * chains))
    assert abs(float(tau.mean()) - expected) < 3 * error / np.sqrt(quantities) + 1e-3 * expected
    assert float((tau - expected).abs().max()) < 4 * error


def test_ess_of_an_ar1_process():
    rho, chains, draws, quantities = 0.8, 4, 4000, 40
    found = ess(autoregressive(rho, chains, draws, quantities, seed=6)) / (chains * draws)
    spread = float(found.std()) / np.sqrt(quantities)
    # Geyer's truncation is conservative by a few per cent, never optimistic beyond Monte-Carlo error
    assert 0.94 * (1 - rho) / (1 + rho) < float(found.mean()) < (1 - rho) / (1 + rho) + 3 * spread


def test_autocorrelation_time_is_the_windowed_direct_sum():
    x = autoregressive(0.7, 3, 150, 1, seed=7)[..., 0]
    centred = (x - x.mean()).numpy()
    acov = np.array([np.mean([c[: 150 - t] @ c[t:] for c in centred]) for t in range(150)])
    tau = 2 * np.cumsum(acov / acov[0]) - 1
    window = int(np.argmax(np.arange(150) >= 5 * tau))
    np.testing.assert_allclose(autocorrelation_time(x), tau[window], rtol=1e-11)


def test_a_stuck_chain_shows_as_a_long_autocorrelation_time():
    x = autoregressive(0.0, 8, 1000, 1, seed=8)
    x[3] = 4.0
    assert float(autocorrelation_time(x)) > 100


def test_rhat_sees_shift_scale_and_drift():
    x = autoregressive(0.0, 4, 500, 4, seed=9)
    x[0, :, 1] += 1
    x[0, :, 2] *= 3  # only the folded ranks see it
    x[:, 250:, 3] += 1  # only the split does
    found = rhat(x)
    assert float(found[0]) < 1.01
    assert bool((found[1:] > 1.05).all())


def test_constant_and_undefined_quantities():
    x = autoregressive(0.0, 4, 50, 3, seed=10)
    x[..., 1] = 2.5
    x[2, 7, 2] = torch.nan
    assert torch.isnan(rhat(x)).tolist() == [False, True, True]
    assert torch.isnan(autocorrelation_time(x)).tolist() == [False, True, True]
    for function in (ess, ess_bulk):
        found = function(x)
        assert torch.isfinite(found).tolist() == [True, True, False]
        assert float(found[1]) == 200


def test_rank_normalise_averages_ties():
    z = rank_normalise(torch.tensor([[3.0, 1.0, 1.0, 2.0]], dtype=torch.float64))
    expected = torch.special.ndtri((torch.tensor([[4.0, 1.5, 1.5, 3.0]], dtype=torch.float64) - 0.375) / 4.25)
    torch.testing.assert_close(z, expected, rtol=1e-14, atol=0)


def test_split_leaves_out_the_middle_draw():
    assert split_chains(torch.arange(5)[None]).tolist() == [[0, 1], [3, 4]]


def test_float32_follows_the_input():
    x = autoregressive(0.5, 4, 400, 2, seed=11)
    for function in (rhat, ess, ess_bulk, autocorrelation_time):
        single = function(x.float())
        assert single.dtype == torch.float32
        torch.testing.assert_close(single.double(), function(x), rtol=1e-3, atol=0)


def test_too_few_draws_are_refused():
    with pytest.raises(ValueError, match="4 draws"):
        rhat(torch.zeros(4, 3))
    with pytest.raises(ValueError, match="8 draws"):
        ess_bulk(torch.zeros(4, 7))
