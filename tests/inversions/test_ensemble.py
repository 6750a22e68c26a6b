"""The ensemble sampler against closed forms and quadrature; its statuses; its random numbers."""

import numpy as np
import pytest
import torch
from scipy.stats import kstest, truncnorm

from physgen.black_box import blackbox
from physgen.inversions.ensemble import Ensemble
from physgen.noise import GaussianNoise
from physgen.priors import Gaussian, Independent, Prior, Uniform
from physgen.problem import Problem
from physgen.space import Block, Space
from physgen.status import Status

QUICK = Ensemble(burn_in=200)
SHORT = Ensemble(draws=20, walkers=32, burn_in=20, max_steps=60, autocorrelation_times=1)


class Standard(Prior):
    """Independent standard normal causes, if wanted with a selection (a function of x, True where it keeps)."""

    def __init__(self, k, keep=None):
        self.causes, self.latent_dim, self.keep = Space(*(f"x{i}" for i in range(k))), k, keep
        self.capabilities = frozenset() if keep is None else frozenset({"log_factor"})

    def decode(self, z, /):
        return z

    def log_factor(self, x, /):
        return torch.where(self.keep(x), 0.0, -torch.inf).to(x)


def linear(seed, observations=2, k=3, m=4, sigma=0.2):
    """A matrix A (m, k), observations, and the closed form of the posterior: mean (B, k) and covariance (k, k)."""
    random = np.random.default_rng(seed)
    a = torch.from_numpy(random.standard_normal((m, k)))
    y = torch.from_numpy(random.standard_normal((observations, k))) @ a.T
    y = y + sigma * torch.from_numpy(random.standard_normal((observations, m)))
    covariance = torch.linalg.inv(torch.eye(k) + a.T @ a / sigma**2)
    return a, y, y @ a @ covariance / sigma**2, covariance


def test_linear_gaussian_posterior():
    a, y, mean, covariance = linear(0)
    result = QUICK(Problem(lambda x: x @ a.T, Standard(3), GaussianNoise(0.2)), y, seed=1)
    assert result.status.tolist() == [Status.TRUSTED] * 2
    assert result.samples.shape == (4, 500, 2, 3)
    sd = covariance.diagonal().sqrt()
    effective = 50 * 64  # of all walkers: a trusted run is at least 50 autocorrelation times long
    assert float(((result.stats["latent_mean"] - mean) / sd).abs().max()) < 4 / effective**0.5
    whitened = torch.linalg.solve(torch.linalg.cholesky(covariance), result.stats["latent_covariance"])
    whitened = torch.linalg.solve(torch.linalg.cholesky(covariance), whitened.mT)
    assert float((whitened - torch.eye(3)).abs().max()) < 4 * (2 / effective) ** 0.5
    ess = result.stats["ess"]
    assert bool((ess > 1000).all())
    error = ((result.draws.mean(0) - mean) / sd).abs().amax(-1)
    assert bool((error < 4 / ess.sqrt()).all())


def test_the_draws_kept_are_nearly_independent_and_cover_the_run():
    a, y, _, _ = linear(2, observations=1)
    result = QUICK(Problem(lambda x: x @ a.T, Standard(3), GaussianNoise(0.2)), y)
    assert len(torch.unique(result.draws.reshape(-1, 3), dim=0)) > 0.8 * 2000  # a rejected step repeats a value
    assert float(result.stats["rhat"]) < 1.01
    assert 0.2 < float(result.stats["acceptance_fraction"]) < 0.6


CURVED = {
    "banana": (lambda x: x[..., 1:] - 0.7 * x[..., :1] ** 2, -1.0, 0.15),
    "two modes": (lambda x: (x[..., :1] - 0.2) ** 2 + 0.3 * x[..., 1:], 1.0, 0.15),
    "ring": (lambda x: (x * x).sum(-1, keepdim=True), 1.5, 0.2),
}


