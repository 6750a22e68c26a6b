"""Power-scaling against arviz_stats, a closed form, and the published example; its noise against simulation."""

import math
import time
from decimal import Decimal, localcontext

import numpy as np
import pytest
import torch
from arviz_base import from_dict
from arviz_stats import psense
from arviz_stats.base import array_stats

import physgen as pg
from physgen.diagnostics.cumulative_divergence import Ordered, _divergence
from physgen.diagnostics.power_scaling import power_scaling, sensitivities
from physgen.diagnostics.sensitivity_verdict import Verdict, verdict
from physgen.inversions import Grid, OptimalEstimation
from physgen.noise import Noise
from physgen.priors import do


class NormalSample(Noise):
    """Independent values y with the mean and the sd that the prediction holds, (*, 2)."""

    def log_prob(self, y, prediction):
        mean, sd = prediction[..., :1], prediction[..., 1:]
        return (-0.5 * ((y - mean) / sd) ** 2 - sd.log() - 0.5 * math.log(2 * math.pi)).sum(-1)

    def sample(self, prediction, *, seed=0, like=None):
        raise NotImplementedError


def draws(S=1000, b=6, n=3, seed=0):
    g = np.random.default_rng(seed)
    x = g.normal(size=(S, b, n))
    prior = -0.5 * ((x - 0.5) ** 2).sum(-1) * np.linspace(0.1, 2, b)
    return x, prior, -1.5 * (x[..., 0] + 1) ** 2


def arviz(x, prior, likelihood):
    """(prior, likelihood) sensitivities (b, n), observation by observation."""
    out = []
    for i in range(x.shape[1]):
        groups = {"posterior": {"x": x[None, :, i]}, "log_prior": {"p": prior[None, :, i]}}
        tree = from_dict({**groups, "log_likelihood": {"y": likelihood[None, :, i]}})
        out.append([psense(tree, group=group)["x"].values for group in ("prior", "likelihood")])
    return np.moveaxis(np.array(out), 1, 0)


def test_distance_equals_arviz():
    x, prior, _ = draws(300)
    weight = np.exp(0.7 * prior - (0.7 * prior).max(0))
    weight /= weight.sum(0)
    found = Ordered(torch.as_tensor(x)).distance(torch.as_tensor(weight))
    for i, j in np.ndindex(found.shape):
        distances = [array_stats._cjs_dist(sign * x[:, i, j], weight[:, i]) for sign in (1, -1)]
        assert float(found[i, j]) == pytest.approx(max(distances), rel=1e-10)


def test_agrees_with_arviz():
    # its Pareto tail is as long as the effective draws of the tail say; ours, for independent draws, as all of them
    found = sensitivities(*(torch.as_tensor(v) for v in draws()))
    np.testing.assert_allclose(torch.stack(found[:2]), arviz(*draws()), rtol=2e-3)


def test_published_univariate_normal():
    y = "9.5 10.2 9.1 9.1 10.3 10.9 11.7 10.3 9.6 8.6 9.1 11.1 9.3 10.5 9.7 10.3 10.0 9.8 9.6 8.3 10.2 9.8 10.0 10.0"
    y += " 9.1"
    prior = pg.Independent(mu=pg.Normal(0, 1), sigma=pg.HalfNormal(2.5))
    problem = pg.Problem(lambda x: x * 1.0, prior, NormalSample())
    # of seeds 0 to 5, four give all figures within 0.06 and one within 0.07; seed 1 holds one draw far off, near the
    # prior's mean and at a large sigma, which widens the range of the average (0.54 / 0.79, 0.52 / 0.84)
    result = Grid(draws=4000, reach=14.0)(problem, [[float(v) for v in y.split()]], seed=0)
    assert bool(result.trusted.all())
    found = power_scaling(problem, result)
    print(f"\n{found}")
    np.testing.assert_allclose(found.prior_sensitivity[0], [0.39, 0.30], atol=0.06)
    np.testing.assert_allclose(found.likelihood_sensitivity[0], [0.56, 0.55], atol=0.06)
    assert found.verdict.tolist() == [[Verdict.PRIOR_DATA_CONFLICT] * 2]
    assert "prior-data conflict" in str(found)


