"""What every inversion keeps to: shapes, order, statuses, random numbers, dtype, progress, files, errors."""

import random
import re
from dataclasses import replace
from functools import cache

import numpy as np
import pytest
import torch

from physgen.black_box import blackbox
from physgen.inversions import (
    NUTS,
    Amortised,
    Auto,
    Ensemble,
    Grid,
    Hamiltonian,
    LookupTable,
    Microcanonical,
    NestedLaplace,
    OptimalEstimation,
    Pathfinder,
    SliceSampler,
    TemperedSMC,
    Variational,
)
from physgen.noise import GaussianNoise
from physgen.priors import Prior
from physgen.problem import Problem
from physgen.result import Result
from physgen.space import Block, Space
from physgen.status import Status

METHODS = {  # a new inversion is one line here
    "amortised": Amortised(draws=50, simulations=2000, epochs=4, batch=200, width=32, escalation=["OptimalEstimation"]),
    "auto": Auto(draws=50),
    "grid": Grid(draws=50, points=41),
    "lookup-table": LookupTable(draws=50, size=2000),
    "slice-sampler": SliceSampler(draws=8, chains=8, superchains=4, warm_up=20, max_evaluations=2000),
    "hamiltonian": Hamiltonian(draws=8, chains=4, superchains=2, warm_up=20, max_steps=8, max_leaps=8),
    "microcanonical": Microcanonical(draws=8, chains=4, superchains=2, warm_up=20, max_steps=16, max_leaps=8),
    "nuts": NUTS(draws=8, chains=2, warm_up=20, max_steps=16, max_depth=4),
    "ensemble": Ensemble(draws=10, walkers=16, burn_in=10, max_steps=60, autocorrelation_times=1),
    "tempered-smc": TemperedSMC(draws=25, chains=2, particles=50, max_moves=6, max_steps=12),
    "nested-laplace": NestedLaplace(hyper_latents=(1,), draws=50),
    "optimal-estimation": OptimalEstimation(draws=50),
    "pathfinder": Pathfinder(draws=50),
    "variational": Variational(draws=50),
    "variational-images": Variational(draws=50, correct=False),
    "variational-full-rank": Variational(draws=50, family="full-rank", steps=40),
}


class Selected(Prior):
    """Two standard normal causes, the first above a condition `edge`, the second a little closer to 0."""

    causes, latent_dim, capabilities = Space("a", "b"), 2, frozenset({"log_factor"})

    def decode(self, z, /, edge):
        return z

    def log_factor(self, x, /, edge):
        return torch.where(x[..., 0] > edge, -0.05 * x[..., 1] ** 2, -torch.inf)


class Model:
    """Three observables within -5 to 5, each the product of a cause and a gain; undefined above a limit."""

    causes = Space("a", "b")
    conditions = Space(Block("gain", support=(0.0, 10.0)), Block("limit"))
    observables = Space(Block("r", support=(-5.0, 5.0), shape=(3,)))
    bad = torch.nan

    def __call__(self, x, /, gain, limit):
        y = torch.cat([x, x[..., :1] - x[..., 1:]], -1) * gain[..., None]
        return torch.where(x[..., :1] > limit[..., None], self.bad, y)


PROBLEM = Problem(Model(), Selected(), GaussianNoise(0.4))
USUAL = {"gain": 1.0, "limit": 100.0, "edge": -100.0}


@pytest.fixture(params=METHODS)
def method(request):
    return ready(request.param)


@cache
def ready(name):
    """A method; one that learns has learned."""
    method = METHODS[name]
    return method.fit(PROBLEM, y=simulate(4), conditions=USUAL) if hasattr(method, "fit") else method


def simulate(count, seed=0):
    return PROBLEM.simulate(count, seed=seed, **USUAL)[1]


def assert_same(found, wanted, rows=slice(None)):
    assert torch.equal(found.samples.nan_to_num(), wanted.samples[:, :, rows].nan_to_num())
    assert torch.equal(found.status, wanted.status[rows])
    for name, value in found.stats.items():
        assert torch.equal(value.nan_to_num(), wanted.stats[name][rows].nan_to_num()), name


def assert_two_sentences(error):
    assert re.fullmatch(r"(?s)[A-Z].+[.?] .+[.?]", str(error)), str(error)


@pytest.mark.parametrize("batch", [(), (1,), (3,), (2, 2)])
def test_shapes(method, batch):
    y = simulate(4)[: max(1, int(np.prod(batch)))].reshape(*batch, 3)
    result = method(PROBLEM, y, conditions=USUAL)
    assert isinstance(result, Result)
    assert result.samples.shape == (getattr(method, "chains", 1), method.draws, *batch, 2)
    assert result.status.shape == result.trusted.shape == batch
    assert all(value.shape[: len(batch)] == batch for value in result.stats.values())
    assert result.stats["latent_covariance"].shape == (*batch, 2, 2)
    assert result.causes.names == ("a", "b")
    assert torch.equal(result.y, y)
    assert {k: v.shape for k, v in result.conditions.items()} == dict.fromkeys(USUAL, batch)


