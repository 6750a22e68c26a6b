"""Models that no one tuned for, at the default settings of `Hamiltonian`, against other methods and longer runs."""

import inspect

import pytest
import torch

from physgen.inversions import Hamiltonian
from physgen.inversions.climb import climb, curvature
from physgen.inversions.gradient import Target
from physgen.status import Status

from . import user_models
from .known_posteriors import linear_gaussian
from .user_models import MODELS


@pytest.mark.parametrize("name", MODELS)
def test_each_is_short(name):
    assert len(inspect.getsource(MODELS[name]).splitlines()) < 30


def test_climbs_end_at_the_mode_of_a_linear_problem_with_its_covariance():
    known = linear_gaussian(3)
    posterior = known.problem.condition(known.y[None])
    z = torch.randn(1, 4, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    ends, value = climb(Target(posterior), z)
    covariance = curvature(Target(posterior), ends[:, 0])[0]
    L = known.problem.prior.factor
    assert float((known.problem.prior.decode(ends) - known.mean).abs().max() / known.sd.min()) < 0.02
    assert torch.allclose((L @ covariance @ L.mT).diagonal().sqrt(), known.sd, rtol=1e-6)
    assert float(value.max() - value.min()) < 1e-3


@pytest.mark.slow
@pytest.mark.parametrize("name", MODELS)
def test_default_settings_agree_with_a_longer_run(name):
    problem, y = MODELS[name]()
    one = Hamiltonian()(problem, y, seed=1)
    long = Hamiltonian(draws=128, chains=64, superchains=8, warm_up=300, accept_ess=4000, max_steps=4000)(
        problem, y, seed=2
    )
    print(f"{name}: {Status(int(one.status)).meaning}, {Status(int(long.status)).meaning}", end=" ")
    for power in (1, 2):
        a, b = one.draws**power, long.draws**power
        error = (a.var(0) / one.stats["ess"] + b.var(0) / long.stats["ess"]).sqrt()
        off = ((a.mean(0) - b.mean(0)).abs() / error).max()
        print(f"moment {power}: {float(off):.2f} errors", end=" ")
        assert not bool(one.trusted) or float(off) < 4.5
    bias = (one.draws.mean(0) - long.draws.mean(0)).abs() / long.draws.std(0)
    print(f"bias {float(bias.max()):.3f} sd")
    assert bool(one.trusted)
    assert bool(long.trusted)


def test_likelihoods_have_no_quadratic_model_and_say_so():
    with pytest.raises(TypeError, match="only evaluates"):
        user_models.Likelihood(lambda y, p: y.sum(-1)).sample(torch.zeros(3))
