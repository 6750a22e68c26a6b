"""Causal generative models of labelled concepts and features: graphs, interventions, counterfactuals."""

import numpy as np
import pytest
import torch

from physgen.priors.adversarial_training import AdversarialTraining
from physgen.priors.causal_discovery import _cycles, graph_from_labels
from physgen.priors.causal_presets import causal_gan, causal_vae, scm_vae
from physgen.priors.fitting import Training
from physgen.priors.storage import load_prior, save_prior
from physgen.testing import check_prior

FAST = Training(epochs=40, learning_rate=0.01)
GRAPH = {"position": ["light"], "length": ["light", "position"]}
NAMES = ["light", "position", "length"]
CARD = dict.fromkeys(
    ("title", "learned_from", "units", "range", "intended_use", "not_for", "fit", "licence"), "of a test"
)


def shadows(rows=1000, seed=0):
    """Light from the side moves a shadow and sets its length; a line of 12 pixels shows the shadow, with grain."""
    u = np.random.default_rng(seed).normal(size=(rows, 3))
    light = u[:, 0]
    position = 0.9 * light + 0.6 * u[:, 1]
    length = 0.7 * light - 0.5 * position + 0.5 * u[:, 2]
    at = np.linspace(-3, 3, 12)
    image = np.exp(-0.5 * ((at - position[:, None]) / np.exp(0.3 * length[:, None])) ** 2)
    grain = np.random.default_rng(seed + 1).normal(size=image.shape)
    return np.stack([light, position, length], 1), image + 0.03 * grain


def place(images):
    """Where the shadow is: its centre of mass."""
    weight = images.clamp(min=0.1) - 0.1
    return (weight * torch.linspace(-3, 3, 12)).sum(-1) / weight.sum(-1)


@pytest.fixture(scope="module")
def learned():
    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.float64)
    labels, images = shadows()
    yield scm_vae(images, labels, GRAPH, 1, concepts=NAMES, hidden=(32,), training=FAST)
    torch.set_default_dtype(before)


def test_contract(learned):
    check_prior(learned)
    check_prior(learned.do(position=0.5))


def test_features_follow_an_intervention_and_causes_of_it_do_not(learned):
    before, after = learned.sample(1500, seed=2), learned.do(position=1.0).sample(1500, seed=2)
    assert (after[:, 1] == 1.0).all()
    assert torch.equal(after[:, 0], before[:, 0])
    assert bool((after[:, 2] != before[:, 2]).all())
    assert float(place(after[:, 3:]).median()) == pytest.approx(1.0, abs=0.15)
    # E[length | do(position = 1)] = -0.5; given position = 1 light is 0.77 on average, and length 0.04
    near = before[(before[:, 1] - 1).abs() < 0.2]
    doing, seeing = float(after[:, 2].mean()), float(near[:, 2].mean())
    print(f"mean length under do(position = 1): {doing:.3f} (truth -0.5); given position near 1: {seeing:.3f}")
    assert doing == pytest.approx(-0.5, abs=0.1)
    assert seeing > -0.2


def test_counterfactual_moves_the_shadow_of_one_image(learned):
    """In the truth, setting the position of one shadow by d moves its image by d, and its length by -d / 2."""
    labels, images = shadows(200, seed=9)
    x = torch.from_numpy(np.concatenate([labels, images], 1))
    torch.testing.assert_close(learned.counterfactual(x, {}), x, rtol=1e-8, atol=1e-8)
    x = x[(x[:, 1].abs() < 1) & (x[:, 0].abs() < 1.5)]
    moved = learned.counterfactual(x, {"position": 0.5})
    torch.testing.assert_close(moved[:, 0], x[:, 0], rtol=1e-9, atol=1e-9)
    change, expected = moved[:, 2] - x[:, 2], -0.5 * (0.5 - x[:, 1])
    assert float((change - expected).square().mean().sqrt()) < 0.3 * float(expected.square().mean().sqrt())
    assert float((place(moved[:, 3:]) - 0.5).square().mean().sqrt()) < 0.25


def test_stored_prior_returns(learned, tmp_path):
    again = load_prior(save_prior(learned, tmp_path / "p", CARD))
    assert torch.equal(again.sample(20, seed=1), learned.sample(20, seed=1))
    assert again.inner.graph == learned.inner.graph


def test_graph_with_a_cycle_is_refused():
    labels, images = shadows(200)
    with pytest.raises(ValueError, match="The causes act on themselves"):
        scm_vae(images, labels, {"light": ["length"], "length": ["light"]}, 1, concepts=NAMES)


