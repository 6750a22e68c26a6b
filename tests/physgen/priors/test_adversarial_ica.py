"""Adversarial ICA on mixtures whose sources are known, and its critic's test of independence."""

import numpy as np
import pytest
import torch

from physgen.diagnostics.independence import independence_test
from physgen.diagnostics.matching import mcc
from physgen.priors.adversarial_ica import AdversarialICA
from physgen.priors.adversarial_ica_network import Unmixing
from physgen.priors.adversarial_training import AdversarialTraining
from physgen.priors.fast_ica import whiten
from physgen.priors.ica import ICA
from physgen.priors.storage import load_prior, save_prior
from physgen.testing import check_prior

CARD = dict.fromkeys(
    ("title", "learned_from", "units", "range", "intended_use", "not_for", "fit", "licence"), "of a test"
)
BENDS = (
    lambda v: np.tanh(0.6 * v),
    lambda v: v + 0.3 * v**3,
    np.arctan,
    lambda v: np.sinh(v / 1.5),
    lambda v: np.exp(0.4 * v),
)


def mixture(n, rows, seed=0, bend=False, uniform=False):
    rng = np.random.default_rng(seed)
    s = rng.uniform(-1.7, 1.7, size=(rows, n)) if uniform else rng.laplace(size=(rows, n))
    y = s @ rng.normal(size=(n, n)).T
    bent = [f(v) for f, v in zip(BENDS, (y / y.std(0)).T, strict=False)]
    return torch.from_numpy(s), np.stack(bent, 1) if bend else y


def rules(epochs, **more):
    return AdversarialTraining(
        **{"epochs": epochs, "learning_rate": 3e-3, "critic_rate": 5e-3, "critic_steps": 3, **more}
    )


def short(post_nonlinear):
    x = mixture(3, 500, bend=post_nonlinear)[1]
    training = AdversarialTraining(epochs=3)
    return AdversarialICA.fit(x, post_nonlinear=post_nonlinear, causes=["a", "b", "c"], training=training)


@pytest.mark.parametrize("post_nonlinear", [False, True])
def test_contract(post_nonlinear):
    check_prior(short(post_nonlinear))


@pytest.mark.parametrize("post_nonlinear", [False, True])
def test_sources_of_the_samples_are_white_and_draws_have_their_moments(post_nonlinear):
    _, x = mixture(3, 500, bend=post_nonlinear)
    prior, rows = short(post_nonlinear), torch.from_numpy(x)
    s = prior.sources(rows)
    torch.testing.assert_close(s.mT @ s / len(s), torch.eye(3), rtol=0, atol=1e-6)
    torch.testing.assert_close(s.mean(0), torch.zeros(3), rtol=0, atol=1e-6)
    draws = prior.sample(20_000, seed=1, dtype=torch.float64)
    torch.testing.assert_close(draws.mean(0), rows.mean(0), rtol=0, atol=0.2 * float(rows.std(0).max()))


def test_unmixing_is_a_rotation_whatever_its_parameters():
    unmixing = Unmixing(4, bend=False, seed=2)
    unmixing.turn.data = torch.randn(4, 4, generator=torch.Generator().manual_seed(0)).float()
    b = unmixing.rotation().double()
    torch.testing.assert_close(b @ b.mT, torch.eye(4), rtol=0, atol=1e-5)


def test_two_sources():
    s, x = mixture(2, 2000)
    prior = AdversarialICA.fit(x, training=rules(16))
    rows = torch.from_numpy(x)
    print(f"two sources: MCC {float(mcc(prior.sources(rows), s)):.4f}")
    assert float(mcc(prior.sources(rows), s)) > 0.98
    mean, to_white, _ = whiten(rows)
    separated, mixed = independence_test(prior.sources(rows)), independence_test((rows - mean) @ to_white.mT)
    print(f"critic: sources {separated.accuracy:.3f}, whitened mixtures {mixed.accuracy:.3f}")
    assert separated.accuracy < mixed.accuracy


@pytest.mark.slow
@pytest.mark.parametrize("seed", [0, 1])
def test_five_sources(seed):
    s, x = mixture(5, 5000, seed=seed)
    prior = AdversarialICA.fit(x, training=rules(60), seed=seed)
    rows = torch.from_numpy(x)
    mean, to_white, _ = whiten(rows)
    white = (rows - mean) @ to_white.mT
    reached, start = float(mcc(prior.sources(rows), s)), float(mcc(white, s))
    separated, mixed = independence_test(prior.sources(rows)), independence_test(white)
    figures = prior.report.figures["critic_accuracy"]
    print(f"five sources, seed {seed}: MCC {reached:.3f}, whitened {start:.3f}; {prior.report.seconds:.0f} s")
    print(f"  C2ST of sources {separated}, of whitened mixtures {mixed}, of the true sources {independence_test(s)}")
    print(f"  the fit's own critic: at most {max(figures):.3f}, in the end {np.mean(figures[-5:]):.3f}")
    assert reached >= 0.9
    assert start < 0.9
    assert separated.accuracy == pytest.approx(0.5, abs=0.03)
    assert mixed.accuracy > 0.53


@pytest.mark.slow
@pytest.mark.parametrize(("n", "uniform"), [(3, False), (3, True), (5, False)])
def test_post_nonlinear_mixtures(n, uniform):
    s, x = mixture(n, 5000, bend=True, uniform=uniform)
    prior, rows = AdversarialICA.fit(x, post_nonlinear=True, training=rules(100)), torch.from_numpy(x)
    linear = AdversarialICA.fit(x, training=rules(30))
    reached, without = (float(mcc(p.sources(rows), s)) for p in (prior, linear))
    fit, flat = (float(p.log_prob(rows).mean()) for p in (prior, linear))
    apart = independence_test(prior.sources(rows)).accuracy
    kind = "uniform" if uniform else "Laplace"
    print(f"{n} {kind} sources, post-nonlinear: MCC {reached:.3f}, as linear {without:.3f}")
    print(f"  C2ST {apart:.3f}; log density {fit:.3f}, as linear {flat:.3f} nat; {prior.report.seconds:.0f} s")
    assert reached >= 0.9
    assert without < reached
    assert fit > flat


def test_stored_prior_returns(tmp_path):
    for post_nonlinear in (False, True):
        prior = short(post_nonlinear)
        again = load_prior(save_prior(prior, tmp_path / "ica", CARD))
        assert torch.equal(again.sample(20, seed=1), prior.sample(20, seed=1))
        assert again.report == prior.report


def test_density_of_a_linear_fit_is_that_of_its_ica():
    prior = short(False)
    assert isinstance(prior.ica, ICA)
    x = prior.sample(20, seed=3, dtype=torch.float64)
    assert torch.equal(prior.log_prob(x), prior.ica.log_prob(x))


def test_one_cause_and_few_rows_are_refused():
    with pytest.raises(ValueError, match="Too few causes: 1"):
        AdversarialICA.fit(mixture(1, 500)[1])
    with pytest.raises(ValueError, match="Too few samples"):
        AdversarialICA.fit(mixture(2, 50)[1])
