"""A known map with a learned correction: the contract, what each term does, storage, and a damped pendulum."""

import importlib.util
import math
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from physgen.inversions import OptimalEstimation
from physgen.noise import GaussianNoise
from physgen.priors import Decoder, Independent, LogNormal, Normal, Objective, Prior, Training, Uniform
from physgen.priors.causal_flow import CausalFlow
from physgen.priors.composed import Composed
from physgen.priors.discrepancy import Discrepancy
from physgen.priors.physics import BY_ITSELF, REGULARISED, Physics
from physgen.priors.ppca import PPCA
from physgen.priors.storage import load_prior, prior_card, save_prior
from physgen.priors.where import where
from physgen.problem import Problem
from physgen.space import Block
from physgen.testing import check_prior

EXAMPLE = Path(__file__).resolve().parents[3] / "examples" / "damped_pendulum.py"
CARD = dict.fromkeys(
    ("title", "learned_from", "units", "range", "intended_use", "not_for", "fit", "licence"), "of a test"
)
TIMES = torch.linspace(0, 2, 6)
FAST = Training(epochs=60, batch=100, learning_rate=0.01)


def decay(theta, correction):
    """amplitude exp(-rate t), and a function of time that is not known."""
    amplitude, rate = theta[:, :1], theta[:, 1:]
    t = TIMES.to(theta)
    return amplitude * torch.exp(-rate * t) + correction(t.expand(len(theta), -1)[..., None])[..., 0]


def slowed(theta, correction, *, day):
    """As `decay`, at a pace that depends on a condition."""
    return decay(torch.stack([theta[:, 0], theta[:, 1] / (1 + 0.01 * day)], 1), correction)


def parameters():
    return Independent(amplitude=LogNormal(1.0, 0.3), rate=Uniform(0.5, 2.0))


def decays(rows=800, seed=0, bump=0.3, day=None):
    """Samples of decays with a bump s sin(2 t), s ~ N(1, 0.1), that the known map lacks; true parameters."""
    theta = parameters().sample(rows, seed=seed, dtype=torch.float64)
    size = 1 + 0.1 * torch.from_numpy(np.random.default_rng(seed).normal(size=(rows, 1)))
    known = slowed if day is not None else decay
    own = {"day": day} if day is not None else {}
    x = known(theta, lambda u: torch.zeros(1), **own) + bump * size * torch.sin(2 * TIMES)
    return x + 0.02 * torch.from_numpy(np.random.default_rng(seed + 1).normal(size=x.shape)), theta


@pytest.fixture(scope="module")
def learned():
    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.float64)
    x, _ = decays()
    yield Physics.fit(x, decay, parameters(), Discrepancy(1, code=1, hidden=(16,)), hidden=(32,), training=FAST)
    torch.set_default_dtype(before)


def test_contract(learned):
    assert learned.latent_dim == 2 + 1 + 6
    assert learned.capabilities == set()
    check_prior(learned)


def test_contract_with_conditions_and_supports():
    day = torch.linspace(0, 90, 300)
    x, _ = decays(300, day=day, bump=0.05)
    causes = [Block(f"x{i}", support=(-1, 9)) for i in range(6)]
    settings = {"causes": causes, "conditions": {"day": day}, "training": Training(epochs=3), "noise": "common"}
    prior = Physics.fit(x, slowed, parameters(), Discrepancy(1, hidden=(8,)), **settings)
    check_prior(prior, {"day": 30.0})
    check_prior(Physics.fit(x, slowed, parameters(), None, **settings), {"day": 30.0})
    z = torch.zeros(2, prior.latent_dim)
    x = prior.decode(z, day=torch.tensor([0.0, 90.0]))
    assert float((x[0] - x[1]).abs().max()) > 0.05  # the known map sees the condition


def test_a_row_has_the_same_bits_whatever_the_others(learned):
    z = torch.randn(5000, learned.latent_dim, generator=torch.Generator().manual_seed(1))
    whole = learned.decode(z)
    for i in (0, 7, 4999):
        assert torch.equal(learned.decode(z[i]), whole[i])
    assert torch.equal(learned.decode(z[:33]), whole[:33])


def test_known_map_by_itself_is_the_users_function(learned):
    z = torch.randn(20, 3, generator=torch.Generator().manual_seed(2))
    by_itself = learned.predict(z, corrected=False)
    expected = decay(parameters().decode(z[:, :2]), lambda u: u.new_zeros(1))
    torch.testing.assert_close(by_itself, expected, rtol=1e-12, atol=1e-12)
    full = learned.decode(torch.cat([z, torch.zeros(20, 6)], 1))
    torch.testing.assert_close(learned.predict(z), full, rtol=1e-9, atol=1e-9)
    half = learned.predict(z, physics=lambda theta, correction: decay(theta, correction)[:, ::2])
    torch.testing.assert_close(half, full[:, ::2], rtol=1e-9, atol=1e-9)


