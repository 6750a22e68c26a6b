"""Guided diffusion with particles: closed forms, what it cannot be trusted with, and the order of observations."""

import math

import pytest
import torch

from physgen.inversions.guided_diffusion import GuidedDiffusion
from physgen.inversions.twisted_scatter import apply, level, roots
from physgen.inversions.twisted_summary import Weighed
from physgen.noise import GaussianNoise, PoissonNoise
from physgen.priors.diffusion import Diffusion
from physgen.problem import Problem
from physgen.status import Status

MEAN = torch.tensor([[1.0, -2.0, 0.5]], dtype=torch.float64)
COVARIANCE = torch.tensor([[2.0, 0.8, 0.1], [0.8, 1.0, -0.3], [0.1, -0.3, 0.5]], dtype=torch.float64)
A = torch.tensor([[1.0, 0.5, 0.0], [0.0, 1.0, -1.0]], dtype=torch.float64)
NOISE = 0.4
WEIGHTS, CENTRES, SDS = (0.3, 0.7), (-2.0, 1.5), (0.5, 0.8)


@pytest.fixture(scope="module")
def normal_prior():
    return Diffusion.mixture([1.0], MEAN, COVARIANCE[None])


@pytest.fixture(scope="module")
def two_prior():
    """0.3 N(-2, 0.5^2) + 0.7 N(1.5, 0.8^2)."""
    return Diffusion.mixture(WEIGHTS, [[c] for c in CENTRES], [[[s * s]] for s in SDS])


def linear(prior, rows=A, noise=NOISE):
    return Problem(lambda x: x @ rows.mT.to(x), prior, GaussianNoise(noise))


def quadrature(log_likelihood):
    """Mean, sd and log evidence under the prior of two components."""
    x = torch.linspace(-7, 7, 20001, dtype=torch.float64)
    parts = [
        math.log(w) + torch.distributions.Normal(c, s).log_prob(x)
        for w, c, s in zip(WEIGHTS, CENTRES, SDS, strict=True)
    ]
    value = torch.logsumexp(torch.stack(parts), 0) + log_likelihood(x)
    evidence = torch.logsumexp(value, 0) + math.log(float(x[1] - x[0]))
    p = torch.softmax(value, 0)
    mean = float(p @ x)
    return mean, float(p @ (x - mean) ** 2) ** 0.5, float(evidence)


def test_linear_gaussian(normal_prior):
    """All weights are equal but for rounding of the scatter: mean and sd by the number of draws, and the evidence."""
    y = torch.tensor([[1.0, -1.5], [4.0, -4.0], [0.0, torch.nan]], dtype=torch.float64)
    result = GuidedDiffusion(draws=1000, steps=40, particles=500, islands=4)(linear(normal_prior), y)
    assert result.status.tolist() == [Status.TRUSTED] * 3
    for i, row in enumerate(y):
        own = ~torch.isnan(row)
        S = A[own] @ COVARIANCE @ A[own].mT + NOISE**2 * torch.eye(int(own.sum()))
        gain = COVARIANCE @ A[own].mT @ torch.linalg.inv(S)
        mean = MEAN[0] + gain @ (row[own] - A[own] @ MEAN[0])
        sd = (COVARIANCE - gain @ A[own] @ COVARIANCE).diagonal().sqrt()
        evidence = torch.distributions.MultivariateNormal(A[own] @ MEAN[0], S).log_prob(row[own])
        x, ess = result.samples[0, :, i], float(result.stats["ess"][i])
        z = (x.mean(0) - mean) / sd * (1 / ess + 1 / 1000) ** -0.5
        ratio, apart = x.std(0) / sd, float(result.stats["log_evidence"][i] - evidence)
        print(
            f"mean {float(z.abs().max()):.2f} standard errors, sd ratio {float(ratio.min()):.3f} to "
            f"{float(ratio.max()):.3f}, evidence {apart:+.3f} +- {float(result.stats['log_evidence_error'][i]):.3f}, "
            f"ess {ess:.0f}"
        )
        assert float(z.abs().max()) < 4
        assert 0.93 < float(ratio.min()) < float(ratio.max()) < 1.07
        assert abs(apart) < 0.05
        assert ess > 1000
    assert result.stats["measured"].tolist() == [2, 2, 1]


