"""`Canopy` against its parts put together by hand, central differences, energy balance and limits."""

import math
import re

import numpy as np
import pytest
import torch

from physgen.forward_models import Canopy, DryWetSoil, Leaf, Sensor, sail, vegetation
from physgen.forward_models.canopy.leaf_angles import campbell, verhoef
from physgen.forward_models.canopy.sail import geometry, layer
from physgen.forward_models.canopy.tables import solar_irradiance
from physgen.noise import GaussianNoise
from physgen.problem import Problem
from physgen.rows import jacobian
from physgen.testing import check_forward_model

VARIANTS = {
    "default": Canopy(),
    "PRO, two soils": Canopy(sensor="landsat-8", leaf="PRO", soil="dry-wet"),
    "5, verhoef": Canopy(sensor="sentinel-2b", leaf="5", leaf_angles="verhoef", bands=("B04", "B8A", "B11")),
    "4": Canopy(sensor=Sensor.gaussian([550.0, 670.0, 865.0, 1650.0], [20.0] * 4), leaf="4", soil=DryWetSoil()),
}
LEAF = {
    "D": ("n", "cab", "car", "ant", "cbrown", "cw", "cm"),
    "PRO": ("n", "cab", "car", "ant", "cbrown", "cw", "prot", "cbc"),
}


def angles(rows, seed=0):
    """Geometries over all that satellites see, one for each row."""
    u = torch.from_numpy(np.random.default_rng([seed, rows]).uniform(size=(3, rows)))
    return {"solar_zenith": 15 + 60 * u[0], "view_zenith": 45 * u[1], "relative_azimuth": 360 * u[2] - 180}


def causes(model, rows, seed=0):
    """Draws from the prior, or values within the supports for a version of the leaf that the prior does not know."""
    if model.leaf in ("D", "PRO"):
        return vegetation(model).sample(rows, seed=seed, dtype=torch.float64)
    like = Canopy(soil=model.soil, leaf_angles=model.leaf_angles)
    x, names = causes(like, rows, seed), like.causes.names
    return torch.stack([x[:, names.index(name)] for name in model.causes.names], -1)


@pytest.mark.parametrize("name", VARIANTS)
def test_the_contract_of_a_forward_model(name):
    model = VARIANTS[name]
    x = causes(model, 60)
    check_forward_model(model, x, conditions=angles(60))


def test_the_default_passes_its_own_check_without_being_given_anything():
    check_forward_model(Canopy())


@pytest.mark.parametrize("version", ["D", "PRO", "5", "4"])
@pytest.mark.parametrize("law", ["campbell", "verhoef"])
def test_it_is_leaf_soil_and_layer_put_together(version, law):
    model = Canopy(sensor="full", leaf=version, soil="dry-wet", leaf_angles=law)
    x, seen = causes(model, 5), angles(5)
    column = dict(zip(model.causes.names, x.T, strict=True))
    lai = model.causes.names.index("lai")
    rho, tau = Leaf(version)(x[:, :lai]).split(2101, -1)
    weights = campbell(column["ala"]) if law == "campbell" else verhoef(column["lidfa"], column["lidfb"])
    soil = DryWetSoil()
    ground = soil(x[:, -2:], soil.prepare(torch.arange(400.0, 2501.0)))
    each = sail(rho, tau, ground, lai=column["lai"], hotspot_size=column["hotspot"], leaf_angles=weights, **seen)
    torch.testing.assert_close(model(x, **seen), each.rso, rtol=1e-11, atol=1e-12)
    for found, expected in zip(model.factors(x, **seen), each, strict=True):
        torch.testing.assert_close(found, expected, rtol=1e-11, atol=1e-12)


@pytest.mark.parametrize("sensor", ["sentinel-2a", "sentinel-2b", "landsat-8", "landsat-9"])
def test_the_short_quadrature_gives_the_exact_bands_to_1e_4(sensor):
    short, exact = Canopy(sensor=sensor), Canopy(sensor=sensor, exact=True)
    x, seen = causes(short, 300, seed=3), angles(300, seed=3)
    assert float((short(x, **seen) - exact(x, **seen)).abs().max()) < 1e-4


