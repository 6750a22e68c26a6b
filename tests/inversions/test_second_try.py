"""Trajectories that failed are tried again, and the posterior stays what it is."""

import math

import pytest
import torch

from physgen.inversions import Hamiltonian, Microcanonical, second_try
from physgen.inversions import hamiltonian as hamiltonian_file
from physgen.inversions import microcanonical as microcanonical_file
from physgen.inversions.chees import Adaptation
from physgen.inversions.gradient_chains import Chains
from physgen.inversions.step_size import StepSize
from physgen.priors import Gaussian
from physgen.problem import Problem

from .test_gradient_chains import Shape

MOVES, CHAINS = 6, 20_000
FILES = {Hamiltonian: hamiltonian_file, Microcanonical: microcanonical_file}


def narrowing(k=3):
    """v ~ N(0, 1), the others ~ N(0, e^2v): three times as narrow with each sd of v. The prior is N(0, I)."""

    def log_prob(x):
        v, rest = x[..., 0], x[..., 1:]
        return -0.5 * (rest**2).sum(-1) * (torch.exp(-2 * v) - 1) - (k - 1) * v

    return Problem(lambda x: x, Gaussian(torch.zeros(k), torch.eye(k)), Shape(log_prob))


def exact(count, k=3, seed=0):
    """Draws (count, k)."""
    z = torch.randn(count, k, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    z[:, 1:] *= z[:, :1].exp()
    return z


def kernel(method, step, length):
    """Of a method, with a step and a length that are given, and not learned."""

    def hamiltonian(w):
        adaptation = Adaptation.of(w, accept=0.8)
        adaptation.step.smooth = torch.full_like(adaptation.step.smooth, math.log(step))
        adaptation.smooth_length = torch.full_like(adaptation.smooth_length, math.log(length))
        return hamiltonian_file._Kernel(adaptation, 256)

    def microcanonical(w):
        steps = StepSize.of(w, aim=0.8)
        steps.smooth = torch.full_like(steps.smooth, math.log(step))
        return microcanonical_file._Kernel(steps, torch.full_like(steps.smooth, length), 256)

    return hamiltonian if method is Hamiltonian else microcanonical


def walked(method, z, **settings):
    """Where chains that begin at z (C, k) are after some moves, gradients of them all, and the share that moved."""
    posterior = narrowing().condition(torch.zeros(1, 1, dtype=torch.float64))
    at = {"seed": 3, "index": torch.tensor([0]), "stage": 0}
    chains = Chains(method(), kernel(method, **settings), posterior, z[None], torch.eye(3).double()[None], **at)
    gradients = moved = 0
    for _ in range(MOVES):
        before = chains.at.z
        move = chains._go(learning=False)
        moved += float((chains.at.z != before).any(-1).double().mean()) / MOVES
        gradients += int(move.gradients)
    return chains.z[0], gradients, moved


@pytest.mark.parametrize(
    ("method", "step", "length"), [(Hamiltonian, 0.5, 1.5), (Hamiltonian, 1.2, 2.4), (Microcanonical, 1.0, 2.5)]
)
def test_exact_draws_stay_exact(method, step, length, monkeypatch):
    z = exact(CHAINS)
    after, gradients, moved = walked(method, z, step=step, length=length)
    v, scaled = after[:, 0], after[:, 1:] * torch.exp(-after[:, :1])
    assert float((after - z).abs().mean()) > 0.3
    # means of functions whose mean and variance under N(0, 1) are known; the narrow end by itself
    for x in (v, *scaled.mT):
        below = 0.5 * math.erfc(1.5 / math.sqrt(2))
        checks = [(x, 0, 1), (x**2, 1, 2), ((x < -1.5).double(), below, below * (1 - below))]
        for value, mean, variance in checks:
            assert abs(float(value.mean()) - mean) < 4 * math.sqrt(variance / CHAINS)

    monkeypatch.setattr(FILES[method], "again", lambda chains, begun, first, move, fly: move)
    _, fewer, less = walked(method, z, step=step, length=length)
    assert gradients > 1.02 * fewer  # it was tried again, and it was of use
    assert moved > less + 0.002


@pytest.mark.parametrize(("method", "accept"), [(Hamiltonian, 0.4), (Microcanonical, 0.9)])
def test_tried_again_by_themselves(method, accept, monkeypatch):
    """Which trajectories of one observation fail is nothing to the other observations."""
    tried = []

    def counted(chains, begun, first, move, fly):
        out = second_try.again(chains, begun, first, move, fly)
        tried.append(int((out.gradients > move.gradients).sum()))
        return out

    monkeypatch.setattr(FILES[method], "again", counted)
    short = method(draws=8, chains=8, warm_up=20, max_steps=16, accept=accept, accept_rhat=9.0, accept_ess=50.0)
    y = torch.zeros(3, 1, dtype=torch.float64)
    together = short(narrowing(), y, seed=5)
    assert {1, 2} & set(tried)  # some of the observations, and not the others
    for i in range(3):
        alone = short(narrowing(), y[i], seed=5, index=torch.tensor([i]))
        assert torch.equal(alone.samples, together.samples[:, :, i])
        assert all(torch.equal(value, together.stats[name][i]) for name, value in alone.stats.items())