def linear(rows, seed, n=6):
    """A random acyclic graph with coefficients of 0.5 to 1.5 and noises of one variance; the samples and W."""
    rng = np.random.default_rng(seed)
    w = np.triu(rng.uniform(0.5, 1.5, (n, n)) * rng.choice([-1, 1], (n, n)) * (rng.uniform(size=(n, n)) < 0.4), 1)
    order = rng.permutation(n)
    x = rng.normal(size=(rows, n)) @ np.linalg.inv(np.eye(n) - w)
    return x[:, order.argsort()], w[np.ix_(order.argsort(), order.argsort())]


@pytest.mark.parametrize("seed", [0, *(pytest.param(s, marks=pytest.mark.slow) for s in range(1, 5))])
def test_graph_of_labels_with_noises_of_one_variance_is_found(seed):
    names = [f"v{i}" for i in range(6)]
    x, w = linear(2000, seed)
    truth = {names[j]: tuple(names[i] for i in range(6) if w[i, j]) for j in range(6)}
    assert graph_from_labels(x, names) == truth


def test_measure_of_cycles_and_its_gradient():
    """0 without a cycle; for one of two, tr exp of [[0, a], [b, 0]] is 2 cosh sqrt(ab)."""
    assert _cycles(np.triu(np.ones((4, 4)), 1))[0] == pytest.approx(0, abs=1e-12)
    w = np.array([[0, 0.8], [0.5, 0]])
    assert _cycles(w)[0] == pytest.approx(2 * np.cosh(0.8 * 0.5) - 2)
    slope = _cycles(w)[1]
    for i, j in ((0, 1), (1, 0)):
        step = np.zeros((2, 2))
        step[i, j] = 1e-6
        assert slope[i, j] == pytest.approx((_cycles(w + step)[0] - _cycles(w - step)[0]) / 2e-6, rel=1e-6)


def test_scale_of_the_labels_decides_the_direction():
    """The limit that the documentation states: in other units the arrow turns round."""
    rng = np.random.default_rng(0)
    a = rng.normal(size=2000)
    x = np.stack([a, 1.5 * a + rng.normal(size=2000)], 1)
    assert graph_from_labels(x, ["a", "b"]) == {"a": (), "b": ("a",)}
    assert graph_from_labels(x * [10, 1], ["a", "b"], threshold=0.05) == {"a": ("b",), "b": ()}


def test_causal_vae_learns_the_graph():
    """Labels with noises of one variance; then it is the model of `scm_vae` with that graph."""
    x, w = linear(400, 1, n=3)
    features = np.tanh(x @ np.random.default_rng(5).normal(size=(3, 5)))
    features += 0.05 * np.random.default_rng(6).normal(size=features.shape)
    prior = causal_vae(features, x, 1, hidden=(8,), training=Training(epochs=2))
    assert prior.causes.names == ("c0", "c1", "c2", "x0", "x1", "x2", "x3", "x4")
    assert prior.inner.graph == {f"c{j}": tuple(f"c{i}" for i in range(3) if w[i, j]) for j in range(3)}
    with pytest.raises(ValueError, match="Invalid sparsity -1"):
        causal_vae(features, x, 1, sparsity=-1)


def test_causal_gan_has_interventions_and_no_counterfactuals():
    labels, images = shadows(400)
    training = {"training": AdversarialTraining(epochs=2), "label_training": Training(epochs=2)}
    prior = causal_gan(images, labels, GRAPH, 1, concepts=NAMES, hidden=(8,), **training)
    assert prior.capabilities == {"do"}
    check_prior(prior)
    with pytest.raises(TypeError, match="GAN has no 'encode' and no code"):
        prior.counterfactual(torch.zeros(15), {})


@pytest.mark.slow
def test_images_of_causal_gan_follow_an_intervention():
    labels, images = shadows(3000)
    prior = causal_gan(images, labels, GRAPH, 2, concepts=NAMES, hidden=(32, 32), label_training=FAST)
    for position in (-1.0, 0.0, 1.0):
        x = prior.do(position=position).sample(1000, seed=2)
        at = float(place(x[:, 3:]).median())
        print(f"do(position = {position:g}): shadows at {at:.3f}, mean length {float(x[:, 2].mean()):.3f}")
        assert at == pytest.approx(position, abs=0.25)
        assert float(x[:, 2].mean()) == pytest.approx(-0.5 * position, abs=0.15)
