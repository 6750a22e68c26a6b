"""Decoders against the linear one in closed form, and why the residual belongs to the latents."""

import math

import numpy as np
import pytest
import torch

from physgen.inversions import OptimalEstimation
from physgen.noise import GaussianNoise
from physgen.priors import Prior
from physgen.priors.decoder import Decoder
from physgen.priors.fitting import Training
from physgen.priors.ppca import PPCA
from physgen.priors.storage import load_prior, save_prior
from physgen.problem import Problem
from physgen.space import Block
from physgen.testing import check_prior

CARD = dict.fromkeys(
    ("title", "learned_from", "units", "range", "intended_use", "not_for", "fit", "licence"), "of a test"
)
LINEAR = {"hidden": (), "noise": "common", "scale": "common"}


def curve(rows=1500, seed=0, scatter=0.3):
    """Four causes near a bent line, with scatter about it."""
    rng = np.random.default_rng(seed)
    t = rng.normal(size=rows)
    line = np.stack([t, 0.5 * t**2, np.sin(1.5 * t), 1 / (1 + t**2)], 1)
    return line + scatter * rng.normal(size=(rows, 4))


def linear_table(rows=800):
    rng = np.random.default_rng(2)
    code = rng.normal(size=(rows, 2)) * [2.0, 1.2]
    weights = np.linalg.qr(rng.normal(size=(6, 2)))[0]
    return 5 + code @ weights.T + 0.4 * rng.normal(size=(rows, 6))


@pytest.fixture(scope="module")
def learned():
    return Decoder.fit(curve(), 1, hidden=(32, 32), training=Training(epochs=60), seed=1)


@pytest.mark.parametrize("noise", ["each", "common", "network"])
def test_contract(noise):
    rng = np.random.default_rng(1)
    x = np.exp(rng.normal(size=(200, 3)))
    causes = [Block("a", support=(0, math.inf)), Block("b", support=(0, 1e6)), "c"]
    settings = {"hidden": (8,), "noise": noise, "training": Training(epochs=4)}
    check_prior(Decoder.fit(x, 2, causes=causes, **settings))
    check_prior(Decoder.fit(x, 1, conditions={"day": rng.uniform(0, 9, 200)}, **settings), {"day": 3.0})


def test_linear_decoder_reaches_the_likelihood_of_ppca():
    """Lucas et al. (2019): at its optimum the linear autoencoder's bound is the likelihood of PPCA, which is closed."""
    x = linear_table()
    training = Training(epochs=800, batch=len(x), learning_rate=0.02, held_out=0)
    decoder = Decoder.fit(x, 2, training=training, **LINEAR)
    rows = torch.from_numpy(x)
    best = float(PPCA.fit(x, 2).log_prob(rows).mean())
    reached = float(decoder.bound(rows, seed=1).mean())
    assert best - 0.02 < reached < best + 1e-3


@pytest.mark.slow
def test_linear_decoder_of_digits():
    datasets = pytest.importorskip("sklearn.datasets")
    x = datasets.load_digits().data
    training = Training(epochs=1500, batch=len(x), learning_rate=0.02, held_out=0)
    decoder = Decoder.fit(x, 8, training=training, **LINEAR)
    rows = torch.from_numpy(x)
    bounds = [float(decoder.bound(rows, seed=s).mean()) for s in range(5)]
    assert -163.23589 - 0.02 < np.mean(bounds) < -163.23589 + 1e-3


def test_bound_tightens_to_the_density():
    """Of a linear decoder the density is a normal one; a wrong encoder costs the bound, which more draws win back."""
    x = linear_table(400)
    decoder = Decoder.fit(x, 2, training=Training(epochs=60, learning_rate=0.01), **LINEAR)
    rows = torch.from_numpy(x[:60])
    network, frame = decoder.network, decoder.frame
    weights = frame.factor @ network.mean.weights[0].double()
    noise = frame.factor @ network.decode(torch.zeros(2, 8).float(), torch.zeros(0, 8).float())[1][
        :, :1
    ].double().exp().expand(6, 1)
    mean = decoder.decode(torch.zeros(8, dtype=torch.float64))
    covariance = weights @ weights.mT + torch.diag(noise[:, 0] ** 2)
    exact = torch.distributions.MultivariateNormal(mean, covariance).log_prob(rows).mean()
    loose, tight = (decoder.bound(rows, draws=n, seed=3).mean() for n in (1, 500))
    assert loose < tight < exact + 1e-3
    assert float(exact - tight) < 0.01


class MeanOnly(Prior):
    """The surface of a decoder without the residual: what this package does not offer."""

    capabilities = frozenset()

    def __init__(self, decoder):
        self.decoder, self.causes, self.latent_dim = decoder, decoder.causes, decoder.code_dim

    def decode(self, z, /):
        return self.decoder.decode(torch.nn.functional.pad(z, (0, self.causes.size)))


def coverage(prior, truth):
    """Share of 90 % intervals that hold the true causes, all measured with an error as large as their scatter."""
    y = torch.from_numpy(truth + 0.3 * np.random.default_rng(9).normal(size=truth.shape))
    result = OptimalEstimation()(Problem(lambda x: x, prior, GaussianNoise(0.3)), y, seed=1)
    low, high = torch.quantile(result.samples.flatten(0, 1), torch.tensor([0.05, 0.95]).to(result.samples), dim=0)
    x = torch.from_numpy(truth)
    return float(((x > low) & (x < high)).double().mean())


def test_intervals_cover_with_the_residual_and_not_without(learned):
    truth = curve(250, seed=5)
    assert coverage(learned, truth) == pytest.approx(0.9, abs=0.03)
    assert coverage(MeanOnly(learned), truth) < 0.65


def test_draws_resemble_the_samples(learned):
    x, draws = curve(4000, seed=8), learned.sample(4000, seed=1, dtype=torch.float64).numpy()
    np.testing.assert_allclose(draws.mean(0), x.mean(0), atol=0.12)
    np.testing.assert_allclose(np.cov(draws.T), np.cov(x.T), atol=0.2)
    assert learned.report.best < learned.report.baseline


def test_code_finds_the_place_along_the_curve(learned):
    x = torch.from_numpy(curve(500, seed=6, scatter=0.05))
    code, sd = learned.code(x)
    order = np.corrcoef(code[:, 0].argsort().argsort(), x[:, 0].argsort().argsort())[0, 1]
    assert abs(order) > 0.95
    assert (sd > 0).all()
    assert float((learned.reconstruct(x) - x).square().mean()) < 0.1 * float(x.var(0).mean())


def test_stored_decoder_returns(learned, tmp_path):
    again = load_prior(save_prior(learned, tmp_path / "d", CARD))
    assert torch.equal(again.sample(20, seed=1), learned.sample(20, seed=1))
    assert again.report == learned.report


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Decoder.fit(curve(), 0), "Invalid code length 0"),
        (lambda: Decoder.fit(curve(), 1, noise="none"), "Unknown noise 'none'. Must be one of common, each, network"),
        (lambda: Decoder.fit(curve(), 1, scale="none"), "Unknown scale 'none'"),
        (lambda: Decoder.fit(curve(50), 1), "Too few samples: 50"),
    ],
)
def test_unusable_input_is_refused(make, message):
    with pytest.raises(ValueError, match=message):
        make()


def test_wrong_length_of_latents_is_refused(learned):
    with pytest.raises(ValueError, match="The last axis must hold the 5 latents: 1 of the code and 4 of the noise"):
        learned.decode(torch.zeros(4))
