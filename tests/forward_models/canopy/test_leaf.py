"""The plate model against a sum over reflections, plate by plate, and against limits that have a closed form."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.integrate import quad
from scipy.special import expn

from physgen.forward_models.canopy.leaf import (
    LeafCoefficients,
    interface,
    interface_transmissivity,
    plate,
    prospect,
)

INDEX = np.array([1.52, 1.45, 1.38, 1.29])
SURFACE = interface(torch.tensor(INDEX))


def fresnel_average(n: float, angle: float) -> float:
    """Transmittance of a surface, averaged over d(sin^2) and both polarisations by quadrature."""

    def transmittance(u: float) -> float:
        c, d = np.sqrt(1 - u), np.sqrt(1 - u / n**2)
        return 2 * n * c * d * (1 / (c + n * d) ** 2 + 1 / (n * c + d) ** 2)

    edge = np.sin(np.radians(angle)) ** 2
    # u = edge - w^2 takes the square root at grazing incidence out of the integrand
    return quad(lambda w: 2 * w * transmittance(edge - w * w), 0, np.sqrt(edge), epsabs=0, epsrel=1e-13)[0] / edge


def pile_plate_by_plate(plates: int, k: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The definition: sum 4,000 reflections inside each plate, then add plates one by one."""
    tau = 2 * expn(3, k)
    t12, entry = (np.array([fresnel_average(n, angle) for n in INDEX]) for angle in (90.0, 40.0))
    t21 = t12 / INDEX**2
    r21 = 1 - t21

    def one(t_in: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        inside, r, t = t_in * tau, 1 - t_in, 0.0
        for bounce in range(4000):
            t, r = (t + inside * t21, r) if bounce % 2 == 0 else (t, r + inside * t21)
            inside = inside * r21 * tau
        return r, t

    r, t = one(t12)
    below_r, below_t = np.zeros_like(k), np.ones_like(k)
    for _ in range(plates - 1):
        below_r, below_t = r + t * t * below_r / (1 - r * below_r), t * below_t / (1 - r * below_r)
    top_r, top_t = one(entry)
    return top_r + top_t * t * below_r / (1 - r * below_r), top_t * below_t / (1 - r * below_r)


@pytest.mark.parametrize("angle", [20.0, 40.0, 59.0, 90.0])
def test_interface_agrees_with_fresnel_quadrature(angle: float) -> None:
    expected = torch.tensor([fresnel_average(n, angle) for n in INDEX])
    torch.testing.assert_close(interface_transmissivity(torch.tensor(INDEX), angle), expected, rtol=1e-13, atol=0)


@pytest.mark.parametrize("plates", [1, 2, 3, 4])
def test_whole_numbers_of_plates_agree_with_adding(plates: int) -> None:
    for k in (0.002, 0.05, 0.8, 6.0):
        depth = np.full(4, k)
        expected = [torch.from_numpy(x) for x in pile_plate_by_plate(plates, depth)]
        result = plate(torch.tensor(float(plates), dtype=torch.float64), torch.from_numpy(depth), SURFACE)
        torch.testing.assert_close(list(result), expected, rtol=1e-12, atol=1e-14)


def test_a_clear_leaf_conserves_light_with_the_closed_form() -> None:
    """Without absorption, T = T_first / (1 + (n - 1) r): value and derivative to n."""
    n = torch.tensor([1.0, 1.5, 2.25, 4.0], dtype=torch.float64)
    k = torch.zeros(4, 4, dtype=torch.float64)
    entry, back = 1 - SURFACE.entry_reflectance, 1 - SURFACE.r21_squared.sqrt()
    first_t = entry * back / (1 - SURFACE.r21_squared)
    r = 1 - (1 - SURFACE.reflectance) * back / (1 - SURFACE.r21_squared)
    expected = first_t / (1 + (n[:, None] - 1) * r)
    reflectance, transmittance = plate(n, k, SURFACE)
    torch.testing.assert_close(transmittance, expected, rtol=2e-14, atol=0)
    torch.testing.assert_close(reflectance, 1 - expected, rtol=2e-14, atol=0)
    _, slope = torch.func.jvp(lambda n: plate(n, k, SURFACE)[1], (n,), (torch.ones_like(n),))
    torch.testing.assert_close(slope, -expected * r / (1 + (n[:, None] - 1) * r), rtol=1e-6, atol=0)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
@pytest.mark.parametrize("k", [30.0, 90.0, 1e3, 1e6])
def test_an_opaque_leaf_is_its_first_surface(k: float, dtype: torch.dtype) -> None:
    surface = type(SURFACE)(*(x.to(dtype) for x in SURFACE))
    depth = torch.full((3, 4), k, dtype=dtype, requires_grad=True)
    n = torch.tensor([1.0, 1.7, 4.0], dtype=dtype, requires_grad=True)
    reflectance, transmittance = plate(n, depth, surface)
    torch.testing.assert_close(reflectance, surface.entry_reflectance.expand(3, 4))
    assert transmittance.max() < 1e-12
    for gradient in torch.autograd.grad((reflectance + transmittance).sum(), (n, depth)):
        assert torch.isfinite(gradient).all()
        assert gradient.abs().max() < 1e-10


@pytest.mark.parametrize("k", [1e-4, 1e-2, 0.3, 5.0])
@pytest.mark.parametrize("plates", [1.0 + 1e-3, 1.6, 2.0, 3.7])
def test_gradients_agree_with_central_differences(k: float, plates: float) -> None:
    def both(x: torch.Tensor) -> torch.Tensor:
        return torch.cat(plate(x[0], x[1:], SURFACE))

    x = torch.tensor([plates, k, k, k, k], dtype=torch.float64)
    forward, backward = torch.func.jacfwd(both)(x), torch.func.jacrev(both)(x)
    torch.testing.assert_close(forward, backward, rtol=1e-9, atol=1e-11)
    for i, h in enumerate([1e-4] + [1e-3 * k] * 4):
        step = torch.zeros_like(x)
        step[i] = h
        # fourth order, so that the differences are good to 1e-9
        slope = (8 * (both(x + step) - both(x - step)) - both(x + 2 * step) + both(x - 2 * step)) / (12 * h)
        torch.testing.assert_close(forward[:, i], slope, rtol=1e-7, atol=1e-8)


def test_the_gradient_at_no_absorption_is_the_limit_of_small_absorption() -> None:
    def slopes(k: float) -> torch.Tensor:
        depth = torch.full((4,), k, dtype=torch.float64)
        n = torch.tensor(1.8, dtype=torch.float64)
        return torch.cat(
            torch.func.jvp(lambda k: torch.cat(plate(n, k, SURFACE)), (depth,), (torch.ones(4).double(),))[1:]
        )

    torch.testing.assert_close(slopes(0.0), slopes(1e-9), rtol=1e-6, atol=0)
    torch.testing.assert_close(slopes(0.0), slopes(1e-6), rtol=1e-4, atol=0)


def test_contents_add_up_over_the_plates_and_rows_do_not_mix() -> None:
    draw = torch.Generator().manual_seed(1)
    absorption = torch.rand(3, 4, generator=draw, dtype=torch.float64)
    leaf = LeafCoefficients(torch.arange(4.0).double(), torch.tensor(INDEX), absorption, ("cab", "cw", "cm"))
    n, contents = 1 + torch.rand(33, generator=draw).double(), torch.rand(33, 3, generator=draw, dtype=torch.float64)
    reflectance, transmittance = prospect(n, contents, leaf)
    expected = plate(n, contents @ absorption / n[:, None], SURFACE)
    torch.testing.assert_close((reflectance, transmittance), expected, rtol=1e-13, atol=0)
    alone = prospect(n[4:5], contents[4:5], leaf)
    assert torch.equal(alone[0], reflectance[4:5])
    assert torch.equal(alone[1], transmittance[4:5])


def test_coefficients_move_and_check() -> None:
    leaf = LeafCoefficients(torch.arange(4.0).double(), torch.tensor(INDEX), torch.ones(1, 4).double(), ("cw",))
    some = leaf.at(torch.tensor([2, 0])).to(torch.float32)
    assert some.absorption.dtype == torch.float32
    torch.testing.assert_close(some.interface.gamma, SURFACE.gamma[[2, 0]].float())
    with pytest.raises(ValueError, match="shape"):
        LeafCoefficients(torch.arange(4.0), torch.tensor(INDEX), torch.ones(2, 4), ("cw",))
    with pytest.raises(ValueError, match="refractive index"):
        LeafCoefficients(torch.arange(4.0), torch.ones(4), torch.ones(1, 4), ("cw",))
    with pytest.raises(ValueError, match="Invalid angle 91"):
        interface_transmissivity(torch.tensor(1.4), 91.0)