def test_axes_of_the_batch_are_one_after_the_other(method):
    y, gain = simulate(4), torch.tensor([[1.0, 2.0], [0.5, 3.0]])
    square = method(PROBLEM, y.reshape(2, 2, 3), conditions={**USUAL, "gain": gain}, seed=3)
    line = method(PROBLEM, y, conditions={**USUAL, "gain": gain.flatten()}, seed=3)
    assert bool(torch.isfinite(line.samples).all())
    assert torch.equal(square.samples.flatten(2, 3), line.samples)
    assert torch.equal(square.status.flatten(), line.status)
    single = method(PROBLEM, y[0], conditions=USUAL, seed=3)
    assert torch.equal(single.samples, line.samples[:, :, 0])


def test_an_answer_depends_on_seed_and_index_alone(method):
    y = simulate(5)
    states = torch.get_rng_state(), np.random.get_state()[1].tolist(), random.getstate()  # noqa: NPY002
    whole = method(PROBLEM, y, conditions=USUAL, seed=7)
    after = torch.get_rng_state(), np.random.get_state()[1].tolist(), random.getstate()  # noqa: NPY002
    assert torch.equal(states[0], after[0])
    assert states[1:] == after[1:]
    order = torch.tensor([4, 0, 3])
    assert_same(method(PROBLEM, y[order], conditions=USUAL, seed=7, index=order), whole, order)
    one = torch.tensor([3])
    assert_same(method(PROBLEM, y[one], conditions=USUAL, seed=7, index=one), whole, one)
    assert not torch.equal(method(PROBLEM, y, conditions=USUAL, seed=8).samples, whole.samples)
    twins = method(PROBLEM, y[:1].expand(2, -1), conditions=USUAL, seed=7).samples
    assert not torch.equal(twins[:, :, 0], twins[:, :, 1])


def test_no_observation_is_dropped_and_bad_ones_spoil_no_other(method):
    y = simulate(7, seed=2)
    y[1], y[3, 0], y[5, 2] = torch.nan, torch.inf, 7.0
    limit = torch.full((7,), 100.0)
    limit[6] = -100.0
    result = method(PROBLEM, y, conditions={**USUAL, "limit": limit}, seed=5)
    assert result.status[[1, 3, 5, 6]].tolist() == [
        Status.NO_DATA,
        Status.OUT_OF_RANGE,
        Status.OUT_OF_RANGE,
        Status.MODEL_UNDEFINED,
    ]
    refused = torch.tensor([1, 3, 5, 6])
    assert bool(torch.isnan(result.samples[:, :, refused]).all())
    good = torch.tensor([0, 2, 4])
    assert bool(torch.isfinite(result.samples[:, :, good]).all())
    assert_same(method(PROBLEM, y[good], conditions=USUAL, seed=5, index=good), result, good)


def test_nothing_is_feasible(method):
    edge = torch.tensor([-100.0, 100.0, -100.0])
    y = simulate(3)
    result = method(PROBLEM, y, conditions={**USUAL, "edge": edge}, seed=5)
    assert int(result.status[1]) == Status.INFEASIBLE
    assert bool(torch.isnan(result.samples[:, :, 1]).all())
    good = torch.tensor([0, 2])
    assert_same(method(PROBLEM, y[good], conditions=USUAL, seed=5, index=good), result, good)


@pytest.mark.parametrize("bad", [torch.nan, torch.inf])
def test_a_model_undefined_where_the_prior_has_mass(method, bad):
    model = Model()
    model.bad = bad
    limit = torch.tensor([100.0, 0.0, 100.0])
    result = method(Problem(model, Selected(), GaussianNoise(0.4)), simulate(3), conditions={**USUAL, "limit": limit})
    assert int(result.status[1]) == Status.MODEL_UNDEFINED
    assert int(result.status[0]) != Status.MODEL_UNDEFINED


def test_all_observations_are_missing(method):
    result = method(PROBLEM, torch.full((2, 3), torch.nan), conditions=USUAL)
    assert result.status.tolist() == [Status.NO_DATA] * 2
    assert bool(torch.isnan(result.samples).all())