def conflict(distance, noise=(1.0, 1.0), draws=1000):
    """Two causes with standard normal priors, each measured by itself, the first `distance` away from its prior."""
    prior = pg.Independent(near=pg.Normal(0, 1), far=pg.Normal(0, 1))
    problem = pg.Problem(lambda x: x * 1.0, prior, pg.GaussianNoise(torch.tensor(noise)))
    return problem, OptimalEstimation(draws=draws)(problem, torch.tensor([[distance, 0.0]]), seed=3)


def slope(F, G):
    """Sensitivity of distribution functions on an even grid, G under the power 1.01."""
    divergence = []
    for p, q in ((F, G), (1 - F, 1 - G)):
        m = 0.5 * (p + q)
        terms = torch.special.xlogy(p, p / m) + torch.special.xlogy(q, q / m)
        divergence.append(float(torch.nan_to_num(terms).sum() / (p + q).sum() / math.log(2)))
    return math.sqrt(max(divergence)) / math.log2(1.01)


def test_normal_closed_form():
    # a power a of the prior N(0, 1) moves the posterior of one datum y of unit noise to N(y / (1 + a), 1 / (1 + a)):
    # the derivative of the distance over the range of the draws, on a fine grid, is the sensitivity
    problem, result = conflict(3.0, draws=8000)
    found = power_scaling(problem, result)
    for j, y in enumerate((3.0, 0.0)):
        edges = torch.linspace(float(result.draws[..., j].min()), float(result.draws[..., j].max()), 4001)
        F = [torch.special.ndtr((edges - y / (1 + a)) * math.sqrt(1 + a)) for a in (1.0, 1.01)]
        wanted = slope(*F)
        assert float(found.prior_sensitivity[0, j]) == pytest.approx(wanted, abs=0.02 + 0.05 * wanted)


def test_verdicts():
    problem, result = conflict(6.0, noise=(1.0, 30.0), draws=4000)
    found = power_scaling(problem, result)
    assert found.verdict.tolist() == [[Verdict.PRIOR_DATA_CONFLICT, Verdict.LIKELIHOOD_NONINFORMATIVE]]
    problem, result = conflict(1.0, noise=(0.01, 0.01), draws=4000)
    found = power_scaling(problem, result)
    assert found.verdict.tolist() == [[Verdict.DATA_DECIDE] * 2]
    sensitivity = torch.tensor([0.0, 0.06, torch.nan])
    codes = verdict(sensitivity, torch.zeros(3), torch.full((3,), 0.04))
    assert codes.tolist() == [Verdict.NEITHER_MATTERS, Verdict.TOO_FEW_DRAWS, Verdict.UNKNOWN]
    assert all(v.advice.count(". ") >= 1 and v.words for v in Verdict)


def test_noise_is_what_independent_densities_give():
    g = torch.Generator().manual_seed(0)
    x = torch.randn(200, 400, 2, generator=g)
    x[..., 1] = x[..., 1].exp()
    density = 2 * torch.randn(200, 400, generator=g)
    value, _, noise, _ = sensitivities(x, density, density)
    ratio = value.square().mean(0).sqrt() / noise.square().mean(0).sqrt()
    assert bool(((ratio > 0.85) & (ratio < 1.15)).all()), ratio
    beyond = (value > 1.7 * noise).double().mean(0)
    print(f"\nof draws without sensitivity beyond 1.7 times its noise: {beyond.tolist()}")
    assert bool((beyond < 0.05).all())
    # half the effective draws, sqrt 2 of the noise
    fewer = sensitivities(x, density, density, effective=torch.full((400,), 100.0))[2]
    torch.testing.assert_close(fewer, noise * math.sqrt(2))


def test_latent_density_of_a_bounded_prior():
    problem = pg.Problem(lambda x: 0.0 * x, pg.Independent(x=pg.Uniform(2, 5)), pg.GaussianNoise(1.0))
    result = Grid(draws=4000)(problem, [[0.0]], seed=1)
    flat, normal = power_scaling(problem, result), power_scaling(problem, result, latent=True)
    assert float(flat.prior_sensitivity) < 1e-9  # a power of a uniform is the same uniform
    assert flat.verdict.item() == Verdict.NEITHER_MATTERS
    # its latent is N(0, 1), and N(0, 1 / 1.01) under the power
    share = torch.linspace(0.0, 1.0, 20001)
    wanted = slope(share, torch.special.ndtr(torch.special.ndtri(share) * math.sqrt(1.01)))
    assert float(normal.prior_sensitivity) == pytest.approx(wanted, rel=0.2)