@pytest.mark.parametrize("guidance", ["moment-matching", "dps"])
@pytest.mark.parametrize("y", [pytest.param(-0.4, marks=pytest.mark.slow), 0.3])
def test_two_components(two_prior, guidance, y):
    """y = x + N(0, 1) between the modes: mean and sd, and the evidence, by quadrature; whatever the guidance."""
    problem = linear(two_prior, torch.ones(1, 1, dtype=torch.float64), 1.0)
    mean, sd, evidence = quadrature(lambda x: torch.distributions.Normal(x, 1.0).log_prob(torch.tensor(y)))
    method = GuidedDiffusion(draws=1000, steps=80, particles=500, guidance=guidance)
    result = method(problem, torch.tensor([[y]], dtype=torch.float64), seed=1)
    x, ess = result.samples.flatten(), float(result.stats["ess"])
    z, ratio = (float(x.mean()) - mean) / sd * (1 / ess + 1 / 1000) ** -0.5, float(x.std()) / sd
    apart, error = float(result.stats["log_evidence"]) - evidence, float(result.stats["log_evidence_error"])
    print(f"{guidance}: mean {z:+.2f} standard errors, sd ratio {ratio:.3f}, evidence {apart:+.3f} +- {error:.3f}")
    assert result.status.tolist() == [Status.TRUSTED]
    assert abs(z) < 4
    assert 0.93 < ratio < 1.07
    assert abs(apart) < 0.05 + 3 * error


def test_counts_through_a_nonlinear_model(two_prior):
    """Poisson counts of 3 exp(x / 2), by quadrature."""
    problem = Problem(lambda x: 3 * torch.exp(0.5 * x), two_prior, PoissonNoise())
    two = torch.tensor(2.0, dtype=torch.float64)
    mean, sd, evidence = quadrature(lambda x: torch.distributions.Poisson(3 * torch.exp(0.5 * x)).log_prob(two))
    result = GuidedDiffusion(draws=1000, steps=80, particles=500)(problem, torch.tensor([[2.0]]).double(), seed=2)
    x, ess = result.samples.flatten(), float(result.stats["ess"])
    z, apart = (float(x.mean()) - mean) / sd * (1 / ess + 1 / 1000) ** -0.5, float(result.stats["log_evidence"])
    apart -= evidence
    print(f"mean {z:+.2f} standard errors, sd ratio {float(x.std()) / sd:.3f}, evidence {apart:+.3f}")
    assert result.status.tolist() == [Status.TRUSTED]
    assert abs(z) < 4
    assert 0.93 < float(x.std()) / sd < 1.07
    assert abs(apart) < 0.05 + 3 * float(result.stats["log_evidence_error"])


def test_answers_that_are_wrong_are_not_trusted(normal_prior):
    """Too few particles: for precise data under the narrow guidance, and at all."""
    y = torch.tensor([[1.0, -1.5]], dtype=torch.float64)
    narrow = GuidedDiffusion(draws=50, steps=30, particles=30, guidance="dps")
    precise = narrow(linear(normal_prior, noise=0.01), y)
    assert int(precise.status[0]) in (Status.FEW_EFFECTIVE_DRAWS, Status.APPROXIMATE)
    few = GuidedDiffusion(draws=50, steps=20, particles=10)(linear(normal_prior), y)
    assert few.status.tolist() == [Status.FEW_EFFECTIVE_DRAWS]