def test_digital_numbers_are_refused_unless_they_are_a_chunk(method):
    y = simulate(4)
    y[:3] = 4000.0
    with pytest.raises(ValueError, match="digital numbers") as caught:
        method(PROBLEM, y, conditions=USUAL)
    assert_two_sentences(caught.value)
    result = method(PROBLEM, y, conditions=USUAL, index=torch.arange(4))
    assert (result.status == Status.OUT_OF_RANGE).tolist() == [True, True, True, False]


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"gian": 2.0}, (TypeError, ValueError), "gian"),
        ({"gain": None}, (TypeError, ValueError), "gain"),
        ({"gain": 11.0}, ValueError, "gain 11"),
        ({"gain": [1.0, 2.0, 3.0]}, ValueError, "gain"),
        ({"gain": "high"}, (TypeError, ValueError), "gain"),
    ],
)
def test_bad_conditions_stop_before_any_computing(method, change, error, message):
    given = {k: v for k, v in {**USUAL, **change}.items() if v is not None}
    if "gian" in change:
        given.pop("gain")
    with pytest.raises(error, match=message) as caught:
        method(PROBLEM, simulate(2), conditions=given)
    assert_two_sentences(caught.value)


@pytest.mark.parametrize("y", [[[1.0, 2.0]], [["a", "b", "c"]], 1.0, np.zeros((0, 3)), [[1j, 0, 0]]])
def test_bad_observations_stop_before_any_computing(method, y):
    with pytest.raises((TypeError, ValueError)) as caught:
        method(PROBLEM, y, conditions=USUAL)
    assert_two_sentences(caught.value)


def test_an_index_of_the_wrong_length(method):
    with pytest.raises(ValueError, match="index") as caught:
        method(PROBLEM, simulate(3), conditions=USUAL, index=torch.arange(2))
    assert_two_sentences(caught.value)


def test_lists_and_arrays_of_integers_are_observations(method):
    y = np.array([[1, -1, 2], [0, 1, 1]])
    wanted = method(PROBLEM, torch.as_tensor(y, dtype=torch.float64), conditions=USUAL)
    for given in (y, y.tolist(), y.astype(float)):
        assert_same(method(PROBLEM, given, conditions=USUAL), wanted)


def test_float32_in_float32_out(method):
    result = method(PROBLEM, simulate(2).float(), conditions=USUAL)
    assert result.samples.dtype == torch.float32
    assert {v.dtype for v in result.stats.values()} <= {torch.float32, torch.int64}
    assert result.status.dtype == torch.int64


def test_progress_counts_every_observation(method):
    seen, y = [], simulate(5)
    y[2] = torch.nan
    method(PROBLEM, y, conditions=USUAL, progress=lambda done, total: seen.append((done, total)))
    assert seen[-1] == (5, 5)
    assert [done for done, _ in seen] == sorted(done for done, _ in seen)
    assert {total for _, total in seen} == {5}


def test_what_is_done_is_kept_after_an_interruption(method):
    if hasattr(method, "chunk"):
        method = replace(method, chunk=2)
    y = simulate(5)
    whole = method(PROBLEM, y, conditions=USUAL, seed=1)

    def interrupt(done, total):
        if done > 3:
            raise KeyboardInterrupt

    with pytest.warns(UserWarning, match="Interrupted"):
        part = method(PROBLEM, y, conditions=USUAL, seed=1, progress=interrupt)
    left = part.status == Status.INTERRUPTED
    assert left.tolist() in ([False, False, True, True, True], [False, False, False, True, True])
    assert torch.equal(part.samples[:, :, ~left], whole.samples[:, :, ~left])
    assert torch.equal(part.status[~left], whole.status[~left])
    assert bool(torch.isnan(part.samples[:, :, left]).all())


def test_settings_make_the_same_method_again(method):
    result = method(PROBLEM, simulate(1), conditions=USUAL)
    settings = dict(result.settings)
    assert settings.pop("method") == type(method).__name__
    assert type(method)(**settings) == method
    with pytest.raises(AttributeError):
        method.draws = 3


def test_a_result_survives_its_file(method, tmp_path):
    y = simulate(3)
    y[1] = torch.nan
    result = method(PROBLEM, y, conditions=USUAL)
    again = Result.from_netcdf(result.to_netcdf(tmp_path / "posterior.nc"))
    assert torch.equal(again.samples.nan_to_num(), result.samples.nan_to_num())
    assert torch.equal(again.status, result.status)
    assert set(again.stats) == set(result.stats)
    for name, value in result.stats.items():
        assert torch.equal(again.stats[name].nan_to_num(), value.nan_to_num()), name
    assert result.to_datatree().posterior.sizes["draw"] == method.draws


def test_a_black_box_is_inverted_or_refused_with_the_method_that_can():
    boxed = Problem(blackbox(lambda x: 2 * x), Selected(), GaussianNoise(0.4))
    y = torch.tensor([[0.3, 0.1]])
    with pytest.raises(TypeError, match="Ensemble") as caught:
        METHODS["optimal-estimation"](boxed, y, conditions={"edge": -100.0})
    assert_two_sentences(caught.value)
    result = METHODS["ensemble"](boxed, y, conditions={"edge": -100.0})
    assert bool(torch.isfinite(result.samples).all())
