"""Posterior densities with a compiled forward model: code of prior, model and noise together, or none."""

from __future__ import annotations

import pickle
import shutil
import warnings

import pytest
import torch

import physgen as pg
from physgen import row_code
from physgen.inversions import OptimalEstimation
from physgen.rare import unseen

pytestmark = pytest.mark.skipif(shutil.which("g++") is None, reason="needs a C++ compiler")


def decay(x, *, sun):
    return x[..., 1:] * torch.exp(-x[..., :1] * torch.tensor([1.0, 2.0, 3.0]).to(x) / torch.cos(sun)[..., None])


DEPTH = pg.TruncatedNormal(1.0, 2.0, 0.0, 9.0)
PRIORS = {
    "numbers": pg.Chain(depth=DEPTH, albedo=pg.Uniform(0.0, 1.0)),
    "conditional": pg.Chain(depth=DEPTH, albedo=lambda depth: pg.TruncatedNormal(0.3 + 0.01 * depth, 0.2, 0.0, 1.0)),
}
NOISES = {
    "gaussian": pg.GaussianNoise(0.01, relative=0.03),
    "student": pg.StudentTNoise(df=4.0, scale=0.02),
    "correlated": pg.CorrelatedGaussianNoise(0.01, discrepancy=0.02, length=1.0, coordinate=[3.0, 1.0, 2.0]),
    "relative": pg.CorrelatedGaussianNoise(
        0.01, discrepancy=0.02, relative_discrepancy=0.05, length=1.0, coordinate=[1.0, 2.0, 3.0], kernel="matern32"
    ),
}


def posteriors(noise: pg.Noise, dtype: torch.dtype, forward=decay, prior="numbers") -> list[pg.Posterior]:
    """The same one, as it is and compiled; a band of some observations was not measured."""
    g = torch.Generator().manual_seed(2)
    y = torch.rand(40, 3, dtype=dtype, generator=g)
    y[30:, 1] = torch.nan
    sun = torch.linspace(0.0, 1.0, 40, dtype=dtype)
    return [pg.Problem(f, PRIORS[prior], noise).condition(y, sun=sun) for f in (forward, pg.compiled(forward))]


def latents(dtype: torch.dtype) -> torch.Tensor:
    """(20, 40, 2), some of them so far out that the prior's quantiles go another way there."""
    z = torch.randn(20, 40, 2, dtype=dtype, generator=torch.Generator().manual_seed(3))
    z[-1] *= 6
    return z


@pytest.mark.parametrize(
    ("noise", "dtype", "prior"),
    [
        ("gaussian", torch.float64, "numbers"),
        pytest.param("relative", torch.float32, "numbers", marks=pytest.mark.slow),
        pytest.param("relative", torch.float64, "conditional", marks=pytest.mark.slow),
        pytest.param("relative", torch.float64, "numbers", marks=pytest.mark.slow),
        pytest.param("student", torch.float64, "numbers", marks=pytest.mark.slow),
        pytest.param("correlated", torch.float64, "numbers", marks=pytest.mark.slow),
    ],
)
def test_density_and_gradient_are_those_without(noise, dtype, prior):
    (plain, fast), z = posteriors(NOISES[noise], dtype, prior=prior), latents(dtype)
    near = {"rtol": 2e3 * torch.finfo(dtype).eps, "atol": 2e3 * torch.finfo(dtype).eps}
    with torch.no_grad(), warnings.catch_warnings():
        warnings.simplefilter("error")
        value, (again, slope) = fast.log_prob(z), fast.slope(z)
        wanted, (_, gradient) = plain.log_prob(z), plain.slope(z)
    assert all(code is not None for code in fast.problem.code._made.values())
    assert plain.problem.code is None
    torch.testing.assert_close(value, wanted, **near)
    torch.testing.assert_close(again, wanted, **near)
    torch.testing.assert_close(slope, gradient, **near)
    with torch.no_grad():  # a row's bits are its own
        assert torch.equal(fast.select(slice(5, 6)).log_prob(z[:3, 5:6]), value[:3, 5:6])
        assert torch.equal(fast.select(slice(31, 40)).slope(z[:, 31:])[1], slope[:, 31:])


def test_gradients_of_other_things_pass_by_the_code():
    sd = torch.tensor(0.1, requires_grad=True)
    _, fast = posteriors(pg.GaussianNoise(sd), torch.float32)
    fast.log_prob(latents(torch.float32)).sum().backward()
    assert float(sd.grad) != 0
    assert not fast.problem.code._made


def test_a_noise_that_looks_at_its_data_is_called_as_it_is():
    counts = pg.PoissonNoise()
    model = pg.compiled(lambda x, *, sun: 20 * decay(x, sun=sun))
    problems = [pg.Problem(f, PRIORS["numbers"], counts) for f in (model.forward, model)]
    z = latents(torch.float64)
    with torch.no_grad(), warnings.catch_warnings():
        warnings.simplefilter("error")
        wanted, value = (p.condition(torch.ones(40, 3, dtype=z.dtype), sun=0.3).log_prob(z) for p in problems)
        with pytest.raises(ValueError, match="Counts must be whole numbers"):
            problems[1].condition(torch.full((40, 3), 0.5, dtype=z.dtype), sun=0.3).log_prob(z)
    torch.testing.assert_close(value, wanted)


def called(function, _):
    """In place of the compiler: the function itself."""

    def code(*block):
        with unseen():
            return function(*block)

    return code


@pytest.mark.slow
def test_a_matrix_that_cannot_be_factorised_is_undefined_in_its_own_row():
    def factorised(x, *, sun):
        matrix = torch.eye(3, dtype=x.dtype) * (x[..., 1] - 0.02)[..., None, None]
        return torch.linalg.cholesky(matrix).diagonal(dim1=-2, dim2=-1) + 0 * sun[..., None]

    plain, fast = posteriors(pg.GaussianNoise(0.1), torch.float64, factorised)
    z = latents(torch.float64)
    with torch.no_grad(), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        wanted, value = plain.log_prob(z), fast.log_prob(z)
    assert 0 < int(torch.isnan(wanted).sum()) < 100
    torch.testing.assert_close(value, wanted, equal_nan=True)


def test_a_copy_in_another_process_makes_its_own_code(monkeypatch):
    monkeypatch.setattr(row_code, "_compiled", called)
    _, fast = posteriors(pg.GaussianNoise(0.1), torch.float32)
    with torch.no_grad():
        value = fast.log_prob(latents(torch.float32))
    assert fast.problem.code._made
    copied = pickle.loads(pickle.dumps(fast.problem.code))
    assert not copied._made
    assert value.shape == (20, 40)


def test_inversions_use_it(monkeypatch):
    monkeypatch.setattr(row_code, "_compiled", called)
    _, fast = posteriors(pg.GaussianNoise(0.05), torch.float64)
    result = OptimalEstimation()(fast.problem, fast.y, conditions=dict(fast.conditions), seed=1)
    assert any(key[0].startswith("log_prob") for key in fast.problem.code._made)
    plain = pg.Problem(decay, PRIORS["numbers"], pg.GaussianNoise(0.05))
    again = OptimalEstimation()(plain, fast.y, conditions=dict(fast.conditions), seed=1)
    assert torch.equal(result.status, again.status)
    torch.testing.assert_close(result.samples, again.samples, rtol=1e-6, atol=1e-6)