@pytest.mark.parametrize("diffuse", [False, True])
@pytest.mark.parametrize("name", VARIANTS)
def test_the_jacobian_is_that_of_automatic_and_of_finite_differences(name, diffuse):
    model = VARIANTS[name]
    x, seen = causes(model, 24, seed=5), angles(24, seed=5)
    if diffuse:
        seen["diffuse_fraction"] = torch.linspace(0, 1, 24)
    value, slopes = model.jacobian(x, **seen)
    torch.testing.assert_close(value, model(x, **seen), rtol=1e-11, atol=1e-12)
    _, automatic = jacobian(lambda x: model(x, **seen), x)
    scale = automatic.abs().amax((1, 2))[:, None, None]
    assert float(((slopes - automatic).abs() / scale).max()) < 1e-10
    size = x.abs().mean(0)
    for j in range(x.shape[1]):
        step = 1e-5 * size[j] * torch.eye(x.shape[1])[j]
        both = [model(x + k * step, **seen) for k in (-2, -1, 1, 2)]
        central = (both[0] - 8 * both[1] + 8 * both[2] - both[3]) / (12 * 1e-5 * size[j])
        # in the units in which a cause changes by its own size
        assert float(((slopes[..., j] - central) * size[j]).abs().max()) < 1e-8


def test_factors_and_diffuse_light():
    model = Canopy()
    x, seen = causes(model, 50), angles(50)
    each = model.factors(x, **seen)
    assert torch.equal(each.rso, model(x, **seen))
    for spectrum in each:
        assert spectrum.shape == (50, 13)
        assert 0 < float(spectrum.min()) < float(spectrum.max()) < 1
    share = torch.linspace(0, 1, 50)
    mixed = model(x, **seen, diffuse_fraction=share)
    torch.testing.assert_close(mixed, (1 - share[:, None]) * each.rso + share[:, None] * each.rdo)
    torch.testing.assert_close(mixed[0], each.rso[0], rtol=1e-13, atol=0)
    torch.testing.assert_close(mixed[-1], each.rdo[-1], rtol=1e-13, atol=0)


def test_light_takes_the_same_path_both_ways():
    """Reciprocity: sun and view change places (Helmholtz)."""
    model = Canopy()
    x, seen = causes(model, 40), angles(40)
    other = {**seen, "solar_zenith": seen["view_zenith"], "view_zenith": seen["solar_zenith"]}
    one, two = model.factors(x, **seen), model.factors(x, **other)
    torch.testing.assert_close(one.rso, two.rso, rtol=1e-10, atol=1e-12)
    torch.testing.assert_close(one.rsd, two.rdo, rtol=1e-10, atol=1e-12)
    torch.testing.assert_close(one.rdd, two.rdd, rtol=1e-10, atol=1e-12)


def test_without_leaves_there_is_soil():
    model = Canopy(soil="dry-wet", sensor="full")
    x, seen = causes(model, 10), angles(10)
    x[:, model.causes.names.index("lai")] = 0.0
    ground = DryWetSoil()(x[:, -2:], DryWetSoil().prepare(torch.arange(400.0, 2501.0)))
    for spectrum in model.factors(x, **seen):
        torch.testing.assert_close(spectrum, ground, rtol=1e-12, atol=1e-12)
    zenith = seen["solar_zenith"]
    torch.testing.assert_close(model.fapar(x, solar_zenith=zenith), torch.zeros(10), rtol=0, atol=1e-12)
    torch.testing.assert_close(model.cover(x), torch.zeros(10), rtol=0, atol=1e-12)


def black(model, rows):
    """Causes over a soil that reflects nothing."""
    x = causes(model, rows)
    x[:, model.causes.names.index("rsoil")] = 0.0
    return x


def test_over_black_soil_leaves_absorb_what_is_neither_reflected_nor_transmitted():
    model = Canopy(soil="dry-wet")
    x, zenith = black(model, 30), angles(30)["solar_zenith"]
    column = dict(zip(model.causes.names, x.T, strict=True))
    wavelengths = torch.arange(400.0, 701.0)
    rho, tau = Leaf("D", wavelengths)(x[:, :7]).split(301, -1)
    nadir = torch.zeros(30)
    g = geometry(column["lai"], column["hotspot"], campbell(column["ala"]), zenith, nadir, nadir)
    light = layer(rho, tau, g)
    photons = solar_irradiance()[:301] * wavelengths
    photons = photons / photons.sum()
    sun = ((1 - light.rsd - light.tsd - g.tss) * photons).sum(-1)
    sky = ((1 - light.rdd - light.tdd) * photons).sum(-1)
    # fapar sums every fifth nanometre
    torch.testing.assert_close(model.fapar(x, solar_zenith=zenith), sun, rtol=0, atol=1e-3)
    torch.testing.assert_close(model.fapar(x, solar_zenith=zenith, diffuse_fraction=1.0), sky, rtol=0, atol=1e-3)
    share = torch.linspace(0, 1, 30)
    mixed = model.fapar(x, solar_zenith=zenith, diffuse_fraction=share)
    torch.testing.assert_close(mixed, (1 - share) * sun + share * sky, rtol=0, atol=1e-3)


