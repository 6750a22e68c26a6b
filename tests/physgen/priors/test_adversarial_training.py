"""Games that go on where they stopped, to the bit, and what they refuse."""

import numpy as np
import pytest
import torch

from physgen.priors.adversarial_ica import AdversarialICA
from physgen.priors.adversarial_training import AdversarialReport, AdversarialTraining
from physgen.priors.gan import GAN
from physgen.priors.infogan import InfoGAN

SHORT = AdversarialTraining(epochs=6, batch=64, critic_steps=2)


class Interrupted(Exception):
    pass


def table(rows=300):
    a = np.random.default_rng(0).laplace(size=(rows, 2))
    return np.stack([a[:, 0], a[:, 0] ** 2 + 0.3 * a[:, 1]], 1)


def stop_after(epochs):
    def report(done, total):
        if done >= epochs:
            raise Interrupted

    return report


FITS = {
    "gan": lambda **more: GAN.fit(table(), 2, hidden=(8,), seed=4, **{"training": SHORT, **more}),
    "infogan": lambda **more: InfoGAN.fit(table(), 1, hidden=(8,), seed=4, **{"training": SHORT, **more}),
    "ica": lambda **more: AdversarialICA.fit(
        table(), post_nonlinear=True, hidden=(8,), seed=4, **{"training": SHORT, **more}
    ),
}


@pytest.mark.parametrize("kind", FITS)
def test_a_resumed_game_has_the_bits_of_one_in_a_single_go(kind, tmp_path):
    fit, path = FITS[kind], tmp_path / "game.safetensors"
    whole = fit()
    for epochs in (2, 4):
        with pytest.raises(Interrupted):
            fit(checkpoint=path, progress=stop_after(epochs))
    resumed = fit(checkpoint=path)
    again = fit(checkpoint=path)  # nothing is left to do
    tensors = whole.state()[0]
    for prior in (resumed, again):
        assert all(torch.equal(t, prior.state()[0][n]) for n, t in tensors.items())
        for curve in ("generator", "critic", "figures"):
            assert getattr(prior.report, curve) == getattr(whole.report, curve)
    assert again.report.seconds == resumed.report.seconds


def test_seed_decides_and_the_global_seed_does_not():
    torch.manual_seed(1)
    before = torch.get_rng_state()
    one = FITS["gan"]()
    assert torch.equal(torch.get_rng_state(), before)
    assert one.report.critic == FITS["gan"]().report.critic
    assert one.report.critic != GAN.fit(table(), 2, hidden=(8,), training=SHORT, seed=5).report.critic


def test_what_is_kept_is_the_mean_of_the_parameters():
    kept, last = (FITS["gan"](training=AdversarialTraining(epochs=6, batch=64, averaging=a)) for a in (0.9, 0.0))
    assert kept.report.critic == last.report.critic
    assert not torch.equal(kept.network.log_sd, last.network.log_sd)


def test_report_has_every_epoch_and_returns_from_json():
    report = FITS["infogan"]().report
    assert (report.epochs, len(report.critic), len(report.figures["mutual_information"])) == (6, 6, 7)
    assert AdversarialReport.from_json(report.to_json()) == report


def test_checkpoint_of_another_game_is_refused(tmp_path):
    path = tmp_path / "game.safetensors"
    FITS["gan"](checkpoint=path)
    with pytest.raises(ValueError, match="is of another fit"):
        FITS["gan"](checkpoint=path, training=AdversarialTraining(epochs=7))


def test_divergence_is_an_error():
    with pytest.raises(RuntimeError, match=r"is not finite\. Lower the learning rates"):
        FITS["gan"](training=AdversarialTraining(epochs=50, learning_rate=1e30, critic_rate=1e30))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"epochs": 0}, "Invalid epochs 0"),
        ({"critic_steps": 0}, "Invalid critic_steps 0"),
        ({"critic_rate": 0.0}, "Invalid critic_rate 0"),
        ({"averaging": 1.0}, "Invalid averaging 1"),
    ],
)
def test_unusable_settings_are_refused(settings, message):
    with pytest.raises(ValueError, match=message):
        AdversarialTraining(**settings)
