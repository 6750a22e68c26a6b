"""Optimal estimation against closed forms, quadrature and the truth of simulated observations."""

import math

import numpy as np
import pytest
import torch
from scipy.stats import chisquare, multivariate_normal

from physgen.forward_models import Canopy, vegetation
from physgen.inversions import OptimalEstimation
from physgen.inversions.mode_search import Search, find_modes
from physgen.noise import CorrelatedGaussianNoise, GaussianNoise
from physgen.priors import Gaussian, Independent, LogNormal, Prior, Uniform
from physgen.problem import Problem
from physgen.space import Space
from physgen.status import Status

COORDINATE = [0.0, 1.0, 1.5, 4.0, 7.0, 7.2]


class Standard(Prior):
    """Independent standard normal causes; if wanted with a log_factor, a function of x."""

    def __init__(self, k, log_factor=None):
        self.causes, self.latent_dim, self.factor = Space(*(f"x{i}" for i in range(k))), k, log_factor
        self.capabilities = frozenset() if log_factor is None else frozenset({"log_factor"})

    def decode(self, z, /):
        return z

    def log_factor(self, x, /):
        return self.factor(x)


def beer_lambert(x):
    return x[..., 1:] * torch.exp(-x[..., :1] / torch.tensor([0.3, 0.6, 0.9]).to(x))


def absorber(sigma=0.01):
    return Problem(beer_lambert, Independent(depth=LogNormal(0.3, 0.5), albedo=Uniform(0, 1)), GaussianNoise(sigma))


def dense(kernel, white, discrepancy, length):
    distance = np.abs(np.subtract.outer(COORDINATE, COORDINATE)) / length
    a = math.sqrt(3) * distance
    rho = np.exp(-distance) if kernel == "exponential" else (1 + a) * np.exp(-a)
    return white**2 * np.eye(6) + discrepancy**2 * rho


def correlated(kernel, white, discrepancy, length):
    settings = {"discrepancy": discrepancy, "length": length, "coordinate": COORDINATE, "kernel": kernel}
    return CorrelatedGaussianNoise(white, **settings), dense(kernel, white, discrepancy, length)


BANDWISE = np.array([0.1, 0.2, 0.4, 0.1, 1.0, 0.3])
NOISES = {
    "one width": (GaussianNoise(0.3), 0.09 * np.eye(6)),
    "a width for each band": (GaussianNoise(BANDWISE.tolist()), np.diag(BANDWISE**2)),
    "exponential discrepancy": correlated("exponential", 0.1, 0.3, 2.0),
    "matern discrepancy": correlated("matern32", 0.05, 0.2, 1.0),
}


