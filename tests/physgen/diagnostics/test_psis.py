"""Pareto smoothing against arviz_stats, against scipy's generalised Pareto distribution, and at its edges."""

import numpy as np
import pytest
import torch
from arviz_stats.base import array_stats
from scipy.stats import genpareto

from physgen.diagnostics.psis import ess_importance, fit_pareto, pareto_smooth


def weights(draws, batch, *, heavy, seed=0):
    """Log weights of many tail shapes, (draws, *batch)."""
    rng = np.random.default_rng(seed)
    scale = np.geomspace(0.05, heavy, int(np.prod(batch))).reshape(batch)
    return torch.from_numpy(scale * rng.standard_exponential((draws, *batch)))


def arviz(log_weights):
    """Smoothed log weights (S, B) and k_hat (B,): arviz wants minus the log weights."""
    smoothed, k_hat = array_stats.psislw(-log_weights.numpy(), axis=0)
    return smoothed.T, k_hat


@pytest.mark.parametrize("draws", [30, 100, 225, 226, 400, 3000])
def test_equals_arviz(draws):
    log_weights = weights(draws, (60,), heavy=1.5)
    smoothed, k_hat = pareto_smooth(log_weights)
    expected, expected_k = arviz(log_weights)
    np.testing.assert_allclose(k_hat, expected_k, atol=1e-10, rtol=0)
    np.testing.assert_allclose(smoothed, expected, atol=1e-10, rtol=0)
    assert expected_k.min() < 0.1  # the comparison spans light and heavy tails
    assert expected_k.max() > 0.7


def test_the_sign_arviz_wants_is_minus_the_log_weight():
    heavy = weights(1000, (5,), heavy=1.0)
    right, wrong = array_stats.psislw(-heavy.numpy(), axis=0)[1], array_stats.psislw(heavy.numpy(), axis=0)[1]
    np.testing.assert_allclose(pareto_smooth(heavy)[1], right, atol=1e-10, rtol=0)
    # no error, and an answer that would pass: the smallest of these weights have a short tail
    assert wrong[-1] < 0.7 < right[-1]


def test_observations_do_not_mix_and_scales_do_not_matter():
    log_weights = weights(200, (2, 3), heavy=1.0)
    smoothed, k_hat = pareto_smooth(log_weights)
    assert smoothed.shape == (200, 2, 3)
    assert k_hat.shape == (2, 3)
    alone, k_alone = pareto_smooth(log_weights[:, 1, 2] - 700.0)
    torch.testing.assert_close(alone, smoothed[:, 1, 2], rtol=0, atol=1e-10)
    torch.testing.assert_close(k_alone, k_hat[1, 2], rtol=0, atol=1e-10)


@pytest.mark.parametrize("shape", [-0.3, 0.0, 0.4, 0.9])
def test_fit_recovers_a_generalised_pareto_distribution(shape):
    n, repeats, sigma = 2000, 200, 2.5
    excess = genpareto.rvs(shape, scale=sigma, size=(repeats, n), random_state=1)
    ordered = torch.from_numpy(np.sort(excess)[:, ::-1].copy())
    k, s = fit_pareto(ordered, torch.full((repeats, 1), n))
    k = (k * (n + 10) - 10 * 0.5) / n  # without its prior
    # the maximum-likelihood standard error (Smith 1987), valid for k > -1/2
    error = (1 + shape) / np.sqrt(n * repeats)
    assert abs(float(k.mean()) - shape) < 4 * error + 3 / n
    assert abs(float(s.mean()) / sigma - 1) < 4 * np.sqrt(2 * (1 + shape) / (n * repeats)) + 3 / n


def test_k_hat_is_the_tail_index_of_the_weights():
    # a weight exp(a e) with e exponential has a Pareto tail of k = a
    rng = np.random.default_rng(2)
    for k in (0.3, 0.6, 1.0):
        _, found = pareto_smooth(torch.from_numpy(k * rng.standard_exponential((4000, 200))))
        tail = 3 * np.sqrt(4000)
        prior = (tail * k + 10 * 0.5) / (tail + 10)
        assert abs(float(found.mean()) - prior) < 4 * (1 + k) / np.sqrt(tail * 200) + 1 / tail


def test_smoothing_lowers_the_error_of_a_heavy_tailed_estimate():
    log_weights = torch.from_numpy(0.6 * np.random.default_rng(3).standard_exponential((200, 4000)))
    truth = np.log(1 / (1 - 0.6))  # log E exp(0.6 e)

    smoothed, _ = pareto_smooth(log_weights)
    total = torch.logsumexp(log_weights, 0) - np.log(200)
    # smoothing leaves the weights below the threshold alone: their shift is the change of the normaliser
    shift = (log_weights - smoothed).gather(0, log_weights.argmin(0)[None])[0] - np.log(200)
    assert float((shift - truth).square().mean()) < 0.9 * float((total - truth).square().mean())


