"""Posteriors of a hard shape: their exact draws are exact, and no wrong answer is trusted."""

import importlib
import math
from pathlib import Path

import numpy as np
import pytest
import torch

from physgen.inversions import Auto, OptimalEstimation
from physgen.result import Result
from physgen.status import Status

NAMES = ("banana", "funnel", "bridge", "ring", "two modes", "unequal modes", "condition 1e5")
# what finds each shape in seconds; the whole table is printed by benchmarks/hard_shapes.py
QUICK = {
    "Hamiltonian": ("banana", "ring", "condition 1e5"),
    "SliceSampler": ("ring",),
    "Pathfinder": ("banana", "ring", "two modes", "unequal modes", "condition 1e5"),
}
CASES = [(method, shape) for method, shapes in QUICK.items() for shape in shapes]


@pytest.fixture
def hard(monkeypatch):
    """The script, and the shapes beside it."""
    monkeypatch.syspath_prepend(str(Path(__file__).parents[2] / "benchmarks"))
    return importlib.import_module("hard_shapes")


def latents(name, problem, x):
    """z (S, k) of causes (S, n)."""
    if name != "bridge":
        return problem.prior.encode(x)
    steps = torch.diff(x[:, 2:], dim=1, prepend=torch.zeros(len(x), 1))
    return torch.cat([x[:, :2] / 2, steps / torch.exp(x[:, :1])], 1)


@pytest.mark.parametrize("name", NAMES)
def test_exact_draws_satisfy_steins_identity(hard, name):
    # E[d log p / dz_i] = 0 and E[z_i d log p / dz_i] = -1 under p, and under no density of another slope
    shape = hard.SHAPES[name]()
    x = torch.as_tensor(shape.exact(20_000, np.random.default_rng(5)))
    z = latents(name, shape.problem, x).requires_grad_(True)
    posterior = shape.problem.condition(shape.y)
    torch.testing.assert_close(posterior.decode(z.detach()), x, rtol=1e-6, atol=1e-8)
    (slope,) = torch.autograd.grad(posterior.log_prob(z).sum(), z)
    z = z.detach()
    for value, wanted in ((slope, 0.0), (z * slope, -1.0)):
        error = (value.mean(0) - wanted) / value.std(0) * math.sqrt(len(z))
        assert float(error.abs().max()) < 4.5


@pytest.mark.parametrize("name", ["two modes", "unequal modes"])
def test_the_mass_of_a_mode_by_importance_sampling(hard, name):
    shape = hard.SHAPES[name]()
    k, g = shape.problem.prior.latent_dim, torch.Generator().manual_seed(3)
    sign = torch.where(torch.rand(200_000, generator=g) < 0.5, 1.0, -1.0)
    sd = torch.tensor([0.05] + [0.13] * (k - 1))
    x = torch.randn(200_000, k, generator=g) * sd
    x[:, 0] += 1.5 * sign
    hills = [-0.5 * (((x - 1.5 * s * torch.eye(k)[0]) / sd) ** 2).sum(-1) for s in (1, -1)]
    z = shape.problem.prior.encode(x)
    weight = torch.softmax(shape.problem.condition(shape.y).log_prob(z) - torch.logaddexp(*hills), 0)
    found = float((weight * shape.mode(x)).sum())
    exact = shape.mode(torch.as_tensor(shape.exact(200_000, np.random.default_rng(4)))).double()
    assert 0.2 < found < 0.8
    assert abs(found - float(exact.mean())) < 4.5 * 0.5 * math.sqrt(float(weight.square().sum()) + 1 / 200_000)


def result_of(shape, samples, status, ess):
    twins = samples.shape[2]
    return Result(
        samples=samples,
        status=torch.full((twins,), int(status)),
        stats={"ess": torch.full((twins,), float(ess))},
        causes=shape.problem.prior.causes,
        y=shape.y.expand(twins, -1),
        conditions={},
        observables=shape.problem.observables,
        condition_space=None,
        settings={},
        provenance={},
    )