@pytest.mark.parametrize("soil", ["basis", "dry-wet"])
def test_fapar_is_a_fraction_that_grows_with_leaf_area(soil):
    model = Canopy(soil=soil)
    x = causes(model, 40)[:, None].repeat(1, 25, 1)
    x[..., model.causes.names.index("lai")] = torch.linspace(0, 12, 25)
    zenith = angles(40)["solar_zenith"][:, None].expand(40, 25)
    for share in (0.0, 0.3, 1.0):
        fapar = model.fapar(x, solar_zenith=zenith, diffuse_fraction=share)
        assert fapar.shape == (40, 25)
        assert float(fapar.min()) >= -1e-12
        assert float(fapar.max()) < 1
        assert float(fapar.diff(dim=-1).min()) > 0
        assert float(fapar[:, -1].min()) > 0.9  # a dense canopy reflects a few per cent


def test_a_bright_soil_gives_light_back_to_the_leaves():
    model = Canopy(soil="dry-wet")
    dark, zenith = black(model, 20), angles(20)["solar_zenith"]
    bright = dark.clone()
    bright[:, model.causes.names.index("rsoil")] = 1.0
    assert bool((model.fapar(bright, solar_zenith=zenith) > model.fapar(dark, solar_zenith=zenith)).all())


def test_cover_is_one_less_the_gap_seen_from_the_zenith():
    for law in ("campbell", "verhoef"):
        model = Canopy(leaf_angles=law)
        x = causes(model, 30)
        cover = model.cover(x)
        assert 0 < float(cover.min()) < float(cover.max()) < 1
        lai = model.causes.names.index("lai")
        weights = campbell(x[:, lai + 1]) if law == "campbell" else verhoef(x[:, lai + 1], x[:, lai + 2])
        cosine = torch.cos(torch.deg2rad(torch.tensor([5.0, 15, 25, 35, 45, 55, 65, 75, 81, 83, 85, 87, 89])))
        # a leaf inclined by t hides cos(t) of its area from the zenith (Beer's law)
        expected = 1 - torch.exp(-x[:, lai] * (weights * cosine).sum(-1))
        torch.testing.assert_close(cover, expected, rtol=1e-9, atol=1e-12)


def test_spherical_leaves_hide_half_their_area():
    model = Canopy()
    x = causes(model, 10)
    lai = model.causes.names.index("lai")
    x[:, lai + 1] = 57.3  # the mean angle of a sphere's surface
    extinction = -torch.log(1 - model.cover(x)) / x[:, lai]
    # 13 classes of angles come as close to the sphere's 1/2
    torch.testing.assert_close(extinction, torch.full((10,), 0.5), rtol=0, atol=0.02)


def test_spaces():
    model = Canopy()
    assert model.causes.names == (*LEAF["D"], "lai", "ala", "hotspot", "soil_1", "soil_2", "soil_3", "wetness")
    assert model.causes.block("cab").units == "ug cm-2"
    assert model.causes.block("lai").units == "m2 m-2"
    assert model.causes.block("ala").units == "degree"
    two = Canopy(leaf="PRO", leaf_angles="verhoef", soil="dry-wet").causes.names
    assert two == (*LEAF["PRO"], "lai", "lidfa", "lidfb", "hotspot", "rsoil", "psoil")
    assert all(b.units and b.long_name for b in model.causes)
    assert model.conditions.names == ("solar_zenith", "view_zenith", "relative_azimuth", "diffuse_fraction")
    assert [b.units for b in model.conditions] == ["degree", "degree", "degree", "1"]


def test_bands_are_named_and_come_in_the_order_asked_for():
    whole, some = Canopy(), Canopy(bands=("B11", "B03"))
    block = some.observables.block("reflectance")
    assert block.dims == ("band",)
    assert block.coordinates["band"].values == ("B11", "B03")
    centre = block.coordinates["wavelength"].values
    assert abs(centre[0] - 1614) < 5  # ESA's central wavelengths of Sentinel-2A
    assert abs(centre[1] - 560) < 3
    x, seen = causes(whole, 4), angles(4)
    every = whole.observables.block("reflectance").coordinates["band"].values
    assert len(every) == whole.observables.size == 13
    at = [every.index("B11"), every.index("B03")]
    torch.testing.assert_close(some(x, **seen), whole(x, **seen)[:, at], rtol=0, atol=2e-4)  # quadratures of their own
    both = Canopy(exact=True), Canopy(bands=("B11", "B03"), exact=True)
    torch.testing.assert_close(both[1](x, **seen), both[0](x, **seen)[:, at], rtol=1e-12, atol=0)


