"""Flow matching: its contract, the velocity of a normal distribution, storage, and what is refused."""

import math

import numpy as np
import pytest
import torch

from physgen.priors.fitting import Training
from physgen.priors.flow_matching import FlowMatching, flow_matching
from physgen.priors.score_network import ScoreNetwork
from physgen.priors.storage import load_prior, save_prior
from physgen.space import Block, Space
from physgen.testing import check_prior

POSITIVE = Space(Block("a", "1", (0, math.inf)), Block("b", "1", (0, math.inf)))
CARD = dict.fromkeys(
    ("title", "learned_from", "units", "range", "intended_use", "not_for", "fit", "licence"), "a flow of a test"
)


def table(rows=200, seed=0):
    return np.random.default_rng(seed).gamma(3, size=(rows, 2))


def small(**settings):
    own = {"steps": 3, "training": Training(epochs=2)} | settings
    return FlowMatching.fit(table(), causes=POSITIVE, hidden=(8, 8), **own)


def test_contract():
    check_prior(small())
    check_prior(small(conditions={"day": np.linspace(1, 365, 200)}, steps=2), {"day": 100.0})


def test_loss_of_the_exact_velocity_of_normal_values():
    """w_t of independent normal values has the mean velocity (2 t - 1) / (t^2 + (1 - t)^2) w_t."""

    def exact(w, phase, context):
        t = phase / math.pi + 0.5
        return (2 * t - 1) / (t**2 + (1 - t) ** 2) * w

    values, noise = torch.randn(2, 2, 50_000, generator=torch.Generator().manual_seed(0))
    t = (torch.arange(50_000) + 0.5) / 50_000
    found = flow_matching(exact, values, values[:0], t, noise)
    # the variance of w_1 - w_0 given w_t is 1 / (t^2 + (1 - t)^2), whose mean over t is pi / 2
    assert float(found.mean()) == pytest.approx(math.pi / 2, abs=0.03)
    network = ScoreNetwork(2, 0, hidden=(4,)).double()
    assert float(flow_matching(network, values, values[:0], t, noise).detach().mean()) == pytest.approx(2, abs=0.03)


@pytest.mark.slow
def test_learns_a_normal_distribution():
    """The map of a whitened normal distribution is the identity."""
    x = np.random.default_rng(1).normal(size=(2000, 2)) @ np.array([[1.0, 0.5], [0.0, 2.0]])
    prior = FlowMatching.fit(x, seed=1)
    z = torch.randn(500, 2, generator=torch.Generator().manual_seed(0))
    exact = prior.frame.mean + z @ prior.frame.factor.mT
    error = float(((prior.decode(z) - exact) / exact.std(0)).square().mean().sqrt())
    print(f"\nmap of a normal distribution off by {error:.3f} standard deviations")
    assert error < 0.15


@pytest.mark.parametrize("field", [False, True])
def test_stored_flow_returns(field, tmp_path):
    prior = small(conditions={"day": np.linspace(1, 365, 200)})
    if field:
        x = np.random.default_rng(0).normal(size=(100, 64))
        causes = Space(Block("f", shape=(8, 8)))
        prior = FlowMatching.fit(x, causes=causes, channels=4, steps=2, training=Training(epochs=1))
    again = load_prior(save_prior(prior, tmp_path / "flow", CARD))
    assert (again.causes, again.report, again.nodes) == (prior.causes, prior.report, prior.nodes)
    own = {} if field else {"day": 10.0}
    assert torch.equal(prior.sample(20, seed=1, **own), again.sample(20, seed=1, **own))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: small(steps=0), "Invalid number of steps 0. It must be a whole number"),
        (lambda: FlowMatching.fit(table(90)), "Too few samples: 90 for 2 causes and 0 conditions"),
        (lambda: small().decode(torch.zeros(3)), "The last axis must hold"),
        (lambda: small().decode(torch.zeros(2), day=1.0), "Unknown condition 'day'"),
    ],
)
def test_unusable_input_is_refused(make, message):
    with pytest.raises(ValueError, match=message):
        make()
