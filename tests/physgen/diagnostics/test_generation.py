"""The report of generation: held-out likelihood and sample quality disagree, and both are shown."""

import json
import math

import numpy as np
import pytest
import torch

from physgen.diagnostics.generation import generation_report, report_prior
from physgen.diagnostics.held_out import held_out_log_likelihood
from physgen.priors import Gaussian


def draws(n, seed, d=2):
    return torch.from_numpy(np.random.default_rng(seed).standard_normal((n, d)))


def test_the_right_prior():
    prior = Gaussian(torch.zeros(2).double(), torch.eye(2).double())
    held = draws(500, 0)
    report = report_prior(prior, held, training=draws(500, 1), classifier="logistic")
    entropy = math.log(2 * math.pi * math.e)
    assert report.log_likelihood == pytest.approx(-entropy, abs=4 * 1.0 / math.sqrt(500))  # var of |x|^2 / 2 is 1
    assert report.log_likelihood_error == pytest.approx(1 / math.sqrt(500), rel=0.2)
    assert report.c2st.p_value > 0.01
    assert report.pqmass.p_value > 0.01
    assert report.mmd_p_value > 0.01
    assert report.memorisation is not None
    assert report.memorisation.p_value > 0.01
    assert report.frechet is not None
    assert max(report.energy, report.sliced_wasserstein, report.frechet) < 0.15


def test_a_copying_prior_has_fine_samples_and_shows():
    training, held = draws(500, 1), draws(500, 0)
    report = generation_report(held, training + 1e-6, training=training, classifier="logistic")
    assert report.mmd_p_value > 0.01
    assert report.memorisation is not None
    assert report.memorisation.nearer > 0.99
    assert report.log_likelihood is None


def test_a_noisy_prior_of_high_likelihood_has_poor_samples():
    # a mixture of 1 % truth and 99 % noise loses at most ln 100 = 4.6 nats, however many the causes
    held, d = draws(400, 0, 30), 30
    truth = -0.5 * held.square().sum(1) - d / 2 * math.log(2 * math.pi)
    report = generation_report(held, 5 * draws(400, 2, 30), log_prob=truth - math.log(100), classifier="logistic")
    assert report.log_likelihood == pytest.approx(float(truth.mean()) - math.log(100))
    assert report.c2st.accuracy > 0.95
    assert report.pqmass.p_value < 1e-6


def test_scale_of_the_columns_does_not_matter():
    x, y, scale = draws(200, 0), draws(200, 1) + 0.2, torch.tensor([1e-3, 1e4]).double()
    a, b = (generation_report(x * s, y * s, classifier="logistic").as_dict() for s in (1.0, scale))
    for name in ("mmd", "energy", "sliced_wasserstein", "frechet"):
        assert a[name] == pytest.approx(b[name], rel=1e-6)
    assert a["pqmass"] == b["pqmass"]


def test_it_prints_and_serialises():
    report = generation_report(draws(60, 0), draws(80, 1), classifier="logistic")
    assert json.loads(json.dumps(report.as_dict()))["c2st"]["accuracy"] == report.c2st.accuracy
    assert "memorisation" not in report.as_dict()
    assert "sliced wasserstein" in str(report)


def test_held_out_likelihood():
    mean, error = held_out_log_likelihood(torch.tensor([-1.0, -2.0, -3.0, -6.0]))
    assert mean == -3.0
    assert error == pytest.approx(np.std([1, 2, 3, 6], ddof=1) / 2)
    assert held_out_log_likelihood(torch.tensor([-1.0, -torch.inf]))[0] == -math.inf
    for bad in ([0.0, math.nan], [0.0, math.inf], [0.0]):
        with pytest.raises(ValueError, match="log densities"):
            held_out_log_likelihood(torch.tensor(bad))


def test_refused():
    with pytest.raises(ValueError, match="At least 50"):
        generation_report(draws(49, 0), draws(80, 1))
    with pytest.raises(ValueError, match="same columns"):
        generation_report(draws(60, 0), draws(60, 1, 3))
