"""Importance sampling of posteriors that are known: from good and bad starts, in one round and in several."""

import math

import numpy as np
import pytest
import torch
from scipy.stats import norm

from physgen.diagnostics.psis import pareto_smooth
from physgen.inversions.adaptive_importance import Schedule, sample_posterior, unbiased
from physgen.inversions.levenberg_marquardt import laplace_statistics, maximise
from physgen.noise import GaussianNoise
from physgen.priors import Prior
from physgen.problem import Problem
from physgen.space import Space
from physgen.status import Status

SCHEDULE = Schedule()


class Standard(Prior):
    """Independent standard normal causes."""

    def __init__(self, k):
        self.causes, self.latent_dim = Space(*(f"x{i}" for i in range(k))), k

    def decode(self, z, /):
        return z


def linear(count=40, k=3, sigma=0.5, seed=0):
    """Posteriors of a linear problem (count observations), with their means (count, k) and covariance (k, k)."""
    random = np.random.default_rng(seed)
    a = torch.from_numpy(random.standard_normal((k + 1, k)))
    y = torch.from_numpy(random.standard_normal((count, k))) @ a.T
    y = y + sigma * torch.from_numpy(random.standard_normal((count, k + 1)))
    covariance = torch.linalg.inv(torch.eye(k) + a.T @ a / sigma**2)
    problem = Problem(lambda x: x @ a.T, Standard(k), GaussianNoise(sigma))
    return problem.condition(y), y @ a @ covariance / sigma**2, covariance


def run(posterior, mean, covariance, schedule=SCHEDULE, draws=400, seed=0, index=None):
    count = len(mean)
    index = torch.arange(count) if index is None else index
    covariance = covariance.expand(count, *covariance.shape[-2:])
    with torch.no_grad():
        laplace = mean[:, None], covariance[:, None], mean.new_ones(len(mean), 1)
        return sample_posterior(posterior, *laplace, schedule=schedule, draws=draws, seed=seed, index=index)


def standardised(weighted, mean, covariance):
    """Draws (B, S, k) that are standard normal if they follow N(mean, covariance)."""
    factor = torch.linalg.cholesky(covariance)
    return torch.linalg.solve_triangular(factor, (weighted.z - mean[:, None]).mT, upper=False).mT


def test_one_round_is_enough_from_the_posterior_itself():
    posterior, mean, covariance = linear()
    weighted = run(posterior, mean, covariance)
    assert weighted.status.tolist() == [Status.TRUSTED] * 40
    assert weighted.rounds.tolist() == [1] * 40
    assert float(weighted.k_hat.median()) < 0.1
    white = standardised(weighted, mean, covariance)
    effective = (1 / (1 / weighted.ess + 1 / 400)).sum()
    assert float(white.mean((0, 1)).abs().max()) < 4 / math.sqrt(effective)
    second = torch.einsum("bsi,bsj->ij", white, white) / (40 * 400)
    assert float((second - torch.eye(3)).abs().max()) < 4 * math.sqrt(2 / effective)


BAD_STARTS = {
    "too wide": (0.0, 9.0),
    "too narrow": (0.0, 0.25),
    "one and a half standard deviations off": (1.5, 1.0),
    "off and too narrow": (1.0, 0.5),
}


@pytest.mark.parametrize("name", BAD_STARTS)
def test_further_rounds_correct_a_bad_start(name):
    shift, scale = BAD_STARTS[name]
    posterior, mean, covariance = linear()
    start = mean + shift * covariance.diagonal().sqrt()
    weighted = run(posterior, start, scale * covariance)
    assert float((weighted.status == Status.TRUSTED).double().mean()) > 0.9
    assert int(weighted.rounds.max()) > 1
    good = weighted.status == Status.TRUSTED
    white = standardised(weighted, mean, covariance)[good]
    effective = 1 / (1 / weighted.ess[good] + 1 / 400)
    assert bool((white.mean(1).abs().amax(-1) < 4.5 / effective.sqrt()).all())
    # a variance estimate from n weighted draws has a standard error of sqrt(2 / n)
    assert bool(((white.square().mean(1) - 1).abs().amax(-1) < 4.5 * (2 / effective).sqrt()).all())