@pytest.mark.parametrize("name", CURVED)
def test_curved_posteriors_against_quadrature(name):
    forward, y, sigma = CURVED[name]
    axis = torch.linspace(-6, 6, 1201)
    grid = torch.cartesian_prod(axis, axis)
    log_p = -0.5 * (grid * grid).sum(-1) - 0.5 * ((forward(grid)[..., 0] - y) / sigma) ** 2
    p = torch.softmax(log_p, 0)

    result = QUICK(Problem(forward, Standard(2), GaussianNoise(sigma)), [[y]], seed=3)
    assert result.status.tolist() == [Status.TRUSTED]
    draws = result.draws[:, 0]
    for moment in (lambda x: x[:, 0], lambda x: x[:, 1], lambda x: x[:, 0] ** 2, lambda x: (x[:, 0] > 0).to(x)):
        exact, found = moment(grid), moment(draws)
        mean = (p * exact).sum()
        error = ((p * (exact - mean) ** 2).sum() / result.stats["ess"][0]).sqrt()
        assert abs(float(found.mean() - mean)) < 4 * float(error) + 1e-9


def test_uniform_prior_gives_a_truncated_normal():
    problem = Problem(lambda x: x, Independent(a=Uniform(0, 1)), GaussianNoise(0.3))
    result = QUICK(problem, [[0.9]], seed=4)
    draws = result.draws[:: int(2000 / float(result.stats["ess"][0]) + 1), 0, 0].numpy()
    assert kstest(draws, truncnorm(-0.9 / 0.3, 0.1 / 0.3, loc=0.9, scale=0.3).cdf).pvalue > 1e-3
    assert draws.min() > 0
    assert draws.max() < 1


def test_conditions_and_batches():
    def forward(x, /, gain):
        return gain[..., None] * x

    problem = Problem(forward, Gaussian([1.0, -1.0], [[1.0, 0.5], [0.5, 2.0]]), GaussianNoise(0.5))
    gain = torch.tensor([[0.5], [2.0]])
    y = torch.tensor([0.7, -0.4]).expand(2, 1, 2)
    result = QUICK(problem, y, conditions={"gain": gain})
    assert result.samples.shape == (4, 500, 2, 1, 2)
    assert result.stats["latent_covariance"].shape == (2, 1, 2, 2)
    prior = torch.linalg.inv(torch.tensor([[1.0, 0.5], [0.5, 2.0]]))
    for i in range(2):
        g = float(gain[i, 0])
        covariance = torch.linalg.inv(prior + g**2 / 0.25 * torch.eye(2))
        mean = covariance @ (prior @ torch.tensor([1.0, -1.0]) + g * y[i, 0] / 0.25)
        error = (covariance.diagonal() / result.stats["ess"][i, 0]).sqrt()
        assert bool(((result.draws[:, i, 0].mean(0) - mean).abs() < 4 * error).all())


def test_one_observation_without_a_batch():
    result = SHORT(Problem(lambda x: x, Standard(2), GaussianNoise(1.0)), [0.3, 0.1])
    assert result.samples.shape == (4, 20, 2)
    assert result.status.shape == result.stats["rhat"].shape == ()


def test_a_black_box_gives_the_answer_of_the_same_torch_model():
    boxed = Problem(blackbox(lambda x: 3 * x[:, :1] - x[:, 1:]), Standard(2), GaussianNoise(0.5))
    model = Problem(lambda x: 3 * x[..., :1] - x[..., 1:], Standard(2), GaussianNoise(0.5))
    y = [[0.3], [1.0]]
    torch.testing.assert_close(SHORT(boxed, y).samples, SHORT(model, y).samples, rtol=0, atol=0)


def test_answers_do_not_depend_on_company_order_or_global_seeds():
    a, y, _, _ = linear(5, observations=4)
    problem = Problem(lambda x: x @ a.T, Standard(3), GaussianNoise(0.2))
    np.random.seed(1)  # noqa: NPY002
    torch.manual_seed(1)
    before = np.random.get_state()[1].copy()  # noqa: NPY002
    whole = SHORT(problem, y, seed=7)
    assert np.array_equal(before, np.random.get_state()[1])  # noqa: NPY002
    np.random.seed(2)  # noqa: NPY002
    order = torch.tensor([2, 0])
    some = SHORT(problem, y[order], seed=7, index=order)
    torch.testing.assert_close(some.samples, whole.samples[:, :, order], rtol=0, atol=0)
    other = SHORT(problem, y, seed=8)
    assert not torch.equal(other.samples, whole.samples)
    same_data = SHORT(problem, y[:1].expand(2, -1), seed=7).samples
    assert not torch.equal(same_data[:, :, 0], same_data[:, :, 1])


