"""Leave-one-out against `arviz_stats`, against the exact answer of a Gaussian, and where one model is better."""

from __future__ import annotations

import arviz_base
import arviz_stats
import numpy as np
import pytest
import torch
from torch.distributions import Normal

from physgen.diagnostics.loo import compare, loo


def gaussian(n=60, draws=2000, seed=1):
    """Data y ~ N(mu, 1), mu ~ N(0, 10): the data, and draws of mu given them."""
    generator = torch.Generator().manual_seed(seed)
    y = 1 + torch.randn(n, generator=generator)
    precision = n + 0.01
    return y, y.sum() / precision + torch.randn(draws, generator=generator) / precision**0.5


def test_it_is_that_of_arviz():
    y, mu = gaussian()
    y[3] = 6.0  # an outlier, whose weights have a tail
    values = Normal(mu[:, None], 1).log_prob(y)
    mine = loo(values)
    tree = arviz_base.from_dict({"posterior": {"mu": mu[None].numpy()}, "log_likelihood": {"y": values[None].numpy()}})
    theirs = arviz_stats.loo(tree, pointwise=True, reff=1.0)
    np.testing.assert_allclose(mine.pointwise, np.asarray(theirs.elpd_i), rtol=0, atol=1e-6)
    np.testing.assert_allclose(mine.k_hat, np.asarray(theirs.pareto_k), rtol=0, atol=1e-6)
    assert mine.elpd == pytest.approx(theirs.elpd, abs=1e-5)
    assert mine.se == pytest.approx(theirs.se, rel=1e-6)
    assert mine.p_loo == pytest.approx(theirs.p, abs=1e-5)


def test_it_is_the_density_of_each_datum_given_the_others():
    y, mu = gaussian(draws=20_000)
    found = loo(Normal(mu[:, None], 1).log_prob(y))
    precision = len(y) - 1 + 0.01
    exact = Normal((y.sum() - y) / precision, (1 + 1 / precision) ** 0.5).log_prob(y)
    assert float((found.pointwise - exact).abs().max()) < 0.01
    assert found.p_loo == pytest.approx(1, abs=0.5)
    assert found.unreliable == 0


def test_the_better_model_wins_by_several_standard_errors():
    generator = torch.Generator().manual_seed(2)
    y = torch.randn(400, generator=generator)
    mu = y.mean() + torch.randn(1000, generator=generator) / 20
    right, wrong = loo(Normal(mu[:, None], 1).log_prob(y)), loo(Normal(mu[:, None], 1.6).log_prob(y))
    difference, error = compare(right, wrong)
    assert difference > 4 * error > 0
    assert compare(wrong, right) == (-difference, error)
    assert compare(right, right) == (0, 0)


def test_what_is_no_table_of_log_densities_is_an_error():
    with pytest.raises(ValueError, match=r"Invalid shape \(5,\) of log densities\. Give \(draws, data\)\."):
        loo(torch.zeros(5))
    with pytest.raises(ValueError, match=r"Invalid log density that is not finite\. Leave out .*"):
        loo(torch.full((10, 3), torch.nan))
    few, many = loo(torch.randn(50, 3)), loo(torch.randn(50, 4))
    with pytest.raises(ValueError, match=r"Invalid comparison of 3 with 4 data\. Take the same data\."):
        compare(few, many)