@pytest.mark.parametrize("name", NOISES)
def test_linear_gaussian_posterior_is_the_closed_form(name):
    noise, s_e = NOISES[name]
    random, k, count = np.random.default_rng(7), 4, 60
    a, x_a = random.standard_normal((6, k)), random.standard_normal(k)
    factor = np.tril(random.standard_normal((k, k))) + 2 * np.eye(k)
    s_a = factor @ factor.T
    y = x_a @ a.T + random.standard_normal((count, k)) @ (a @ factor).T
    y = y + random.standard_normal((count, 6)) @ np.linalg.cholesky(s_e).T
    y[1::3, 2], y[2::3, [0, 5]] = np.nan, np.nan
    prior, matrix = Gaussian(x_a, s_a), torch.from_numpy(a)
    method = OptimalEstimation()
    result = method(Problem(lambda x: x @ matrix.T, prior, noise), y, seed=1)
    assert bool(result.trusted.all())
    stats = {k: v.numpy() for k, v in result.stats.items()}
    factor, draws = prior.factor.numpy(), result.draws.numpy()
    used = np.cumsum(method.round_draws)[stats["rounds"] - 1]
    standard = []
    for i in range(count):
        seen = ~np.isnan(y[i])
        k_i, s_i = a[seen], s_e[np.ix_(seen, seen)]
        s_y = k_i @ s_a @ k_i.T + s_i
        gain = s_a @ k_i.T @ np.linalg.inv(s_y)  # Rodgers (2000), eq. 4.6
        mean, covariance, kernel = x_a + gain @ (y[i, seen] - k_i @ x_a), s_a - gain @ k_i @ s_a, gain @ k_i
        residual = y[i, seen] - k_i @ mean
        assert np.abs(x_a + factor @ stats["latent_mean"][i] - mean).max() < 1e-10
        assert np.abs(factor @ stats["latent_covariance"][i] @ factor.T - covariance).max() < 1e-10
        assert np.abs(factor @ stats["averaging_kernel"][i] @ np.linalg.inv(factor) - kernel).max() < 1e-10
        assert abs(stats["dofs"][i] - np.trace(kernel)) < 1e-10
        information = 0.5 * (np.linalg.slogdet(s_a)[1] - np.linalg.slogdet(covariance)[1])
        assert abs(stats["information_content"][i] - information) < 1e-10
        assert abs(stats["chi2"][i] - residual @ np.linalg.solve(s_i, residual)) < 1e-9
        evidence = multivariate_normal(k_i @ x_a, s_y).logpdf(y[i, seen])
        assert abs(stats["log_evidence"][i] - evidence) < 4.5 * math.sqrt(1 / stats["ess"][i] - 1 / used[i])
        standard.append(np.linalg.solve(np.linalg.cholesky(covariance), (draws[:, i] - mean).T).T)
    assert stats["measured"].tolist() == (~np.isnan(y)).sum(1).tolist()
    assert np.median(stats["k_hat"]) < 0.1
    assert np.median(stats["ess"] / used) >= 0.85
    white = np.stack(standard, 1)  # (draw, observation, k): standard normal if the draws follow the posterior
    effective = (1 / (1 / stats["ess"] + 1 / len(white))).sum()
    assert np.abs(white.mean((0, 1))).max() < 4 / math.sqrt(effective)
    second = np.einsum("sbi,sbj->ij", white, white) / (white.shape[0] * count)
    assert np.abs(second - np.eye(k)).max() < 4 * math.sqrt(2 / effective)


def posterior_on_a_grid(problem, y, half=6.0, steps=401):
    """Causes (g, n), their posterior probabilities (g,) and the log evidence, on a fine grid of two latents.

    A coarse grid first shows where the mass is.
    """
    posterior, low, high = problem.condition(y), torch.full((2,), -half), torch.full((2,), half)
    with torch.no_grad():
        for _ in range(2):
            axes = [torch.linspace(float(a), float(b), steps) for a, b in zip(low, high, strict=True)]
            z = torch.cartesian_prod(*axes)
            log_p = posterior.log_prob(z)
            kept, margin = z[log_p > log_p.max() - 25], 2 * (high - low) / steps
            low, high = kept.amin(0) - margin, kept.amax(0) + margin
        cell = math.prod(float(axis[1] - axis[0]) for axis in axes)
        return posterior.decode(z), torch.softmax(log_p, 0), float(torch.logsumexp(log_p, 0)) + math.log(cell)


def worst_error(draws, ess, x, p):
    """Largest error of mean, sd and quantiles of draws (S, n), in standard errors of so many effective draws."""
    effective = 1 / (1 / ess + 1 / len(draws))
    mean = (p[:, None] * x).sum(0)
    second, fourth = (p[:, None] * (x - mean) ** 2).sum(0), (p[:, None] * (x - mean) ** 4).sum(0)
    errors = [(draws.mean(0) - mean).abs() / (second / effective).sqrt()]
    spread = ((draws - mean) ** 2).mean(0) - second
    errors.append(spread.abs() / ((fourth - second**2) / effective).sqrt())
    for level in (0.1, 0.5, 0.9):
        quantile = draws.quantile(level, 0)
        below = (p[:, None] * (x < quantile)).sum(0)
        errors.append((below - level).abs() / math.sqrt(level * (1 - level) / effective))
    return float(torch.stack(errors).max())


