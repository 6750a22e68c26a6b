"""Modes against SciPy's optimiser and dense linear algebra; the statistics of a Laplace approximation."""

import numpy as np
import pytest
import torch
from scipy.optimize import minimize

from physgen.inversions.levenberg_marquardt import Modes, laplace_statistics, maximise, quadratic_model
from physgen.noise import CorrelatedGaussianNoise, GaussianNoise, PoissonNoise, StudentTNoise
from physgen.priors import Independent, LogNormal, Prior, Uniform
from physgen.problem import Problem
from physgen.space import Space


class Standard(Prior):
    """Independent standard normal causes, if wanted with a log_factor."""

    def __init__(self, k, log_factor=None):
        self.causes, self.latent_dim, self.factor = Space(*(f"x{i}" for i in range(k))), k, log_factor
        self.capabilities = frozenset() if log_factor is None else frozenset({"log_factor"})

    def decode(self, z, /):
        return z

    def log_factor(self, x, /):
        return self.factor(x)


def absorption(x):
    return 0.1 + x[..., 1:] * torch.exp(-x[..., :1] / torch.tensor([0.3, 0.6, 0.9]).to(x))


NOISES = {
    "gaussian": GaussianNoise(0.02),
    "relative": GaussianNoise(0.005, 0.05),
    "correlated": CorrelatedGaussianNoise(0.01, discrepancy=0.02, length=1.0, coordinate=[0.0, 0.7, 1.0]),
}


def problem(noise):
    return Problem(absorption, Independent(depth=LogNormal(0.3, 0.5), albedo=Uniform(0, 1)), noise)


def climb(posterior, start, iterations=50, tolerance=1e-16):
    with torch.no_grad():
        return maximise(posterior, start, iterations=iterations, tolerance=tolerance)


@pytest.mark.parametrize("name", NOISES)
def test_modes_are_those_of_another_optimiser(name):
    _, y = problem(NOISES[name]).simulate(12, seed=1)
    posterior = problem(NOISES[name]).condition(y)
    modes = climb(posterior, torch.zeros(12, 2))
    for i in range(12):
        one = posterior.select(slice(i, i + 1))

        def loss(z, one=one):
            leaf = torch.tensor(z, requires_grad=True)
            value = -one.log_prob(leaf[None])[0]
            return float(value.detach()), torch.autograd.grad(value, leaf)[0].numpy()

        found = minimize(loss, np.zeros(2), jac=True, method="BFGS", options={"gtol": 1e-9})
        np.testing.assert_allclose(modes.z[i], found.x, atol=1e-5)
        assert abs(float(modes.log_prob[i]) + found.fun) < 1e-8
    assert bool(modes.converged.all())
    assert not bool(modes.undefined.any())
    torch.testing.assert_close(modes.log_prob, posterior.log_prob(modes.z), rtol=0, atol=0)


ALL = {**NOISES, "student": StudentTNoise(4.0, 0.05), "poisson": PoissonNoise()}


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("name", ALL)
def test_the_gradient_is_that_of_the_log_posterior(name, weighted):
    prior = Standard(2, (lambda x: -torch.cosh(x[..., 0] * x[..., 1])) if weighted else None)
    case = Problem(lambda x: 3 + absorption(0.3 * x), prior, ALL[name])
    _, y = problem(ALL[name]).simulate(6, seed=2)
    y = y.round() + 3 if name == "poisson" else y + 3
    y[2, 1] = torch.nan
    posterior = case.condition(y)
    z = torch.from_numpy(np.random.default_rng(3).standard_normal((6, 2)))
    gradient, information, finite = quadratic_model(posterior, z)
    leaf = z.clone().requires_grad_(True)
    exact = torch.autograd.grad(posterior.log_prob(leaf).sum(), leaf)[0]
    torch.testing.assert_close(gradient, exact, rtol=1e-9, atol=1e-9)
    assert bool(finite.all())
    assert float(torch.linalg.eigvalsh(information).min()) > -1e-9


def test_the_information_is_that_of_the_measured_bands():
    noise, coordinate = NOISES["correlated"], torch.tensor([0.0, 0.7, 1.0])
    _, y = problem(noise).simulate(4, seed=2)
    y[1, 1] = torch.nan
    posterior = problem(noise).condition(y)
    z = torch.from_numpy(np.random.default_rng(3).standard_normal((4, 2)))
    _, information, _ = quadratic_model(posterior, z)
    s_e = 1e-4 * torch.eye(3) + 4e-4 * torch.exp(-(coordinate[:, None] - coordinate).abs())
    for i in range(4):
        seen = ~torch.isnan(y[i])
        slopes = torch.autograd.functional.jacobian(lambda z: absorption(posterior.problem.prior.decode(z)), z[i])
        k = slopes[seen]
        expected = k.T @ torch.linalg.solve(s_e[seen][:, seen], k)
        torch.testing.assert_close(information[i], expected, rtol=1e-9, atol=1e-9)


