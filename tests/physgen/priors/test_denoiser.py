"""Denoisers against Tweedie's formula for the exact noisy density, and the learned one's algebra."""

import math

import pytest
import torch
from torch.distributions import MultivariateNormal

from physgen.priors.denoiser import Denoiser
from physgen.priors.denoiser_empirical import EmpiricalDenoiser
from physgen.priors.denoiser_learned import LearnedDenoiser, denoising_score
from physgen.priors.denoiser_mixture import MixtureDenoiser, standardised_mixture
from physgen.priors.diffusion_levels import draw_levels, karras_levels
from physgen.priors.score_network import ScoreNetwork

WEIGHT = torch.tensor([0.2, 0.5, 0.3], dtype=torch.float64)
MEAN = torch.tensor([[-1.0, 0.5], [1.0, 1.0], [0.0, -1.0]], dtype=torch.float64)
COVARIANCE = torch.tensor([[[0.3, 0.1], [0.1, 0.2]], [[0.05, 0.0], [0.0, 0.4]], [[0.1, -0.09], [-0.09, 0.1]]]).double()
NONE = torch.zeros(0, 1, dtype=torch.float64)


def log_density(rows, sigma, covariance=COVARIANCE, weight=WEIGHT, mean=MEAN):
    """Of noisy rows ``(R, n)``, by torch."""
    each = [
        w.log() + MultivariateNormal(m, c + sigma**2 * torch.eye(len(m))).log_prob(rows)
        for w, m, c in zip(weight, mean, covariance, strict=True)
    ]
    return torch.logsumexp(torch.stack(each), 0)


def points(rows=30, elements=2):
    return 1.5 * torch.randn(rows, elements, generator=torch.Generator().manual_seed(0), dtype=torch.float64)


@pytest.mark.parametrize("sigma", [0.05, 0.5, 4.0])
def test_mixture_by_tweedie(sigma):
    rows = points().requires_grad_()
    (score,) = torch.autograd.grad(log_density(rows, sigma).sum(), rows)
    denoiser = MixtureDenoiser.of(WEIGHT, MEAN, COVARIANCE)
    torch.testing.assert_close(denoiser.score(rows.detach().mT, sigma, NONE).mT, score, rtol=1e-9, atol=1e-9)
    torch.testing.assert_close(
        denoiser.log_density(rows.detach().mT, sigma), log_density(rows.detach(), sigma), rtol=1e-12, atol=1e-12
    )


def test_a_level_for_each_row():
    denoiser, w = MixtureDenoiser.of(WEIGHT, MEAN, COVARIANCE), points().mT
    sigma = torch.linspace(0.1, 3, 30)
    each = torch.cat([denoiser(w[:, i : i + 1], float(s), NONE) for i, s in enumerate(sigma)], 1)
    torch.testing.assert_close(denoiser(w, sigma, NONE), each, rtol=1e-12, atol=1e-12)


def test_standardised_mixture_has_mean_0_and_covariance_1():
    denoiser, mean, factor = standardised_mixture(3 * WEIGHT, MEAN, COVARIANCE)
    share, m = denoiser.log_weight.exp(), denoiser.mean
    c = denoiser.axes @ torch.diag_embed(denoiser.variance) @ denoiser.axes.mT
    torch.testing.assert_close(share @ m, torch.zeros(2), rtol=0, atol=1e-14)
    whole = (share[:, None, None] * (c + m[:, :, None] * m[:, None, :])).sum(0)
    torch.testing.assert_close(whole, torch.eye(2), rtol=0, atol=1e-13)
    torch.testing.assert_close(m @ factor.mT + mean, MEAN, rtol=0, atol=1e-14)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_empirical_is_the_mixture_without_width(dtype):
    samples = points(50, 40)
    denoiser = EmpiricalDenoiser(samples)
    point = samples[:8] + 0.02 * points(8, 40)
    for sigma in (0.02, 0.5, 3.0):
        square = (point[:, None] - samples).square().sum(-1)
        exact = torch.softmax(-square / (2 * sigma**2), 1) @ samples
        found = denoiser(point.mT.to(dtype), sigma, NONE).mT
        assert found.dtype == dtype
        torch.testing.assert_close(found.double(), exact, rtol=0, atol=1e-11 if dtype == torch.float64 else 2e-3)


def network(seed=3):
    """One with weights that are not 0."""
    made = ScoreNetwork(2, 1, hidden=(8,), seed=seed).double()
    made.layers.weights[-1].data += 0.3
    return made


def test_learned_velocity_is_that_of_its_denoiser():
    denoiser, v, context = LearnedDenoiser(network()), points().mT, torch.ones(1, 30)
    for sigma in (0.01, 0.3, 20.0):
        angle = math.atan(sigma)
        slow = Denoiser.velocity(denoiser, v, angle, context)
        torch.testing.assert_close(denoiser.velocity(v, angle, context), slow, rtol=1e-9, atol=1e-9)


def test_loss_is_the_weighted_error_of_the_denoiser():
    denoiser, context = LearnedDenoiser(network()), torch.ones(1, 30)
    clean, noise, sigma = points().mT, points().flip(0).mT, torch.linspace(0.1, 5, 30)
    d = denoiser(clean + sigma * noise, sigma, context)
    weighted = ((1 + sigma**2) / sigma**2 * (d - clean) ** 2).mean(0)
    torch.testing.assert_close(denoising_score(denoiser, clean, context, sigma, noise), weighted, rtol=1e-11, atol=0)


def test_a_network_that_says_0_is_right_for_normal_values():
    denoiser = LearnedDenoiser(ScoreNetwork(2, 0, hidden=(8,)).double())
    clean, noise = torch.randn(2, 2, 20_000, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    context = torch.zeros(0, 20_000)
    loss = denoising_score(denoiser, clean, context, torch.full((20_000,), 0.7), noise)
    assert float(loss.detach().mean()) == pytest.approx(1, abs=0.03)
    assert not bool(denoiser.velocity(clean, 0.4, context).any())


def test_levels():
    found = karras_levels(80.0, 0.002, 17, 7.0)
    assert len(found) == 18
    assert found[0] == 80.0
    assert found[-1] == 0.002
    step = (80 ** (1 / 7) - 0.002 ** (1 / 7)) / 17
    assert found[1] ** (1 / 7) == pytest.approx(80 ** (1 / 7) - step)
    drawn = draw_levels((torch.arange(4000) + 0.5) / 4000, 4.0, 0.005, 40.0)
    assert float(drawn.median().log()) == pytest.approx(math.log(2) - 0.4, abs=0.01)
    assert float(drawn.min()) >= 0.005
    assert float(drawn.max()) <= 40


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: karras_levels(0.001, 0.002, 5, 7.0), "Invalid noise levels 0.002 to 0.001. Both must be positive"),
        (lambda: karras_levels(2.0, 0.0, 5, 7.0), "Invalid noise levels 0 to 2. Both"),
        (lambda: karras_levels(2.0, 0.1, 5, 0.5), "Invalid rho 0.5. It must be at least 1"),
        (lambda: standardised_mixture([1.0], [[0.0, 0.0]], [[1.0]]), r"Give \(K,\), \(K, n\) and \(K, n, n\)"),
        (lambda: standardised_mixture([1.0, 0.0], MEAN[:2], COVARIANCE[:2]), "Weights must be positive"),
        (lambda: standardised_mixture([1.0], MEAN[:1], [[[1.0, 2.0], [2.0, 1.0]]]), "symmetric and positive definite"),
    ],
)
def test_unusable_settings_are_refused(make, message):
    with pytest.raises(ValueError, match=message):
        make()
