"""Leave-one-out of a problem and its result, against the exact densities of a linear Gaussian one."""

from __future__ import annotations

import pytest
import torch
from torch.distributions import Normal

import physgen as pg
from physgen.diagnostics.model_comparison import compare_models, loo_of, pointwise_log_likelihood

from .linear import A, exact, linear, problem


def test_independent_data_have_their_own_density():
    p = problem()
    _, y = p.simulate(4, seed=1)
    y[2, 5] = torch.nan
    result = exact(p, y, draws=30)
    found = pointwise_log_likelihood(p, result)
    wanted = Normal(linear(result.draws), 1.0).log_prob(torch.nan_to_num(y))
    known = ~torch.isnan(y).expand_as(found)
    assert torch.allclose(found[known], wanted[known])
    assert torch.isnan(found[~known]).all()
    assert pointwise_log_likelihood(p, result, draws=7).shape == (7, 4, 8)


def test_each_datum_is_predicted_from_the_others():
    p = problem()
    _, y = p.simulate(5, seed=2)
    whole = torch.eye(8) + A @ A.mT
    precision = torch.linalg.inv(whole)
    variance = 1 / precision.diagonal()
    exactly = Normal(y - (y @ precision) * variance, variance.sqrt()).log_prob(y)
    found = loo_of(p, exact(p, y, draws=4000))
    good = found.k_hat < 0.5
    assert int(good.sum()) > 30
    assert float((found.pointwise - exactly.reshape(-1))[good].abs().max()) < 0.15


def test_correlated_noise_predicts_from_the_neighbours():
    noise = pg.CorrelatedGaussianNoise(0.5, discrepancy=1.0, length=2.0, coordinate=range(8))
    p = pg.Problem(linear, problem().prior, noise)
    _, y = p.simulate(3, seed=3)
    result = exact(problem(), y, draws=6)
    t = torch.arange(8.0)
    cov = 0.25 * torch.eye(8) + torch.exp(-(t[:, None] - t).abs() / 2.0)
    precision = torch.linalg.inv(cov)
    e, variance = y - linear(result.draws), 1 / precision.diagonal()
    wanted = Normal(0, variance.sqrt()).log_prob((e @ precision) * variance)
    assert torch.allclose(pointwise_log_likelihood(p, result), wanted)


def test_the_right_model_comes_first():
    right, wrong = problem(), problem(sd=2.5)
    _, y = right.simulate(60, seed=4)
    models = {"wrong": (wrong, exact(wrong, y, sd=2.5)), "right": (right, exact(right, y))}
    found = compare_models(models)
    assert found.names == ("right", "wrong")
    assert found.behind[0] == 0
    assert found.behind[1] > 3 * found.error[1]
    assert str(found).splitlines()[1].startswith("right")


def test_other_observations_are_an_error():
    p = problem()
    _, y = p.simulate(3, seed=5)
    one, other = (p, exact(p, y)), (p, exact(p, y + 1))
    with pytest.raises(ValueError, match="Too few models to compare: 1"):
        compare_models({"one": one})
    with pytest.raises(ValueError, match="The results are of different observations"):
        compare_models({"one": one, "other": other})
