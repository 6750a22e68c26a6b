"""The lookup table: what it keeps, under which conditions, and that it never claims more than it can."""

import math

import pytest
import torch

from physgen.inversions import LookupTable
from physgen.noise import GaussianNoise, Noise
from physgen.priors import Independent, Normal, where
from physgen.problem import Problem
from physgen.status import Status

from .known_posteriors import KNOWN


def model(x, gain):
    return x * gain[..., None]


PROBLEM = Problem(model, Independent(a=Normal(0, 1)), GaussianNoise(0.5))


@pytest.mark.parametrize("criterion", ["log_prob", "chi2"])
def test_the_draws_are_the_best_of_the_table(criterion):
    table = LookupTable(draws=50, size=5000, criterion=criterion)
    kept = table(PROBLEM, torch.tensor([0.8]), conditions={"gain": 2.0}).draws[:, 0]
    table = LookupTable(draws=2500, size=5000, criterion=criterion)
    half = table(PROBLEM, torch.tensor([0.8]), conditions={"gain": 2.0}).draws[:, 0]
    error = (2 * half - 0.8).abs()
    assert torch.equal(kept.sort().values, half[error.argsort()[:50]].sort().values)
    assert not torch.equal(kept, kept.sort().values)


def test_it_is_approximate_and_its_evidence_and_ess_are_those_of_importance_sampling():
    known = KNOWN["poisson-gamma"]()
    size = 20000
    result = LookupTable(draws=100, size=size)(known.problem, known.y)
    ess = float(result.stats["ess"])
    assert int(result.status) == Status.APPROXIMATE
    assert not bool(result.trusted)
    assert 0.05 * size < ess < size
    assert abs(float(result.stats["log_evidence"]) - known.log_evidence) < 4 / math.sqrt(ess)


def test_the_best_fits_of_a_sharp_observation_are_wider_than_the_posterior():
    narrow = Problem(model, Independent(a=Normal(0, 1)), GaussianNoise(1e-4))
    result = LookupTable(draws=100, size=10000)(narrow, torch.tensor([0.3]), conditions={"gain": 1.0})
    assert float(result.stats["ess"]) < 20
    assert float(result.draws.std()) > 20 * 1e-4
    assert int(result.status) == Status.APPROXIMATE


def test_each_observation_has_the_table_of_its_own_conditions():
    y, gain = torch.tensor([[0.8], [0.8], [-0.4], [1.0]]), torch.tensor([1.0, 2.0, 1.0, 2.0])
    table = LookupTable(draws=50, size=4000)
    whole = table(PROBLEM, y, conditions={"gain": gain})
    assert torch.allclose(whole.draws.mean(0)[:, 0], y[:, 0] / gain, atol=0.05)
    for i in range(4):
        one = table(PROBLEM, y[i], conditions={"gain": gain[i]}, index=torch.tensor([i]))
        assert torch.equal(one.samples, whole.samples[:, :, i])


def test_the_model_is_evaluated_once_for_all_that_share_their_conditions():
    rows = []

    def counting(x, gain):
        rows.append(len(x))
        return x * gain[..., None]

    problem = Problem(counting, Independent(a=Normal(0, 1)), GaussianNoise(0.5))
    LookupTable(draws=10, size=2000)(problem, torch.zeros(30, 1), conditions={"gain": torch.tensor([1.0, 2.0] * 15)})
    assert sum(rows) == 2 * 2000


def test_a_truth_simulated_with_the_same_seed_is_not_in_the_table():
    x, _ = PROBLEM.simulate(1000, seed=3, gain=1.0)
    result = LookupTable(draws=500, size=1000)(PROBLEM, torch.tensor([0.0]), conditions={"gain": 1.0}, seed=3)
    assert not bool(torch.isin(result.draws[:, 0], x[:, 0]).any())


def test_fewer_feasible_than_wanted():
    prior = where(Independent(a=Normal(0, 1)), lambda x: x[..., 0] > 2.5)
    problem = Problem(lambda x: x * 1.0, prior, GaussianNoise(0.5))
    result = LookupTable(draws=100, size=2000)(problem, torch.tensor([2.0]))
    assert int(result.status) == Status.FEW_EFFECTIVE_DRAWS
    assert float(result.draws.min()) > 2.5
    assert result.draws.unique().numel() < 100


class NoResidual(Noise):
    """Laplace noise, of which nobody has said what a standardised residual is."""

    def log_prob(self, y, prediction):
        return -(y - prediction).abs().sum(-1)

    def sample(self, prediction, *, seed=0, like=None):
        return prediction


def test_a_noise_without_residuals_is_refused_for_chi2_only():
    problem = Problem(lambda x: x * 1.0, Independent(a=Normal(0, 1)), NoResidual())
    with pytest.raises(TypeError, match="log_prob"):
        LookupTable(criterion="chi2")(problem, torch.tensor([0.0]))
    assert int(LookupTable(draws=10, size=100)(problem, torch.tensor([0.0])).status) == Status.APPROXIMATE


@pytest.mark.parametrize("setting", [{"draws": 0}, {"size": 150}, {"criterion": "best"}, {"chunk": 0}])
def test_settings_out_of_range(setting):
    with pytest.raises(ValueError, match=next(iter(setting))):
        LookupTable(**setting)