def test_evidence_of_a_linear_problem():
    posterior, mean, covariance = linear(sigma=0.3)
    weighted = run(posterior, mean, covariance)
    # log p(y) = log p(z, y) - log p(z | y), at any z
    k = mean.shape[-1]
    density = -0.5 * k * math.log(2 * math.pi) - 0.5 * float(torch.linalg.slogdet(covariance)[1])
    exact = posterior.log_prob(mean) - density
    used = torch.tensor(SCHEDULE.draws).cumsum(0)[weighted.rounds - 1]
    error = torch.sqrt(1 / weighted.ess - 1 / used)
    assert bool(((weighted.log_evidence - exact).abs() < 4.5 * error).all())


def bent(count=30):
    """A banana: N(z) times N(-1; z_1 - 0.7 z_0^2, 0.15), with its Laplace approximation at a mode."""
    problem = Problem(lambda x: x[..., 1:] - 0.7 * x[..., :1] ** 2, Standard(2), GaussianNoise(0.15))
    posterior = problem.condition(torch.full((count, 1), -1.0))
    with torch.no_grad():
        modes = maximise(posterior, torch.full((count, 2), 0.1), iterations=50, tolerance=1e-8)
    return posterior, modes.z, laplace_statistics(modes.information)["latent_covariance"]


def test_rounds_follow_a_bend():
    posterior, mode, covariance = bent()
    first = run(posterior, mode, covariance, Schedule(draws=(1000,)))
    last = run(posterior, mode, covariance, Schedule(draws=(250, 250, 250, 250), stop_ess=1e9, stop_share=2.0))
    assert last.rounds.tolist() == [4] * 30
    assert float(last.ess.median()) > 2 * float(first.ess.median())  # of as many draws
    axis = torch.linspace(-6, 6, 1201)
    grid = torch.cartesian_prod(axis, axis)
    p = torch.softmax(posterior.select(slice(0, 1)).log_prob(grid[:, None])[:, 0], 0)
    for exact, found in (
        (grid[:, 0], last.z[..., 0]),
        (grid[:, 1], last.z[..., 1]),
        ((grid[:, 0] > 1).double(), (last.z[..., 0] > 1).double()),
    ):
        mean = (p * exact).sum()
        sd = (p * (exact - mean) ** 2).sum().sqrt()
        good = last.status == Status.TRUSTED
        error = sd * torch.sqrt(1 / last.ess + 1 / 400)
        assert bool(((found.mean(1) - mean).abs() < 4.5 * error)[good].all())


def test_stopping_and_trusting():
    posterior, mode, covariance = bent(100)
    schedule = Schedule(draws=(200, 500, 1500, 2000))  # half of the later ones search
    weighted = run(posterior, mode, covariance, schedule)
    finished_early = weighted.rounds < len(schedule.draws)
    used = torch.tensor(schedule.draws).cumsum(0)[weighted.rounds - 1]
    assert bool(finished_early.any())
    # what typical weights promise, the effective number keeps more or less
    enough = (weighted.ess >= schedule.accept_ess) | (weighted.ess >= schedule.stop_share * used)
    assert bool(enough[finished_early].all())
    assert float(weighted.ess[finished_early].median()) > 0.8 * schedule.stop_ess
    trusted = weighted.status == Status.TRUSTED
    assert bool(trusted[finished_early].all())
    assert bool((weighted.ess[trusted] >= schedule.accept_ess).all())
    assert bool((weighted.k_hat[trusted] < schedule.accept_k_hat).all())
    assert bool((weighted.ess <= used).all())


def test_numbers_depend_on_seed_and_index_alone():
    posterior, mode, covariance = bent(12)
    whole = run(posterior, mode, covariance, seed=3)
    for rows in ([5], [11, 0, 7]):
        index = torch.tensor(rows)
        part = run(posterior.select(index), mode[index], covariance[index], seed=3, index=index)
        for name in ("z", "status", "k_hat", "ess", "log_evidence", "rounds"):
            assert torch.equal(getattr(part, name), getattr(whole, name)[index]), name
    assert not torch.equal(run(posterior, mode, covariance, seed=4).z, whole.z)


def test_equal_weights_are_the_best_that_there_are():
    """Every draw alike: k_hat is -inf, and no error."""
    smooth, k_hat = pareto_smooth(torch.full((200, 3), -7.3))
    assert k_hat.tolist() == [-math.inf] * 3
    torch.testing.assert_close(smooth, torch.full((200, 3), -math.log(200)), rtol=0, atol=1e-12)