@pytest.mark.parametrize("name", ["banana", "two modes"])
def test_what_is_wrong_is_called_wrong(hard, name):
    shape = hard.SHAPES[name]()
    truth = hard.Truth.of(shape)
    x = torch.as_tensor(shape.exact(12_000, np.random.default_rng(6))).reshape(4, 1000, 3, -1)

    def verdict(samples):
        return hard.judged(shape, truth, result_of(shape, samples, Status.TRUSTED, 4000))

    exact = verdict(x)
    assert exact["wrong"] == [False] * 3
    assert not exact["together"]
    assert hard.words(exact) == "passes"
    for samples in (x + 0.3 * truth.scale, truth.centre + 0.8 * (x - truth.centre), torch.full_like(x, torch.nan)):
        assert verdict(samples)["wrong"] == [True] * 3
        assert hard.words(verdict(samples)).startswith("**wrong")
    lost = hard.judged(shape, truth, result_of(shape, x + 1.0, Status.CHAINS_DISAGREE, 4000))
    assert hard.words(lost) == "chains disagree"
    if shape.mode is not None:  # one mode alone
        one = torch.where(shape.mode(x)[..., None], x, x * torch.tensor([-1.0, 1.0, 1.0]))
        assert verdict(one)["wrong"] == [True] * 3
    # a bias that each of the twins hides in its error, and all together do not
    noisy = hard.judged(shape, truth, result_of(shape, x[:1] + 0.1 * truth.scale, Status.TRUSTED, 1000))
    assert noisy["wrong"] == [False] * 3


@pytest.mark.slow
@pytest.mark.parametrize(("method", "name"), CASES)
def test_a_shape_that_is_found(hard, method, name):
    shape = hard.SHAPES[name]()
    found = hard.cell(method, shape, hard.Truth.of(shape), 2)
    print(f"{method}, {name}: {found}")
    assert not any(w and s == Status.TRUSTED for w, s in zip(found["wrong"], found["status"], strict=True))
    assert not found["together"]
    assert Status.TRUSTED in found["status"]


@pytest.mark.parametrize(
    ("method", "name", "twins"),
    [
        ("Pathfinder", "funnel", 5),
        ("Pathfinder", "bridge", 5),
        pytest.param("SliceSampler", "bridge", 4, marks=pytest.mark.slow),
        pytest.param("Microcanonical", "bridge", 10, marks=pytest.mark.slow),
        pytest.param("Hamiltonian", "bridge", 10, marks=pytest.mark.slow),
    ],
)
def test_what_has_not_entered_a_neck_is_not_trusted(hard, method, name, twins):
    shape = hard.SHAPES[name]()
    found = hard.cell(method, shape, hard.Truth.of(shape), twins)
    print(f"{method}, {name}: {found}")
    assert not any(w and s == Status.TRUSTED for w, s in zip(found["wrong"], found["status"], strict=True))
    assert not found["together"]


def test_more_draws_do_not_make_up_for_a_neck_that_none_has_reached(hard):
    # Auto asks for rounds as much longer as it keeps more draws
    shape = hard.SHAPES["funnel"]()
    method = Auto(draws=4000, methods=("Pathfinder",))
    found = hard.judged(shape, hard.Truth.of(shape), method(shape.problem, shape.y.expand(5, -1), seed=1))
    print(found)
    assert not any(w and s == Status.TRUSTED for w, s in zip(found["wrong"], found["status"], strict=True))


def test_a_method_that_cannot_refuses(hard):
    shape = hard.SHAPES["funnel"]()
    found = hard.cell(OptimalEstimation.__name__, shape, None, 1)
    assert hard.words(found) == "refused"


@pytest.mark.parametrize("method", ["Hamiltonian", "Ensemble"])
def test_what_takes_too_long_is_given_up(hard, method):
    shape = hard.SHAPES["funnel"]()
    found = hard.cell(method, shape, None, 1, minutes=0.01)
    assert found == {"minutes": 0.01}
    assert hard.words(found) == "no end in 0.01 min"


def test_who_runs_the_script_may_stop_it(hard, monkeypatch):
    def stopped(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr(hard.inversions, "Ensemble", lambda: stopped)
    with pytest.raises(KeyboardInterrupt):
        hard.cell("Ensemble", hard.SHAPES["ring"](), None, 1, minutes=1.0)