def test_parameters_are_found_and_the_correction_is_needed(learned):
    x, theta = decays(500, seed=5)
    found = learned.theta(x)
    for j in range(2):
        assert float(torch.corrcoef(torch.stack([found[:, j], theta[:, j]]))[0, 1]) > 0.9
    code, _ = learned.code(x)
    # what the parameters could explain of the bump, they do: only the sum of both must be right
    full, by_itself = (float((learned.predict(code, corrected=b) - x).std()) for b in (True, False))
    assert full < 0.06 < 0.12 < by_itself


def test_switch_keeps_the_correction_small():
    """The more weight on the switch, the less of the samples the network explains."""
    x, _ = decays(400)
    size = []
    for weight in (0.0, 1.0, 100.0):
        objective = Objective({**REGULARISED, "physics_switch": weight})
        settings = {"hidden": (16,), "training": Training(epochs=12, learning_rate=0.01), "objective": objective}
        prior = Physics.fit(x, decay, parameters(), Discrepancy(1, hidden=(8,)), **settings)
        code, _ = prior.code(x)
        size.append(float((prior.predict(code) - prior.predict(code, corrected=False)).square().mean()))
    assert size[0] > size[1] > size[2]
    assert size[2] < 0.05 * size[0]


def test_augmentation_teaches_to_infer_what_the_known_map_makes(learned):
    theta = parameters().sample(300, seed=9, dtype=torch.float64)
    made = decay(theta, lambda u: u.new_zeros(1))
    found = {}
    x, _ = decays(400)
    for weight in (0.0, 1.0):
        objective = Objective({**BY_ITSELF, "physics_augment": weight})
        settings = {"hidden": (16,), "training": Training(epochs=12, learning_rate=0.01), "objective": objective}
        prior = Physics.fit(x, decay, parameters(), Discrepancy(1, hidden=(8,)), **settings)
        w, context = prior.frame.encode_parts(made.mT)[0].float(), torch.zeros(0, 300, dtype=torch.float32)
        z = prior.network.infer_physical(w, context)[0].mT.double()
        found[weight] = float((z - parameters().encode(theta)).square().mean())
    assert found[1.0] < 0.5 * found[0.0]


class MeanOnly(Prior):
    """The surface of the known map and its correction, without the residual: what this package does not offer."""

    capabilities = frozenset()

    def __init__(self, prior):
        self.prior, self.causes, self.latent_dim = prior, prior.causes, prior.code_dim

    def decode(self, z, /):
        return self.prior.predict(z)


def coverage(prior):
    """Share of 90 % intervals that hold the true causes, measured with an error as large as their scatter."""
    truth, _ = decays(200, seed=7)
    y = truth + 0.02 * torch.from_numpy(np.random.default_rng(8).normal(size=truth.shape))
    result = OptimalEstimation()(Problem(lambda x: x, prior, GaussianNoise(0.02)), y, seed=1)
    low, high = torch.quantile(result.samples.flatten(0, 1), torch.tensor([0.05, 0.95]), dim=0)
    return float(((truth > low) & (truth < high)).double().mean())


def test_intervals_cover_with_the_residual_and_not_without(learned):
    with_it, without = coverage(learned), coverage(MeanOnly(learned))
    print(f"90 % intervals hold {with_it:.1%} of the causes, and {without:.1%} without the residual")
    assert with_it == pytest.approx(0.9, abs=0.04)
    assert without < 0.6


def test_stored_prior_asks_for_the_known_map(learned, tmp_path):
    path = save_prior(learned, tmp_path / "p", CARD)
    assert prior_card(path)["title"] == "of a test"
    with pytest.raises(ValueError, match=r"needs 'parameters' .*'physics' \(it was .*:decay\), which no file holds"):
        load_prior(path)
    again = load_prior(path, parts={"physics": decay, "parameters": parameters()})
    assert torch.equal(again.sample(20, seed=1), learned.sample(20, seed=1))
    assert again.report == learned.report
    other = {"physics": lambda theta, correction: decay(theta, correction) * 1.1, "parameters": parameters()}
    with pytest.raises(ValueError, match=r"make other causes than .*decay did\. Give those"):
        load_prior(path, parts=other)


def test_storable_parameters_are_stored_too(tmp_path):
    x, theta = decays(300)
    prior = Physics.fit(x, decay, PPCA.fit(theta, 1), None, training=Training(epochs=2))
    again = load_prior(save_prior(prior, tmp_path / "p", CARD), parts={"physics": decay})
    assert torch.equal(again.sample(20, seed=1), prior.sample(20, seed=1))