def test_a_measurement_without_information_returns_the_prior():
    problem = Problem(lambda x: torch.ones(*x.shape[:-1], 1), Standard(2), GaussianNoise(0.1))
    weighted = run(problem.condition(torch.full((50, 1), 1.2)), torch.zeros(50, 2), torch.eye(2))
    assert weighted.status.tolist() == [Status.TRUSTED] * 50
    torch.testing.assert_close(
        weighted.log_evidence, torch.full((50,), norm(1, 0.1).logpdf(1.2)), rtol=0, atol=4.5 / math.sqrt(190)
    )
    effective = float((1 / (1 / weighted.ess + 1 / 400)).sum())
    assert float(weighted.z.mean((0, 1)).abs().max()) < 4 / math.sqrt(effective)


def test_hopeless_observations_are_said_and_spoil_no_other():
    """No finite weight at all, or an undefined model, beside observations that are well."""

    class Selected(Standard):
        capabilities = frozenset({"log_factor"})

        def log_factor(self, x, /, edge):
            return torch.where(x[..., 0] > edge, 0.0, -torch.inf).to(x)

        def decode(self, z, /, edge):
            return z

    def forward(x, /, limit):
        return torch.where(x > limit[..., None], torch.nan, x)

    edge, limit = torch.tensor([-99.0, 99.0, -99.0, -99.0]), torch.tensor([99.0, 99.0, -99.0, 99.0])
    problem = Problem(forward, Selected(2), GaussianNoise(1.0))
    posterior = problem.condition(torch.zeros(4, 2), edge=edge, limit=limit)
    weighted = run(posterior, torch.zeros(4, 2), 0.5 * torch.eye(2))
    expected = [Status.TRUSTED, Status.INFEASIBLE, Status.MODEL_UNDEFINED, Status.TRUSTED]
    assert weighted.status.tolist() == expected
    good = torch.tensor([0, 3])
    alone = run(posterior.select(good), torch.zeros(2, 2), 0.5 * torch.eye(2), index=good)
    assert torch.equal(alone.z, weighted.z[good])


def test_draws_lie_where_the_selection_allows():
    class Positive(Standard):
        capabilities = frozenset({"log_factor"})

        def log_factor(self, x, /):
            return torch.where(x[..., 0] > 0, 0.0, -torch.inf).to(x)

    posterior = Problem(lambda x: x, Positive(2), GaussianNoise(1.0)).condition(torch.zeros(20, 2))
    weighted = run(posterior, torch.zeros(20, 2), 0.5 * torch.eye(2))
    assert bool((weighted.z[..., 0] > 0).all())
    # half of a normal of variance 1/2
    mean, sd = math.sqrt(1 / math.pi), math.sqrt(0.5 - 1 / math.pi)
    error = sd * torch.sqrt(1 / weighted.ess + 1 / 400)
    assert bool(((weighted.z[..., 0].mean(1) - mean).abs() < 4.5 * error).all())


def test_float32():
    posterior, mean, covariance = linear()
    weighted = run(posterior, mean, covariance)
    a = posterior.problem.forward(torch.eye(3)).T.float()
    problem = Problem(lambda x: x @ a.T, Standard(3), GaussianNoise(0.5))
    narrow = run(problem.condition(posterior.y.float()), mean.float(), covariance.float())
    assert narrow.z.dtype == narrow.ess.dtype == torch.float32
    assert torch.equal(narrow.status, weighted.status)
    torch.testing.assert_close(narrow.ess.double(), weighted.ess, rtol=1e-2, atol=0)
    torch.testing.assert_close(narrow.log_evidence.double(), weighted.log_evidence, rtol=0, atol=1e-3)


def test_the_bias_of_normalised_weights_is_taken_off():
    # a proposal too narrow for its target: self-normalised weights give too small a variance, by a share ~ 1 / S
    size, sets, scale = 60, 40000, 0.8
    z = scale * torch.from_numpy(np.random.default_rng(3).standard_normal((sets, size)))
    weight = torch.softmax(0.5 * z**2 * (1 / scale**2 - 1), -1)
    plain, corrected = ((w * z**2).sum(-1) for w in (weight, unbiased(weight)))
    error = float(corrected.std()) / math.sqrt(sets)
    assert float(plain.mean()) < 1 - 6 * error
    assert abs(float(corrected.mean()) - 1) < 0.2 * (1 - float(plain.mean())) + 4 * error
    assert float((unbiased(weight).sum(-1) - 1).abs().max()) < 1e-12