@pytest.mark.parametrize("shape", [(), (1,), (2, 3), (4, 2, 3)])
def test_draws_lead_and_conditions_broadcast(shape):
    model = VARIANTS["5, verhoef"]
    rows = math.prod(shape)
    x, seen = causes(model, rows), {k: v[-1] for k, v in angles(3).items()}
    flat = model(x, **{k: v.expand(rows) for k, v in seen.items()})
    torch.testing.assert_close(model(x.reshape(*shape, -1), **seen).reshape(rows, -1), flat, rtol=1e-12, atol=0)
    if shape:
        last = {k: v.expand(shape[-1]) for k, v in seen.items()}
        torch.testing.assert_close(model(x.reshape(*shape, -1), **last).reshape(rows, -1), flat, rtol=1e-12, atol=0)


def test_float32():
    model = Canopy()
    x, seen = causes(model, 300), angles(300)
    narrow = {k: v.float() for k, v in seen.items()}
    single = model(x.float(), **narrow)
    assert single.dtype == torch.float32
    assert float((single - model(x, **seen)).abs().max()) < 2e-5
    value, slopes = model.jacobian(x.float(), **narrow)
    assert value.dtype == slopes.dtype == torch.float32
    exact = model.jacobian(x, **seen)[1] * x.abs().mean(0)
    assert float((slopes * x.float().abs().mean(0) - exact).abs().max()) < 1e-3
    assert model.fapar(x.float(), solar_zenith=narrow["solar_zenith"]).dtype == torch.float32
    assert model.cover(x.float()).dtype == torch.float32


def test_rows_do_not_depend_on_their_number():
    """To the last bit, in value and Jacobian, in float64."""
    for model in VARIANTS.values():
        x, seen = causes(model, 100, seed=8), angles(100, seed=8)
        whole, (_, slopes) = model(x, **seen), model.jacobian(x, **seen)
        for rows in (slice(0, 1), slice(3, 10), slice(99, 100)):
            own = {k: v[rows] for k, v in seen.items()}
            assert torch.equal(model(x[rows], **own), whole[rows])
            assert torch.equal(model.jacobian(x[rows], **own)[1], slopes[rows])


def test_tables_made_in_inference_mode_serve_gradients_later():
    model = Canopy(bands=("B04", "B8A"))
    x, seen = causes(model, 2), angles(2)
    with torch.inference_mode():
        model(x.clone(), **seen)
    leaf = x.clone().requires_grad_(True)
    model(leaf, **seen).sum().backward()
    assert bool(torch.isfinite(leaf.grad).all())


def test_conditions_go_by_keyword():
    model, seen = Canopy(), angles(2)
    x = causes(model, 2)
    with pytest.raises(TypeError):
        model(x, *seen.values())
    with pytest.raises(TypeError):
        model(x, solar_zenith=seen["solar_zenith"])
    problem = Problem(model, vegetation(model), GaussianNoise(0.01))
    y = model(x, **seen)
    with pytest.raises((TypeError, ValueError), match="view_zenit"):
        problem.condition(y, **{**seen, "view_zenit": 0.0})
    with pytest.raises(ValueError, match="solar_zenith 95"):
        problem.condition(y, **{**seen, "solar_zenith": 95.0})
    with pytest.raises(ValueError, match="13"):
        problem.condition(y[:, :12], **seen)


@pytest.mark.parametrize(
    ("settings", "wrong"),
    [
        ({"sensor": "sentinel-3"}, "sentinel-3"),
        ({"leaf": "E"}, "E"),
        ({"soil": "mud"}, "mud"),
        ({"leaf_angles": "goudriaan"}, "goudriaan"),
        ({"bands": ("B04", "B99")}, "B99"),
    ],
)
def test_unknown_names_are_answered_in_two_sentences(settings, wrong):
    with pytest.raises(ValueError, match=wrong) as caught:
        Canopy(**settings)
    assert re.fullmatch(r"[A-Z].+\. .+[.?]", str(caught.value))
