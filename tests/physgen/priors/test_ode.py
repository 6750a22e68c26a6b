"""Solver, its inverse and its divergence against linear equations, whose solutions are known."""

import math

import pytest
import torch

from physgen.priors.ode import METHODS, halved, integrate, with_jacobian
from physgen.priors.ode_divergence import integrated_divergence, rademacher
from physgen.priors.ode_inverse import invert

A = torch.tensor([[-0.8, 0.6, 0.0], [-0.5, 0.3, 0.2], [0.1, 0.0, 0.4]], dtype=torch.float64)
METHOD = pytest.mark.parametrize("method", METHODS)


def linear(w, t):
    """dw/dt = t A w, so that w(1) = exp(A / 2) w(0)."""
    return t * (A @ w)


def curved(w, t):
    return torch.tanh(2 * (A @ w)) + math.sin(3 * t) * w


def nodes(steps):
    return [i / steps for i in range(steps + 1)]


def start(rows=40, seed=0):
    return torch.randn(3, rows, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize(("method", "order"), [("heun", 2), ("rk4", 4)])
def test_order_of_the_error(method, order):
    exact = torch.linalg.matrix_exp(A / 2) @ start()
    errors = [float((integrate(method, linear, start(), nodes(n)) - exact).abs().max()) for n in (64, 128)]
    assert math.log2(errors[0] / errors[1]) == pytest.approx(order, abs=0.15)


def test_halved():
    assert halved([0.0, 1.0, 4.0]) == (0.0, 0.5, 1.0, 2.5, 4.0)


@METHOD
@pytest.mark.parametrize("newton", [True, False])
def test_inverse_is_that_of_the_steps(method, newton):
    """Three steps are far from the equation; their inverse is theirs all the same."""
    w, log_slope = invert(method, curved, integrate(method, curved, start(), nodes(3)), nodes(3), newton=newton)
    torch.testing.assert_close(w, start(), rtol=0, atol=1e-12)
    assert not bool(log_slope.any())


@METHOD
def test_log_slope_is_the_log_determinant(method):
    end = integrate(method, curved, start(), nodes(4))
    _, log_slope = invert(method, curved, end, nodes(4), newton=True, slope=True)
    for i in range(5):
        each = torch.autograd.functional.jacobian(
            lambda w: integrate(method, curved, w[:, None], nodes(4))[:, 0], start()[:, i]
        )
        assert float(log_slope[i]) == pytest.approx(float(torch.linalg.slogdet(each).logabsdet), abs=1e-12)


def test_gradients_of_inverse_and_log_slope():
    end = integrate("heun", curved, start(4), nodes(3)).requires_grad_()

    def both(end):
        w, log_slope = invert("heun", curved, end, nodes(3), newton=True, slope=True)
        return w, log_slope

    assert torch.autograd.gradcheck(both, end, atol=1e-6)


def test_a_column_has_its_bits_whatever_the_others():
    end = integrate("heun", curved, start(), nodes(3))
    whole = invert("heun", curved, end, nodes(3), newton=True, slope=True)
    part = invert("heun", curved, end[:, 8:16].contiguous(), nodes(3), newton=True, slope=True)
    assert torch.equal(whole[0][:, 8:16], part[0])
    assert torch.equal(whole[1][8:16], part[1])


@pytest.mark.parametrize("newton", [True, False])
def test_what_no_step_reaches_is_nan(newton):
    """w + h w^2 does not fall below -1 / (4 h); the columns beside it are not touched."""
    f = lambda w, t: w * w if t < 0.5 else 0 * w  # noqa: E731
    targets = torch.tensor([[-30.0, 0.3, 0.5]], dtype=torch.float64)
    w, _ = invert("heun", f, targets, [0.0, 1.0], newton=newton)
    assert torch.isnan(w[0]).tolist() == [True, False, False]
    torch.testing.assert_close(w[0, 1:] + 0.5 * w[0, 1:] ** 2, targets[0, 1:], rtol=1e-12, atol=0)


@METHOD
def test_divergence_with_unit_vectors_is_the_trace(method):
    """The integral of t tr A over 0 to 1 is tr A / 2, whatever the path."""
    probes = torch.eye(3, dtype=torch.float64)[:, :, None].expand(-1, -1, 40)
    found = integrated_divergence(method, linear, start(), nodes(4), probes).sum(0)
    torch.testing.assert_close(found, torch.full((40,), float(A.trace()) / 2, dtype=torch.float64), rtol=0, atol=1e-14)


def test_divergence_becomes_the_log_determinant_with_more_steps():
    probes, gaps = torch.eye(3, dtype=torch.float64)[:, :, None].expand(-1, -1, 40), []
    for n in (10, 20):
        end = integrate("heun", curved, start(), nodes(n))
        _, log_slope = invert("heun", curved, end, nodes(n), newton=True, slope=True)
        found = integrated_divergence("heun", curved, start(), nodes(n), probes).sum(0)
        gaps.append(float((found - log_slope).abs().mean()))
    assert math.log2(gaps[0] / gaps[1]) == pytest.approx(2, abs=0.4)


def test_random_probes_are_unbiased_and_a_row_keeps_its_own():
    one = start()[:, :1].expand(-1, 4000).contiguous()
    probes = rademacher(1, 3, 4000, seed=1, like=one)
    assert torch.equal(probes[:, :, :7], rademacher(1, 3, 7, seed=1, like=one))
    found = integrated_divergence("heun", curved, one, nodes(4), probes)[0]
    unit = torch.eye(3, dtype=torch.float64)[:, :, None]
    exact = float(integrated_divergence("heun", curved, one[:, :1], nodes(4), unit).sum())
    assert float(found.mean()) == pytest.approx(exact, abs=4 * float(found.std()) / math.sqrt(4000))
    assert float(found.std()) > 0.01


def test_jacobians_of_columns():
    value, slopes = with_jacobian(lambda w: curved(w, 0.3), start(6))
    torch.testing.assert_close(value, curved(start(6), 0.3))
    exact = torch.autograd.functional.jacobian(lambda w: curved(w[:, None], 0.3)[:, 0], start(6)[:, 2])
    torch.testing.assert_close(slopes[2], exact, rtol=1e-12, atol=1e-14)