def test_behind_a_causal_flow(tmp_path):
    """Composed with concepts, a counterfactual gives the observation back, and the stored prior asks for its parts."""
    day = torch.linspace(1, 90, 300)
    x, _ = decays(300, day=day, bump=0.05)
    outer = Physics.fit(x, slowed, parameters(), None, conditions={"day": day}, training=Training(epochs=3))
    inner = CausalFlow.fit(day[:, None], {}, causes=["day"], training=Training(epochs=3))
    prior = Composed(inner, outer)
    seen = torch.cat([day[:, None], x], 1)[:20]
    torch.testing.assert_close(prior.counterfactual(seen, {}), seen, rtol=1e-8, atol=1e-8)
    path = save_prior(prior, tmp_path / "p", CARD)
    again = load_prior(path, parts={"outer.physics": slowed, "outer.parameters": parameters()})
    assert torch.equal(again.sample(20, seed=1), prior.sample(20, seed=1))


def wrong_shape(theta, correction):
    return theta


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (lambda x, **k: Physics.fit(x, wrong_shape, parameters(), None, **k), ValueError, r"the shape \(\d+, 2\)"),
        (lambda x, **k: Physics.fit(x, decay, Normal(0, 1), None, **k), TypeError, "parameters of type Normal"),
        (
            lambda x, **k: Physics.fit(x, decay, where(parameters(), lambda t: t[..., 0] > 1), None, **k),
            TypeError,
            "parameters with a log_factor",
        ),
        (lambda x, **k: Physics.fit(x, decay, parameters(), None, noise="network", **k), ValueError, "Unknown noise"),
        (lambda x, **k: Physics.fit(x, slowed, parameters(), None, **k), ValueError, "Missing condition 'day'"),
        (
            lambda x, **k: Physics.fit(x, decay, parameters(), None, conditions={"dya": x[:, 0]}, **k),
            ValueError,
            "Unknown condition 'dya'",
        ),
        (
            lambda x, **k: Physics.fit(x, decay, parameters(), Discrepancy(2), **k),
            ValueError,
            "must hold the 2 that the discrepancy was declared with",
        ),
        (
            lambda x, **k: Decoder.fit(x, 1, objective=Objective(REGULARISED), **k),
            TypeError,
            "The term 'physics_augment' needs a known map. Fit `Physics`",
        ),
        (lambda x, **k: Discrepancy(0), ValueError, "Invalid inputs 0 of a discrepancy"),
    ],
)
def test_unusable_input_is_refused(make, error, message):
    with pytest.raises(error, match=message):
        make(decays(200)[0], training=Training(epochs=1))


def test_wrong_length_of_latents_is_refused(learned):
    with pytest.raises(ValueError, match="9 latents: 2 of the parameters, 1 of the correction and 6 of the noise"):
        learned.decode(torch.zeros(8))


@pytest.fixture(scope="module")
def pendulum():
    spec = importlib.util.spec_from_file_location("damped_pendulum", EXAMPLE)
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # dataclasses look their module up
    spec.loader.exec_module(module)
    yield module
    del sys.modules[spec.name]


def test_solver_against_the_linear_pendulum(pendulum):
    """Small angles: a exp(-xi t / 2) (cos + xi / (2 w') sin)(w' t) with w'^2 = w^2 - xi^2 / 4."""
    w, xi, t = 2.0, 0.4, 0.25 * torch.arange(20)
    x = pendulum.solve(lambda y: -(w**2) * y[..., 0] - xi * y[..., 1], torch.ones(1), 20, 100)[0]
    own = math.sqrt(w**2 - xi**2 / 4)
    exact = torch.exp(-xi * t / 2) * (torch.cos(own * t) + xi / (2 * own) * torch.sin(own * t))
    torch.testing.assert_close(x, exact, rtol=0, atol=1e-4)


def errors(pendulum, names, rows, epochs, records, friction, seed=0):
    """Mean absolute error beyond what was seen, of each model."""
    x = pendulum.measured(pendulum.pendulums(rows, pendulum.SEEN, 1, friction)[0], seed=2)
    truth, *_ = pendulum.pendulums(200, records, 3, friction)
    seen, found = pendulum.measured(truth[:, : pendulum.SEEN], seed=4), {}
    for name in names:
        prior = pendulum.fit(name, x, epochs=epochs, seed=seed)
        error = (pendulum.predict(name, prior, seen, records) - truth).abs()[:, pendulum.SEEN :]
        found[name] = float(error.mean())
    print(f"{friction=}, {rows=}: " + ", ".join(f"{n} {e:.3f}" for n, e in found.items()))
    return found


@pytest.mark.slow
def test_pendulum_in_little_time(pendulum):
    found = errors(pendulum, ["physics and network", "physics only"], 300, 30, 24, 0.8)
    assert found["physics and network"] < found["physics only"]


@pytest.mark.slow
def test_pendulum_beyond_the_samples(pendulum):
    """Physics and network < physics < network, the last without any physics. Newton's law is worth more than the
    frictionless equation where friction matters, and the regularised model is better than either."""
    found = errors(pendulum, list(pendulum.models()), 300, 200, pendulum.ALL, pendulum.FRICTION)
    assert found["physics and network"] < found["physics only"] < found["network only"]
    assert found["physics and network"] < found["network in Newton's law"]
