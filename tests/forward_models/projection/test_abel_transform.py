"""The Abel transform and its inverse against pairs known in closed form, on even and graded grids."""

import math
import re

import numpy as np
import pytest
import torch
from scipy import integrate, special

from physgen.forward_models.projection import abel, inverse_abel
from physgen.forward_models.projection.abel_transform import inverse_abel_matrix, positive_abel_matrix


def cubic(y):
    """Of 1 - 3 r^2 + 2 r^3, from the integrals of sqrt(y^2 + t^2)^k over the line of sight."""
    s = np.sqrt(1 - y**2)
    log = np.log((1 + s) / np.where(y > 0, y, 1)) * (y > 0)
    return 2 * (s - (s**3 + 3 * y**2 * s) + s / 2 + 3 * y**2 * s / 4 + 3 * y**4 * log / 4)


def half_sphere_power(k):
    factor = math.sqrt(math.pi) * special.gamma(k + 1) / special.gamma(k + 1.5)
    return lambda r: (1 - r**2) ** k, lambda y: factor * (1 - y**2) ** (k + 0.5)


def x_of(s):
    """arcosh(1/s) / sqrt(1 - s^2), continued beyond 1 (Hernquist 1990, eqs 33 and 34)."""
    s = np.asarray(s, dtype=float)
    inside = np.arccosh(1 / np.minimum(s, 1 - 1e-9)) / np.sqrt(1 - np.minimum(s, 1 - 1e-9) ** 2)
    outside = np.arccos(1 / np.maximum(s, 1 + 1e-9)) / np.sqrt(np.maximum(s, 1 + 1e-9) ** 2 - 1)
    return np.where(s < 1, inside, outside)


def power(a):
    return math.sqrt(math.pi) * special.gamma((a - 1) / 2) / special.gamma(a / 2)


GAUSS = (lambda r: np.exp(-(r**2) / 0.04), lambda y: 0.2 * math.sqrt(math.pi) * np.exp(-(y**2) / 0.04))
CUBIC = (lambda r: 1 - 3 * r**2 + 2 * r**3, cubic)
BOUNDED = {"gauss": GAUSS, "cubic": CUBIC, **{f"(1-r^2)^{k}": half_sphere_power(k) for k in (1, 1.5, 2, 3)}}
UNBOUNDED = {
    "plummer": (lambda r: (1 + r**2) ** -2.5, lambda y: 4 / 3 * (1 + y**2) ** -2),
    "beta model": (lambda r: (1 + r**2) ** -1.5, lambda y: power(3) * (1 + y**2) ** -1.0),
    "power law": (lambda r: r**-3.0, lambda y: power(3) * y**-2.0),
    "exponential": (lambda r: np.exp(-r), lambda y: 2 * y * special.k1(y)),
    "disc": (lambda r: special.k0(r) / math.pi, lambda y: np.exp(-y)),
    "hernquist": (
        lambda r: 1 / (2 * math.pi * r * (1 + r) ** 3),
        lambda s: ((2 + s**2) * x_of(s) - 3) / (2 * math.pi * (1 - s**2) ** 2),
    ),
    "nfw": (lambda r: 1 / (r * (1 + r) ** 2), lambda s: 2 * (1 - x_of(s)) / (s**2 - 1)),
    "jaffe": (
        lambda r: 1 / (4 * math.pi * r**2 * (1 + r) ** 2),
        lambda s: 1 / (4 * s) + (1 - (2 - s**2) * x_of(s)) / (2 * math.pi * (1 - s**2)),
    ),
}


def tensor(values):
    return torch.as_tensor(values, dtype=torch.float64)


def error(found, wanted):
    return float(np.linalg.norm(found.numpy() - wanted) / np.linalg.norm(wanted))


@pytest.mark.parametrize("name", BOUNDED)
def test_pairs_are_pairs(name):
    """Quadrature of each profile along the line of sight: the references are right."""
    f, projection = BOUNDED[name]
    for y in (0.05, 0.4, 0.8):
        line = integrate.quad(lambda t, y=y: f(np.hypot(y, t)), 0, math.sqrt(1 - y**2), epsabs=1e-13)[0]
        assert 2 * line == pytest.approx(float(projection(np.array(y))), abs=1e-10)


@pytest.mark.parametrize("n", [257, 513, 1025])
def test_smooth_pairs_are_inverted_to_rounding(n):
    r = np.linspace(0, 1, n)
    for (f, projection), bound in ((GAUSS, 1e-10), (half_sphere_power(1.5), 1e-11)):
        assert error(inverse_abel(tensor(projection(r)), r), f(r)) <= bound


def test_the_error_of_a_singular_pair_falls_fourfold():
    errors = []
    for n in (257, 513, 1025):
        r = np.linspace(0, 1, n)
        errors.append(error(inverse_abel(tensor(cubic(r)), r), CUBIC[0](r)))
    assert errors[0] <= 5e-8
    assert errors[1] <= min(1e-8, errors[0] / 4)
    assert errors[2] <= min(2e-9, errors[1] / 4)


@pytest.mark.parametrize("name", BOUNDED)
def test_projection_of_bounded_profiles(name):
    f, projection = BOUNDED[name]
    r = np.linspace(0, 1, 257)
    # (1 - r^2)^1.5 has an infinite second derivative at the edge
    assert error(abel(tensor(f(r)), r), projection(r)) <= (2e-7 if "1.5" in name else 1e-10)


