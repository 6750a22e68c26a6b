"""Band averages against direct integrals."""

import math

import numpy as np
import pytest
import torch
from scipy.integrate import quad

from physgen.forward_models.canopy.leaf import LeafCoefficients, prospect
from physgen.forward_models.canopy.leaf_angles import campbell
from physgen.forward_models.canopy.sail import sail
from physgen.forward_models.canopy.sensors import Quadrature, Sensor, band_average, short_quadrature
from physgen.forward_models.canopy.soil import BasisSoil
from physgen.forward_models.canopy.tables import grid, leaf_table, sensor_table

F64 = torch.float64
TEN = ["B02", "B03", "B04", "B05", "B06", "B07", "B08", "B8A", "B11", "B12"]
NAMED = ["sentinel-2a", "sentinel-2b", "landsat-8", "landsat-9", "emit"]


def beer_lambert(n, seed=0):
    """Spectra (n, 2101) exp(-absorption) with random contents, times a slope: not what the rule was fitted on."""
    g = torch.Generator().manual_seed(seed)
    t = leaf_table("D")
    largest = torch.tensor([60.0, 15.0, 5.0, 0.5, 0.03, 0.02], dtype=F64)
    contents = torch.rand(n, 6, dtype=F64, generator=g) * largest
    slope = 1 + 0.2 * torch.rand(n, 1, dtype=F64, generator=g) * (grid() - 1000) / 1000
    return 0.6 * slope * torch.exp(-contents @ t.absorption)


def at_nodes(spectra, q):
    return spectra[:, (q.wavelengths - 400).long()]


@pytest.mark.parametrize("name", NAMED)
def test_exact_average_is_the_integral_over_the_response(name):
    s, spectra = Sensor.named(name), beer_lambert(20)
    got = band_average(spectra, s.exact)
    response = sensor_table(name).response if name != "emit" else s.response
    direct = np.stack([np.average(spectra, axis=1, weights=r) for r in response], -1)
    np.testing.assert_allclose(got, direct, rtol=1e-9)


@pytest.mark.parametrize("fwhm", [0.3, 5.0, 90.0])
def test_gaussian_average_is_the_integral_of_the_interpolated_spectrum(fwhm):
    w, y = grid().numpy(), beer_lambert(1)[0].numpy()
    centre, sigma = 1650.4, fwhm / math.sqrt(8 * math.log(2))

    def integrand(x):
        return np.interp(x, w, y) * math.exp(-0.5 * ((x - centre) / sigma) ** 2) / (sigma * math.sqrt(2 * math.pi))

    pieces = np.arange(math.floor(centre - 6 * sigma), math.ceil(centre + 6 * sigma) + 1)
    direct = sum(quad(integrand, a, a + 1)[0] for a in pieces[:-1])
    s = Sensor.gaussian([centre], [fwhm])
    assert band_average(torch.as_tensor(y), s.exact)[0].item() == pytest.approx(direct, abs=1e-7)


def test_gaussian_of_no_width_is_a_single_wavelength():
    s, y = Sensor.gaussian([500.0, 1650.25, 2500.0], [0.0, 0.0, 0.0]), beer_lambert(3)
    expected = torch.stack([y[:, 100], 0.75 * y[:, 1250] + 0.25 * y[:, 1251], y[:, 2100]], -1)
    torch.testing.assert_close(band_average(y, s.exact), expected, rtol=1e-9, atol=0)


@pytest.mark.parametrize("name", NAMED)
def test_short_rule_is_positive_normalised_and_within_the_band(name):
    s = Sensor.named(name)
    q = s.quadrature
    assert bool((q.weight >= 0).all())
    torch.testing.assert_close(q.weight.sum(0), torch.ones(len(s.bands), dtype=F64), rtol=1e-12, atol=0)
    columns = (q.wavelengths - 400).long()
    assert bool((s.response[:, columns][q.matrix.T > 0] > 0).all())
    assert bool((q.matrix > 0).any(1).all())  # no wavelength is computed in vain


