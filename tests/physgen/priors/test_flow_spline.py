"""Splines against zuko's, which are written from the same paper in another layout, and against their own inverse."""

import pytest
import torch
from zuko.transforms import MonotonicRQSTransform

from physgen.priors.flow_spline import BOUND, parameter_count, spline


def parameters(bins, *shape, size=2.0):
    generator = torch.Generator().manual_seed(3)
    return size * torch.randn(parameter_count(bins), *shape, generator=generator, dtype=torch.float64)


@pytest.mark.parametrize("bins", [2, 5, 8])
def test_against_zuko(bins):
    phi, x = parameters(bins, 3, 400), torch.linspace(-7, 7, 400, dtype=torch.float64).expand(3, 400)
    last = phi.movedim(0, -1)
    theirs = MonotonicRQSTransform(last[..., :bins], last[..., bins : 2 * bins], last[..., 2 * bins :])
    y, log_slope = theirs.call_and_ladj(x)
    found = spline(x, phi)
    torch.testing.assert_close(found[0], y, rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(found[1], log_slope, rtol=1e-11, atol=1e-11)


def test_inverse_and_its_slope():
    phi, x = parameters(8, 4, 500), torch.linspace(-6, 6, 500, dtype=torch.float64).expand(4, 500)
    y, slope = spline(x, phi)
    back, inverse_slope = spline(y, phi, inverse=True)
    torch.testing.assert_close(back, x, rtol=0, atol=1e-10)
    torch.testing.assert_close(inverse_slope, -slope, rtol=0, atol=1e-9)
    same = phi[..., :1].expand_as(phi)
    assert (spline(x, same)[0].diff() > 0).all()


def test_zero_is_the_identity_and_so_is_the_outside():
    x = torch.linspace(-9, 9, 301, dtype=torch.float64)
    y, slope = spline(x, torch.zeros(23, 301, dtype=torch.float64))
    torch.testing.assert_close(y, x, rtol=1e-14, atol=1e-14)
    torch.testing.assert_close(slope, torch.zeros_like(x), rtol=0, atol=1e-14)
    y, slope = spline(x, parameters(8, 301))
    outside = x.abs() > BOUND
    assert torch.equal(y[outside], x[outside])
    assert (slope[outside] == 0).all()


@pytest.mark.parametrize("inverse", [False, True])
def test_slopes_and_gradients(inverse):
    x = torch.linspace(-6.1, 6.2, 12, dtype=torch.float64).requires_grad_()
    phi = parameters(4, 12, size=1.0).requires_grad_()
    value, log_slope = spline(x, phi, inverse=inverse)
    (slope,) = torch.autograd.grad(value.sum(), x)
    torch.testing.assert_close(log_slope.exp(), slope, rtol=1e-11, atol=0)
    assert torch.autograd.gradcheck(lambda p: spline(x.detach(), p, inverse=inverse), (phi,), atol=1e-7)


def test_extreme_parameters_stay_finite():
    phi = 1e4 * parameters(8, 300)
    x = torch.linspace(-5, 5, 300, dtype=torch.float64)
    for inverse in (False, True):
        for found in spline(x, phi, inverse=inverse):
            assert torch.isfinite(found).all()