def test_each_observation_climbs_by_itself():
    _, y = problem(NOISES["relative"]).simulate(30, seed=4)
    posterior = problem(NOISES["relative"]).condition(y)
    start = torch.from_numpy(np.random.default_rng(5).standard_normal((30, 2)))
    whole = climb(posterior, start, tolerance=1e-2)
    assert len(set(whole.iterations.tolist())) > 2  # they leave the batch at different times
    for rows in ([3], [29, 11], list(range(7, 20))):
        index = torch.tensor(rows)
        part = climb(posterior.select(index), start[index], tolerance=1e-2)
        for name in ("z", "information", "log_prob", "converged", "iterations"):
            assert torch.equal(getattr(part, name), getattr(whole, name)[index]), name


def test_the_tolerance_is_the_squared_distance_in_standard_deviations():
    _, y = problem(NOISES["gaussian"]).simulate(40, seed=6)
    posterior = problem(NOISES["gaussian"]).condition(y)
    exact = climb(posterior, torch.zeros(40, 2))
    for tolerance in (1e-1, 1e-2):
        modes = climb(posterior, torch.zeros(40, 2), tolerance=tolerance)
        assert bool(modes.converged.all())
        step = modes.z - exact.z
        distance = (step * ((torch.eye(2) + exact.information) @ step[..., None])[..., 0]).sum(-1)
        assert float(distance.max()) < tolerance
        assert int(modes.iterations.sum()) < int(exact.iterations.sum())


def test_too_few_iterations_and_undefined_models():
    posterior = problem(NOISES["gaussian"]).condition(problem(NOISES["gaussian"]).simulate(5, seed=7)[1])
    modes = climb(posterior, torch.full((5, 2), 3.0), iterations=1)
    assert modes.converged.tolist() == [False] * 5
    assert modes.iterations.tolist() == [1] * 5
    start = posterior.log_prob(torch.full((5, 2), 3.0))
    assert bool((modes.log_prob > start).all())

    broken = Problem(lambda x: torch.where(x[..., :1] > 1, torch.nan, x), Standard(2), GaussianNoise(0.1))
    modes = climb(broken.condition(torch.tensor([[0.3, 0.1], [0.3, 0.1]])), torch.tensor([[0.0, 0.0], [2.0, 0.0]]))
    assert modes.undefined.tolist() == [False, True]
    assert modes.converged.tolist() == [True, False]
    assert bool(torch.isfinite(modes.information).all())


def test_heavy_damping_is_found():
    # from the flat top at 0 the undamped step overshoots a thousandfold: the damping must grow until one is good
    case = Problem(lambda x: (2 * x) ** 3 / 3 - 2 * x, Standard(1), GaussianNoise(0.02))
    posterior = case.condition([[2.0]])
    modes = climb(posterior, torch.zeros(1, 1), iterations=100, tolerance=1e-6)
    downhill = posterior.log_prob(torch.linspace(-1, 0, 10001)[:, None, None]).max()
    assert bool(modes.converged.all())
    assert abs(float(modes.log_prob - downhill)) < 0.01  # it began at 2,778 below


def test_better_modes_replace_worse_ones():
    def modes(log_prob, converged):
        n = len(log_prob)
        return Modes(
            z=torch.arange(float(n))[:, None] + 10 * sum(converged),
            information=torch.zeros(n, 1, 1),
            log_prob=torch.tensor(log_prob),
            converged=torch.tensor(converged),
            undefined=torch.zeros(n, dtype=torch.bool),
            iterations=torch.full((n,), 3),
        )

    old = modes([1.0, 5.0, torch.nan, 2.0, 2.0], [True, True, False, False, True])
    new = modes([2.0, 4.0, 0.0, 1.0], [True, True, True, False])
    merged = old.replaced(torch.tensor([0, 1, 2, 3]), new)
    assert merged.log_prob.tolist() == [2.0, 5.0, 0.0, 2.0, 2.0]
    assert merged.converged.tolist() == [True, True, True, False, True]
    assert merged.iterations.tolist() == [6, 6, 6, 6, 3]
    assert torch.equal(merged.z[[1, 3, 4]], old.z[[1, 3, 4]])
    assert torch.equal(merged.z[[0, 2]], new.z[[0, 2]])


@pytest.mark.parametrize("k", [1, 3, 14])
def test_laplace_statistics(k):
    random = np.random.default_rng(k)
    a = torch.from_numpy(random.standard_normal((2, 5, k + 1, k)) * np.logspace(-3, 3, k))
    information = a.mT @ a
    information[0, 0] = 0.0  # nothing learned: the posterior is the prior
    stats = laplace_statistics(information)
    identity = torch.eye(k)
    covariance = torch.linalg.inv(identity + information)
    torch.testing.assert_close(stats["latent_covariance"], covariance, rtol=1e-8, atol=1e-10)
    torch.testing.assert_close(stats["averaging_kernel"], identity - covariance, rtol=1e-8, atol=1e-8)
    eigenvalues = torch.linalg.eigvalsh(information).clamp(min=0)
    torch.testing.assert_close(stats["dofs"], (eigenvalues / (1 + eigenvalues)).sum(-1), rtol=1e-8, atol=1e-8)
    half = 0.5 * torch.log1p(eigenvalues).sum(-1)
    torch.testing.assert_close(stats["information_content"], half, rtol=1e-8, atol=1e-8)
    assert float(stats["dofs"][0, 0]) == float(stats["information_content"][0, 0]) == 0
