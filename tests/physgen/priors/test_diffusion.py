"""Diffusion: likelihoods in closed form, what a learned score comes to, storage, and what is refused."""

import math
import time

import numpy as np
import pytest
import torch
from torch.distributions import MultivariateNormal

from physgen.diagnostics.memorisation import memorisation
from physgen.priors.diffusion import Diffusion
from physgen.priors.fitting import Training
from physgen.priors.flow_matching import FlowMatching
from physgen.priors.storage import load_prior, save_prior
from physgen.rows import jacobian
from physgen.space import Block, Space
from physgen.testing import check_prior

WEIGHT = [0.3, 0.3, 0.4]
MEAN = [[0.0, 0.0], [3.0, 0.0], [0.0, 3.0]]
COVARIANCE = [[[1.0, 0.0], [0.0, 1.0]], [[0.1, 0.0], [0.0, 0.1]], [[0.5, 0.4], [0.4, 0.5]]]
POSITIVE = Space(Block("a", "1", (0, math.inf)), Block("b", "1", (0, math.inf)))
FIELD = Space(Block("field", "1", (0, math.inf), shape=(8, 8)))
FAST = Training(epochs=2)
CARD = dict.fromkeys(
    ("title", "learned_from", "units", "range", "intended_use", "not_for", "fit", "licence"), "a diffusion of a test"
)


def mixture_density(x):
    each = [
        math.log(w) + MultivariateNormal(torch.tensor(m).to(x), torch.tensor(c).to(x)).log_prob(x)
        for w, m, c in zip(WEIGHT, MEAN, COVARIANCE, strict=True)
    ]
    return torch.logsumexp(torch.stack(each), 0)


def mixture_draws(rows, seed):
    rng = np.random.default_rng(seed)
    which = rng.choice(3, rows, p=WEIGHT)
    factor = np.linalg.cholesky(np.array(COVARIANCE))[which]
    x = np.array(MEAN)[which] + (factor @ rng.standard_normal((rows, 2, 1)))[..., 0]
    return torch.from_numpy(x)


def gamma_table(rows=200, seed=0):
    return np.random.default_rng(seed).gamma(3, size=(rows, 2))


def small(**settings):
    return Diffusion.fit(gamma_table(), causes=POSITIVE, hidden=(8, 8), training=FAST, **{"steps": 4} | settings)


def small_field(rows=100, **settings):
    x = np.random.default_rng(0).gamma(3, size=(rows, 64))
    return Diffusion.fit(x, causes=FIELD, channels=4, steps=4, training=Training(epochs=1), **settings)


def test_a_single_gaussian_is_exact():
    """The velocity is 0, so that the likelihood is that of the frame, whatever the steps."""
    mean, covariance = [1.0, 2.0], [[2.0, 0.5], [0.5, 1.0]]
    prior = Diffusion.mixture([1.0], [mean], [covariance], steps=3)
    x = prior.sample(200, seed=1)
    exact = MultivariateNormal(torch.tensor(mean), torch.tensor(covariance)).log_prob(x)
    error = float((prior.log_prob(x) - exact).abs().max())
    print(f"\nsingle Gaussian: largest error of log_prob {error:.1e} nat")
    assert error < 1e-12
    assert prior.step_error() < 1e-12
    estimate, standard_error = prior.estimate_log_prob(x)
    torch.testing.assert_close(estimate, exact, rtol=0, atol=1e-12)
    assert float(standard_error.max()) < 1e-12


def test_probability_flow_likelihood_of_a_mixture():
    """Against the closed form; draws of the mixture, as many evaluations by both methods."""
    x = mixture_draws(100, 1)
    for method, steps, mean, most in (("heun", 24, 5e-3, 0.1), ("rk4", 12, 1e-3, 0.1)):
        prior = Diffusion.mixture(WEIGHT, MEAN, COVARIANCE, steps=steps, method=method)
        gap = prior.log_prob(x) - mixture_density(x)
        print(
            f"\n{method}: log_prob off by {float(gap.mean()):+.1e} nat on average, {float(gap.abs().max()):.1e} at most"
        )
        assert abs(float(gap.mean())) < mean
        assert float(gap.abs().max()) < most


def test_estimated_likelihood_of_a_mixture():
    prior, x = Diffusion.mixture(WEIGHT, MEAN, COVARIANCE), mixture_draws(100, 2)
    estimate, error = prior.estimate_log_prob(x, probes=8, seed=1)
    gap, expected = (estimate - mixture_density(x)).mean(), error.square().mean().sqrt() / math.sqrt(100)
    print(f"\noff by {float(gap):+.4f} +- {float(expected):.4f} nat, standard error of a row {float(error.mean()):.2f}")
    assert abs(float(gap)) < 4 * float(expected)
    again, _ = prior.estimate_log_prob(x[:9], probes=8, seed=1)
    torch.testing.assert_close(again, estimate[:9], rtol=1e-12, atol=1e-12)


