"""`NestedLaplace` against quadrature over the hyper-parameters, where the rest is Gaussian and known in closed form."""

import math
import re

import numpy as np
import pytest
import torch

from physgen.black_box import blackbox
from physgen.inversions.nested_laplace import NestedLaplace
from physgen.noise import GaussianNoise, PoissonNoise
from physgen.priors import Independent, LogNormal, Normal
from physgen.priors.smooth_field import SmoothField
from physgen.problem import Problem
from physgen.random import normal
from physgen.status import Status

GRID = torch.linspace(0, 1, 12, dtype=torch.float64)
WEIGHTS = torch.rand(9, 12, dtype=torch.float64, generator=torch.Generator().manual_seed(3))
SD = 0.3


def measure(x):
    return x @ WEIGHTS.to(x).mT


def problem(noise=None, **settings):
    return Problem(measure, SmoothField(GRID, **settings), noise or GaussianNoise(SD))


def quadrature(prior, y, points=241):
    """Log evidence, mean and standard deviation of the field and the hyper latents, exact but for a dense lattice."""
    h = torch.linspace(-6, 6, points, dtype=torch.float64)
    nodes = torch.cartesian_prod(*[h] * len(prior.hyper_latents)).reshape(-1, len(prior.hyper_latents))
    logs, means, squares = [], [], []
    for node in nodes:
        factor = prior.given_hyper(node)._factor
        covariance = factor @ factor.T
        total = WEIGHTS @ covariance @ WEIGHTS.T + SD**2 * torch.eye(9, dtype=torch.float64)
        gain = torch.linalg.solve(total, WEIGHTS @ covariance).T
        logs.append(torch.distributions.MultivariateNormal(torch.zeros(9, dtype=y.dtype), total).log_prob(y))
        means.append(gain @ y)
        squares.append((covariance - gain @ WEIGHTS @ covariance).diagonal() + means[-1] ** 2)
    log = (
        torch.stack(logs)
        - 0.5 * nodes.square().sum(-1)
        + nodes.shape[-1] * math.log(float(h[1] - h[0]) / math.sqrt(2 * math.pi))
    )
    weight = torch.softmax(log, 0)[:, None]
    mean, square = (weight * torch.stack(means)).sum(0), (weight * torch.stack(squares)).sum(0)
    at = (weight * nodes).sum(0)
    return torch.logsumexp(log, 0), mean, (square - mean**2).sqrt(), at, ((weight * nodes**2).sum(0) - at**2).sqrt()


@pytest.mark.parametrize("fixed", [{"length": 0.3}, {"amplitude": 0.8}, {}], ids=["amplitude", "length", "both"])
def test_the_linear_gaussian_problem_against_quadrature(fixed):
    own = problem(**fixed)
    _, y = own.simulate(2, seed=4)
    result = NestedLaplace(draws=4000, proposals=4000)(own, y, seed=1)
    assert result.trusted.all()
    for i in range(2):
        points = 241 if fixed else 31
        log, mean, sd, at, at_sd = quadrature(own.prior, y[i], points)
        assert float(result.stats["log_evidence"][i]) == pytest.approx(float(log), abs=0.02)
        # five standard errors of 4,000 draws
        error = 5 / math.sqrt(4000)
        draws, hyper = result.draws[:, i], result.stats["hyper"][i]
        assert float(((draws.mean(0) - mean) / sd).abs().max()) < error
        assert float((draws.std(0) / sd - 1).abs().max()) < error
        assert float(((hyper.mean(0) - at) / at_sd).abs().max()) < error
        assert float((hyper.std(0) / at_sd - 1).abs().max()) < error
        covariance = result.stats["latent_covariance"][i]
        assert torch.linalg.eigvalsh(covariance).min() > 0
        hyper_sd = covariance.diagonal()[12:].sqrt()
        assert float((hyper_sd / at_sd - 1).abs().max()) < 0.05