@pytest.mark.parametrize("sigma", [0.03, 0.01, 0.003])
def test_the_example_of_the_design_against_quadrature(sigma):
    problem = absorber(sigma)
    _, y = problem.simulate(8, seed=5)
    result = OptimalEstimation(draws=1000, round_draws=(500, 500, 1000, 1000))(problem, y, seed=1)
    assert bool(result.trusted.all())
    for i in range(len(y)):
        x, p, _ = posterior_on_a_grid(problem, y[i])
        assert worst_error(result.draws[:, i], float(result.stats["ess"][i]), x, p) < 4.5


def banana(x):
    return x[..., 1:] - 0.7 * x[..., :1] ** 2


BENT = Problem(banana, Standard(2), GaussianNoise(0.15))  # takes several rounds


def test_a_banana_against_quadrature():
    problem, count = BENT, 30
    y = torch.full((count, 1), -1.0)
    result = OptimalEstimation(stop_ess=400)(problem, y, seed=3)  # the first rounds do not see its arms
    x, p, _ = posterior_on_a_grid(problem, y[0])
    trusted = torch.nonzero(result.trusted).flatten().tolist()
    assert len(trusted) >= 0.8 * count
    for i in trusted:
        assert worst_error(result.draws[:, i], float(result.stats["ess"][i]), x, p) < 4.5
    # the Laplace approximation alone is no answer here: its mean is off by many times the draws' error
    mean = (p[:, None] * x).sum(0)
    assert float((result.stats["latent_mean"][:, 1] - mean[1]).abs().min()) > 0.2


def test_calibration_of_a_small_model():
    problem, draws = absorber(), 199
    x, y = problem.simulate(1000, seed=21)
    result = OptimalEstimation(draws=draws)(problem, y, seed=4)
    trusted = result.trusted
    n = int(trusted.sum())
    assert n > 950
    rank = (((result.draws < x).sum(0).double() + 0.5) / (draws + 1))[trusted]
    coverage = ((rank > 0.05) & (rank < 0.95)).double().mean(0)
    assert float((coverage - 0.9).abs().max()) < 3 * math.sqrt(0.09 / n)
    for cause in rank.T.numpy():
        assert chisquare(np.histogram(cause, 20, (0, 1))[0]).pvalue > 0.05 / 2


def test_restarts_leave_a_worse_mode():
    # downhill from 0 lies a mode at -0.5 that misses the observation by 13 standard deviations
    def cubic(x):
        return (2 * x) ** 3 / 3 - 2 * x

    problem, y = Problem(cubic, Standard(1), GaussianNoise(0.1)), torch.full((20, 1), 2.0)
    alone = Search(candidates=1, restarts=0)
    first = find_modes(problem.condition(y), alone, seed=1, index=torch.arange(20))
    assert bool((first.best.z < 0).all())
    result = OptimalEstimation(candidates=1, restarts=10)(problem, y, seed=1)
    axis = torch.linspace(-6, 6, 120001)
    log_p = -0.5 * axis**2 - 0.5 * ((2 - cubic(axis)) / 0.1) ** 2
    assert float((result.stats["latent_mean"][:, 0] - axis[log_p.argmax()]).abs().max()) < 2e-4
    assert float(result.stats["chi2"].max()) < 1
    p = torch.softmax(log_p, 0)
    mean = (p * axis).sum()
    error = (p * (axis - mean) ** 2).sum().sqrt() * torch.sqrt(1 / result.stats["ess"] + 1 / 200)
    assert bool(result.trusted.all())
    assert bool(((result.draws[..., 0].mean(0) - mean).abs() < 4 * error).all())


FACTORS = {
    "only above 0.5": lambda x: torch.where(x[..., 0] > 0.5, 0.0, -torch.inf).to(x),
    "only where the sum is negative": lambda x: torch.where(x.sum(-1) < -0.3, 0.0, -torch.inf).to(x),
    "soft": lambda x: -((x[..., 0] - 1.5) ** 2) - 0.3 * x[..., 1].abs(),
    "soft and hard": lambda x: torch.where(x[..., 0] > 0.5, -((x[..., 1] + 1) ** 2), -torch.inf),
}


