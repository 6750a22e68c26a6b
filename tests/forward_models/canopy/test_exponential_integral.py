"""Exponential integrals against SciPy, quadrature and their own closed forms."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.integrate import quad
from scipy.special import exp1, expn

from physgen.forward_models.canopy.exponential_integral import exponential_integral, exponential_moment

DEPTHS = torch.cat([torch.logspace(-12, 2.5, 400, dtype=torch.float64), torch.linspace(0.9, 1.1, 41).double()])
EXPONENTS = torch.tensor(
    [-12.0, -1.5, -1.0 - 1e-9, -1.0, -0.3, -1e-9, 0.0, 1e-12, 1e-4, 0.7, 1.0, 1.0 + 1e-9, 3.0, 90.0]
)


def reference(x: torch.Tensor, n: int) -> torch.Tensor:
    return torch.from_numpy(exp1(x.numpy()) if n == 1 else expn(n, x.numpy()))


@pytest.mark.parametrize("n", [1, 2, 3])
def test_agrees_with_scipy(n: int) -> None:
    torch.testing.assert_close(exponential_integral(DEPTHS, n), reference(DEPTHS, n), rtol=2e-14, atol=0.0)


@pytest.mark.parametrize(("n", "roundings"), [(1, 8), (2, 8), (3, 4)])
def test_single_precision_is_within_a_few_roundings(n: int, roundings: int) -> None:
    x = DEPTHS[DEPTHS < 80.0].float()
    torch.testing.assert_close(
        exponential_integral(x, n).double(), reference(x.double(), n), rtol=roundings * 1.2e-7, atol=0
    )


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_values_at_the_ends(dtype: torch.dtype) -> None:
    ends = torch.tensor([0.0, 1e4], dtype=dtype)
    assert exponential_integral(ends, 1).tolist() == [float("inf"), 0.0]
    assert exponential_integral(ends, 2).tolist() == [1.0, 0.0]
    assert exponential_integral(ends, 3).tolist() == [0.5, 0.0]
    assert torch.isnan(exponential_integral(torch.tensor([-0.1], dtype=dtype), 3)).all()


def test_derivatives_are_exact_at_zero() -> None:
    x = torch.zeros(3, dtype=torch.float64, requires_grad=True)
    (slope,) = torch.autograd.grad(exponential_integral(x, 3).sum(), x)
    assert slope.tolist() == [-1.0, -1.0, -1.0]
    moment = [
        torch.func.jacfwd(lambda u, n=n: exponential_moment(u, n))(torch.zeros((), dtype=torch.float64)) for n in (0, 1)
    ]
    torch.testing.assert_close(
        torch.stack(moment), torch.tensor([-1 / 2, -1 / 3], dtype=torch.float64), rtol=1e-15, atol=0
    )


@pytest.mark.parametrize("function", [exponential_integral, exponential_moment])
@pytest.mark.parametrize("n", [1, 2, 3])
def test_derivatives_in_every_mode(function, n: int) -> None:
    x = torch.tensor([0.02, 0.4, 0.99, 1.01, 4.0, 11.0], dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda x: function(x, n), x, check_forward_ad=True, check_batched_grad=True)
    assert torch.autograd.gradgradcheck(lambda x: function(x, n), x)
    forward = torch.func.jacfwd(lambda x: function(x, n))(x.detach())
    torch.testing.assert_close(forward, torch.func.jacrev(lambda x: function(x, n))(x.detach()), rtol=1e-15, atol=0)


@pytest.mark.parametrize("n", [0, 1, 2])
def test_moment_agrees_with_quadrature(n: int) -> None:
    u = EXPONENTS.double()
    expected = [quad(lambda s, v=v: s**n * np.exp(-v * s), 0, 1, epsabs=0, epsrel=1e-13)[0] for v in u.tolist()]
    torch.testing.assert_close(
        exponential_moment(u, n), torch.tensor(expected, dtype=torch.float64), rtol=1e-13, atol=0
    )


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_an_element_does_not_depend_on_its_neighbours(dtype: torch.dtype) -> None:
    x = torch.rand(37, 70, generator=torch.Generator().manual_seed(0), dtype=dtype) * 4
    for function in (lambda x: exponential_integral(x, 3), lambda x: exponential_moment(x - 2)):
        assert torch.equal(function(x)[5:8], function(x[5:8]))


def test_bad_input_is_named() -> None:
    with pytest.raises(ValueError, match="Invalid order n = 4"):
        exponential_integral(torch.ones(1), 4)
    with pytest.raises(TypeError, match="float16"):
        exponential_integral(torch.ones(1, dtype=torch.float16), 3)