def test_step_error_is_the_distance_from_the_equation():
    """Against a solution of 400 steps."""
    fine = Diffusion.mixture(WEIGHT, MEAN, COVARIANCE, steps=200)
    z = torch.randn(256, 2, generator=torch.Generator().manual_seed(0))
    for method, steps, order in (("heun", 24, 2), ("rk4", 12, 4)):
        prior = Diffusion.mixture(WEIGHT, MEAN, COVARIANCE, steps=steps, method=method)
        sd = prior.frame.factor.square().sum(1).sqrt()
        true = float(((prior.decode(z) - fine.decode(z)) / sd).square().mean().sqrt())
        print(f"\n{steps} steps of {method}: {true:.1e} from the equation, step_error {prior.step_error():.1e}")
        assert prior.step_error() == pytest.approx((1 - 2**-order) * true, rel=0.35)


def test_draws_follow_the_mixture():
    prior = Diffusion.mixture(WEIGHT, MEAN, COVARIANCE, causes=["a", "b"])
    x = prior.sample(4000, seed=1)
    assert float((x[:, 0] > 2).double().mean()) == pytest.approx(0.3 + 0.4 * 0.0023 + 0.3 * 0.0228, abs=0.025)
    exact = prior.frame.mean, prior.frame.factor @ prior.frame.factor.mT
    torch.testing.assert_close(x.mean(0), exact[0], rtol=0, atol=0.08)
    torch.testing.assert_close(torch.cov(x.mT), exact[1], rtol=0, atol=0.12)


def test_contract():
    check_prior(small())
    check_prior(small(conditions={"day": np.linspace(1, 365, 200)}, steps=3), {"day": 100.0})


@pytest.mark.parametrize("kind", [Diffusion, FlowMatching])
def test_a_row_has_its_bits_whatever_the_others(kind):
    """In float64, in all three directions, beyond the size of a block."""
    conditions = {"day": np.linspace(1, 365, 200)}
    prior = kind.fit(gamma_table(), causes=POSITIVE, conditions=conditions, hidden=(16, 8), steps=2, training=FAST)
    z = torch.randn(5000, 2, generator=torch.Generator().manual_seed(0))
    day = torch.linspace(0, 365, 5000)
    x = prior.decode(z, day=day)
    back, density = prior.encode(x, day=day), prior.log_prob(x, day=day)
    for count in (1, 2, 9, 33, 1000, 4097):
        cut = slice(3, 3 + count)
        assert torch.equal(prior.decode(z[cut], day=day[cut]), x[cut])
        assert torch.equal(prior.encode(x[cut], day=day[cut]), back[cut])
        assert torch.equal(prior.log_prob(x[cut], day=day[cut]), density[cut])


