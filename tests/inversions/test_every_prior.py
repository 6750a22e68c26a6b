"""Every prior under every inversion: the answer is that of weighted prior draws, or the method refuses by name."""

import pytest
import torch

from physgen.inversions import (
    NUTS,
    Ensemble,
    Grid,
    Hamiltonian,
    Microcanonical,
    OptimalEstimation,
    SliceSampler,
    TemperedSMC,
)
from physgen.noise import GaussianNoise
from physgen.problem import Problem
from physgen.random import normal
from physgen.status import Status

from ..physgen.priors.test_contract import TABLE, conditions

METHODS = {  # a new inversion is one line here
    "optimal-estimation": OptimalEstimation(),
    "hamiltonian": Hamiltonian(draws=64, warm_up=60, max_steps=300),
    "nuts": NUTS(draws=300, warm_up=100, max_steps=900),
    "microcanonical": Microcanonical(draws=64, warm_up=60, max_steps=300),
    "slice-sampler": SliceSampler(),
    "tempered-smc": TemperedSMC(),
    "ensemble": Ensemble(draws=500, burn_in=300, max_steps=6000),
    "grid": Grid(draws=1000, points=81),
}
ANY_DIMENSION = [name for name in METHODS if name != "grid"]
FAST = "optimal-estimation"
PRIORS = {name: make for name, make in TABLE.items() if name != "intervened"}
"""An intervened cause has no scatter to compare by; the wrappers' own tests invert one."""


def observed(prior):
    """A problem that halves the prior's scatter, an observation (1, m), its conditions, and a reference.

    The reference is the mean and sd of the causes under the posterior, and the error of the mean, from weighted draws
    of the prior.
    """
    own = conditions(prior, (1,))
    z = normal((40000, 1, prior.latent_dim), torch.tensor(5), seed=3, dtype=torch.float64)
    x = prior.decode(z, **own)
    scale = 0.6 * x.std((0, 1))
    noise = GaussianNoise(scale)
    problem = Problem(lambda x: x * 1.0, prior, noise)
    y = noise.sample(x[:1, 0], seed=9)
    weight = torch.softmax(noise.log_prob(y, x[:, 0]), 0)
    mean = weight @ x[:, 0]
    sd = (weight @ (x[:, 0] - mean) ** 2).sqrt()
    return problem, y, own, mean, sd, sd * weight.square().sum().sqrt()


def check(prior, method):
    problem, y, own, mean, sd, error = observed(prior)
    result = method(problem, y, conditions=own, seed=2)
    status = Status(int(result.status))
    assert bool(torch.isfinite(result.samples).all()), status
    if not result.trusted.all():
        return status
    ess = float(result.stats["ess"]) if "ess" in result.stats else float(result.draws.shape[0])
    draws = min(ess, result.draws.shape[0])
    off = (result.draws.mean(0)[0] - mean).abs() / (error**2 + sd**2 / draws).sqrt()
    assert float(off.max()) < 4.5, off
    return status


@pytest.mark.parametrize("name", PRIORS)
def test_with_the_default_method(name):
    assert check(PRIORS[name](), METHODS[FAST]) == Status.TRUSTED


@pytest.mark.slow
@pytest.mark.parametrize("method", [m for m in ANY_DIMENSION if m != FAST])
@pytest.mark.parametrize("name", PRIORS)
def test_with_every_other_method(name, method):
    prior = PRIORS[name]()
    if method == "microcanonical" and prior.latent_dim == 1:  # its direction needs a second latent
        with pytest.raises(ValueError, match="Use Hamiltonian or NUTS"):
            check(prior, METHODS[method])
        return
    status = check(prior, METHODS[method])
    print(f"{name} x {method}: {status.meaning}")


@pytest.mark.slow
@pytest.mark.parametrize("name", PRIORS)
def test_a_grid_takes_three_latents_and_refuses_more(name):
    prior = PRIORS[name]()
    if prior.latent_dim > 3:
        with pytest.raises(ValueError, match=r"SliceSampler|TemperedSMC|OptimalEstimation|Hamiltonian"):
            check(prior, METHODS["grid"])
    else:
        print(f"{name} x grid: {check(prior, METHODS['grid']).meaning}")
