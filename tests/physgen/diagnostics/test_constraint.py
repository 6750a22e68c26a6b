"""Constraints as soft likelihoods: conditioned normals in closed form, through inversions, with satisfaction rates."""

import math

import numpy as np
import pytest
import torch
from scipy.stats import norm

import physgen as pg
from physgen.diagnostics.constraint import Constrained, Constraint, satisfaction
from physgen.inversions import Ensemble, OptimalEstimation
from physgen.testing import check_prior

N = 6
BOND = Constraint("bond", lambda x: x[..., 0] + x[..., N - 1] - 1, 0.2)  # the two ends of a profile


def profile():
    distance = (torch.arange(N)[:, None] - torch.arange(N)).abs().double()
    return pg.Gaussian(torch.zeros(N).double(), torch.exp(-distance))


def conditioned(covariance, rows, values, sd):
    """Mean and covariance of N(0, covariance) given measurements rows @ x = values with errors sd."""
    s = rows @ covariance @ rows.T + np.diag(np.square(sd))
    gain = covariance @ rows.T @ np.linalg.inv(s)
    return gain @ values, covariance - gain @ rows @ covariance


def bond_row():
    row = np.zeros((1, N))
    row[0, [0, N - 1]] = 1
    return row


def test_draws_of_a_constrained_prior():
    prior = Constrained(profile(), BOND)
    x = prior.sample(4000, seed=1, dtype=torch.float64).numpy()
    mean, covariance = conditioned(profile().covariance.numpy(), bond_row(), np.ones(1), [0.2])
    error = np.sqrt(np.diag(covariance) / 4000)
    assert np.all(np.abs(x.mean(0) - mean) < 4 * error)
    np.testing.assert_allclose(np.cov(x.T), covariance, atol=4 * math.sqrt(2 / 4000))


@pytest.mark.parametrize("method", [OptimalEstimation(), pytest.param(Ensemble(walkers=32), marks=pytest.mark.slow)])
def test_inversions_use_it(method):
    problem = pg.Problem(lambda x: x[..., 1:3], Constrained(profile(), BOND), pg.GaussianNoise(0.3))
    y = torch.tensor([0.8, -0.2]).double()
    result = method(problem, y)
    rows = np.concatenate([np.eye(N)[1:3], bond_row()])
    mean, covariance = conditioned(profile().covariance.numpy(), rows, np.array([0.8, -0.2, 1.0]), [0.3, 0.3, 0.2])
    x = result.draws.reshape(-1, N).numpy()
    sd = np.sqrt(np.diag(covariance))
    assert int(result.status) == 0
    assert np.all(np.abs(x.mean(0) - mean) < 5 * sd / math.sqrt(float(result.stats["ess"])))
    assert x.std(0) / sd == pytest.approx(1, abs=5 / math.sqrt(2 * float(result.stats["ess"])))
    # the bond's residual is normal: its rate of satisfaction is known
    m, s = float(bond_row()[0] @ mean) - 1, math.sqrt((bond_row() @ covariance @ bond_row().T).item())
    expected = norm.cdf((0.2 - m) / s) - norm.cdf((-0.2 - m) / s)
    rate = satisfaction(result.draws, BOND, within=1.0)["bond"]
    assert float(rate) == pytest.approx(expected, abs=5 * 0.5 / math.sqrt(float(result.stats["ess"])))


def test_the_contract_of_priors():
    check_prior(Constrained(profile(), BOND))


def test_constraints_add_up_over_weighted_priors():
    other = Constraint("order", lambda x: torch.relu(x[..., :1] - x[..., 1:]), 0.5)  # inequalities
    both, nested = Constrained(profile(), BOND, other), Constrained(Constrained(profile(), BOND), other)
    x = profile().sample((3, 2), dtype=torch.float64)
    expected = -0.5 * ((x[..., 0] + x[..., 5] - 1) / 0.2) ** 2
    expected = expected - 0.5 * (torch.relu(x[..., :1] - x[..., 1:]) / 0.5).square().sum(-1)
    torch.testing.assert_close(both.log_factor(x), expected)
    torch.testing.assert_close(nested.log_factor(x), expected)
    assert both.capabilities == {"encode", "log_factor"}


def test_satisfaction():
    x = torch.zeros(4, 3, N).double()
    x[:2, 0, 0] = 1.0
    x[:, 1, 0] = 1.5
    x[0, 2, 0] = math.nan
    always = Constraint("always", lambda x: 0 * x[..., 1], 1.0)
    rates = satisfaction(x, BOND, always)
    assert rates["bond"].tolist() == [0.5, 1.0, 0.0]
    assert rates["always"].tolist() == [1, 1, 1]
    assert rates["all"].tolist() == [0.5, 1.0, 0.0]
    weights = torch.tensor([1.0, 1, 0, 0]).double()[:, None].expand(4, 3)
    assert satisfaction(x, BOND, weights=weights)["bond"].tolist() == [1.0, 1.0, 0.0]


def test_refused():
    with pytest.raises(ValueError, match=r"Invalid tolerance 0\.0 of bond\. Must be finite"):
        Constraint("bond", BOND.residual, 0.0)
    with pytest.raises(TypeError, match="It must be callable"):
        Constraint("bond", 3.0, 1.0)
    with pytest.raises(ValueError, match=r"Invalid residual of shape \(6,\) of bad"):
        Constraint("bad", lambda x: x.sum(0), 1.0).log_factor(torch.zeros(4, 6))
    with pytest.raises(ValueError, match="each with a name of its own"):
        Constrained(profile(), BOND, BOND)
    with pytest.raises(TypeError, match="Invalid parts"):
        Constrained(profile(), lambda x: x)
    with pytest.raises(ValueError, match="0 constraints"):
        satisfaction(torch.zeros(2, 2))
    with pytest.raises(ValueError, match="Invalid weights"):
        satisfaction(torch.zeros(2, N), BOND, weights=torch.ones(3))
