"""Jumps between trajectories: exact whatever they are proposed from, of use between modes, and alone as in company."""

import math
from dataclasses import replace

import pytest
import torch

from physgen.inversions import Hamiltonian
from physgen.inversions.gradient import Target
from physgen.inversions.gradient_chains import Chains
from physgen.inversions.jumps import Jumps
from physgen.inversions.normal_mixture import fitted
from physgen.noise import GaussianNoise
from physgen.priors import Independent, Normal
from physgen.problem import Problem
from physgen.status import Status

from .known_posteriors import KNOWN, linear_gaussian
from .test_second_try import exact, narrowing

CHAINS, PLACES = 20_000, 4


def random_numbers(shapes, chains, seed=0):
    g = torch.Generator().manual_seed(seed)
    normals, uniforms = ((1, chains, *shape) for shape in shapes)
    return (
        torch.randn(normals, generator=g, dtype=torch.float64),
        torch.rand(uniforms, generator=g, dtype=torch.float64),
    )


def jumped(jumps, problem, z, seed=1):
    """Where chains z (C, k) of one observation are after a jump."""
    target, which = Target(problem.condition(torch.zeros(1, 1, dtype=torch.float64))), torch.tensor([0])
    value = target.value(z, which.expand(len(z)))
    return jumps.ends(target, which, z[None], value[None], *random_numbers(jumps.numbers, len(z), seed))[0][0]


@pytest.mark.parametrize("shift", [0.0, 0.7])
def test_exact_draws_stay_exact(shift):
    """From a mixture that was fitted to draws of other chains, or to draws that are off."""
    seen = exact(4000, seed=5).reshape(1, 40, 100, 3) + shift
    jumps = Jumps.learned(seen, PLACES)
    z = exact(CHAINS)
    after = z
    for seed in range(4):
        after = jumped(jumps, narrowing(), after, seed)
    assert float((after != z).any(-1).double().mean()) > 0.5
    v, scaled = after[:, 0], after[:, 1:] * torch.exp(-after[:, :1])
    for x in (v, *scaled.mT):  # N(0, 1), and its lower end by itself
        below = 0.5 * math.erfc(1.5 / math.sqrt(2))
        checks = [(x, 0, 1), (x**2, 1, 2), ((x < -1.5).double(), below, below * (1 - below))]
        for value, mean, variance in checks:
            assert abs(float(value.mean()) - mean) < 4 * math.sqrt(variance / CHAINS)


def test_chains_wait_for_jumps_as_weights_have_it():
    """A standard normal posterior, of which jumps are proposed from draws that are too narrow."""
    problem = Problem(lambda x: x, Independent(a=Normal(0, 1)), GaussianNoise(1e6))
    g = torch.Generator().manual_seed(0)
    jumps = Jumps.learned(0.6 * torch.randn(1, 40, 100, 1, generator=g, dtype=torch.float64), PLACES)
    z = torch.linspace(-4, 4, CHAINS, dtype=torch.float64)[None, :, None]
    target, which = Target(problem.condition(torch.zeros(1, 1, dtype=torch.float64))), torch.tensor([0])
    value = target.value(z[0], which.expand(CHAINS))[None]
    end, wait = jumps.ends(target, which, z, value, *random_numbers(jumps.numbers, CHAINS))
    weight = torch.exp(-0.5 * z[..., 0] ** 2 - 0.5 * math.log(2 * math.pi) - jumps.proposal.log_prob(z))
    assert float(weight.max()) > 1.5
    assert torch.allclose(wait - 1, weight / PLACES, rtol=0.02)  # of 80,000 places
    soon, late = ((end != z)[0, :, 0].double()[part].mean() for part in (wait[0] < 1.15, wait[0] > 1.3))
    assert float(soon) > float(late) + 0.1


def test_a_mixture_is_found_again():
    g = torch.Generator().manual_seed(0)
    z = torch.randn(2, 16, 100, 2, generator=g, dtype=torch.float64)
    z[:, ::4] = 0.3 * z[:, ::4] + 4  # a quarter of the chains
    found = fitted(z, 2, 0.02)
    assert found.weight[:, :2].sum(1).allclose(torch.tensor(0.88).double())
    for b in range(2):
        narrow = int(found.mean[b, :2, 0].argmax())
        assert abs(float(found.weight[b, narrow]) / 0.88 - 0.25) < 0.01
        assert float((found.mean[b, narrow] - 4).abs().max()) < 4 * 0.3 / math.sqrt(400)
        assert float((found.mean[b, 1 - narrow]).abs().max()) < 4 / math.sqrt(1200)
        # ten draws that nobody made widen it a little: by 10 / 410 of 0.3 variances of the whole
        sd = (found.factor[b, narrow] @ found.factor[b, narrow].mT).diagonal().sqrt()
        assert float(sd.min()) > 0.27
        assert float(sd.max()) < 0.42
    assert fitted(z[:, :1, :30], 2, 0.02) is None  # fewer than twenty draws for each latent


def test_separated_modes_are_joined():
    known = KNOWN["mixture"]()
    method = Hamiltonian(
        draws=32, chains=32, warm_up=40, max_steps=64, max_leaps=16, accept_rhat=1.05, accept_ess=300.0
    )
    both = method(known.problem, known.y, seed=1)
    assert bool(both.trusted)
    ess = float(both.stats["ess"])
    assert abs(float(both.draws.mean() - known.mean)) < 4 * float(known.sd) / math.sqrt(ess)
    none = replace(method, candidates=0)(known.problem, known.y, seed=1)
    assert int(none.status) == Status.CHAINS_DISAGREE