def test_without_hyper_parameters_it_is_the_laplace_posterior():
    own = problem(amplitude=0.8, length=0.3)
    _, y = own.simulate(3, seed=4)
    result = NestedLaplace(draws=2000, proposals=2000)(own, y, seed=1)
    factor = own.prior._factor
    a = WEIGHTS @ factor / SD
    covariance = torch.linalg.inv(torch.eye(12, dtype=torch.float64) + a.T @ a)
    torch.testing.assert_close(result.stats["latent_covariance"], covariance.expand(3, -1, -1), rtol=1e-8, atol=1e-10)
    wanted = (factor @ covariance @ a.T @ (y / SD).T).T
    sd = (factor @ covariance @ factor.T).diagonal().sqrt()
    assert float(((result.draws.mean(0) - wanted) / sd).abs().max()) < 5 / math.sqrt(2000)
    total = WEIGHTS @ factor @ factor.T @ WEIGHTS.T + SD**2 * torch.eye(9, dtype=torch.float64)
    log = torch.distributions.MultivariateNormal(torch.zeros(9, dtype=torch.float64), total).log_prob(y)
    torch.testing.assert_close(result.stats["log_evidence"], log, rtol=0, atol=1e-8)


def test_hyper_parameters_of_any_prior():
    """A cause that scales another: x = exp(s) a; the lattice over s, against quadrature in both."""

    def forward(x):
        return x[..., :1] * torch.exp(x[..., 1:])

    own = Problem(forward, Independent(a=Normal(0, 1), s=Normal(0, 0.7)), GaussianNoise(0.2))
    y = torch.tensor([[1.4]], dtype=torch.float64)
    result = NestedLaplace(hyper_latents=(1,), draws=4000, proposals=4000)(own, y, seed=1)
    grid = torch.linspace(-6, 6, 1201, dtype=torch.float64)
    s = 0.7 * grid
    sd = torch.sqrt(torch.exp(2 * s) + 0.04)
    log = -0.5 * (1.4 / sd) ** 2 - sd.log() - 0.5 * math.log(2 * math.pi) - 0.5 * grid**2
    weight = torch.softmax(log, 0)
    evidence = torch.logsumexp(log, 0) + math.log(0.01 / math.sqrt(2 * math.pi))
    assert result.trusted.all()
    assert float(result.stats["log_evidence"][0]) == pytest.approx(float(evidence), abs=0.02)
    mean = (weight * s).sum()
    spread = ((weight * s**2).sum() - mean**2).sqrt()
    assert float(result.stats["hyper"][0].mean() * 0.7) == pytest.approx(float(mean), abs=0.1 * float(spread))
    a = (weight * 1.4 * torch.exp(s) / sd**2).sum()
    assert float(result.draws[:, 0, 0].mean()) == pytest.approx(float(a), abs=0.05)


def test_counts_of_a_positive_field_against_plain_importance_sampling():
    """Few counts of a log-Gaussian field; the reference weighs two million prior draws."""
    own = problem(PoissonNoise(2.0), log=True, level_sd=0.5, amplitude=LogNormal(0.5, 0.5), length=0.5)
    _, y = own.simulate(1, seed=9)
    result = NestedLaplace(draws=4000, proposals=4000)(own, y, seed=1)
    z = normal((200000, 13), torch.tensor(7), seed=1)
    x = own.prior.decode(z)
    weight = torch.softmax(own.noise.log_prob(y, measure(x)), 0)[:, None]
    mean = (weight * x).sum(0)
    sd = ((weight * x**2).sum(0) - mean**2).sqrt()
    ess = float(1 / weight.square().sum())
    assert ess > 1000
    error = 5 * math.sqrt(1 / 4000 + 1 / ess + 1 / float(result.stats["ess"][0]))
    assert result.trusted.all()
    assert float(((result.draws[:, 0].mean(0) - mean) / sd).abs().max()) < error


def test_annealing_mends_heavy_tails():
    """Zero counts of a log field say only "less than": plain weights have heavy tails, annealed ones do not."""
    own = problem(PoissonNoise(20.0), log=True, level_sd=1.0, amplitude=LogNormal(2.0, 0.3), length=0.1)
    y = torch.zeros(1, 9, dtype=torch.float64)
    y[0, :2] = 30.0
    plain = NestedLaplace(anneal=0, accept_k_hat=0.5)(own, y, seed=1)
    mended = NestedLaplace(anneal=60, accept_k_hat=0.5)(own, y, seed=1)
    assert float(mended.stats["k_hat"][0]) < float(plain.stats["k_hat"][0])
    assert float(mended.stats["ess"][0]) > float(plain.stats["ess"][0])