def test_ten_bands_of_sentinel_2_cost_at_most_sixty_wavelengths():
    assert len(Sensor.named("sentinel-2a", TEN).quadrature.wavelengths) <= 60
    assert len(Sensor.named("sentinel-2b", TEN).quadrature.wavelengths) <= 60


@pytest.fixture(scope="module")
def canopies():
    """1,200 canopies (n, 2101), a third each with PROSPECT-D, PRO and 5, over all soils, at random."""
    largest = {"cab": 100, "car": 25, "ant": 10, "cbrown": 1, "cw": 0.05, "cm": 0.03, "prot": 0.003, "cbc": 0.027}
    spectra = []
    for seed, version in enumerate(("D", "PRO", "5")):
        rng, table, n = np.random.default_rng(700 + seed), leaf_table(version), 400

        def uniform(low, high, *shape, rng=rng, n=n):
            return torch.as_tensor(rng.uniform(low, high, (n, *shape)))

        contents = 0.02 * uniform(1, 50, 1) * torch.tensor([largest[c] for c in table.constituents], dtype=F64)
        contents = contents * uniform(0, 1, len(table.constituents)) + 1e-3 * (contents < 0.06)
        coefficients = LeafCoefficients(table.wavelength, table.refractive_index, table.absorption, table.constituents)
        soil = BasisSoil(8)
        parameters = torch.cat([torch.as_tensor(rng.standard_normal((n, 8))), uniform(0, 1, 1)], -1)
        factors = sail(
            *prospect(uniform(1, 3), contents, coefficients),
            soil(parameters, soil.prepare(grid())),
            lai=uniform(0, 10) * uniform(0, 1),
            hotspot_size=uniform(0.01, 0.5),
            leaf_angles=campbell(uniform(30, 80)),
            solar_zenith=uniform(0, 70),
            view_zenith=uniform(0, 30),
            relative_azimuth=uniform(0, 180),
        )
        spectra.append(factors.rso)
    return torch.cat(spectra)


@pytest.mark.parametrize("name", [*NAMED, "ten", "gaussian"])
def test_short_rule_gives_the_bands_of_canopies_to_1e_4(name, canopies):
    if name == "ten":
        s = Sensor.named("sentinel-2a", TEN)
    elif name == "gaussian":
        s = Sensor.gaussian([450.0, 555.0, 720.0, 1240.0, 2130.0], [20.0, 10.0, 0.0, 40.0, 100.0])
    else:
        s = Sensor.named(name)
    error = band_average(at_nodes(canopies, s.quadrature), s.quadrature) - band_average(canopies, s.exact)
    assert error.abs().max() < 1e-4
    assert error.square().mean().sqrt() < 1e-5


def test_tolerance_buys_accuracy_with_wavelengths(canopies):
    s = Sensor.named("sentinel-2a", ["B02", "B12"])
    exact = band_average(canopies, s.exact)
    errors, counts = [], []
    for tolerance in (1e-3, 1e-4, 1e-5):
        q = short_quadrature(s, tolerance)
        errors.append((band_average(at_nodes(canopies, q), q) - exact).abs().max().item())
        counts.append(len(q.wavelengths))
        assert errors[-1] < 1.5 * tolerance
    assert counts[0] < counts[1] < counts[2]
    assert errors[0] > errors[1] > errors[2]


@pytest.mark.parametrize("name", NAMED)
def test_short_rule_is_usable_on_spectra_of_another_kind(name):
    s, spectra = Sensor.named(name), beer_lambert(500)  # transmission: the rule was not fitted on its like
    error = band_average(at_nodes(spectra, s.quadrature), s.quadrature) - band_average(spectra, s.exact)
    assert error.abs().max() < 5e-4
    assert error.square().mean().sqrt() < 2e-5


def test_short_rule_is_deterministic():
    one, two = (short_quadrature(Sensor.named("landsat-8")) for _ in range(2))
    assert torch.equal(one.wavelengths, two.wavelengths)
    assert torch.equal(one.weight, two.weight)