def test_none_where_they_are_of_no_use(monkeypatch):
    made = []
    ends = Jumps.ends
    monkeypatch.setattr(
        Jumps, "ends", lambda self, target, which, *a: made.append(len(which)) or ends(self, target, which, *a)
    )
    method = Hamiltonian(draws=8, chains=16, warm_up=20, max_steps=8, max_leaps=16, accept_rhat=9.0, accept_ess=1.0)
    known = linear_gaussian(20)
    method(known.problem, known.y, seed=0)
    assert not made  # 112 draws of 20 latents teach nothing
    few = linear_gaussian(2)
    result = method(few.problem, few.y, seed=0)
    assert len(made) == 1 + 8
    assert int(result.stats["gradients"]) >= 9 * 16 * method.candidates  # every place is counted
    monkeypatch.setattr("physgen.inversions.jumps._WORTH", 1.1)
    made.clear()
    method(few.problem, few.y, seed=0)
    assert len(made) == 1  # tried once


def moves_of(monkeypatch, method, known):
    """Trajectories after the warm-up, as (number, whether one was made) of each move, and the result."""
    turns, old = [], Chains.turns

    def noted(self):
        number, due = old.__get__(self)
        if self.jumps:
            turns.append((int(number), bool(due)))
        return number, due

    monkeypatch.setattr(Chains, "turns", property(noted))
    return turns, method(known.problem, known.y, seed=0)


@pytest.mark.parametrize(("wait", "every"), [(2.0, 8), (1.0, 1)])
def test_trajectories_are_rarer_where_no_chain_waits_for_a_jump(monkeypatch, wait, every):
    monkeypatch.setattr("physgen.inversions.jumps._WAIT", wait)
    method = Hamiltonian(draws=16, chains=16, warm_up=30, max_steps=16, accept_rhat=9.0, accept_ess=1.0)
    turns, result = moves_of(monkeypatch, method, linear_gaussian(2))
    assert [number for number, due in turns if due] == list(range(16 // every))  # lengths have all their jitter
    assert [due for _, due in turns] == [(i + 1) % every == 0 for i in range(16)]
    assert 0.6 < float(result.stats["acceptance_fraction"]) <= 1  # of the trajectories
    assert math.isfinite(float(result.stats["border_acceptance"]))


def test_trajectories_are_made_at_every_move_where_chains_disagree(monkeypatch):
    method = Hamiltonian(draws=8, chains=16, warm_up=30, max_steps=24, accept_rhat=1.00001, accept_ess=1.0)
    turns, result = moves_of(monkeypatch, method, linear_gaussian(2))
    assert int(result.status) == Status.CHAINS_DISAGREE
    assert [due for _, due in turns] == [*7 * [False], True, *16 * [True]]


def test_a_model_that_is_undefined_far_from_the_posterior():
    """Places of the prior may lie there; the chains do not, and nothing is wrong with them."""
    met = []

    def forward(x):
        bad = x[..., :1] < -1.0
        met.append(bool(bad.any()))
        return torch.where(bad, torch.nan, x * 1.0)

    problem = Problem(forward, Independent(a=Normal(0, 1), b=Normal(0, 1)), GaussianNoise(0.05))
    method = Hamiltonian(draws=16, chains=16, warm_up=40, max_steps=64, accept_rhat=1.1, accept_ess=100.0)
    result = method(problem, torch.tensor([1.0, 0.4], dtype=torch.float64), seed=2)
    assert any(met)
    assert bool(result.trusted)
    assert int(result.stats["nonfinite"]) == 0


def test_jumped_by_themselves(monkeypatch):
    """Of some observations the chains jump and of others not, and none of them knows."""
    monkeypatch.setattr("physgen.inversions.jumps._WORTH", 0.77)
    numbers: list[int] = []
    ends = Jumps.ends
    monkeypatch.setattr(
        Jumps, "ends", lambda self, target, which, *a: numbers.append(len(which)) or ends(self, target, which, *a)
    )
    monkeypatch.setattr("physgen.inversions.jumps._WAIT", 1.25)
    method = Hamiltonian(
        draws=8, chains=16, warm_up=20, max_steps=8, max_leaps=16, accept_rhat=9.0, accept_ess=1.0, candidates=8
    )
    y = torch.zeros(4, 1, dtype=torch.float64)
    together = method(narrowing(), y, seed=5)
    assert {1, 2, 3} & set(numbers)
    for i in range(4):
        alone = method(narrowing(), y[i], seed=5, index=torch.tensor([i]))
        assert torch.equal(alone.samples, together.samples[:, :, i])
        assert all(torch.equal(value, together.stats[name][i]) for name, value in alone.stats.items())


def test_chains_that_go_on_learn_anew_where_to_jump_to(monkeypatch):
    """From the draws of their walk; each observation from its own."""
    seen: list[tuple[int, ...]] = []
    learned = Jumps.learned
    monkeypatch.setattr(
        Jumps, "learned", staticmethod(lambda z, number: seen.append(tuple(z.shape)) or learned(z, number))
    )
    method = Hamiltonian(draws=16, chains=16, warm_up=30, max_steps=64, accept_rhat=9.0, accept_ess=300.0, candidates=8)
    y = torch.zeros(3, 1, dtype=torch.float64)
    together = method(narrowing(), y, seed=5)
    assert seen == [(3, 16, 10, 3), (3, 16, 16, 3), (3, 16, 16, 3)]
    assert together.status.tolist() == 3 * [Status.CHAINS_TOO_SHORT]
    for i in range(3):
        alone = method(narrowing(), y[i], seed=5, index=torch.tensor([i]))
        assert torch.equal(alone.samples, together.samples[:, :, i])
        assert all(torch.equal(value, together.stats[name][i]) for name, value in alone.stats.items())
