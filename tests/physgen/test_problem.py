"""Problem and posterior, on parts written out here and checked against closed forms."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from scipy import stats
from torch import Tensor

from physgen.black_box import blackbox
from physgen.noise import Noise
from physgen.priors import Prior
from physgen.problem import JACOBIAN_ROWS, NUMBERS, VALUE_ROWS, Problem
from physgen.random import normal, single_stream
from physgen.space import Block, Space
from physgen.status import Status

MEAN, FACTOR = torch.tensor([0.5, -1.0], dtype=torch.float64), torch.tensor([[2.0, 0], [0.3, 0.7]], dtype=torch.float64)
SLOPE = torch.tensor([[1.0, 0.5], [0.2, -1.0], [0.0, 2.0]], dtype=torch.float64)
SD = 0.1
ZERO, ONE = torch.zeros((), dtype=torch.float64), torch.ones((), dtype=torch.float64)


class Linear(Prior):
    """x = mean + shift + L z, with an optional half-space weight."""

    causes = Space("a", "b")
    latent_dim = 2

    def __init__(self, weighted: bool = False) -> None:
        self.capabilities = frozenset({"log_factor"}) if weighted else frozenset()

    def decode(self, z: Tensor, /, shift: Tensor = ZERO) -> Tensor:
        return MEAN.to(z) + shift[..., None] + z @ FACTOR.to(z).T

    def log_factor(self, x: Tensor, /, shift: Tensor = ZERO) -> Tensor:
        return torch.where(x[..., 0] > 0, 0.0, -torch.inf).to(x)


class White(Noise):
    """Gaussian with one standard deviation."""

    def log_prob(self, y: Tensor, prediction: Tensor, gain: Tensor = ONE) -> Tensor:
        sd = SD * gain[..., None]
        return (-0.5 * ((y - prediction) / sd) ** 2 - torch.log(sd) - 0.5 * math.log(2 * math.pi)).sum(-1)

    def sample(self, prediction, *, seed=0, like=None, gain=ONE):
        z = normal(tuple(prediction.shape), single_stream(), seed=seed, stage=1 << 32).to(prediction)
        return prediction + SD * gain[..., None] * z


def forward(x: Tensor, factor: Tensor) -> Tensor:
    return factor[..., None] * (x @ SLOPE.to(x).T)


PROBLEM = Problem(forward, Linear(), White())


def test_log_prob_in_closed_form() -> None:
    z, y = normal((5, 4, 2), single_stream(), seed=0), normal((4, 3), single_stream(), seed=1)
    factor, shift, gain = torch.rand(4) + 0.5, torch.rand(4), torch.rand(4) + 1
    found = PROBLEM.condition(y, factor=factor, shift=shift, gain=gain).log_prob(z)
    assert found.shape == (5, 4)
    for s in range(5):
        for i in range(4):
            x = MEAN.numpy() + shift[i].item() + FACTOR.numpy() @ z[s, i].numpy()
            f = factor[i].item() * SLOPE.numpy() @ x
            wanted = stats.norm.logpdf(y[i], f, SD * gain[i].item()).sum() + stats.norm.logpdf(z[s, i]).sum()
            assert float(found[s, i]) == pytest.approx(wanted, rel=1e-12)


def test_log_factor_is_added() -> None:
    weighted = Problem(forward, Linear(weighted=True), White())
    z = torch.tensor([[0.0, 0.0], [-1.0, 0.0]])  # a is 0.5 and -1.5
    plain = PROBLEM.condition(torch.zeros(3), factor=1).log_prob(z)
    found = weighted.condition(torch.zeros(3), factor=1).log_prob(z)
    assert found[0] == plain[0]
    assert found[1] == -torch.inf


@pytest.mark.parametrize("batch", [(), (3,), (2, 3)])
def test_any_batch_and_any_draws(batch: tuple[int, ...]) -> None:
    y = normal((*batch, 3), single_stream(), seed=1)
    posterior = PROBLEM.condition(y, factor=2.0)
    assert posterior.batch == batch
    z = normal((4, 5, *batch, 2), single_stream(), seed=0)
    x, prediction = posterior.predict(z)
    assert x.shape == (4, 5, *batch, 2)
    assert prediction.shape == (4, 5, *batch, 3)
    torch.testing.assert_close(prediction, 2 * x @ SLOPE.T, rtol=1e-14, atol=1e-14)


@pytest.mark.parametrize("rows", [VALUE_ROWS - 1, VALUE_ROWS + 1, 2 * VALUE_ROWS])
def test_blocks_do_not_change_the_answer(rows: int) -> None:
    factor = torch.linspace(0.5, 1.5, rows)
    posterior = PROBLEM.condition(torch.zeros(rows, 3), factor=factor)
    z = normal((rows, 2), single_stream(), seed=0)
    one = torch.stack([posterior.select(slice(i, i + 1)).log_prob(z[i : i + 1])[0] for i in (0, rows // 2, rows - 1)])
    torch.testing.assert_close(posterior.log_prob(z)[[0, rows // 2, rows - 1]], one, rtol=1e-13, atol=0)


def test_wide_rows_come_in_small_blocks() -> None:
    seen = []

    class Wide:
        width = NUMBERS // 32

        def __call__(self, x: Tensor) -> Tensor:
            seen.append(len(x))
            return x @ SLOPE.T

    problem = Problem(Wide(), Linear(), White())
    problem.condition(torch.zeros(3)).log_prob(normal((70, 2), single_stream(), seed=0))
    assert seen == [32, 32, 6]
    assert (problem.value_rows, problem.jacobian_rows) == (32, 16)


def test_rows_that_cannot_be_factorised_are_undefined() -> None:
    """A Cholesky factorisation raises for the whole batch."""

    def model(x: Tensor) -> Tensor:
        return torch.linalg.cholesky(x[..., :1, None] * torch.eye(2, dtype=x.dtype))[..., 0] * x[..., 1:]

    posterior = Problem(model, Linear(), White()).condition(torch.zeros(2))
    z = normal((9, 2), single_stream(), seed=3).requires_grad_(True)
    x, prediction = posterior.predict(z)
    bad = x[:, 0] <= 0
    assert 0 < int(bad.sum()) < 9
    assert torch.equal(torch.isnan(prediction).any(-1), bad)
    torch.testing.assert_close(prediction[~bad, 0], (x[:, 0].sqrt() * x[:, 1])[~bad])
    (gradient,) = torch.autograd.grad(prediction[~bad].sum(), z)
    assert bool(torch.isfinite(gradient[~bad]).all())
    assert bool(torch.isnan(posterior.log_prob(z[bad].detach())).all())


def test_gradient_passes_through_log_prob() -> None:
    y, z = normal((4, 3), single_stream(), seed=1), normal((4, 2), single_stream(), seed=0).requires_grad_(True)
    PROBLEM.condition(y, factor=1.0).log_prob(z).sum().backward()
    a = SLOPE @ FACTOR
    wanted = ((y - (MEAN @ SLOPE.T + z.detach() @ a.T)) @ a) / SD**2 - z.detach()
    torch.testing.assert_close(z.grad, wanted, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("observations", [3, JACOBIAN_ROWS + 3])
def test_linearise_in_closed_form(observations: int) -> None:
    factor = torch.linspace(0.5, 1.5, observations)
    posterior = PROBLEM.condition(torch.zeros(observations, 3), factor=factor)
    z = normal((2, observations, 2), single_stream(), seed=0)
    f, j = posterior.linearise(z)
    torch.testing.assert_close(f, posterior.predict(z)[1], rtol=1e-14, atol=1e-14)
    torch.testing.assert_close(j, (factor[:, None, None] * (SLOPE @ FACTOR)).expand(2, -1, -1, -1))


def test_linearise_uses_the_model_s_own_jacobian() -> None:
    class Marked:
        def __call__(self, x: Tensor) -> Tensor:
            raise RuntimeError("not to be called")

        def jacobian(self, x: Tensor) -> tuple[Tensor, Tensor]:
            return x @ SLOPE.T, SLOPE.expand(len(x), 3, 2)

    z = normal((4, 2), single_stream(), seed=0)
    f, j = Problem(Marked(), Linear(), White()).condition(torch.zeros(4, 3)).linearise(z)
    torch.testing.assert_close(f, (MEAN + z @ FACTOR.T) @ SLOPE.T)
    torch.testing.assert_close(j, (SLOPE @ FACTOR).expand(4, 3, 2))


def test_select_and_flatten_keep_conditions_with_their_observations() -> None:
    y, factor = normal((2, 3, 3), single_stream(), seed=1), torch.arange(6.0).reshape(2, 3)
    posterior = PROBLEM.condition(y, factor=factor, gain=2.0)
    flat = posterior.flatten()
    assert flat.batch == (6,)
    picked = flat.select(torch.tensor([4, 1]))
    assert picked.conditions["factor"].tolist() == [4.0, 1.0]
    assert torch.equal(picked.y, y.reshape(6, 3)[[4, 1]])
    assert picked.conditions["gain"].tolist() == [2.0, 2.0]


def test_simulate_has_the_joint_moments() -> None:
    n = 20_000
    x, y = PROBLEM.simulate(n, seed=4, factor=1.0)
    assert (x.shape, y.shape) == ((n, 2), (n, 3))
    joint = np.cov(torch.cat([x, y], dim=-1).numpy().T)
    s_a = (FACTOR @ FACTOR.T).numpy()
    a = SLOPE.numpy()
    wanted = np.block([[s_a, s_a @ a.T], [a @ s_a, a @ s_a @ a.T + SD**2 * np.eye(3)]])
    # standard error of a covariance of normal variables: sqrt((C_ii C_jj + C_ij^2) / n)
    error = np.sqrt((np.outer(np.diag(wanted), np.diag(wanted)) + wanted**2) / n)
    assert np.abs((joint - wanted) / error).max() < 4.5
    assert np.abs((x.mean(0) - MEAN).numpy() / np.sqrt(np.diag(s_a) / n)).max() < 4


def test_simulate_is_a_function_of_the_seed() -> None:
    first, again, other = (PROBLEM.simulate(6, seed=s, factor=torch.arange(6.0)) for s in (1, 1, 2))
    assert torch.equal(first[1], again[1])
    assert not bool((first[0] == other[0]).any())


def test_simulate_draws_from_the_weighted_prior() -> None:
    x, _ = Problem(forward, Linear(weighted=True), White()).simulate(4000, seed=0, factor=1.0)
    assert float(x[:, 0].min()) > 0
    truncated = stats.truncnorm((0 - 0.5) / 2, math.inf, loc=0.5, scale=2)
    assert stats.kstest(x[:, 0].numpy(), truncated.cdf).pvalue > 1e-3


def test_a_black_box_refuses_to_be_linearised() -> None:
    problem = Problem(blackbox(lambda x: x @ SLOPE.numpy().T), Linear(), White())
    assert not problem.differentiable
    posterior = problem.condition(torch.zeros(4, 3))
    z = normal((4, 2), single_stream(), seed=0)
    torch.testing.assert_close(
        posterior.log_prob(z), Problem(lambda x: x @ SLOPE.T, Linear(), White()).condition(posterior.y).log_prob(z)
    )
    with pytest.raises(TypeError, match="has no gradient"):
        posterior.linearise(z)
    with pytest.raises(TypeError, match="has no gradient"):
        posterior.log_prob(z.requires_grad_(True)).sum().backward()


class Ranged:
    conditions = Space(Block("zenith", "degree", (0, 90)))
    observables = Space(Block("red", "1", (0, 1.5)), Block("nir", "1", (0, 1.5)))

    def __call__(self, x: Tensor, /, zenith: Tensor) -> Tensor:
        return x * torch.cos(torch.deg2rad(zenith))[..., None]


RANGED = Problem(Ranged(), Linear(), White())


def test_screen_gives_each_observation_its_status() -> None:
    nan = math.nan
    y = torch.tensor([[0.1, 0.2], [nan, nan], [0.1, 1.7], [nan, 0.2], [-0.1, nan], [0.3, 0.2], [0.3, 1.5]])
    wanted = [Status.TRUSTED, Status.NO_DATA, Status.OUT_OF_RANGE, 0, Status.OUT_OF_RANGE, 0, 0]
    assert RANGED.condition(y, zenith=30).screen().tolist() == wanted
    assert RANGED.condition(y[:6].reshape(2, 3, 2), zenith=30).screen().shape == (2, 3)


@pytest.mark.parametrize("zenith", [-1.0, 91.0])
def test_angles_out_of_range_are_refused(zenith: float) -> None:
    with pytest.raises(ValueError, match=rf"Invalid condition zenith {zenith:g} degree\. Must lie within 0 to 90\."):
        RANGED.condition(torch.zeros(2), zenith=torch.tensor(zenith))


@pytest.mark.parametrize(
    ("y", "conditions", "error", "message"),
    [
        (torch.zeros(2, 2), {}, ValueError, "Missing condition 'zenith'"),
        (torch.zeros(2, 2), {"zenit": 3, "zenith": 3}, ValueError, "Unknown condition 'zenit'"),
        (torch.zeros(2, 2), {"zenith": torch.zeros(3)}, ValueError, "Invalid shape"),
        (torch.zeros(2, 3), {"zenith": 3}, ValueError, "must hold the 2 elements"),
        (torch.zeros(0, 2), {"zenith": 3}, ValueError, "Invalid observations of shape"),
        (torch.tensor(1.0), {"zenith": 3}, ValueError, "Invalid observations of shape"),
        (["red", "nir"], {"zenith": 3}, TypeError, "Give numbers, NaN for missing"),
        (torch.zeros(2, 2, dtype=torch.complex64), {"zenith": 3}, TypeError, "complex"),
    ],
)
def test_bad_observations_stop_before_any_computing(y, conditions, error, message: str) -> None:
    with pytest.raises(error, match=message):
        RANGED.condition(y, **conditions)


def test_integers_become_floats_and_float32_stays() -> None:
    assert RANGED.condition([[0, 1]], zenith=3).y.dtype == torch.get_default_dtype()
    posterior = RANGED.condition(torch.zeros(2, 2, dtype=torch.float32), zenith=3)
    assert posterior.conditions["zenith"].dtype == torch.float32


@pytest.mark.parametrize(
    ("parts", "error", "message"),
    [
        ((3, Linear(), White()), TypeError, "Invalid forward model of type int"),
        ((forward, 3, White()), TypeError, "Invalid prior of type int"),
        ((forward, Linear(), 0.01), TypeError, "Invalid noise of type float"),
        ((blackbox(lambda x: x, causes=Space("b", "a")), Linear(), White()), ValueError, "needs the causes b, a"),
    ],
)
def test_parts_that_do_not_fit_are_refused(parts, error, message: str) -> None:
    with pytest.raises(error, match=message):
        Problem(*parts)


def test_a_model_that_drops_an_axis_is_refused() -> None:
    posterior = Problem(lambda x: x.sum(-1), Linear(), White()).condition(torch.zeros(4, 3))
    with pytest.raises(ValueError, match="must keep every axis but the last"):
        posterior.predict(torch.zeros(4, 2))