def test_batches_of_any_shape_and_missing_answers():
    prior = pg.Independent(a=pg.Normal(0, 1), b=pg.LogNormal(1, 0.5))
    problem = pg.Problem(lambda x, gain: gain[..., None] * x, prior, pg.GaussianNoise(0.5))
    y = torch.tensor([[[1.0, 2.0], [torch.nan, torch.nan]], [[0.0, 1.0], [3.0, 3.0]]])
    gain = torch.tensor([[1.0, 2.0], [1.0, 0.5]])
    result = OptimalEstimation()(problem, y, conditions={"gain": gain})
    found = power_scaling(problem, result)
    assert found.prior_sensitivity.shape == (2, 2, 2)
    assert found.verdict[0, 1].tolist() == [Verdict.UNKNOWN] * 2
    alone = OptimalEstimation()(problem, y[1:, 1], conditions={"gain": gain[1:, 1]}, index=[3])
    torch.testing.assert_close(power_scaling(problem, alone).prior_sensitivity[0], found.prior_sensitivity[1, 1])
    assert int(found.draws_needed[1, 1].max()) > 0
    assert set(found.stats) == {"prior_sensitivity", "likelihood_sensitivity"}


def test_refusals():
    problem, result = conflict(1.0)
    with pytest.raises(ValueError, match=r"Too few draws for power-scaling: 20\. It needs at least 50"):
        sensitivities(torch.zeros(20, 1, 1), torch.zeros(20, 1), torch.zeros(20, 1))
    with pytest.raises(ValueError, match="Invalid shapes"):
        sensitivities(torch.zeros(60, 1, 1), torch.zeros(60, 2), torch.zeros(60, 1))
    with pytest.raises(ValueError, match="Invalid alphas"):
        power_scaling(problem, result, alphas=(1.01, 1.02))
    other = pg.Problem(lambda x: x * 1.0, pg.Independent(u=pg.Normal(0, 1), v=pg.Normal(0, 1)), problem.noise)
    with pytest.raises(ValueError, match=r"The result has the causes near, far, the prior u, v\. Give a prior over"):
        power_scaling(other, result)
    no_density = pg.Problem(problem.forward, do(problem.prior, near=0.0), problem.noise)
    with pytest.raises(TypeError, match=r"has no 'encode', so that .* Use a prior with a density"):
        power_scaling(no_density, result)
    empty = pg.Result(result.samples[:, :0], result.status, {}, result.causes, result.y)
    with pytest.raises(ValueError, match=r"without draws, of shape .* Invert"):
        power_scaling(problem, empty)


@pytest.mark.slow
def test_speed():
    g = torch.Generator().manual_seed(0)
    x = torch.randn(200, 2000, 14, generator=g)
    started, used = time.perf_counter(), time.process_time()
    found = sensitivities(x, -0.5 * x.square().sum(-1), x[..., 0])
    clock, processor = time.perf_counter() - started, time.process_time() - used
    print(
        f"\n2,000 observations, 200 draws, 14 causes: {processor:.1f} s of processor time ({clock:.1f} s on the clock)"
    )
    assert bool(torch.isfinite(found[0]).all())
    assert processor < 20


def defined(p, q):
    """p log2(p / m) + q log2(q / m) with 50 digits."""
    with localcontext() as context:
        context.prec = 50
        a, b = Decimal(p), Decimal(q)
        m = (a + b) / 2
        return float(sum(v * (v / m).ln() for v in (a, b) if v) / Decimal(2).ln())


@pytest.mark.parametrize("factor", [0.0, 0.3, 0.8, 0.817, 0.82, 0.9, 1 - 1e-7, 1.0, 1 + 1e-9, 1.01])
def test_divergence_is_that_of_its_definition_near_and_far(factor):
    """On both sides of where the series ends, which is at a factor of 0.818."""
    p = torch.linspace(0.02, 0.98, 13, dtype=torch.float64)
    q = p * factor
    expected = [defined(a, b) for a, b in zip(p.tolist(), q.tolist(), strict=True)]
    rtol = 5e-15 if factor else 1e-13  # at q = 0 the argument of atanh is held away from -1
    torch.testing.assert_close(_divergence(p, q), p.new_tensor(expected), rtol=rtol, atol=1e-40)
