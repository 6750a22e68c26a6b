"""4SAIL against a matrix exponential of its four equations, its limits, its symmetries and central differences."""

from __future__ import annotations

import math
from itertools import pairwise

import numpy as np
import pytest
import torch
from scipy.integrate import quad
from scipy.linalg import expm

from physgen.forward_models.canopy.hotspot import angular_distance, hotspot
from physgen.forward_models.canopy.leaf_angles import campbell, verhoef
from physgen.forward_models.canopy.sail import (
    FourStream,
    Geometry,
    absorptance,
    bidirectional_reflectance,
    fractional_cover,
    geometry,
    layer,
    reflectance_factors,
    sail,
)


def f64(value) -> torch.Tensor:
    return torch.tensor(value, dtype=torch.float64)


RHO = f64([0.05, 0.48, 0.3, 0.02, 0.5])
TAU = f64([0.02, 0.5, 0.3, 0.0, 0.5])
SOIL = f64([0.1, 0.25, 0.4, 0.0, 0.3])


def angles(sun=30.0, view=10.0, azimuth=40.0, lai=3.0, size=0.05, ala=55.0) -> dict[str, torch.Tensor]:
    return {
        "lai": f64(lai),
        "hotspot_size": f64(size),
        "leaf_angles": campbell(f64(ala)),
        "solar_zenith": f64(sun),
        "view_zenith": f64(view),
        "relative_azimuth": f64(azimuth),
    }


def by_matrix_exponential(rho: float, tau: float, soil: float, g: Geometry) -> list[float]:
    """Reflectance factors rso, rdo, rsd, rdd without hot spot: downward sun and diffuse, upward diffuse and view.

    Layers thin enough for their exponentials to be tame are stacked as one banded linear system of the four fluxes at
    every level, and solved for light from the sun and from the sky.
    """
    lai, ks, ko, bf, sob, sof = (x.item() for x in g[:6])
    a = 1 - 0.5 * ((1 - bf) * rho + (1 + bf) * tau)
    sigma = 0.5 * ((1 + bf) * rho + (1 - bf) * tau)
    back_s, forth_s = 0.5 * ((ks + bf) * rho + (ks - bf) * tau), 0.5 * ((ks - bf) * rho + (ks + bf) * tau)
    back_o, forth_o = 0.5 * ((ko + bf) * rho + (ko - bf) * tau), 0.5 * ((ko - bf) * rho + (ko + bf) * tau)
    equations = np.array(
        [
            [-ks, 0, 0, 0],
            [forth_s, -a, sigma, 0],
            [-back_s, -sigma, a, 0],
            [-(sob * rho + sof * tau), -back_o, -forth_o, ko],
        ]
    )
    levels = 40
    step = expm(equations * lai / levels)
    size = 4 * (levels + 1)
    system, light = np.zeros((size, size)), np.zeros((size, 2))
    for i in range(levels):
        system[4 * i : 4 * i + 4, 4 * i : 4 * i + 4] = step
        system[4 * i : 4 * i + 4, 4 * i + 4 : 4 * i + 8] = -np.eye(4)
    system[-4, 0] = system[-3, 1] = 1.0  # sun and sky at the top
    light[-4, 0] = light[-3, 1] = 1.0
    system[-2, -4:] = [-soil, -soil, 1, 0]
    system[-1, -4:] = [-soil, -soil, 0, 1]
    top = np.linalg.solve(system, light)[:4]
    return [top[3, 0], top[3, 1], top[2, 0], top[2, 1]]


def without_hotspot(**kwargs: float) -> Geometry:
    g = geometry(**angles(**kwargs))
    return g._replace(single=g.z, tsstoo=g.tss * g.too)