@pytest.mark.parametrize("name", UNBOUNDED)
def test_unbounded_pairs_on_a_graded_grid(name):
    f, projection = UNBOUNDED[name]
    far = 300.0 if name in ("exponential", "disc") else 1e5
    r = np.geomspace(1e-4, far, 600)
    at = np.array([0.003, 0.02, 0.11, 0.37, 0.93, 1.7, 4.2])
    np.testing.assert_allclose(abel(tensor(f(r)), r, at).numpy(), projection(at), rtol=3e-8)
    np.testing.assert_allclose(inverse_abel(tensor(projection(r)), r, at).numpy(), f(at), rtol=3e-8)


@pytest.mark.parametrize("m", [1.0, 1.5, 2.0, 4.0])
def test_sersic_profiles(m):
    """Galaxies of Sersic index m, against quadrature of the inverse; for m = 1, K0 (Baes & Gentile 2011)."""
    r, at = np.geomspace(1e-5, 3e2 if m < 1.2 else 1e5, 900), np.array([0.01, 0.1, 0.5, 1.3, 3.0])

    def slope(u, radius):
        y = radius * math.cosh(u)
        return y ** (1 / m - 1) / m * math.exp(-(y ** (1 / m)))

    wanted = [integrate.quad(slope, 0, 40, args=(x,), epsabs=0, epsrel=1e-11, limit=400)[0] / math.pi for x in at]
    if m == 1:
        np.testing.assert_allclose(wanted, special.k0(at) / math.pi, rtol=1e-9)
    brightness = tensor(np.exp(-(r ** (1 / m))))
    np.testing.assert_allclose(inverse_abel(brightness, r, at).numpy(), wanted, rtol=1e-8)


def test_leading_axes_are_a_batch():
    r, generator = np.linspace(0, 1, 40), torch.Generator().manual_seed(0)
    image = torch.rand(3, 5, 40, dtype=torch.float64, generator=generator)
    for transform in (abel, inverse_abel):
        whole = transform(image, r)
        assert whole.shape == image.shape
        torch.testing.assert_close(whole[1, 2], transform(image[1, 2], r), rtol=1e-12, atol=1e-12)
        single = transform(image.float(), r)
        assert single.dtype == torch.float32
        torch.testing.assert_close(single.double(), whole, rtol=1e-4, atol=1e-3)


def test_the_blocks_leave_nothing_out():
    """The result of a large grid, multiplied in blocks without their zeros, is that of the whole matrix."""
    r = np.linspace(0, 1, 700)
    values = torch.rand(4, 700, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    whole = values @ tensor(inverse_abel_matrix(r, r)).mT
    torch.testing.assert_close(inverse_abel(values, r), whole, rtol=1e-12, atol=1e-10)


@pytest.mark.parametrize("transform", [abel, inverse_abel])
def test_gradients(transform):
    r = np.concatenate([[0.0], np.geomspace(0.1, 1, 8)])
    values = torch.rand(2, 9, dtype=torch.float64, generator=torch.Generator().manual_seed(1), requires_grad=True)
    assert torch.autograd.gradcheck(lambda v: transform(v, r, [0.0, 0.05, 0.3, 0.77]), values)


def test_the_two_transforms_undo_each_other():
    r = np.linspace(0, 1, 400)
    f = tensor(half_sphere_power(4)[0](r) * (1 + np.cos(5 * r)))
    torch.testing.assert_close(inverse_abel(abel(f, r), r), f, rtol=0, atol=1e-8)


def test_units_of_length():
    """Lengths in millimetres instead of metres: F grows a thousandfold, f from F shrinks so."""
    r = np.linspace(0, 1, 50)
    f = tensor(half_sphere_power(3)[0](r))
    torch.testing.assert_close(abel(f, 1000 * r), 1000 * abel(f, r), rtol=1e-11, atol=1e-9)


def test_positive_profiles_keep_positive_projections():
    """With straight lines no element is negative, and the error falls as the square of the spacing."""
    errors = []
    for n in (65, 129, 257):
        r = np.linspace(0, 1, n)
        matrix = positive_abel_matrix(r, r)
        assert (matrix >= 0).all()
        errors.append(np.linalg.norm(matrix @ GAUSS[0](r) - GAUSS[1](r)) / np.linalg.norm(GAUSS[1](r)))
    assert errors[2] < 3e-4
    assert errors[0] / errors[1] == pytest.approx(4, rel=0.1)
    assert errors[1] / errors[2] == pytest.approx(4, rel=0.1)


@pytest.mark.parametrize(
    ("values", "radii", "at"),
    [
        (torch.zeros(5), np.linspace(0, 1, 6), None),
        (torch.zeros(5), np.linspace(0, 1, 5), None),
        (torch.zeros(6), [0, 1, 2, 3, 3, 4], None),
        (torch.zeros(6), [-1, 1, 2, 3, 4, 5], None),
        (torch.zeros(6), [0, 1, 2, 3, 4, math.nan], None),
        (torch.zeros(6), ["a", 1, 2, 3, 4, 5], None),
        (torch.zeros(6), np.linspace(1, 2, 6), [0.5]),
        (torch.zeros(6), np.linspace(1, 2, 6), [2.5]),
        (torch.zeros(6), np.linspace(1, 2, 6), []),
        (torch.zeros(6, dtype=torch.int64), np.linspace(0, 1, 6), None),
        ([0.0] * 6, np.linspace(0, 1, 6), None),
    ],
)
def test_bad_input_is_refused_in_two_sentences(values, radii, at):
    for transform in (abel, inverse_abel):
        with pytest.raises((ValueError, TypeError)) as caught:
            transform(values, radii, at)
        assert re.fullmatch(r"(?s)[A-Z].+[.?] .+[.?]", str(caught.value)), str(caught.value)