def test_missing_data_and_values_out_of_range():
    def forward(x):
        return x.repeat_interleave(2, dim=-1)

    forward.observables = Space(Block("r", support=(-5.0, 5.0), shape=(2,)))
    nan = torch.nan
    y = torch.tensor([[nan, nan], [0.3, 9.0], [0.3, nan], [0.3, 0.2]])
    result = QUICK(Problem(forward, Standard(1), GaussianNoise(1.0)), y)
    assert result.status.tolist() == [Status.NO_DATA, Status.OUT_OF_RANGE, Status.TRUSTED, Status.TRUSTED]
    assert torch.isnan(result.samples).all((0, 1, 3)).tolist() == [True, True, False, False]
    assert torch.isnan(result.stats["ess"]).tolist() == [True, True, False, False]
    # one element measured: the posterior N(y / 2, 1 / 2)
    assert abs(float(result.draws[:, 2].mean()) - 0.15) < 4 * (0.5 / float(result.stats["ess"][2])) ** 0.5


def test_an_undefined_model_is_counted_and_said():
    problem = Problem(lambda x: torch.where(x > -1, x, torch.nan), Standard(1), GaussianNoise(0.5))
    result = SHORT(problem, [[0.5]])
    assert result.status.tolist() == [Status.MODEL_UNDEFINED]
    # of 512 prior draws alone, a share Phi(-1)
    share = 512 * 0.1587
    assert float(result.stats["nonfinite"]) > share - 4 * share**0.5
    assert bool((result.samples > -1).all())

    nowhere = SHORT(Problem(lambda x: x * torch.nan, Standard(1), GaussianNoise(0.5)), [[0.5]])
    assert nowhere.status.tolist() == [Status.MODEL_UNDEFINED]
    assert bool(torch.isnan(nowhere.samples).all())


def test_a_model_may_be_undefined_where_the_prior_has_no_mass():
    beyond = Problem(lambda x: torch.where(x.abs() < 6.5, x, torch.inf), Standard(1), GaussianNoise(3.0))
    excluded = Problem(torch.sqrt, Standard(1, keep=lambda x: x[..., 0] > 0), GaussianNoise(0.5))
    for problem in (beyond, excluded):
        result = QUICK(problem, [[1.0]])
        assert result.status.tolist() == [Status.TRUSTED]
        assert result.stats["nonfinite"].tolist() == [0]


@pytest.mark.parametrize("edge", [0.5, 2.5, 3.5])
def test_a_selection_is_started_where_it_is_feasible(edge):
    # 8,192 prior draws leave 50 feasible at 2.5 and two at 3.5, fewer than there are walkers
    problem = Problem(lambda x: x[..., 1:], Standard(2, keep=lambda x: x[..., 0] > edge), GaussianNoise(1.0))
    result = QUICK(problem, [[0.4]], seed=6)
    assert result.status.tolist() == [Status.TRUSTED]
    draws, ess = result.draws[:, 0].numpy(), float(result.stats["ess"][0])
    exact = truncnorm(edge, np.inf)
    assert draws[:, 0].min() > edge
    assert abs(draws[:, 0].mean() - exact.mean()) < 4 * exact.std() / ess**0.5
    assert abs(draws[:, 1].mean() - 0.2) < 4 * (0.5 / ess) ** 0.5


def test_infeasible():
    problem = Problem(lambda x: x, Standard(1, keep=lambda x: x[..., 0] > 50), GaussianNoise(1.0))
    result = SHORT(problem, [[0.4]])
    assert result.status.tolist() == [Status.INFEASIBLE]
    assert bool(torch.isnan(result.samples).all())


def test_chains_too_short():
    a, y, _, _ = linear(8, observations=1)
    problem = Problem(lambda x: x @ a.T, Standard(3), GaussianNoise(0.2))
    result = Ensemble(draws=100, burn_in=50, max_steps=150)(problem, y)
    assert result.status.tolist() == [Status.CHAINS_TOO_SHORT]
    assert result.stats["steps"].tolist() == [150]
    assert bool(torch.isfinite(result.samples).all())


def test_chains_that_disagree():
    # two narrow modes and no jumps between them: every walker stays where it started
    problem = Problem(lambda x: x * x, Standard(1), GaussianNoise(0.01))
    settings = {"moves": {"stretch": 1.0}, "burn_in": 50, "max_steps": 500}
    stuck = Ensemble(autocorrelation_times=0.1, **settings)(problem, [[1.0]])
    assert stuck.status.tolist() == [Status.CHAINS_DISAGREE]
    assert float(stuck.stats["rhat"]) > 1.01
    # the length of the chains, in their own autocorrelation times, tells the same
    assert Ensemble(**settings)(problem, [[1.0]]).status.tolist() == [Status.CHAINS_TOO_SHORT]


