"""Bad observations among a thousand: each says what it is; the others are unaffected, and cost no more."""

import pytest
import torch

from physgen.inversions import NUTS, Ensemble, Hamiltonian, Microcanonical, SliceSampler, TemperedSMC
from physgen.noise import GaussianNoise
from physgen.problem import Problem
from physgen.status import Status

from .test_contract import METHODS, Model, Selected, assert_same, simulate

MANY, SOME = 1000, 40  # observations; of methods that take them one by one, or long
FAST = {
    "hamiltonian": Hamiltonian(draws=8, chains=4, superchains=2, warm_up=20, max_steps=8, max_leaps=2, chunk=1000),
    "nuts": NUTS(draws=8, chains=2, warm_up=20, max_steps=8, max_depth=1, chunk=1000),
    "microcanonical": Microcanonical(
        draws=8, chains=4, superchains=2, warm_up=20, max_steps=8, max_leaps=2, chunk=1000
    ),
    "slice-sampler": SliceSampler(draws=8, chains=4, superchains=2, warm_up=20, max_evaluations=1, chunk=1000),
    "tempered-smc": TemperedSMC(draws=8, chains=2, particles=20, max_moves=2, max_steps=4, chunk=1000),
    "ensemble": Ensemble(draws=8, chains=2, walkers=8, burn_in=4, max_steps=40, autocorrelation_times=1, candidates=16),
}
ONE_BY_ONE = {"ensemble", "nested-laplace", "variational", "variational-images", "variational-full-rank"}
LEFT_OUT = {"amortised", "auto", "grid"}  # of several methods; of a table of cells for each observation


class Counted(Model):
    """The model, and how many rows it has computed."""

    rows = 0

    def __call__(self, x, /, gain, limit):
        self.rows += x[..., 0].numel()
        return super().__call__(x, gain, limit)


@pytest.mark.parametrize("name", [name for name in METHODS if name not in LEFT_OUT])
def test_bad_observations_among_many(name):
    method, count = FAST.get(name, METHODS[name]), SOME if name in ONE_BY_ONE else MANY
    model = Counted()
    problem = Problem(model, Selected(), GaussianNoise(0.4))
    missing, outside, undefined = count // 5, count // 2, count - 1
    y, limit = simulate(count, seed=2), torch.full((count,), 100.0)
    index = torch.tensor([i for i in range(count) if i not in (missing, outside, undefined)])
    usual = {"gain": 1.0, "edge": -100.0}
    wanted = method(problem, y[index], conditions=usual | {"limit": limit[index]}, seed=5, index=index)
    rows, model.rows = model.rows, 0
    y[missing], y[outside, 1], limit[undefined] = torch.nan, torch.inf, -100.0
    found = method(problem, y, conditions=usual | {"limit": limit}, seed=5)
    said = [Status.NO_DATA, Status.OUT_OF_RANGE, Status.MODEL_UNDEFINED]
    assert found.status[[missing, outside, undefined]].tolist() == said
    assert bool(torch.isnan(found.samples[:, :, [missing, outside, undefined]]).all())
    assert_same(wanted, found, index)
    # one that is undefined is tried, for no longer than ten of the others; under its conditions a table is made anew
    assert model.rows <= (2 * rows if name == "lookup-table" else rows * (1 + 10 / count) + 10)