@pytest.mark.parametrize("name", FACTORS)
def test_a_weighted_prior_against_quadrature(name):
    """Selections that leave out z = 0, where the search starts, and factors that the likelihood does not know."""
    prior = Standard(2, FACTORS[name])
    problem = Problem(lambda x: x[..., 1:] + 0.5 * x[..., :1], prior, GaussianNoise(0.5))
    y = torch.full((20, 1), 0.4)
    result = OptimalEstimation()(problem, y, seed=6)
    x, p, evidence = posterior_on_a_grid(problem, y[0])
    assert bool(torch.isfinite(prior.log_factor(result.draws[:, result.trusted])).all())
    trusted = torch.nonzero(result.trusted).flatten().tolist()
    assert len(trusted) > 0.8 * len(y)
    # all together, which shows a bias that each would hide; a single one may owe an error to one heavy draw
    assert worst_error(result.draws[:, trusted].flatten(0, 1), float(result.stats["ess"][trusted].sum()), x, p) < 4.5
    for i in trusted:
        ess = float(result.stats["ess"][i])
        assert worst_error(result.draws[:, i], ess, x, p) < 6
        # a hard edge falls between points of the grid: half a cell of the mass, 0.01 at most
        assert abs(float(result.stats["log_evidence"][i]) - evidence) < 4.5 / math.sqrt(ess) + 0.01


def test_a_missing_band_equals_the_problem_without_it():
    every, noise = torch.arange(6), {"discrepancy": 0.3, "length": 2.0}
    matrix = torch.from_numpy(np.random.default_rng(1).standard_normal((6, 3)))

    def problem(keep):
        correlated = CorrelatedGaussianNoise(0.1, coordinate=[COORDINATE[i] for i in keep], **noise)
        return Problem(lambda x: torch.tanh(0.5 * x @ matrix[keep].T), Standard(3), correlated)

    _, y = problem(every).simulate(10, seed=2)
    y[:, 1], y[:, 4] = torch.nan, torch.nan
    keep = torch.tensor([0, 2, 3, 5])
    whole, part = (OptimalEstimation()(problem(k), y[:, k], seed=1) for k in (every, keep))
    for name, value in part.stats.items():
        torch.testing.assert_close(whole.stats[name], value, rtol=1e-10, atol=1e-10, msg=name)
    torch.testing.assert_close(whole.samples, part.samples, rtol=1e-10, atol=1e-10)
    assert torch.equal(whole.status, part.status)


def assert_same(found, wanted, rows=slice(None)):
    """Equal to the last bit: every draw, status and statistic."""
    assert torch.equal(found.samples.nan_to_num(), wanted.samples[:, :, rows].nan_to_num())
    assert torch.equal(found.status, wanted.status[rows])
    for name, value in found.stats.items():
        assert torch.equal(value.nan_to_num(), wanted.stats[name][rows].nan_to_num()), name


CUT = {"absorber": (absorber(), 40), "banana": (BENT, 24)}


@pytest.mark.parametrize("name", CUT)
def test_the_answer_does_not_depend_on_chunks(name):
    problem, count = CUT[name]
    _, y = problem.simulate(count, seed=6)
    y[5] = torch.nan
    whole = OptimalEstimation()(problem, y, seed=2)
    for chunk in (1, 7, 64):
        assert_same(OptimalEstimation(chunk=chunk)(problem, y, seed=2), whole)
    for rows in ([17], [20, 3, 11, 5]):
        index = torch.tensor(rows)
        assert_same(OptimalEstimation()(problem, y[index], seed=2, index=index), whole, index)


def test_the_answer_about_a_canopy_does_not_depend_on_chunks():
    model = Canopy(bands=("B02", "B03", "B04", "B05", "B8A", "B11"))
    settings = {"discrepancy": 0.01, "relative_discrepancy": 0.05, "length": 150.0}
    wavelengths = model.observables.block("reflectance").coordinates["wavelength"].values
    noise = CorrelatedGaussianNoise(0.005, 0.02, coordinate=wavelengths, **settings)
    problem = Problem(model, vegetation(model), noise)
    angles = {"solar_zenith": torch.linspace(20, 60, 9), "view_zenith": 5.0, "relative_azimuth": 100.0}
    _, y = problem.simulate(9, seed=3, **angles)
    y[4, 2] = torch.nan
    whole = OptimalEstimation()(problem, y, conditions=angles, seed=2)
    assert_same(OptimalEstimation(chunk=4)(problem, y, conditions=angles, seed=2), whole)
    rows = torch.tensor([7, 4])
    own = {**angles, "solar_zenith": angles["solar_zenith"][rows]}
    assert_same(OptimalEstimation(chunk=1)(problem, y[rows], conditions=own, seed=2, index=rows), whole, rows)


