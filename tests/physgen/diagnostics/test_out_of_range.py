"""Observations that the model makes are flagged as often as the p-value says, others always."""

from __future__ import annotations

import pytest
import torch
from scipy import stats

import physgen as pg
from physgen.diagnostics.observation_embedding import NoResidual, lent
from physgen.diagnostics.out_of_range import learn_range

from .linear import A, problem


def bent(x, *, gain):
    """Four observables on a curved line of one cause, under a condition."""
    a, g = x[..., 0], torch.as_tensor(gain, dtype=x.dtype)
    return torch.stack([g * a, a.square(), torch.cos(a), 2 + 0 * a], -1)


BENT = pg.Problem(bent, pg.Independent(a=pg.Normal(0, 1)), pg.GaussianNoise(0.1))
GAINS = torch.linspace(0.5, 1.5, 40)


@pytest.fixture(scope="module")
def learned():
    torch.set_default_dtype(torch.float64)
    return learn_range(BENT, conditions={"gain": GAINS.double()}, n=600, held_out=900, seed=1)


def fresh(n, seed):
    own = lent(BENT, {"gain": GAINS}, n, seed)
    return BENT.simulate(n, seed=seed, **own)[1], own


def test_p_values_are_uniform_if_the_model_holds(learned):
    y, own = fresh(1500, 2)
    p = learned.p_values(y, own)
    assert stats.kstest(p.numpy(), "uniform").statistic < 0.06
    assert float((p <= 0.02).double().mean()) == pytest.approx(0.02, abs=0.012)
    assert float(p.min()) >= 1 / 901


def test_simulations_of_the_same_seed_are_not_those_that_were_learned(learned):
    y, own = fresh(300, 1)
    assert stats.kstest(learned.p_values(y, own).numpy(), "uniform").pvalue > 0.005


def test_each_kind_of_stranger_is_seen(learned):
    gain = torch.ones(4)
    far = torch.tensor([[9.0, 81.0, -0.9, 2.0], [0.0, 4.0, 1.0, 2.0], [0.0, 0.0, 1.0, 5.0], [1.0, -2.0, 0.5, 2.0]])
    assert (learned.p_values(far, {"gain": gain}) < 0.005).all()


def test_missing_elements_are_calibrated_with_the_same_missing(learned):
    y, own = fresh(600, 3)
    y[:, 1] = torch.nan
    p = learned.p_values(y, own)
    assert stats.kstest(p.numpy(), "uniform").statistic < 0.08
    strange = torch.tensor([[0.0, torch.nan, 1.0, 5.0]])
    assert float(learned.p_values(strange, {"gain": torch.ones(1)})) < 0.005


def test_infinite_is_outside_and_nothing_is_unknown(learned):
    y = torch.tensor([[torch.inf, 0, 1, 2], [torch.nan] * 4, [0.1, 0, 1, 2]])
    p = learned.p_values(y, {"gain": torch.ones(3)})
    assert 1 / 901 <= float(p[0]) <= 4 / 901
    assert torch.isnan(p[1])
    assert float(p[2]) > 0.05


def test_batch_is_loop_and_shape_is_kept(learned):
    y, own = fresh(12, 4)
    whole = learned.p_values(y.reshape(3, 4, 4), {"gain": own["gain"].reshape(3, 4)})
    each = [learned.p_values(y[i], {"gain": own["gain"][i]}) for i in range(12)]
    assert torch.equal(whole.reshape(-1), torch.stack(each))


def test_a_seed_is_an_answer():
    y, own = fresh(50, 5)
    one, same, other = (learn_range(BENT, conditions={"gain": GAINS}, n=200, held_out=200, seed=s) for s in (7, 7, 8))
    assert torch.equal(one.p_values(y, own), same.p_values(y, own))
    assert not torch.equal(one.p_values(y, own), other.p_values(y, own))


def test_an_embedding_may_be_given():
    p = problem()
    embedded = learn_range(p, embedding=lambda y, conditions: torch.nan_to_num(y) @ A, n=400, held_out=400)
    _, y = p.simulate(300, seed=6)
    assert stats.kstest(embedded.p_values(y).numpy(), "uniform").statistic < 0.1
    assert float(embedded.p_values(y[:1] + 20 * A[:, 0])) <= 4 / 401


def test_predictions_that_are_no_observations_need_an_embedding():
    class Sizes(pg.GaussianNoise):
        def sample(self, prediction, *, seed=0, like=None):
            return super().sample(prediction[..., :1].expand(*prediction.shape[:-1], 5), seed=seed)

    prior = pg.Independent(a=pg.Normal(0, 1), b=pg.Normal(0, 1))
    sizes = pg.Problem(lambda x: x, prior, Sizes(0.1))
    with pytest.raises(NoResidual, match="Give an embedding of your own"):
        learn_range(sizes, n=100, held_out=100)
    assert learn_range(sizes, embedding=lambda y, c: y[:, :2], n=100, held_out=100).reference.shape[0] == 100


def test_what_cannot_be_learned_is_an_error(learned):
    with pytest.raises(ValueError, match=r"Too few simulations: 50 to compare with .* At least|Give at least 100"):
        learn_range(BENT, conditions={"gain": 1.0}, n=50)
    with pytest.raises(ValueError, match=r"Invalid embedding of shape \(200,\)"):
        learn_range(BENT, conditions={"gain": 1.0}, embedding=lambda y, c: y[:, 0], n=200, held_out=200)
    with pytest.raises(ValueError, match="Invalid observations of 3 elements"):
        learned.p_values(torch.zeros(2, 3))
    with pytest.raises(ValueError, match=r"Invalid conditions of \[2, 3\] observations"):
        lent(BENT, {"gain": torch.ones(2), "other": torch.ones(3)}, 5, 0)
