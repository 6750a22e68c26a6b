"""How networks learn: resumption to the bit, early stopping, and what a fit refuses."""

import numpy as np
import pytest
import torch

from physgen.priors.decoder import Decoder
from physgen.priors.fitting import FitReport, Training
from physgen.priors.flow import Flow

SMALL = {"transforms": 2, "bins": 4, "hidden": (8,)}


class Interrupted(Exception):
    pass


def table():
    a = np.random.default_rng(0).normal(size=(300, 2))
    return np.stack([a[:, 0], a[:, 0] ** 2 + 0.3 * a[:, 1]], 1)


def stop_after(epochs):
    def report(done, total):
        if done >= epochs:
            raise Interrupted

    return report


def fits(kind):
    if kind == "flow":
        return lambda **more: Flow.fit(table(), training=Training(epochs=7), seed=4, **SMALL, **more)
    return lambda **more: Decoder.fit(table(), 1, hidden=(8,), training=Training(epochs=7), seed=4, **more)


@pytest.mark.parametrize("kind", ["flow", "decoder"])
def test_a_resumed_fit_has_the_bits_of_one_in_a_single_go(kind, tmp_path):
    fit, path = fits(kind), tmp_path / "fit.safetensors"
    whole = fit()
    for epochs in (2, 5):
        with pytest.raises(Interrupted):
            fit(checkpoint=path, progress=stop_after(epochs))
    resumed = fit(checkpoint=path)
    again = fit(checkpoint=path)  # nothing is left to do
    for prior in (resumed, again):
        for name, tensor in whole.network.state_dict().items():
            assert torch.equal(tensor, prior.network.state_dict()[name])
        assert prior.report.held_out == whole.report.held_out
        assert prior.report.training == whole.report.training
    assert again.report.seconds == resumed.report.seconds


def test_seed_decides_and_the_global_seed_does_not():
    torch.manual_seed(1)
    before = torch.get_rng_state()
    one = fits("flow")()
    assert torch.equal(torch.get_rng_state(), before)
    torch.manual_seed(2)
    two = fits("flow")()
    other = Flow.fit(table(), training=Training(epochs=7), seed=5, **SMALL)
    assert one.report.held_out == two.report.held_out
    assert one.report.held_out != other.report.held_out


def test_checkpoint_of_another_fit_is_refused(tmp_path):
    path = tmp_path / "fit.safetensors"
    fits("flow")(checkpoint=path)
    with pytest.raises(ValueError, match=r"is of another fit\. Give another path"):
        Flow.fit(table(), training=Training(epochs=7), seed=5, checkpoint=path, **SMALL)
    path.write_bytes(b"something else")
    with pytest.raises(ValueError, match="is no checkpoint of a fit"):
        fits("flow")(checkpoint=path)


def test_early_stopping_keeps_the_best_network():
    """Five hundred passes over 90 rows overfit a network of this size."""
    x = np.random.default_rng(0).normal(size=(100, 2))
    flow = Flow.fit(x, training=Training(epochs=500, patience=12, learning_rate=0.02), seed=1)
    report = flow.report
    assert report.stopped_early
    assert report.epochs == report.best_epoch + 12
    assert report.best == min([report.baseline, *report.held_out])
    assert report.held_out[-1] > report.best


def test_training_lowers_the_loss_and_a_report_returns_from_json():
    report = fits("flow")().report
    assert report.training[-1] < report.training[0]
    assert report.best < report.baseline
    assert FitReport.from_json(report.to_json()) == report


def test_progress_counts_epochs():
    seen = []
    Flow.fit(table(), training=Training(epochs=3), progress=lambda done, total: seen.append((done, total)), **SMALL)
    assert seen == [(0, 3), (1, 3), (2, 3), (3, 3)]


def test_divergence_is_an_error():
    with pytest.raises(RuntimeError, match=r"is not finite\. Lower the learning rate"):
        Decoder.fit(table(), 1, hidden=(8,), training=Training(epochs=50, learning_rate=1e30), seed=0)