def test_encode_of_a_field_inverts_decode_and_has_no_density():
    prior = small_field()
    z = torch.randn(5, 64, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(prior.encode(prior.decode(z)), z, rtol=0, atol=1e-9)
    assert prior.capabilities == {"encode"}
    with pytest.raises(TypeError, match="no 'log_prob'"):
        prior.log_prob(prior.decode(z))
    estimate, error = prior.estimate_log_prob(prior.decode(z), probes=4)
    assert bool(torch.isfinite(estimate).all() & torch.isfinite(error).all())
    with pytest.raises(ValueError, match="No gradient through encode of 64 causes"):
        prior.encode(prior.decode(z).requires_grad_())


def test_density_outside_the_support():
    prior = small()
    assert torch.isneginf(prior.log_prob(torch.tensor([-1.0, 1.0])))
    assert torch.isneginf(prior.estimate_log_prob(torch.tensor([-1.0, 1.0]))[0])
    assert torch.isnan(prior.encode(torch.tensor([-1.0, 1.0]))).all()


def test_denoiser_and_score_in_the_frame():
    """The score is the gradient of the log density of noisy values, and levels may differ between rows."""
    prior = Diffusion.mixture(WEIGHT, MEAN, COVARIANCE)
    x = mixture_draws(6, 3)
    w = prior.frame_values(x)
    torch.testing.assert_close(prior.frame_causes(w), x, rtol=1e-12, atol=1e-12)
    for sigma in (0.2, 2.0):
        leaf = w.clone().requires_grad_()
        (exact,) = torch.autograd.grad(prior.denoiser.log_density(leaf.mT, sigma).sum(), leaf)
        torch.testing.assert_close(prior.score(w, sigma), exact, rtol=1e-9, atol=1e-9)
        torch.testing.assert_close(prior.denoise(w, sigma), w + sigma**2 * exact, rtol=1e-9, atol=1e-9)
    levels = torch.linspace(0.1, 3, 6)
    each = torch.stack([prior.denoise(w[i], float(levels[i])) for i in range(6)])
    torch.testing.assert_close(prior.denoise(w, levels), each, rtol=1e-12, atol=1e-12)
    _, slopes = jacobian(lambda rows: prior.denoise(rows, 0.5), w)
    assert bool((slopes - slopes.mT).abs().max() < 1e-9)  # a posterior covariance over sigma^2
    assert bool((torch.linalg.eigvalsh(slopes) > 0).all())


def test_empirical_denoiser_copies_and_the_detector_says_so():
    x = mixture_draws(400, 4)
    prior = Diffusion.empirical(x[:200])
    found = memorisation(prior.sample(200, seed=1), x[:200], x[200:])
    print(f"\nempirical: nearer {found.nearer:.3f}, copies {found.copies:.2f}, p {found.p_value:.1e}")
    assert found.nearer > 0.9
    assert found.p_value < 1e-6


@pytest.mark.parametrize(
    "make",
    [
        lambda: small(conditions={"day": np.linspace(1, 365, 200)}),
        lambda: small_field(periodic=True),
        lambda: Diffusion.mixture(WEIGHT, MEAN, COVARIANCE, steps=5, method="heun", sigma_max=10.0, rho=5.0),
        lambda: Diffusion.empirical(gamma_table(), causes=POSITIVE, steps=5),
    ],
)
def test_stored_diffusion_returns(make, tmp_path):
    prior = make()
    again = load_prior(save_prior(prior, tmp_path / "diffusion", CARD))
    assert again.causes == prior.causes
    assert again.report == prior.report
    assert again.sigmas == prior.sigmas
    own = {"day": 10.0} if prior.takes.names else {}
    assert torch.equal(prior.sample(20, seed=1, **own), again.sample(20, seed=1, **own))


def test_resumed_fit_has_the_same_bits(tmp_path):
    whole = small(checkpoint=tmp_path / "whole")
    assert torch.equal(whole.sample(5), small(checkpoint=tmp_path / "whole").sample(5))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: small(steps=0), "Invalid number of steps 0. It must be a whole number"),
        (lambda: Diffusion.mixture(WEIGHT, MEAN, COVARIANCE, method="euler"), "Unknown method 'euler'. Must be one of"),
        (lambda: Diffusion.mixture(WEIGHT, MEAN, COVARIANCE, causes=["a"]), "Invalid causes with 1 elements"),
        (lambda: Diffusion.fit(gamma_table(90)), "Too few samples: 90 for 2 causes and 0 conditions"),
        (lambda: small_field(90), "Too few samples: 90"),
        (
            lambda: Diffusion.fit(np.ones((100, 36)), causes=Space(Block("f", shape=(6, 6)))),
            "Both sides must be multiples of 4",
        ),
        (lambda: Diffusion.mixture(WEIGHT, MEAN, COVARIANCE).denoise(torch.zeros(2), 0.0), "Invalid noise level"),
        (
            lambda: Diffusion.mixture(WEIGHT, MEAN, COVARIANCE).estimate_log_prob(torch.zeros(2), probes=1),
            "Invalid number of probes 1. It must be at least 2",
        ),
    ],
)
def test_unusable_input_is_refused(make, message):
    with pytest.raises(ValueError, match=message):
        make()


@pytest.mark.slow
@pytest.mark.parametrize("kind", [Diffusion, FlowMatching])
def test_learns_a_mixture(kind):
    """Held-out negative log-likelihood within 0.15 nat of the truth, from 8,000 samples."""
    prior = kind.fit(mixture_draws(8000, 5), seed=1)
    x = mixture_draws(4000, 6)
    gap = float((mixture_density(x) - prior.log_prob(x)).mean())
    z = torch.randn(4096, 2, dtype=torch.float32)
    seconds = []
    for _ in range(5):
        start = time.process_time()
        prior.decode(z)
        seconds.append(time.process_time() - start)
    print(
        f"\n{kind.__name__}: {gap:.3f} nat above the truth, step error {prior.step_error():.1e}, "
        f"{4096 / min(seconds):.0f} rows/s decoded, fit {prior.report.seconds:.0f} s, {prior.report.epochs} epochs"
    )
    assert 0 < gap < 0.15
    assert prior.step_error() < 0.01
