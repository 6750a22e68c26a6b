"""Terms of autoencoders against the closed forms of a linear-Gaussian encoder."""

import functools
import importlib.util
import math
from pathlib import Path

import numpy as np
import pytest
import torch

from physgen.priors.autoencoder_terms import (
    Step,
    contrast,
    dimension_wise_kl,
    dip_i,
    dip_ii,
    kl,
    label,
    mutual_information,
    reconstruction,
    spike_slab,
    total_correlation,
)
from physgen.priors.decoder import Decoder
from physgen.priors.fitting import Training
from physgen.priors.objectives import Objective, beta_tcvae, beta_vae, contrastive_ivae, dip_vae, ivae, sparse_vae
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


SEGMENT_MEAN = torch.tensor([[1.0, -0.5, 0.0], [-0.4, 0.8, 1.5]], dtype=torch.float64)  # of the base, by segment
SEGMENT_LOG_SD = torch.tensor([[0.2, -0.3, 0.1], [0.5, 0.0, -0.4]], dtype=torch.float64)


def test_closed_form_against_a_conditional_base():
    """With codes as before and a base N(mu_u, sigma_u^2) of two segments u, each with a half of the samples.

    MI and TC do not know the base; dimension-wise KL is E_u of the KL divergence of N(0, C_jj) from
    N(mu_uj, sigma_uj^2), and the three parts again make KL(q(z | x) || p(z | u)).
    """
    made = []
    for step in steps():
        u = torch.arange(step.code.shape[1]) % 2
        mean, log_sd = SEGMENT_MEAN[u].mT, SEGMENT_LOG_SD[u].mT
        base = log_density((step.code - mean) * (-log_sd).exp()) - log_sd
        made.append(Step(step.seen, step.mean, step.log_sd, step.code, N, base=base))
    variance = covariance().diagonal()
    each = SEGMENT_LOG_SD - 0.5 * variance.log() - 0.5
    each = each + 0.5 * (variance + SEGMENT_MEAN**2) * (-2 * SEGMENT_LOG_SD).exp()
    expected = exact() | {dimension_wise_kl: float(each.sum(1).mean())}
    for term, value in expected.items():
        found = np.mean([float(term(step)) for step in made])
        print(f"\n{term.__name__:<20} {found:.4f}, closed form {value:.4f}", end="")
        assert found == pytest.approx(value, rel=0.05)
    assert np.mean([float(kl(step)) for step in made]) == pytest.approx(sum(expected.values()), rel=0.03)


def test_labels_pull_the_codes_that_they_belong_to():
    step = steps(rows=40)[0]
    labels = step.mean[:2] + torch.tensor([[0.0], [2.0]])
    labels[1, ::2] = math.nan
    known = 40 + 20
    value = float(label(Step(step.seen, step.mean, step.log_sd, step.code, N, labels=labels)))
    assert value == pytest.approx(0.5 * 4 * 20 / known, rel=1e-12)
    none = torch.full((1, 40), math.nan, dtype=torch.float64)
    assert float(label(Step(step.seen, step.mean, step.log_sd, step.code, N, labels=none))) == 0


def test_labelled_elements_of_the_code_are_those_labelled():
    rng = np.random.default_rng(0)
    x = table()
    known = 100 + 3 * x[:, 1:2]
    known[rng.random(len(x)) < 0.7] = math.nan
    training = Training(epochs=40, learning_rate=0.01)
    objective = Objective({"reconstruction": 1.0, "kl": 1.0, "label": 30.0})
    prior = Decoder.fit(x, 2, hidden=(16,), labels=known, objective=objective, training=training, seed=1)
    code = prior.code(torch.from_numpy(x))[0]
    assert np.corrcoef(code[:, 0], x[:, 1])[0, 1] > 0.9


def test_presets_of_a_conditional_base_and_of_a_mask():
    assert ivae().weights == {
        "reconstruction": 100.0,
        "mutual_information": 1.0,
        "total_correlation": 0.0,
        "dimension_wise_kl": 10.0,
    }
    assert sparse_vae(2.0).weights["spike_slab"] == 2.0


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
        (lambda: label(steps(rows=9)[0]), "The term 'label' needs labels"),
        (lambda: spike_slab(steps(rows=9)[0]), "The term 'spike_slab' needs a mask"),
        (lambda: contrast(steps(rows=9)[0]), "The term 'contrast' needs a base that depends on conditions"),
        (lambda: Decoder.fit(table(), 2, objective=contrastive_ivae()), "The term 'contrast' needs a base"),
        (lambda: Decoder.fit(table(), 2, labels=np.zeros((600, 3))), "Invalid labels of shape"),
        (lambda: Decoder.fit(table(), 2, labels=np.zeros((600, 1))), "a column has no two different values"),
        (lambda: Decoder.fit(table(), 2, labels=np.full((600, 1), np.inf)), "Invalid labels with infinite values"),
        (lambda: Decoder.fit(table(), 2, labels=table()[:, :1], objective=beta_vae()), "does not use `labels`"),
    ],
)
def test_unusable_objectives_are_refused(make, message):
    with pytest.raises(ValueError, match=message):
        make()


@pytest.mark.slow
def test_less_total_correlation_disentangles_rendered_shapes():
    """Chen et al. (2018), section 6: weighting it raises MIG, and DCI, in the median over the seeds.

    The whole table, with all objectives and five seeds, is printed by benchmarks/disentanglement.py.
    """
    path = Path(__file__).parents[3] / "benchmarks" / "disentanglement.py"
    spec = importlib.util.spec_from_file_location("disentanglement", path)
    shapes = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(shapes)
    torch.set_default_dtype(torch.float32)
    chosen = {name: shapes.OBJECTIVES[name] for name in ("VAE", "beta-TCVAE (6)")}
    print()
    found = {n: np.median(v, 0) for n, v in shapes.table(3, 30, 5200, chosen).items()}
    assert (found["beta-TCVAE (6)"] > found["VAE"]).all()