def test_float32_agrees_to_rounding_whatever_the_chunks():
    problem = absorber(0.03)
    _, y = problem.simulate(60, seed=8)
    double = OptimalEstimation()(problem, y, seed=2)
    for chunk in (7, 2048):
        single = OptimalEstimation(chunk=chunk)(problem, y.float(), seed=2)
        assert single.samples.dtype == single.stats["latent_mean"].dtype == torch.float32
        sd = double.stats["latent_covariance"].diagonal(dim1=-2, dim2=-1).sqrt()
        shift = (single.stats["latent_mean"] - double.stats["latent_mean"]).abs() / sd
        assert float(shift.max()) < 2e-2
        assert float((single.stats["log_evidence"] - double.stats["log_evidence"]).abs().median()) < 1e-3
        clear = (double.stats["k_hat"] - 0.7).abs() > 0.1  # where rounding cannot tip the balance
        assert int(clear.sum()) > 40
        assert torch.equal(single.status[clear], double.status[clear])


SHARP = Problem(lambda x: x[..., 1:] - 1.5 * x[..., :1] ** 2, Standard(2), GaussianNoise(0.02))
SAME = torch.full((50, 1), -1.0)


def test_too_few_iterations_are_said():
    result = OptimalEstimation(iterations=1, restarts=0, candidates=4, round_draws=(20,))(SHARP, SAME, seed=1)
    assert result.status.tolist() == [Status.NOT_CONVERGED] * 50
    assert int(result.stats["iterations"].max()) <= 2  # the second from a draw that stood higher
    assert bool(torch.isfinite(result.samples).all())


def test_too_few_draws_are_said():
    result = OptimalEstimation(round_draws=(20,))(SHARP, SAME, seed=1)
    heavy = result.stats["k_hat"] >= 0.7
    expected = torch.where(heavy, int(Status.HEAVY_TAILS), int(Status.FEW_EFFECTIVE_DRAWS))
    assert torch.equal(result.status, expected)
    assert 0 < int(heavy.sum()) < 50
    assert bool((result.stats["ess"] <= 20).all())
    assert result.stats["rounds"].tolist() == [1] * 50


def test_rounds_that_disagree_are_said():
    lenient = OptimalEstimation(round_draws=(100, 100), accept_k_hat=50.0, accept_ess=1.0)
    result = lenient(SHARP, SAME, seed=1)
    assert set(result.status.tolist()) == {Status.TRUSTED, Status.ROUNDS_DISAGREE}


def test_trust_keeps_its_word():
    result = OptimalEstimation()(SHARP, SAME, seed=1)
    trusted = result.trusted
    assert 0 < int(trusted.sum()) < 50  # hard enough to need the distinction
    assert bool((result.stats["k_hat"][trusted] < 0.7).all())
    assert bool((result.stats["ess"][trusted] >= 100).all())


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"draws": 0}, "draws 0"),
        ({"iterations": 0}, "iterations 0"),
        ({"candidates": 0}, "candidates 0"),
        ({"components": 0}, "components 0"),
        ({"chunk": 0}, "chunk 0"),
        ({"restarts": -1}, "restarts -1"),
        ({"tolerance": 0.0}, "tolerance 0"),
        ({"round_draws": ()}, "round_draws"),
        ({"round_draws": (200, 5)}, "round_draws"),
        ({"defence": 0.0}, "defence 0"),
        ({"defence": 0.9}, "defence 0.9"),
    ],
)
def test_bad_settings(settings, message):
    with pytest.raises(ValueError, match=message) as caught:
        OptimalEstimation(**settings)
    assert str(caught.value).count(". ") >= 1