def test_cut_whole_and_reordered_agree():
    own = problem(length=0.3)
    _, y = own.simulate(5, seed=4)
    y[1] = torch.nan
    whole = NestedLaplace(draws=50)(own, y, seed=2)
    cut = NestedLaplace(draws=50, chunk=2)(own, y, seed=2)
    order = torch.tensor([4, 0, 3])
    some = NestedLaplace(draws=50)(own, y[order], seed=2, index=order)
    assert whole.status.tolist() == [0, int(Status.NO_DATA), 0, 0, 0]
    torch.testing.assert_close(cut.samples, whole.samples, rtol=1e-9, atol=1e-9, equal_nan=True)
    torch.testing.assert_close(some.samples, whole.samples[:, :, order], rtol=1e-9, atol=1e-9)
    again = NestedLaplace(draws=50)(own, y, seed=2)
    assert torch.equal(again.samples.nan_to_num(), whole.samples.nan_to_num())


def test_what_it_cannot_do_is_refused_in_two_sentences():
    three = Independent(a=Normal(0, 1), b=Normal(0, 1), c=Normal(0, 1), d=Normal(0, 1))
    gaussian = GaussianNoise(1.0)
    cases = [
        (Problem(lambda x: x, three, gaussian), NestedLaplace(), "names none"),
        (Problem(lambda x: x, three, gaussian), NestedLaplace(hyper_latents=(0, 1, 2)), "two at most"),
        (Problem(lambda x: x, three, gaussian), NestedLaplace(hyper_latents=(4,)), "0 to 3"),
        (Problem(blackbox(lambda x: x), three, gaussian), NestedLaplace(hyper_latents=(0,)), "Ensemble"),
    ]
    for own, method, message in cases:
        with pytest.raises((ValueError, TypeError), match=message) as caught:
            method(own, torch.zeros(2, 4))
        assert re.fullmatch(r"(?s)[A-Z].+[.?] .+[.?]", str(caught.value)), str(caught.value)
    for settings in ({"draws": 0}, {"nodes": 1.0}, {"depth": 0.5}, {"anneal": -1}, {"proposals": 5}):
        with pytest.raises(ValueError) as caught:
            NestedLaplace(**settings)
        assert re.fullmatch(r"(?s)[A-Z].+[.?] .+[.?]", str(caught.value)), str(caught.value)


@pytest.mark.parametrize(("size", "points"), [(1e9, 5), (1e5, 51)])
def test_an_absurd_observation_spoils_no_other(size, points):
    """Densities that differ by less than rounding, and matrices that have no factor."""
    prior = SmoothField(torch.linspace(0, 1, points, dtype=torch.float64), log=True)
    own = Problem(lambda x: x * 1.0, prior, GaussianNoise(0.05 if points == 5 else 0.02, 0.0 if points == 5 else 0.1))
    y = torch.ones(2, points, dtype=torch.float64)
    y[1] = size * torch.exp(-(torch.linspace(-3, 3, points, dtype=torch.float64) ** 2) * (points > 5))
    result = NestedLaplace(covariance=False)(own, y, seed=1)
    assert bool(result.trusted[0])
    torch.testing.assert_close(
        result.samples[:, :, 0], NestedLaplace(covariance=False)(own, y[:1], seed=1).samples[:, :, 0]
    )


@pytest.mark.slow
def test_bands_and_hyper_parameters_cover():
    """Three hundred small problems: 90 % intervals of field and hyper-parameters."""
    own = problem()
    z = own.prior.sample_latents(300, seed=6, dtype=torch.float64)
    x = own.prior.decode(z)
    y = own.noise.sample(measure(x), seed=6)
    result = NestedLaplace(covariance=False)(own, y, seed=1)
    assert bool(result.trusted.all())
    low, high = (result.draws.quantile(q, 0) for q in (0.05, 0.95))
    inside = ((low <= x) & (x <= high)).double()
    assert 0.88 <= float(inside.mean()) <= 0.92
    low, high = (result.stats["hyper"].quantile(q, 1) for q in (0.05, 0.95))
    covered = ((low <= z[:, 12:]) & (z[:, 12:] <= high)).double().mean(0)
    assert np.all(np.abs(covered.numpy() - 0.9) < 4 * math.sqrt(0.09 / 300))
