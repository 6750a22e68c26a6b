"""Pathfinder against closed forms and chains, and where it must say no."""

import math

import pytest
import torch

import physgen as pg
from physgen.black_box import blackbox
from physgen.inversions import Auto, Hamiltonian, Pathfinder
from physgen.inversions.escalation import answered_by
from physgen.noise import GaussianNoise
from physgen.problem import Problem
from physgen.status import Status

from .known_posteriors import KNOWN, deviation
from .user_models import MODELS, Likelihood, apart

# the variance of an exact draw has the error sqrt(2 / ess): for 3 % of an sd at four errors, 9000 are needed
LONG = Pathfinder(draws=20_000, round_draws=(20_000, 20_000, 30_000, 40_000), stop_ess=20_000.0, accept_ess=10_000.0)
QUICK = [name for name in MODELS if name not in ("lotka-volterra", "elimination")]


def without_whiten(problem):
    """The same problem whose noise has a density only."""
    return Problem(problem.forward, problem.prior, Likelihood(problem.noise.log_prob))


@pytest.mark.parametrize("name", [name for name in KNOWN if name != "linear-200"])
def test_closed_forms(name):
    known = KNOWN[name]()
    result = LONG(without_whiten(known.problem), known.y, seed=3)
    ess = 1 / (1 / LONG.draws + 1 / float(result.stats["ess"]))
    off = deviation(result.draws, known, ess)
    evidence = float(result.stats["log_evidence"]) - known.log_evidence
    print(f"{name}: {off}, ess {ess:.0f}, evidence off by {evidence:.4f}")
    assert bool(result.trusted)
    assert off["mean"] < 4
    assert off["low"] > 0.97
    assert off["high"] < 1.03
    assert abs(evidence) < 0.05


def test_part_of_the_prior_where_the_model_is_undefined_has_no_weight():
    def forward(x):
        return torch.where(x < -2, torch.nan, x)  # 2.3 % of the prior, 5 standard deviations off the posterior

    problem = Problem(forward, pg.Independent(a=pg.Normal(0, 1)), Likelihood(GaussianNoise(0.5).log_prob))
    result = Pathfinder()(problem, torch.tensor([0.5]), seed=2)
    mean, sd = 0.4, math.sqrt(0.2)
    error = 4 * sd / math.sqrt(0.5 * min(float(result.stats["ess"]), len(result.draws)))
    print(f"undefined at {int(result.stats['nonfinite'])}, mean off by {float(result.draws.mean()) - mean:.4f}")
    assert bool(result.trusted)
    assert int(result.stats["nonfinite"]) > 0
    assert abs(float(result.draws.mean()) - mean) < error
    half = Problem(lambda x: torch.where(x < 0.3, torch.nan, x), problem.prior, problem.noise)
    assert int(Pathfinder()(half, torch.tensor([0.5]), seed=2).status) == Status.MODEL_UNDEFINED


@pytest.mark.slow
@pytest.mark.parametrize("name", QUICK)
def test_user_models_agree_with_chains(name):
    problem, y = MODELS[name]()
    answer, chains = Auto()(problem, y, seed=1), Hamiltonian()(problem, y, seed=2)
    by, worst = answered_by(answer)[0], max(apart(answer, chains, power) for power in (1, 2))
    print(f"{name}: {by}, {Status(int(answer.status)).meaning}, {worst:.2f} errors")
    assert bool(answer.trusted)
    assert worst < 4.5


@pytest.mark.slow
@pytest.mark.parametrize("name", ["lotka-volterra", "elimination"])
def test_differential_equations_are_answered_twice_alike(name):
    problem, y = MODELS[name]()
    one, two = Pathfinder()(problem, y, seed=1), Pathfinder(paths=4, components=16)(problem, y, seed=2)
    off = max(apart(one, two, power) for power in (1, 2))
    print(f"{name}: {off:.2f} errors, evidence {float(one.stats['log_evidence'] - two.stats['log_evidence']):.3f}")
    assert bool(one.trusted)
    assert bool(two.trusted)
    assert off < 4.5
    assert abs(float(one.stats["log_evidence"] - two.stats["log_evidence"])) < 0.2


def test_what_it_cannot_do_is_refused():
    prior, noise = pg.Independent(a=pg.Normal(0, 1)), GaussianNoise(0.5)
    with pytest.raises(TypeError, match="gradient"):
        Pathfinder()(Problem(blackbox(lambda x: x), prior, noise), torch.tensor([0.5]))
    many = pg.Gaussian(torch.zeros(257), torch.eye(257))
    with pytest.raises(ValueError, match="256"):
        Pathfinder()(Problem(lambda x: x, many, noise), torch.zeros(257))


@pytest.mark.parametrize(
    "setting",
    [{"draws": 0}, {"paths": 0}, {"candidates": 2}, {"round_draws": ()}, {"round_draws": (5,)}, {"defence": 0.0}],
)
def test_settings_out_of_range(setting):
    with pytest.raises(ValueError, match=next(iter(setting))):
        Pathfinder(**setting)
