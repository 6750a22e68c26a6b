"""InfoGAN: codes that can be read from the samples, and the grid of 25 modes."""

import numpy as np
import pytest
import torch

from physgen.diagnostics.mode_collapse import mode_collapse, mode_coverage
from physgen.priors.adversarial_training import AdversarialTraining
from physgen.priors.infogan import InfoGAN

SD = 0.05
CENTRES = torch.from_numpy(np.stack(np.meshgrid(*[2.0 * np.arange(-2, 3)] * 2), -1).reshape(-1, 2))


def grid(rows, seed=0):
    rng = np.random.default_rng(seed)
    return CENTRES.numpy()[rng.integers(25, size=rows)] + SD * rng.normal(size=(rows, 2))


def test_code_can_be_read_and_the_bound_rises():
    x = np.random.default_rng(0).normal(size=(2000, 2)) @ np.array([[1.0, 0.3], [0.0, 0.5]])
    training = AdversarialTraining(epochs=20, batch=125, learning_rate=2e-3)
    prior = InfoGAN.fit(x, 1, code=2, weight=0.2, hidden=(32,), frequencies=(0.0, 0.0), training=training)
    z = torch.randn(2000, prior.latent_dim, generator=torch.Generator().manual_seed(1))
    mean, sd = prior.code(prior.decode(z))
    bound = prior.report.figures["mutual_information"]
    print(f"bound {bound[0]:.3f} to {bound[-1]:.3f} nat, again {float(prior.information(seed=2)):.3f}")
    assert bound[0] == pytest.approx(0, abs=0.05)
    assert bound[-1] > 0.5
    assert float(prior.information(seed=2)) == pytest.approx(bound[-1], abs=0.2)
    assert float(torch.corrcoef(torch.stack([z[:, 0], mean[:, 0]]))[0, 1]) > 0.8
    assert (sd > 0).all()


@pytest.mark.slow
def test_all_modes_of_the_grid_are_hit_and_the_bound_rises():
    training = AdversarialTraining(epochs=120, batch=200, learning_rate=5e-3, critic_rate=4e-3)
    prior = InfoGAN.fit(grid(10_000), 2, frequencies=(3.0, 5.0), training=training)
    draws, real = prior.sample(2500, seed=5, dtype=torch.float64), torch.from_numpy(grid(2500, seed=9))
    known, found = mode_coverage(draws, CENTRES, 3 * SD), mode_collapse(real, draws)
    bound = prior.report.figures["mutual_information"]
    print(f"{known.hit} of 25 modes, {known.high_quality:.2f} within 3 deviations, counts {known.counts.tolist()}")
    print(f"bound {bound[0]:.2f} to {bound[-1]:.2f} nat; {found}; {prior.report.seconds:.0f} s")
    assert known.hit == 25
    assert int(known.counts.min()) >= 10
    assert bound[0] < 0.1
    assert bound[-1] > 2
    assert not found.collapsed
