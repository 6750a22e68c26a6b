"""Tables against published figures."""

import math

import numpy as np
import pytest
import torch

from physgen.forward_models.canopy.tables import (
    canopy_spectra,
    check_wavelengths,
    gbov_lai,
    grid,
    interpolate,
    leaf_table,
    sensor_names,
    sensor_table,
    soil_table,
    solar_irradiance,
)

# ESA, Sentinel-2 spectral responses, COPE-GSEG-EOPG-TN-15-0007 3.0: central wavelengths, nm
MSI = {
    "sentinel-2a": [442.7, 492.4, 559.8, 664.6, 704.1, 740.5, 782.8, 832.8, 864.7, 945.1, 1373.5, 1613.7, 2202.4],
    "sentinel-2b": [442.2, 492.1, 559.0, 664.9, 703.8, 739.1, 779.7, 832.9, 864.0, 943.2, 1376.9, 1610.4, 2185.7],
}
# Barsi et al. 2014, table 1: centres of the Landsat-8 OLI bands 1 to 9, nm
OLI = [442.96, 482.04, 561.41, 654.59, 864.67, 1608.86, 2200.73, 589.50, 1373.43]


@pytest.mark.parametrize(
    ("version", "constituents"),
    [
        ("4", ("cab", "cw", "cm")),
        ("5", ("cab", "car", "cbrown", "cw", "cm")),
        ("D", ("cab", "car", "ant", "cbrown", "cw", "cm")),
        ("PRO", ("cab", "car", "ant", "cbrown", "cw", "prot", "cbc")),
    ],
)
def test_leaf_table_has_the_constituents_of_its_version(version, constituents):
    t = leaf_table(version)
    assert t.constituents == constituents
    assert t.absorption.shape == (len(constituents), 2101)
    assert bool((t.absorption >= 0).all())
    assert 1.2 < t.refractive_index.min() < t.refractive_index.max() < 1.6


def test_leaf_table_holds_the_published_digits():
    d, five, i = leaf_table("D"), leaf_table("5"), 676 - 400
    assert d.refractive_index[0] == 1.5115
    assert d.absorption[0, 0] == 6.48815e-2
    assert five.absorption[0, 0] == 2.676e-2
    # the red absorption peak of chlorophyll a in leaves lies within 670 to 680 nm, that of water at 1920 to 1950 nm
    assert 670 <= 640 + int(d.absorption[0, 240:300].argmax()) <= 680
    assert 1920 <= 1900 + int(d.absorption[4, 1500:1600].argmax()) <= 1950
    assert five.absorption[1, i] == 0  # carotenoids do not absorb red light


def test_leaf_table_at_other_wavelengths_is_the_linear_interpolation():
    t = leaf_table("PRO")
    w = torch.tensor([400.0, 431.25, 1999.5, 2500.0], dtype=torch.float64)
    got = t.at(w)
    for row, values in zip(got.absorption, t.absorption, strict=True):
        np.testing.assert_allclose(row, np.interp(w, t.wavelength, values), rtol=1e-13)


@pytest.mark.parametrize("name", sorted(MSI))
def test_centres_of_sentinel_2(name):
    np.testing.assert_allclose(sensor_table(name).centre, MSI[name], atol=0.1)


def test_centres_of_landsat_8():
    # the published centres are midway between half maxima, ours are means: they differ by skewness
    np.testing.assert_allclose(sensor_table("landsat-8").centre[:7], OLI[:7], atol=1.0)


def test_emit_bands_are_spaced_as_published():
    t = sensor_table("emit")  # Green et al. 2020: 7.4 nm sampling, 380 to 2500 nm
    assert len(t.bands) == 280
    assert t.response is None
    np.testing.assert_allclose(t.centre.diff(), 7.4, atol=0.15)


def test_solar_irradiance_over_the_bands_of_sentinel_2():
    # ESA, product metadata of Sentinel-2A, SOLAR_IRRADIANCE (Thuillier et al. 2003 spectrum), W m-2 um-1, B01 to B12
    published = [
        1884.69,
        1959.72,
        1823.24,
        1512.06,
        1424.64,
        1287.61,
        1162.08,
        1041.63,
        955.32,
        812.92,
        367.15,
        245.59,
        85.25,
    ]
    bands = sensor_table("sentinel-2a").response @ solar_irradiance() * 1000
    np.testing.assert_allclose(bands[:11], published[:11], rtol=0.03)
    # beyond 1.5 um the older spectrum is known to be brighter (Coddington et al. 2021: ATLAS-3 by up to 8 %)
    ratio = bands[11:].numpy() / published[11:]
    assert ((ratio > 0.92) & (ratio < 1.0)).all()


def test_soil_basis_is_as_good_as_the_plain_decomposition():
    rmse = soil_table().rmse
    assert bool((rmse.diff() < 0).all())
    assert rmse[2] < 0.017  # rank 3 and 6 of an uncentred singular value decomposition of the same spectra
    assert rmse[5] < 0.007


def test_soil_coefficients_are_standardised():
    t = soil_table()
    probability = torch.special.ndtr(t.z)
    for q in t.quantile:
        assert torch.trapezoid(q, probability).abs() < 0.01
        assert torch.trapezoid(q**2, probability) == pytest.approx(1, abs=0.05)
        assert bool((q.diff() > 0).all())


def test_gbov_values_are_positive_and_complete():
    t = gbov_lai()
    assert len(t["lai_miller"]) == 3076
    values = np.concatenate([t["lai_miller"], t["lai_warren"]])
    assert np.nanmin(values) > 0
    assert np.nanmax(values) < 15
    assert t["igbp"].max() == len(t["igbp_name"]) - 1


def test_canopy_spectra_are_orthogonal():
    s = canopy_spectra()
    gram = s @ s.T
    off = gram - torch.diag(gram.diag())
    assert off.abs().max() < 1e-3 * gram.diag().max()


def test_interpolation_refuses_what_the_grid_does_not_hold():
    with pytest.raises(ValueError, match=r"Invalid wavelength 380 nm. Must lie within 400 to 2500 nm."):
        interpolate(grid(), [500.0, 380.0])
    with pytest.raises(ValueError, match="Invalid wavelength nan nm"):
        check_wavelengths([math.nan])
    with pytest.raises(ValueError, match="at least one"):
        check_wavelengths([])


@pytest.mark.parametrize(("load", "valid"), [(leaf_table, "PRO"), (sensor_table, "landsat-9")])
def test_unknown_names_are_answered_with_the_valid_ones(load, valid):
    with pytest.raises(ValueError, match=f"'x'. Must be one of .*{valid}"):
        load("x")
    assert set(sensor_names()) == {"sentinel-2a", "sentinel-2b", "landsat-8", "landsat-9", "emit"}
