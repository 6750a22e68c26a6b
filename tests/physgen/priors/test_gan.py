"""Generative adversarial networks: the contract, distributions that are known, and the grid of 25 modes."""

import math

import numpy as np
import pytest
import torch

from physgen.diagnostics.mode_collapse import mode_collapse, mode_coverage
from physgen.priors.adversarial_training import AdversarialTraining
from physgen.priors.gan import GAN
from physgen.priors.gan_game import GameRules
from physgen.priors.infogan import InfoGAN
from physgen.priors.storage import load_prior, save_prior
from physgen.space import Block
from physgen.testing import check_prior

CARD = dict.fromkeys(
    ("title", "learned_from", "units", "range", "intended_use", "not_for", "fit", "licence"), "of a test"
)
CENTRES = torch.from_numpy(np.stack(np.meshgrid(*[2.0 * np.arange(-2, 3)] * 2), -1).reshape(-1, 2))
SD = 0.05


def grid(rows, seed=0):
    rng = np.random.default_rng(seed)
    return CENTRES.numpy()[rng.integers(25, size=rows)] + SD * rng.normal(size=(rows, 2))


def short(epochs=3):
    return AdversarialTraining(epochs=epochs, batch=64)


@pytest.mark.parametrize("residual", [True, False])
@pytest.mark.parametrize("frequency", [0.0, 2.0])
def test_contract(residual, frequency):
    rng = np.random.default_rng(1)
    x = np.exp(rng.normal(size=(200, 3)))
    causes = [Block("a", support=(0, math.inf)), Block("b", support=(0, 1e6)), "c"]
    settings = {"hidden": (8,), "frequencies": (frequency, 2.0), "residual": residual, "training": short()}
    check_prior(GAN.fit(x, 2, causes=causes, **settings))
    check_prior(InfoGAN.fit(x, 1, code=2, conditions={"day": rng.uniform(0, 9, 200)}, **settings), {"day": 3.0})


def test_learns_a_correlated_normal_under_a_condition():
    rng = np.random.default_rng(3)
    day = rng.uniform(-1, 1, 4000)
    e = rng.normal(size=(4000, 2))
    x = np.stack([3 * day + e[:, 0], 0.8 * e[:, 0] + 0.6 * e[:, 1]], 1)
    training = AdversarialTraining(batch=256, epochs=40, learning_rate=2e-3)
    gan = GAN.fit(x, 2, conditions={"day": day}, hidden=(32,), frequencies=(0.0, 0.0), training=training)
    for at in (-0.7, 0.7):
        draws = gan.sample(4000, seed=1, dtype=torch.float64, day=torch.tensor(at)).numpy()
        print(f"day {at}: mean {draws.mean(0)}, covariance {np.cov(draws.T).round(2).tolist()}")
        np.testing.assert_allclose(draws.mean(0), [3 * at, 0], atol=0.3)
        np.testing.assert_allclose(np.cov(draws.T), [[1, 0.8], [0.8, 1]], atol=0.35)


def test_stored_priors_return(tmp_path):
    for prior in (GAN.fit(grid(200), 2, training=short()), InfoGAN.fit(grid(200), 1, training=short())):
        again = load_prior(save_prior(prior, tmp_path / "g", CARD))
        assert torch.equal(again.sample(20, seed=1), prior.sample(20, seed=1))
        assert again.report == prior.report


@pytest.mark.slow
def test_plain_game_without_penalty_collapses_on_the_grid_and_the_detector_fires():
    training = AdversarialTraining(epochs=40, batch=200, learning_rate=5e-3, critic_rate=5e-3)
    gan = GAN.fit(grid(10_000), 2, rules=GameRules("plain", 0.0), frequencies=(0.0, 0.0), training=training, seed=1)
    draws, real = gan.sample(2500, seed=5, dtype=torch.float64), torch.from_numpy(grid(2500, seed=9))
    found, known = mode_collapse(real, draws), mode_coverage(draws, CENTRES, 3 * SD)
    print(f"plain game: {known.hit} of 25 modes, {found}")
    assert found.collapsed
    assert found.lost > 0.2


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: GAN.fit(grid(200), 0), "Invalid code length 0"),
        (lambda: GAN.fit(grid(50), 2), "Too few samples: 50"),
        (lambda: GAN.fit(grid(200), 2, frequencies=(-1.0, 0.0)), "Invalid frequencies"),
        (lambda: GAN.fit(grid(200), 2, codes=3), "Invalid number of codes 3"),
        (lambda: InfoGAN.fit(grid(200), 0), "Invalid number of codes 0"),
        (lambda: InfoGAN.fit(grid(200), 1, weight=-1.0), "Invalid weight -1"),
        (lambda: GameRules("chess"), "Unknown game 'chess'"),
        (lambda: GameRules(penalty=-1.0), "Invalid penalty -1"),
    ],
)
def test_unusable_input_is_refused(make, message):
    with pytest.raises(ValueError, match=message):
        make()


def test_wrong_length_of_latents_is_refused():
    with pytest.raises(ValueError, match="must hold the 4 latents: 2 of the code and 2 of the noise"):
        GAN.fit(grid(200), 2, training=short()).decode(torch.zeros(5))