@pytest.mark.parametrize("which", ["quadrature", "exact"])
def test_rows_do_not_depend_on_their_number(which):
    q = getattr(Sensor.named("sentinel-2a", TEN), which)
    spectra = torch.rand(300, len(q.wavelengths), dtype=F64, generator=torch.Generator().manual_seed(0))
    whole = band_average(spectra, q)
    for n in (1, 2, 3, 4, 5, 7, 8, 9, 15, 16, 17, 31, 33, 64, 100, 255, 256, 300):
        assert torch.equal(band_average(spectra[:n], q), whole[:n])
        assert torch.equal(band_average(spectra[300 - n :], q), whole[300 - n :])
    assert torch.equal(band_average(spectra.reshape(3, 100, -1), q), whole.reshape(3, 100, -1))
    assert torch.equal(band_average(spectra[7], q), whole[7])


def test_float32_is_the_same_average():
    q = Sensor.named("sentinel-2a").quadrature
    spectra = torch.rand(50, len(q.wavelengths), dtype=F64, generator=torch.Generator().manual_seed(0))
    single = band_average(spectra.float(), q)
    assert single.dtype == torch.float32
    torch.testing.assert_close(single.double(), band_average(spectra, q), atol=3e-7, rtol=0)


def test_gradient_is_the_weight():
    q = Sensor.named("sentinel-2a", TEN).quadrature
    jacobian = torch.autograd.functional.jacobian(
        lambda y: band_average(y, q),
        torch.rand(len(q.wavelengths), dtype=F64, generator=torch.Generator().manual_seed(0)),
    )
    torch.testing.assert_close(jacobian, q.matrix.T, rtol=0, atol=0)


def test_full_spectrum_is_left_as_it_is():
    s, spectra = Sensor.named("full"), beer_lambert(2)
    assert torch.equal(band_average(spectra, s.quadrature), spectra)
    some = s.select(["550", "2200"])
    torch.testing.assert_close(band_average(spectra, some.exact), spectra[:, [150, 1800]], rtol=0, atol=0)
    assert some.quadrature.wavelengths.tolist() == [550.0, 2200.0]


def test_bands_come_in_the_order_asked_for():
    s = Sensor.named("sentinel-2a", ["B8A", "B02"])
    assert s.bands == ("B8A", "B02")
    np.testing.assert_allclose(s.centre, [864.7, 492.4], atol=0.1)
    both = band_average(beer_lambert(4), s.exact)
    torch.testing.assert_close(both, band_average(beer_lambert(4), Sensor.named("sentinel-2a").exact)[:, [8, 1]])


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Sensor.named("sentinel-3"), "Unknown sensor 'sentinel-3'. Must be one of sentinel-2a, .*full"),
        (lambda: Sensor.named("sentinel-2a", ["B13"]), "Unknown band 'B13' of sentinel-2a. Give a list out of B01"),
        (lambda: Sensor.named("sentinel-2a", "B02"), "Unknown band 'B02' of sentinel-2a. Give a list"),
        (lambda: Sensor.named("sentinel-2a", []), "Give at least one"),
        (lambda: Sensor.named("sentinel-2a", ["B02", "B02"]), "each only once"),
        (lambda: Sensor.gaussian([380.0], [10.0]), "Invalid wavelength 380 nm. Must lie within 400 to 2500 nm."),
        (lambda: Sensor.gaussian([500.0], [-1.0]), "Each must be finite and at least 0 nm."),
        (lambda: Sensor.gaussian([500.0, 600.0], [10.0]), "Give one for each of the 2 centres."),
        (lambda: Sensor.gaussian([500.0], [10.0], bands=["a", "b"]), "Give one for each of the 1 centres."),
        (lambda: short_quadrature(Sensor.named("landsat-8"), 0.0), "Invalid tolerance 0.0. Must be greater than 0."),
    ],
)
def test_bad_input_is_answered_in_two_sentences(make, message):
    with pytest.raises(ValueError, match=message):
        make()


def test_spectrum_of_the_wrong_length_is_refused():
    q = Quadrature(grid()[:3], torch.zeros(1, 1, dtype=torch.int64), torch.ones(1, 1, dtype=F64))
    with pytest.raises(ValueError, match=r"Invalid spectrum of shape .* The last axis must be 3 wavelengths."):
        band_average(torch.ones(4, 2), q)