@pytest.mark.parametrize(
    "case",
    [
        {},
        {"lai": 0.05},
        {"lai": 12.0},
        {"sun": 85.0, "view": 60.0},
        {"sun": 0.0, "view": 0.0, "azimuth": 0.0},
        {"ala": 85.0, "sun": 5.0},
        {"ala": 10.0, "azimuth": 180.0},
    ],
)
def test_agrees_with_a_matrix_exponential(case: dict[str, float]) -> None:
    g = without_hotspot(**case)
    factors = torch.stack(list(reflectance_factors(layer(RHO, TAU, g), SOIL, g)))
    spectra = zip(RHO.tolist(), TAU.tolist(), SOIL.tolist(), strict=True)
    expected = f64([by_matrix_exponential(*x, g) for x in spectra]).T
    torch.testing.assert_close(factors, expected, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("distance", [0.0, 1e-15, 1e-12, 1e-8, 1e-5, 1e-3])
@pytest.mark.parametrize("beam", ["sun", "view", "both"])
def test_extinction_close_to_the_diffuse_eigenvalue(beam: str, distance: float) -> None:
    """k = m is a removable singularity: values and gradients, wherever k comes to lie."""
    rho, tau = f64([0.08]), f64([0.03])
    g = without_hotspot()
    a = 1 - 0.5 * ((1 - g.bf) * rho + (1 + g.bf) * tau)
    sigma = 0.5 * ((1 + g.bf) * rho + (1 - g.bf) * tau)
    k = torch.sqrt((a - sigma) * (a + sigma)) + distance

    def factors(x: torch.Tensor) -> torch.Tensor:
        ks, ko = x[:1] if beam != "view" else g.ks, x[1:] if beam != "sun" else g.ko
        tss, too, z = torch.exp(-ks * 3), torch.exp(-ko * 3), -torch.expm1(-3 * (ks + ko)) / (ks + ko)
        near = Geometry(g.lai, ks, ko, g.bf, g.sob, g.sof, tss, too, z, z, tss * too)
        return torch.cat(list(reflectance_factors(layer(rho, tau, near), f64([0.2]), near)))

    x = torch.cat([k, k])
    near = g._replace(ks=k if beam != "view" else g.ks, ko=k if beam != "sun" else g.ko)
    torch.testing.assert_close(factors(x), f64(by_matrix_exponential(0.08, 0.03, 0.2, near)), rtol=1e-11, atol=0)
    forward = torch.func.jacfwd(factors)(x)
    torch.testing.assert_close(forward, torch.func.jacrev(factors)(x), rtol=1e-9, atol=1e-12)
    for i in range(2):
        h = torch.zeros(2, dtype=torch.float64)
        h[i] = 2e-4
        slope = (8 * (factors(x + h) - factors(x - h)) - factors(x + 2 * h) + factors(x - 2 * h)) / 2.4e-3
        torch.testing.assert_close(forward[:, i], slope, rtol=1e-7, atol=1e-10)


CORNERS: dict[str, dict[str, float]] = {
    "plain": {},
    "no leaves": {"lai": 0.0},
    "nearly no leaves": {"lai": 1e-6},
    "dense": {"lai": 12.0},
    "hot spot": {"sun": 30.0, "view": 30.0, "azimuth": 0.0},
    "no hot spot": {"size": 0.0},
    "sun in the zenith": {"sun": 0.0},
    "sun and view in the zenith": {"sun": 0.0, "view": 0.0},
    "low sun": {"sun": 85.0},
    "nadir": {"view": 0.0},
    "principal plane, forward": {"azimuth": 180.0},
    "principal plane, backward": {"azimuth": 0.0},
    "flat leaves": {"ala": 2.0},
    "upright leaves": {"ala": 88.0, "sun": 2.0},
    "sphere": {"ala": 56.8},
}


def everything(x: torch.Tensor, case: dict[str, float]) -> torch.Tensor:
    """All outputs as a function of (lai, hot-spot size, average leaf angle), then leaf and soil spectra."""
    conditions = angles(**case) | {"lai": x[0], "hotspot_size": x[1], "leaf_angles": campbell(x[2])}
    rho, tau, soil = x[3:].to(x.dtype).view(3, -1)
    conditions = {name: value.to(x.dtype) for name, value in conditions.items()}
    g = geometry(**conditions)
    stack = layer(rho, tau, g)
    return torch.cat([*reflectance_factors(stack, soil, g), *absorptance(stack, soil, g)])


@pytest.mark.parametrize("name", CORNERS)
def test_gradients_agree_with_differences_at_the_corners(name: str) -> None:
    case = CORNERS[name]
    known = {"lai": 3.0, "size": 0.05, "ala": 55.0} | case
    x = torch.cat([f64([known["lai"], known["size"], known["ala"]]), RHO[:4], TAU[:4], SOIL[:4]])
    value = everything(x, case)
    forward = torch.func.jacfwd(everything)(x, case)
    assert torch.isfinite(value).all()
    torch.testing.assert_close(forward, torch.func.jacrev(everything)(x, case), rtol=1e-9, atol=1e-12)
    # One-sided below 1e-3, where a content cannot be halved in both directions.
    for i, h in enumerate([1e-4, 1e-5, 1e-3] + [1e-4] * 12):
        e = torch.zeros_like(x)
        e[i] = h
        low = x[i] < 2 * h
        ahead = [everything(x + j * e, case) for j in range(5)]
        if low:
            slope = (-25 * ahead[0] + 48 * ahead[1] - 36 * ahead[2] + 16 * ahead[3] - 3 * ahead[4]) / (12 * h)
        else:
            behind = [everything(x - j * e, case) for j in range(3)]
            slope = (8 * (ahead[1] - behind[1]) - ahead[2] + behind[2]) / (12 * h)
        torch.testing.assert_close(forward[:, i], slope, rtol=1e-6, atol=2e-8)


@pytest.mark.parametrize("name", CORNERS)
def test_single_precision_is_finite_and_close_at_the_corners(name: str) -> None:
    case = CORNERS[name]
    known = {"lai": 3.0, "size": 0.05, "ala": 55.0} | case
    x = torch.cat([f64([known["lai"], known["size"], known["ala"]]), RHO, TAU, SOIL])
    torch.testing.assert_close(everything(x.float(), case).double(), everything(x, case), rtol=1e-5, atol=5e-6)
    assert torch.isfinite(torch.func.jacfwd(everything)(x.float(), case)).all()


@pytest.mark.parametrize("lai", [0.5, 4.0, 12.0])
def test_leaves_that_absorb_less_and_less(lai: float) -> None:
    """R + T -> 1: values and gradients go over into those of leaves that do not absorb."""

    def factors(absorption: torch.Tensor) -> torch.Tensor:
        g = geometry(**angles(lai=lai))
        half = 0.5 - 0.5 * absorption
        return torch.cat(list(reflectance_factors(layer(half, half, g), f64([0.3]), g)))

    value, slope = torch.func.jvp(factors, (f64([0.0]),), (f64([1.0]),))
    for tiny in (1e-14, 1e-10, 1e-7):
        near, near_slope = torch.func.jvp(factors, (f64([tiny]),), (f64([1.0]),))
        torch.testing.assert_close(near, value + tiny * slope, rtol=1e-9, atol=0)
        torch.testing.assert_close(near_slope, slope, rtol=1e-4, atol=0)
    h = f64([1e-3])
    ahead = [factors(j * h) for j in range(5)]
    numeric = (-25 * ahead[0] + 48 * ahead[1] - 36 * ahead[2] + 16 * ahead[3] - 3 * ahead[4]) / (12 * h)
    torch.testing.assert_close(slope, numeric, rtol=1e-4, atol=0)


def test_white_leaves_on_white_soil_return_all_light() -> None:
    conditions = angles(lai=5.0)
    half, white = f64([0.5, 0.7, 0.2]), f64([1.0, 1.0, 1.0])
    factors = sail(half, 1 - half, white, **conditions)
    torch.testing.assert_close(factors.rsd, white, rtol=1e-7, atol=0)
    torch.testing.assert_close(factors.rdd, white, rtol=1e-7, atol=0)
    torch.testing.assert_close(factors.rdo, white, rtol=1e-7, atol=0)
    g = geometry(**conditions)
    for absorbed in absorptance(layer(half, 1 - half, g), f64([0.1, 0.5, 0.9]), g):
        torch.testing.assert_close(absorbed, torch.zeros_like(absorbed), rtol=0, atol=1e-7)


def test_black_leaves_absorb_what_they_intercept() -> None:
    g = geometry(**angles())
    zero = f64([0.0])
    direct, diffuse = absorptance(layer(zero, zero, g), zero, g)
    torch.testing.assert_close(direct, 1 - torch.exp(-g.ks * g.lai), rtol=1e-13, atol=0)
    torch.testing.assert_close(diffuse, 1 - torch.exp(-g.lai), rtol=1e-13, atol=0)
    uniform = fractional_cover(f64(2.0), verhoef(f64(0.0), f64(0.0)))
    assert uniform.item() == pytest.approx(1 - math.exp(-2 * 2 / math.pi), abs=1e-3)  # 13 classes
    flat = torch.eye(13, dtype=torch.float64)[0]
    expected = 1 - math.exp(-2 * math.cos(math.radians(5)))
    torch.testing.assert_close(fractional_cover(f64(2.0), flat), f64(expected), rtol=1e-14, atol=0)


def test_without_leaves_there_is_soil() -> None:
    for factor in sail(RHO, TAU, SOIL, **angles(lai=0.0)):
        torch.testing.assert_close(factor, SOIL, rtol=1e-15, atol=1e-16)


def test_a_deep_canopy_is_semi_infinite() -> None:
    g = geometry(**angles(lai=300.0))
    a = 1 - 0.5 * ((1 - g.bf) * RHO[:4] + (1 + g.bf) * TAU[:4])
    sigma = 0.5 * ((1 + g.bf) * RHO[:4] + (1 - g.bf) * TAU[:4])
    rinf = sigma / (a + torch.sqrt(a**2 - sigma**2))
    factors = reflectance_factors(layer(RHO[:4], TAU[:4], g), SOIL[:4], g)
    torch.testing.assert_close(factors.rdd, rinf, rtol=1e-12, atol=0)


@pytest.mark.parametrize("size", [0.0, 0.05, 1.0])
def test_reciprocity(size: float) -> None:
    one = sail(RHO, TAU, SOIL, **angles(sun=50.0, view=20.0, size=size))
    other = sail(RHO, TAU, SOIL, **angles(sun=20.0, view=50.0, size=size))
    torch.testing.assert_close(one.rso, other.rso, rtol=1e-11, atol=1e-15)
    torch.testing.assert_close(one.rdo, other.rsd, rtol=1e-11, atol=1e-15)


def test_azimuth_is_any_real_number() -> None:
    draws = [sail(RHO, TAU, SOIL, **angles(azimuth=x)).rso for x in (40.0, -40.0, 320.0, 400.0, -760.0)]
    for other in draws[1:]:
        torch.testing.assert_close(other, draws[0], rtol=1e-12, atol=0)


def correlated_gap(x: float, lai: float, ks: float, ko: float, alpha: float) -> float:
    overlap = math.sqrt(ks * ko) * lai * (-math.expm1(-alpha * x) / alpha if alpha else x)
    return math.exp(overlap - (ks + ko) * lai * x)


@pytest.mark.parametrize("lai", [0.0, 0.3, 3.0, 12.0])
@pytest.mark.parametrize("alpha", [0.0, 1e-9, 0.01, 1.0, 20.0, 150.0, 200.0])
def test_hotspot_agrees_with_quadrature(lai: float, alpha: float) -> None:
    ks, ko = 0.6, 0.55
    size = f64(0.1)
    distance = 0.5 * alpha * size * (ks + ko)
    integral, ground = hotspot(f64(lai), f64(ks), f64(ko), size, distance)
    expected = quad(correlated_gap, 0, 1, (lai, ks, ko, alpha), epsrel=1e-10, points=[0.01, 0.1])[0]
    assert integral.item() == pytest.approx(expected, rel=2e-3)  # 20 steps
    assert ground.item() == pytest.approx(correlated_gap(1.0, lai, ks, ko, alpha), rel=1e-12)
    if alpha < 1e-3:  # the integrand is one exponential, for which the rule is exact
        assert integral.item() == pytest.approx(expected, rel=1e-9)


def test_hotspot_follows_its_rule_step_by_step() -> None:
    """The rule as published: nodes equal in the slope of the gap probability, exponential Simpson between them."""
    lai, ks, ko, alpha = 3.0, 0.6, 0.55, 7.0
    nodes = [-math.log(1 - i / 20 * (1 - math.exp(-alpha))) / alpha for i in range(20)] + [1.0]
    total = 0.0
    for low, high in pairwise(nodes):
        p, q = (correlated_gap(x, lai, ks, ko, alpha) for x in (low, high))
        total += (q - p) * (high - low) / math.log(q / p)
    integral, _ = hotspot(f64(lai), f64(ks), f64(ko), f64(0.1), f64(0.5 * alpha * 0.1 * (ks + ko)))
    assert integral.item() == pytest.approx(total, rel=1e-13)


def test_hotspot_limits() -> None:
    g = geometry(**angles(sun=30.0, view=30.0, azimuth=0.0))
    torch.testing.assert_close(g.tsstoo, g.tss, rtol=1e-9, atol=0)
    torch.testing.assert_close(g.single, (1 - g.tss) / g.ks, rtol=1e-9, atol=0)
    apart, none = geometry(**angles(size=0.0)), geometry(**angles(sun=30.0, view=30.0, azimuth=0.0, size=0.0))
    for g in (apart, none):  # 4SAIL lets 1/200 of the canopy's depth remain correlated
        torch.testing.assert_close(g.single, g.z, rtol=0.02, atol=0)
        torch.testing.assert_close(g.tsstoo, g.tss * g.too, rtol=0.02, atol=0)
    rise = [sail(RHO, TAU, SOIL, **angles(view=v, azimuth=0.0)).rso[0].item() for v in (10.0, 20.0, 30.0, 40.0, 50.0)]
    assert max(rise) == rise[2]


def test_angular_distance_is_the_law_of_cosines() -> None:
    s, o, psi = f64([0.5, 1.2, 0.0]), f64([0.7, 0.1, 0.3]), f64([0.4, 3.0, 1.0])
    expected = torch.sqrt(s**2 + o**2 - 2 * s * o * torch.cos(psi))
    torch.testing.assert_close(angular_distance(s, o, psi), expected, rtol=1e-14, atol=0)
    assert angular_distance(f64(0.5), f64(0.5), f64(0.0)).item() < 1e-100


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_rows_do_not_mix_and_shared_angles_broadcast(dtype: torch.dtype) -> None:
    draw = torch.Generator().manual_seed(3)
    u = torch.rand(9, 33, generator=draw, dtype=dtype)
    rho, tau, soil = (torch.rand(33, 70, generator=draw, dtype=dtype) * 0.45 for _ in range(3))

    def run(rows: slice, sun: torch.Tensor) -> FourStream:
        return sail(
            rho[rows],
            tau[rows],
            soil[rows],
            lai=8 * u[0, rows],
            hotspot_size=0.3 * u[1, rows],
            leaf_angles=campbell(20 + 60 * u[2, rows]),
            solar_zenith=sun,
            view_zenith=30 * u[3, rows],
            relative_azimuth=360 * u[4, rows],
        )

    sun = torch.full((33,), 35.0, dtype=dtype)
    whole, some, one = run(slice(None), sun), run(slice(4, 9), sun[4:9]), run(slice(4, 5), sun[4:5])
    for a, b, c in zip(whole, some, one, strict=True):
        assert torch.equal(a[4:9], b)
        assert torch.equal(a[4:5], c)
    for a, b in zip(whole, run(slice(None), sun[:1]), strict=True):
        torch.testing.assert_close(a, b)


def test_rso_alone_is_the_rso_of_all_four() -> None:
    g = geometry(**angles())
    stack = layer(RHO, TAU, g)
    assert torch.equal(bidirectional_reflectance(stack, SOIL, g), reflectance_factors(stack, SOIL, g).rso)
