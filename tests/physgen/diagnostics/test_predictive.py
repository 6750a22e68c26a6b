"""Predictive checks see the feature that one names: uniform under the model, small where it fails."""

from __future__ import annotations

import pytest
import torch
from scipy import stats

import physgen as pg
from physgen.diagnostics.predictive import posterior_predictive_check, prior_predictive_check

from .linear import exact, linear, problem

STATISTICS = {"mean": lambda y: y.nanmean(-1), "last": lambda y: y[..., -1], "range": lambda y: y[..., 0] - y[..., 5]}


def test_prior_predictive_p_values_are_uniform_if_the_model_holds():
    p = problem()
    _, y = p.simulate(800, seed=1)
    found = prior_predictive_check(p, y, STATISTICS, n=1500)
    assert found.names == tuple(STATISTICS)
    for column in found.p_value.unbind(-1):
        assert stats.kstest(column.numpy(), "uniform").statistic < 0.07
    inside = (found.observed > found.low) & (found.observed < found.high)
    assert float(inside.double().mean()) == pytest.approx(0.9, abs=0.03)


def test_posterior_predictive_names_the_feature_that_is_off():
    p = problem()
    _, y = p.simulate(200, seed=2)
    y[:, 2] += 6.0
    statistics = {"third": lambda y: y[..., 2] - y[..., 3], "seventh": lambda y: y[..., 6]}
    found = posterior_predictive_check(p, exact(p, y), statistics)
    third, seventh = (found.p_value < 0.05).double().mean(0).tolist()
    assert third > 0.8
    assert seventh < 0.1
    assert "third" in str(found)


def test_observations_keep_their_gaps_and_their_batch():
    p = problem()
    _, y = p.simulate(6, seed=3)
    y[0, 7], y[1, 0] = torch.nan, torch.nan
    found = prior_predictive_check(p, y.reshape(2, 3, 8), STATISTICS, n=50)
    assert found.p_value.shape == (2, 3, 3)
    assert torch.isnan(found.p_value).reshape(6, 3).nonzero().tolist() == [[0, 1], [1, 2]]
    replicated = posterior_predictive_check(p, exact(p, y), STATISTICS, draws=30)
    assert torch.isnan(replicated.p_value).nonzero().tolist() == [[0, 1], [1, 2]]


def test_conditions_are_lent():
    shifted = pg.Problem(lambda x, *, shift: linear(x) + shift[..., None], problem().prior, pg.GaussianNoise(1.0))
    shift = torch.full((60,), 100.0)
    _, y = shifted.simulate(60, seed=4, shift=shift)
    found = prior_predictive_check(shifted, y, {"mean": STATISTICS["mean"]}, conditions={"shift": shift})
    assert float(found.median.min()) == pytest.approx(100, abs=2)


def test_bad_questions_are_errors():
    p = problem()
    _, y = p.simulate(3, seed=5)
    with pytest.raises(ValueError, match="No statistics to check"):
        prior_predictive_check(p, y, {})
    with pytest.raises(ValueError, match=r"Too few replicates: 5\. At least 20"):
        posterior_predictive_check(p, exact(p, y, draws=5), STATISTICS)
    with pytest.raises(TypeError, match=r"The statistic 'whole' returned \(3, 8\)"):
        prior_predictive_check(p, y, {"whole": lambda y: y})
