"""Soil models against closed forms and Fresnel's equations."""

import math

import numpy as np
import pytest
import torch
from scipy.integrate import quad

from physgen.forward_models.canopy.soil import (
    WATER_INDEX,
    BasisSoil,
    DryWetSoil,
    _surface,
    basis_soil,
    dry_wet_soil,
    wet_soil,
)
from physgen.forward_models.canopy.tables import grid, soil_table

F64 = torch.float64
# mean and standard deviation of the 4,168 measured spectra at 450, 850, 1650 and 2200 nm (ICRAF-ISRIC)
MEASURED_MEAN, MEASURED_SD = [0.1116, 0.3644, 0.4749, 0.3909], [0.0670, 0.1207, 0.1306, 0.1108]


def draws(*shape, seed=0):
    return torch.randn(*shape, dtype=F64, generator=torch.Generator().manual_seed(seed))


def fresnel(n, theta):
    """Reflectance of unpolarised light at incidence theta (Fresnel)."""
    inside = math.asin(math.sin(theta) / n)
    c, d = math.cos(theta), math.cos(inside)
    return 0.5 * (((c - n * d) / (c + n * d)) ** 2 + ((d - n * c) / (d + n * c)) ** 2)


def test_surface_reflectances_are_fresnels_integrals():
    n = WATER_INDEX
    normal, inside = _surface(n)
    outside = quad(lambda t: fresnel(n, t) * math.sin(2 * t), 0, math.pi / 2, epsabs=1e-12)[0]
    assert normal == pytest.approx(fresnel(n, 0.0), rel=1e-12)
    assert inside == pytest.approx(1 - (1 - outside) / n**2, abs=1e-9)


def test_dry_wet_soil_at_its_ends():
    t = soil_table()
    one, zero = torch.ones(3, dtype=F64), torch.zeros(3, dtype=F64)
    assert torch.equal(dry_wet_soil(one, one, t.dry, t.wet), t.dry.expand(3, -1))
    assert torch.equal(dry_wet_soil(one, zero, t.dry, t.wet), t.wet.expand(3, -1))
    half = dry_wet_soil(0.5 * one, 0.5 * one, t.dry, t.wet)
    torch.testing.assert_close(half, (0.25 * (t.dry + t.wet)).expand(3, -1))


def test_dry_wet_soil_stays_a_reflectance_over_its_support():
    soil = DryWetSoil()
    high = torch.tensor([[b.support[1] for b in soil.causes]], dtype=F64)
    assert soil(high, soil.prepare(grid())).max() <= 1


def test_basis_soil_is_the_logistic_of_a_sum():
    t, s = soil_table(), draws(2, 5, 6)
    got = basis_soil(s, t.mean, t.basis[:6])
    y = t.mean.numpy() + np.einsum("abk,kw->abw", s.numpy(), t.basis[:6].numpy())
    np.testing.assert_allclose(got, 1 / (1 + np.exp(-y)), rtol=1e-12)


@pytest.mark.parametrize("rank", [1, 4, 10])
def test_every_soil_of_the_prior_is_a_reflectance(rank):
    soil, w = BasisSoil(rank), grid()[::10]
    x = torch.cat([draws(5000, rank), torch.rand(5000, 1, dtype=F64, generator=torch.Generator().manual_seed(1))], -1)
    r = soil(x, soil.prepare(w))
    assert bool(((r > 0) & (r < 1)).all())
    far = soil(20 * x.clamp(-3, 3) * torch.tensor([1.0] * rank + [0.0]), soil.prepare(w))
    assert bool(((far >= 0) & (far <= 1)).all())


def test_dry_soils_of_the_prior_look_like_those_measured():
    soil = BasisSoil(10)
    x = torch.cat([draws(20000, 10), torch.zeros(20000, 1, dtype=F64)], -1)
    r = soil(x, soil.prepare(torch.tensor([450.0, 850.0, 1650.0, 2200.0], dtype=F64)))
    torch.testing.assert_close(r.mean(0), torch.tensor(MEASURED_MEAN, dtype=F64), atol=0.004, rtol=0)
    torch.testing.assert_close(r.std(0), torch.tensor(MEASURED_SD, dtype=F64), atol=0.006, rtol=0)


def test_wet_soil_sums_the_reflections_within_the_film():
    dry, water, film = torch.tensor([0.1, 0.3, 0.6], dtype=F64), torch.tensor([0.0, 5.0, 60.0], dtype=F64), 0.02
    wetness = torch.tensor([0.7], dtype=F64)
    r12, r21 = _surface(WATER_INDEX)
    passed = np.exp(-2 * film * 0.7 * water.numpy()) * dry.numpy()
    bounces = sum((1 - r12) * (1 - r21) * passed * (r21 * passed) ** j for j in range(200))
    expected = 0.3 * dry.numpy() + 0.7 * (r12 + bounces)
    np.testing.assert_allclose(wet_soil(dry, wetness, water, film)[0], expected, rtol=1e-13)


def test_water_darkens_and_a_white_soil_loses_nothing():
    t = soil_table()
    wetness = torch.linspace(0, 1, 11, dtype=F64)
    wet = wet_soil(t.dry, wetness, t.water)
    torch.testing.assert_close(wet[0], t.dry, rtol=0, atol=0)
    assert bool((wet.diff(dim=0) < 0).all())
    white = wet_soil(torch.ones(1, dtype=F64), wetness, torch.zeros(1, dtype=F64))
    torch.testing.assert_close(white, torch.ones_like(white), rtol=1e-14, atol=0)


@pytest.mark.parametrize("soil", [DryWetSoil(), BasisSoil(3)])
def test_gradients_are_those_of_finite_differences(soil):
    table = soil.prepare(torch.tensor([450.0, 1400.0, 1950.0, 2450.0], dtype=F64))
    x = torch.rand(4, len(soil.names), dtype=F64, generator=torch.Generator().manual_seed(2)).requires_grad_()
    assert torch.autograd.gradcheck(lambda v: soil(v, table), (x,))


@pytest.mark.parametrize("soil", [DryWetSoil(), BasisSoil(4)])
def test_rows_do_not_depend_on_their_number_and_dtype_is_kept(soil):
    table = soil.prepare(grid()[::40])
    x = torch.rand(67, len(soil.names), dtype=F64, generator=torch.Generator().manual_seed(3))
    whole = soil(x, table)
    assert all(torch.equal(soil(x[i : i + n], table), whole[i : i + n]) for i in (0, 5) for n in (1, 2, 3, 17, 60))
    single = soil(x.float(), table)
    assert single.dtype == torch.float32
    torch.testing.assert_close(single.double(), whole, atol=2e-6, rtol=0)


def test_causes_are_named_and_settings_checked():
    assert DryWetSoil().names == ("rsoil", "psoil")
    assert BasisSoil(2).names == ("soil_1", "soil_2", "wetness")
    with pytest.raises(ValueError, match=r"Invalid rank 11 of the soil basis. Must be an integer from 1 to 10."):
        BasisSoil(11)
    with pytest.raises(ValueError, match="Invalid film"):
        BasisSoil(2, film=-1.0)
