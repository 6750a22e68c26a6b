"""Particles led to known posteriors: moments, evidence with its error, modes, and what is not good enough."""

import pytest
import torch

from physgen.black_box import blackbox
from physgen.inversions import TemperedSMC
from physgen.noise import GaussianNoise
from physgen.priors import Independent, Normal, where
from physgen.problem import Problem
from physgen.status import Status

from .known_posteriors import KNOWN, deviation


@pytest.mark.parametrize("name", ["linear-2", "poisson-gamma", "mixture", "truncated"])
@pytest.mark.parametrize("black_box", [False, True])
def test_known_posteriors(name, black_box):
    known = KNOWN[name](black_box=black_box)
    result = TemperedSMC(particles=2000, draws=2000, chunk=1)(known.problem, known.y)
    assert int(result.status) == Status.TRUSTED
    # resampling makes of 4 populations of 2,000 particles no more than half as many effective draws
    found = deviation(result.draws, known, 4000.0)
    error = float(result.stats["log_evidence_error"])
    off = float(result.stats["log_evidence"]) - known.log_evidence
    print(f"{name}: {found}, log evidence off by {off:.4f} +- {error:.4f}")
    assert found["mean"] < 4
    assert found["low"] > 0.95
    assert found["high"] < 1.05
    assert abs(off) < 0.05 + 4 * error


@pytest.mark.slow
@pytest.mark.parametrize("moves", ["walk", "hamiltonian"])
def test_twenty_dimensions(moves):
    known = KNOWN["linear-20"]()
    result = TemperedSMC(particles=4000, draws=4000, moves=moves)(known.problem, known.y)
    found, off = deviation(result.draws, known, 8000.0), float(result.stats["log_evidence"]) - known.log_evidence
    print(f"{moves}: {found}, log evidence off by {off:.4f} +- {float(result.stats['log_evidence_error']):.4f}")
    assert int(result.status) == Status.TRUSTED
    assert found["mean"] < 4
    assert found["low"] > 0.97
    assert found["high"] < 1.03
    assert abs(off) < 0.05


def test_both_modes_in_their_shares():
    # y = a^2 near 1, a ~ N(0.3, 1): modes at -1 and 1, whose shares are those of the prior there
    problem = Problem(lambda x: x**2, Independent(a=Normal(0.3, 1.0)), GaussianNoise(0.1))
    result = TemperedSMC()(problem, torch.ones(20, 1), seed=4)
    assert bool(result.trusted.all())
    a = torch.linspace(-3, 3, 60001, dtype=torch.float64)
    density = torch.exp(-0.5 * (a - 0.3) ** 2 - 0.5 * ((1 - a**2) / 0.1) ** 2)
    exact = float(density[a > 0].sum() / density.sum())
    share = (result.draws[..., 0] > 0).double().mean(0)
    # each population has a share of its own: 80 of them, the deviation between observations gives the error
    error = float(share.std()) / 20**0.5
    assert abs(float(share.mean()) - exact) < 4 * error
    assert float(share.std()) < 0.06


def test_evidence_error_is_the_scatter_between_seeds():
    known = KNOWN["linear-2"]()
    y = known.y.expand(30, -1)
    result = TemperedSMC(particles=200, draws=50)(known.problem, y)
    scatter = float(result.stats["log_evidence"].std())
    told = float(result.stats["log_evidence_error"].square().mean().sqrt())
    assert 0.6 < told / scatter < 1.6  # 30 values know their deviation to 13 %, 120 populations to 7 %


def test_a_selection_is_kept():
    prior = where(Independent(a=Normal(0.0, 1.0)), lambda x: x[..., 0] > 0.5)
    problem = Problem(lambda x: x * 1.0, prior, GaussianNoise(0.5))
    result = TemperedSMC()(problem, torch.zeros(3, 1))
    assert bool(result.trusted.all())
    assert float(result.draws.min()) > 0.5


def test_too_few_temperatures_are_said():
    problem = Problem(lambda x: x * 1.0, Independent(a=Normal(0.0, 1.0)), GaussianNoise(1e-3))
    result = TemperedSMC(max_steps=1)(problem, torch.tensor([[0.5]]))
    assert result.status.tolist() == [Status.NOT_CONVERGED]


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"chains": 1}, "chains 1"),
        ({"share": 1.0}, "share 1"),
        ({"moves": "hops"}, "moves 'hops'"),
        ({"max_steps": 300}, "max_steps 300"),
        ({"accept_rhat": 1.0}, "accept_rhat 1"),
    ],
)
def test_settings_out_of_range(settings, words):
    with pytest.raises(ValueError, match=words):
        TemperedSMC(**settings)


def test_hamiltonian_moves_need_a_gradient():
    boxed = Problem(blackbox(lambda x: x), Independent(a=Normal(0.0, 1.0)), GaussianNoise(1.0))
    with pytest.raises(TypeError, match="SliceSampler"):
        TemperedSMC(moves="hamiltonian")(boxed, torch.zeros(1, 1))