def test_an_answer_in_half_as_many_steps_must_agree():
    """Two sets of the same distribution agree; a shift, a spread, a shape, and an evidence that differ do not."""
    g = torch.Generator().manual_seed(3)

    def weighed(x, log_weight=0.0):
        flat = torch.full((1, 4, len(x) // 4), log_weight, dtype=torch.float64)
        return Weighed.of(x.reshape(1, -1, 1), flat, torch.arange(len(x))[None])

    one, two = (torch.randn(2000, generator=g).double() for _ in range(2))
    apart = torch.sign(two) * (0.98 + 0.2 * two)  # of the same mean and variance
    assert bool(weighed(one).agrees(weighed(two), 0.5))
    for other in (two + 0.4, 1.4 * two, apart / apart.std()):
        assert not bool(weighed(one).agrees(weighed(other), 0.5))
    assert not bool(weighed(one).agrees(weighed(two, 0.7), 0.5))


@pytest.mark.parametrize("guidance", ["moment-matching", "dps"])
def test_an_answer_depends_on_seed_and_index_alone(normal_prior, guidance):
    problem, method = (
        linear(normal_prior),
        GuidedDiffusion(draws=10, steps=10, particles=50, guidance=guidance, chunk=2),
    )
    y = problem.simulate(3, seed=1)[1]
    y[1, 0] = torch.nan
    whole, order = method(problem, y, seed=3), torch.tensor([2, 0])
    part = method(problem, y[order], seed=3, index=order)
    assert torch.equal(part.samples, whole.samples[:, :, order])
    for name, value in part.stats.items():
        assert torch.equal(value, whole.stats[name][order]), name
    assert not torch.equal(method(problem, y, seed=4).samples, whole.samples)
    assert method(problem, y.float()).samples.dtype == torch.float32


def test_a_model_that_is_undefined(normal_prior):
    problem = Problem(
        lambda x: torch.where(x[..., :1] > 1.0, torch.nan, x[..., :2]), normal_prior, GaussianNoise(NOISE)
    )
    y = torch.tensor([[1.0, 1.0], [torch.nan, torch.nan]], dtype=torch.float64)
    result = GuidedDiffusion(draws=20, steps=10, particles=20)(problem, y)
    assert result.status.tolist() == [Status.MODEL_UNDEFINED, Status.NO_DATA]
    assert bool(torch.isnan(result.samples).all())
    assert int(result.stats["nonfinite"][0]) > 0


def test_effective_draws_are_those_of_the_families():
    """1,000 equal draws in 50 families of 20 copies each are worth 50; without ancestors in common, 1,000."""
    g = torch.Generator().manual_seed(1)
    x = torch.randn(1, 50, 1, generator=g).double().repeat_interleave(20, 1)
    flat, own = torch.zeros(1, 4, 250).double(), torch.arange(1000)[None]
    assert 25 < float(Weighed.of(x, flat, own // 20 * 20).ess) < 100
    spread = torch.randn(1, 1000, 1, generator=g).double()
    assert 700 < float(Weighed.of(spread, flat, own).ess) <= 1000 + 1e-9
    assert float(Weighed.of(spread, flat, own // 250 * 250).ess) <= 4 + 1e-9  # one family in each island
    heavy = flat.clone()
    heavy[0, 2, 7] = 40.0
    assert float(Weighed.of(spread, heavy, own).ess) == pytest.approx(1, abs=1e-6)


def test_covariances_of_a_level():
    """Of errors and half of them seen with a noise of 1: S = 1 + V / 4, V_y = V - V / 2 S^-1 V / 2; many: diagonals."""
    g = torch.Generator().manual_seed(2)
    e = torch.randn(2, 64, 3, generator=g).double() * torch.tensor([1.0, 2.0, 3.0]).double()
    made = level(e, 0.5 * e + 1)
    V = torch.stack([torch.cov(rows.mT, correction=0) for rows in e])
    S = torch.eye(3).double() + 0.25 * V
    torch.testing.assert_close(made.V, V)
    torch.testing.assert_close(made.V_y, V - 0.25 * V @ torch.linalg.inv(S) @ V)
    torch.testing.assert_close(made.whiten.mT @ made.whiten, torch.linalg.inv(S))
    torch.testing.assert_close(made.bias, 0.5 * e.mean(1) + 1)
    many = level(torch.randn(2, 64, 600, generator=g).double(), e)
    assert many.V.shape == (2, 600)
    torch.testing.assert_close(many.whiten, (1 + e.var(1, correction=0)).rsqrt())
    for covariance in (V, many.V):
        R, inverse, log_det = roots(covariance, 0.5, 2.0)
        v = e if R.ndim == 3 else R[:, None]
        torch.testing.assert_close(apply(inverse, apply(R, v)), v)
        if R.ndim == 3:
            torch.testing.assert_close(log_det, 0.5 * torch.logdet(2 * V + 0.5 * torch.eye(3).double()))


@pytest.mark.parametrize(
    "setting",
    [{"particles": 3}, {"particles": 50, "islands": 1}, {"particles": 50, "steps": 2000}, {"accept_rhat": 1.0}],
)
def test_settings_out_of_range(setting):
    with pytest.raises(ValueError, match=[*setting][-1]):
        GuidedDiffusion(**setting)
