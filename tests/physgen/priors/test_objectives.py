"""Terms of autoencoders against the closed forms of a linear-Gaussian encoder."""

import functools
import math

import numpy as np
import pytest
import torch

from physgen.priors.autoencoder_terms import (
    Step,
    dimension_wise_kl,
    dip_i,
    dip_ii,
    kl,
    mutual_information,
    reconstruction,
    total_correlation,
)
from physgen.priors.decoder import Decoder
from physgen.priors.fitting import Training
from physgen.priors.objectives import Objective, beta_tcvae, beta_vae, dip_vae
from physgen.priors.standard_normal import log_density

A = torch.tensor([[1.2, 0.5, 0.0], [1.0, -0.2, 0.3], [0.8, 0.6, 0.5]], dtype=torch.float64)  # code means are A x
LOG_SD = torch.tensor([0.5, 0.6, 0.4], dtype=torch.float64).log()
N = 50_000


@functools.cache
def steps(rows=1500, count=8):
    """Codes of x ~ N(0, I) under q(z | x) = N(A x, diag s^2)."""
    x, eps = torch.randn(2, count, 3, rows, dtype=torch.float64, generator=torch.Generator().manual_seed(5))
    log_sd = LOG_SD[:, None].expand(3, rows)
    return [Step(-u.square().sum(0), A @ u, log_sd, A @ u + log_sd.exp() * e, N) for u, e in zip(x, eps, strict=True)]


def covariance():
    """Of q(z), which is normal."""
    return A @ A.mT + torch.diag((2 * LOG_SD).exp())


def exact():
    c = covariance()
    log_det, log_diagonal = float(torch.logdet(c)), float(c.diagonal().log().sum())
    return {
        mutual_information: 0.5 * log_det - float(LOG_SD.sum()),
        total_correlation: 0.5 * (log_diagonal - log_det),
        dimension_wise_kl: 0.5 * (float(c.diagonal().sum()) - 3 - log_diagonal),
    }


@pytest.mark.parametrize("term", [mutual_information, total_correlation, dimension_wise_kl])
def test_closed_form(term):
    found = np.mean([float(term(step)) for step in steps()])
    assert found == pytest.approx(exact()[term], rel=0.05)


def test_three_parts_make_the_kl_divergence():
    parts = [mutual_information, total_correlation, dimension_wise_kl]
    step = steps()[0]
    sampled = log_density((step.code - step.mean) / step.log_sd.exp()) - step.log_sd - log_density(step.code)
    assert float(sum(p(step) for p in parts)) == pytest.approx(float(sampled.sum(0).mean()), rel=1e-12)
    whole = 0.5 * float(covariance().diagonal().sum()) - 1.5 - float(LOG_SD.sum())
    assert sum(exact().values()) == pytest.approx(whole, rel=1e-12)
    assert np.mean([float(kl(step)) for step in steps()]) == pytest.approx(whole, rel=0.03)


def test_independent_codes_have_no_total_correlation():
    step = steps()[0]
    alone = Step(step.seen, torch.zeros_like(step.mean), step.log_sd, step.code - step.mean, N)
    assert float(total_correlation(alone)) == pytest.approx(0, abs=1e-9)
    assert float(mutual_information(alone)) == pytest.approx(0, abs=1e-9)


def test_covariance_terms():
    step = steps()[0]
    means = np.cov(step.mean.numpy(), ddof=0)
    codes = means + np.diag(np.exp(2 * LOG_SD.numpy()))
    on = ((means.diagonal() - 1) ** 2).sum()
    off = (means**2).sum() - (means.diagonal() ** 2).sum()
    assert float(dip_i(step)) == pytest.approx(on + 10 * off, rel=1e-12)
    assert float(dip_ii(step)) == pytest.approx(((codes - np.eye(3)) ** 2).sum(), rel=1e-12)
    assert codes == pytest.approx(covariance().numpy(), rel=0.1)


def test_objective_is_the_weighted_sum():
    step = steps(rows=50)[0]
    value = float(Objective({"reconstruction": 2.0, "kl": 0.5})(step))
    assert value == pytest.approx(2 * float(reconstruction(step)) + 0.5 * float(kl(step)), rel=1e-12)


def table():
    rng = np.random.default_rng(0)
    code = rng.normal(size=(600, 2)) @ np.array([[1.0, 0.7], [0.0, 0.7]])
    return np.concatenate([code, np.sin(code), code[:, :1] * code[:, 1:]], 1) + 0.2 * rng.normal(size=(600, 5))


def fit(objective):
    training = Training(epochs=15, learning_rate=0.01)
    return Decoder.fit(table(), 2, hidden=(16,), objective=objective, training=training, seed=1)


def test_weighting_a_term_makes_it_smaller():
    x = torch.from_numpy(table())

    def measured(prior, term):
        w, c, _ = prior.frame.spread(x, {})
        eps = torch.randn(2, len(x), dtype=torch.float64, generator=torch.Generator().manual_seed(0))
        network = prior._casts(x)
        return float(term(network.step(prior.frame.encode(w, c)[0], c, eps, samples=len(x))))

    plain = fit(Objective())
    for objective, term in ((beta_vae(8.0), kl), (beta_tcvae(30.0), total_correlation), (dip_vae("ii", 50.0), dip_ii)):
        assert measured(fit(objective), term) < 0.8 * measured(plain, term)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Objective({"reconstruction": 1, "klo": 1}), "Unknown term 'klo'. The terms are"),
        (lambda: Objective({"kl": 1}), "Invalid objective without reconstruction"),
        (lambda: Objective({"reconstruction": math.nan}), "Each must be finite"),
        (lambda: dip_vae("iii"), "Unknown term 'dip_iii'"),
        (lambda: total_correlation(steps(rows=1)[0]), "Invalid step of one row"),
    ],
)
def test_unusable_objectives_are_refused(make, message):
    with pytest.raises(ValueError, match=message):
        make()