def test_equal_weights():
    for value in (0.0, -1234.5678):
        smoothed, k_hat = pareto_smooth(torch.full((50, 2), value, dtype=torch.float64))
        assert k_hat.tolist() == [-torch.inf] * 2
        torch.testing.assert_close(smoothed.exp(), torch.full_like(smoothed, 1 / 50), rtol=1e-12, atol=0)


def test_weights_that_differ_by_rounding_are_equal():
    noise = torch.from_numpy(np.random.default_rng(4).uniform(-1, 1, (100, 3)))
    assert pareto_smooth(-1000 + 1e-12 * noise)[1].tolist() == [-torch.inf] * 3
    assert bool(torch.isfinite(pareto_smooth(-1000 + 1e-9 * noise)[1]).all())


def test_zero_weights_stay_zero_and_the_rest_is_smoothed():
    log_weights = weights(400, (20,), heavy=1.0)
    order = log_weights.argsort(0)
    log_weights.scatter_(0, order[:200], -torch.inf)  # the smaller half: the tail of 60 does not reach it
    smoothed, k_hat = pareto_smooth(log_weights)
    with np.errstate(divide="ignore"):
        expected, expected_k = arviz(log_weights)
    np.testing.assert_allclose(k_hat, expected_k, atol=1e-10, rtol=0)
    np.testing.assert_allclose(smoothed, expected, atol=1e-10, rtol=0)
    assert bool(torch.isneginf(smoothed).eq(torch.isneginf(log_weights)).all())


def test_zero_weights_inside_the_tail():
    log_weights = weights(400, (20,), heavy=1.0)
    log_weights.scatter_(0, log_weights.argsort(0)[:370], -torch.inf)  # 30 weights are left, the tail is 60
    smoothed, k_hat = pareto_smooth(log_weights)
    torch.testing.assert_close(smoothed.exp().sum(0), torch.ones(20, dtype=torch.float64), rtol=1e-12, atol=0)
    assert bool(torch.isfinite(k_hat).all())
    # the threshold is zero: the fit is that of the weights themselves
    excess = (log_weights - log_weights.amax(0)).exp().sort(0, descending=True).values.T[:, :60]
    expected, _ = fit_pareto(excess[:, :30], torch.full((20, 1), 30))
    torch.testing.assert_close(k_hat, expected[:, 0], rtol=0, atol=0.02)  # grids of 35 and 37 points


def test_unusable_weights():
    log_weights = weights(100, (6,), heavy=0.3)
    log_weights[:, 1] = -torch.inf
    log_weights[3, 2] = torch.nan
    log_weights[3, 3] = torch.inf
    log_weights[4:, 4] = -torch.inf  # four draws have a weight
    log_weights[:, 5] *= 1e5
    smoothed, k_hat = pareto_smooth(log_weights)
    good = pareto_smooth(log_weights[:, 0])
    torch.testing.assert_close((smoothed[:, 0], k_hat[0]), good, rtol=0, atol=1e-12)
    assert k_hat[[1, 3, 4]].tolist() == [torch.inf] * 3
    assert bool(torch.isnan(k_hat[2]))
    assert bool(torch.isnan(smoothed[:, 2]).all())
    assert float(k_hat[5]) > 1
    assert bool(torch.isneginf(smoothed[:, 1]).all())
    torch.testing.assert_close(smoothed[:, [4, 5]].exp().sum(0), torch.ones(2, dtype=torch.float64))


def test_float32_follows_the_input():
    log_weights = weights(400, (50,), heavy=1.0)
    smoothed, k_hat = pareto_smooth(log_weights.float())
    assert smoothed.dtype == k_hat.dtype == torch.float32
    expected, expected_k = pareto_smooth(log_weights)
    torch.testing.assert_close(k_hat.double(), expected_k, rtol=0, atol=1e-3)
    torch.testing.assert_close(smoothed.double(), expected, rtol=0, atol=1e-3)


def test_too_few_draws_are_refused():
    with pytest.raises(ValueError, match="at least 6"):
        pareto_smooth(torch.zeros(5, 3))


def test_effective_draws():
    equal = torch.zeros(40, 2, dtype=torch.float64)
    torch.testing.assert_close(ess_importance(equal), torch.full((2,), 40.0, dtype=torch.float64))
    one = torch.full((40,), -torch.inf, dtype=torch.float64)
    assert float(ess_importance(one)) == 0
    one[7] = -3.0
    assert float(ess_importance(one)) == 1
    w = weights(500, (4,), heavy=1.0)
    direct = w.exp().sum(0) ** 2 / w.exp().square().sum(0)
    torch.testing.assert_close(ess_importance(w), direct, rtol=1e-12, atol=0)
