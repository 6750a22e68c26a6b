"""Residuals of a right and of a wrong model: their spectrum, their autocorrelation, and those by simulation."""

from __future__ import annotations

import pytest
import torch
from scipy import stats

import physgen as pg
from physgen.diagnostics.residuals import Residuals, lag_words, quantile_residuals, residuals

from .linear import A, exact, problem


def test_chi2_is_that_of_the_fit_and_spread_is_what_the_fit_leaves():
    p = problem()
    _, y = p.simulate(3000, seed=1)
    result = exact(p, y, draws=20)
    found = residuals(p, result)
    assert torch.allclose(found.chi2, result.stats["chi2"])
    mean, error, rms = found.spectrum()
    left = torch.linalg.inv(torch.eye(8) + A @ A.mT)  # covariance of the whitened residual at the mode
    assert torch.allclose(rms, left.diagonal().sqrt(), rtol=0.06)
    assert bool((mean.abs() < 4 * error).all())


def test_a_stretch_that_is_off_shows_in_the_autocorrelation():
    white = Residuals(torch.randn(200, 30, generator=torch.Generator().manual_seed(2)))
    correlation, error = white.autocorrelation(5)
    assert bool((correlation.abs() < 4 * error).all())
    assert "do not depend" in lag_words(correlation, error)
    rolled = white.values + torch.roll(white.values, 1, -1)
    smooth = Residuals(rolled[:, 1:])
    correlation, error = smooth.autocorrelation(5)
    assert float(correlation[0]) == pytest.approx(0.5, abs=0.03)
    assert bool((correlation[1:].abs() < 4 * error[1:]).all())
    assert "alike" in lag_words(correlation, error)
    assert float(smooth.runs().mean()) == pytest.approx(0.5, abs=0.05)


def test_missing_elements_are_not_counted():
    values = torch.tensor([[1.0, torch.nan, 1.0, 1.0], [1.0, 1.0, torch.nan, -1.0]])
    found = Residuals(values)
    assert found.chi2.tolist() == [3, 3]
    correlation, _ = found.autocorrelation(2)
    assert correlation.tolist() == pytest.approx([1.0, 0.0])  # pairs at distance 1: 1, 1; at distance 2: 1, -1
    mean, _, rms = found.spectrum()
    assert mean.tolist() == pytest.approx([1, 1, 1, 0])
    assert rms.tolist() == pytest.approx([1, 1, 1, 1])


def test_ranks_among_replicates_are_normal_scores():
    generator = torch.Generator().manual_seed(3)
    y, replicates = torch.rand(400, 6, generator=generator), torch.rand(199, 400, 6, generator=generator)
    found = quantile_residuals(y, replicates)
    assert stats.kstest(found.reshape(-1).numpy(), "norm").pvalue > 0.01
    counts = torch.poisson(torch.full((200, 300, 4), 0.7), generator=generator)  # ties everywhere
    assert stats.kstest(quantile_residuals(counts[0], counts[1:]).reshape(-1).numpy(), "norm").pvalue > 0.01


def test_noise_that_cannot_standardise_is_simulated():
    class Plain(pg.GaussianNoise):
        standardise = pg.Noise.standardise

    right = problem()
    p = pg.Problem(right.forward, right.prior, Plain(1.0))
    _, y = p.simulate(400, seed=4)
    y[0, 3] = torch.nan
    values = residuals(p, exact(right, y)).values
    assert torch.isnan(values[0, 3])
    assert torch.isnan(values).sum() == 1
    ours = residuals(right, exact(right, y)).values
    both = torch.stack([values[1:].reshape(-1), ours[1:].reshape(-1)])
    assert float(torch.corrcoef(both)[0, 1]) > 0.9


def test_without_enough_elements_there_is_no_autocorrelation():
    with pytest.raises(ValueError, match="Invalid lag 3 for 2 elements"):
        Residuals(torch.zeros(4, 2)).autocorrelation(3)