def test_an_intervened_cause_is_constant_and_has_no_rhat():
    class Fixed(Standard):
        def decode(self, z, /):
            return torch.cat([z[..., :1], torch.full_like(z[..., 1:], 2.0)], dim=-1)

    result = QUICK(Problem(lambda x: x[..., :1] + x[..., 1:], Fixed(2), GaussianNoise(1.0)), [[2.5]])
    assert result.status.tolist() == [Status.TRUSTED]
    assert 0.999 < float(result.stats["rhat"]) < 1.01
    assert abs(float(result.draws[..., 0].mean()) - 0.25) < 4 * (0.5 / float(result.stats["ess"])) ** 0.5


def test_thinning_keeps_the_answer():
    a, y, mean, covariance = linear(9, observations=1)
    problem = Problem(lambda x: x @ a.T, Standard(3), GaussianNoise(0.2))
    result = Ensemble(burn_in=200, thin=5)(problem, y)
    assert result.status.tolist() == [Status.TRUSTED]
    every = QUICK(problem, y)
    tau, exact = float(result.stats["autocorrelation_time"]), float(every.stats["autocorrelation_time"])
    assert exact * 0.7 < tau < exact * 1.3  # in steps, both
    error = (covariance.diagonal() / result.stats["ess"]).sqrt()
    assert bool(((result.draws[:, 0].mean(0) - mean[0]).abs() < 4 * error).all())


def test_float32_follows_the_input():
    a, y, mean, covariance = linear(10, observations=1)
    problem = Problem(lambda x: x @ a.T.to(x), Standard(3), GaussianNoise(0.2))
    result = QUICK(problem, y.float())
    assert result.samples.dtype == result.stats["rhat"].dtype == torch.float32
    error = (covariance.diagonal() / result.stats["ess"]).sqrt()
    assert bool(((result.draws[:, 0].mean(0) - mean[0]).abs() < 4 * error).all())


def test_an_interrupt_passes_through_and_leaves_nothing_behind(capsys):
    calls = 0

    def forward(x):
        nonlocal calls
        calls += 1
        if calls == 30:
            raise KeyboardInterrupt
        return x

    problem = Problem(forward, Standard(2), GaussianNoise(1.0))
    with pytest.raises(KeyboardInterrupt):
        SHORT(problem, [[0.1, 0.2]])
    assert capsys.readouterr().out == ""  # emcee would print every walker
    again = SHORT(problem, [[0.1, 0.2]])
    torch.testing.assert_close(again.samples, SHORT(problem, [[0.1, 0.2]]).samples, rtol=0, atol=0)


def test_progress_counts_observations():
    seen = []
    y = [[0.1], [torch.nan], [0.3]]
    problem = Problem(lambda x: x, Standard(1), GaussianNoise(1.0))
    SHORT(problem, y, progress=lambda done, total: seen.append((done, total)))
    assert seen == [(1, 3), (2, 3), (3, 3)]


def test_settings_are_plain_and_recorded():
    result = SHORT(Problem(lambda x: x, Standard(1), GaussianNoise(1.0)), [[0.1]])
    assert result.settings["method"] == "Ensemble"
    assert result.settings["moves"] == {"differential": 0.7, "jump": 0.1, "stretch": 0.2}
    assert Ensemble(**{k: v for k, v in result.settings.items() if k != "method"}) == SHORT


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"draws": 3}, "draws 3"),
        ({"walkers": 10, "chains": 4}, "multiple of the 4 chains"),
        ({"moves": {"snooker": 1.0}}, "differential, jump, stretch"),
        ({"moves": {"stretch": -1.0}}, "positive shares"),
        ({"accept_rhat": 0.9}, "greater than 1"),
        ({"thin": 0}, "thin 0"),
    ],
)
def test_bad_settings(settings, message):
    with pytest.raises(ValueError, match=message):
        Ensemble(**settings)


def test_settings_that_do_not_suit_the_problem():
    problem = Problem(lambda x: x, Standard(20), GaussianNoise(1.0))
    y = torch.zeros(1, 20)
    with pytest.raises(ValueError, match="2 k \\+ 2 = 42"):
        Ensemble(walkers=40)(problem, y)
    with pytest.raises(ValueError, match="max_steps 510"):
        Ensemble(max_steps=510)(problem, y)
