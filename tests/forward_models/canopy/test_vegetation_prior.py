"""The vegetation prior: published distributions, measured leaf areas, interventions, and spectra like vegetation's."""

from importlib.resources import files

import numpy as np
import pytest
import torch
import xarray
from scipy.stats import kstest, norm, truncnorm

from physgen.forward_models import Canopy, Leaf, vegetation
from physgen.forward_models.canopy.vegetation_prior import DENSE, TRAITS
from physgen.testing import check_prior

VARIANTS = {
    "default": Canopy(),
    "PRO": Canopy(leaf="PRO"),
    "verhoef": Canopy(leaf_angles="verhoef"),
    "two soils": Canopy(soil="dry-wet"),
    "all": Canopy(leaf="PRO", soil="dry-wet", leaf_angles="verhoef"),
}
COUNT = 4000


def draw(prior, count=COUNT, seed=1):
    x = prior.sample(count, seed=seed, dtype=torch.float64)
    return dict(zip(prior.causes.names, x.T.numpy(), strict=True))


@pytest.mark.parametrize("name", VARIANTS)
def test_it_describes_the_model_and_keeps_the_contract_of_a_prior(name):
    model = VARIANTS[name]
    prior = vegetation(model)
    assert prior.causes.names == model.causes.names
    assert [b.units for b in prior.causes] == [b.units for b in model.causes]
    assert [b.long_name for b in prior.causes] == [b.long_name for b in model.causes]
    assert prior.latent_dim == model.causes.size
    check_prior(prior)
    x = prior.sample(COUNT, seed=2, dtype=torch.float64)
    for column, block in zip(x.T, model.causes, strict=True):
        assert block.support[0] <= float(column.min()) <= float(column.max()) <= block.support[1]


def test_latents_are_standard_normal_and_independent():
    """Of draws, and of what `encode` makes of them: in float64 and at the ends of every distribution."""
    prior = vegetation()
    z = prior.encode(prior.sample(COUNT, seed=3, dtype=torch.float64)).numpy()
    for column in z.T:
        assert kstest(column, norm.cdf).pvalue > 0.01 / z.shape[1]
    correlation = np.corrcoef(z.T) - np.eye(z.shape[1])
    assert np.abs(correlation).max() < 4.5 / COUNT**0.5


def test_leaf_area_is_half_measured_and_half_published():
    with xarray.open_dataset(str(files("physgen") / "data" / "gbov_lai.nc")) as data:
        lai = 0.5 * (data["lai_miller"].values + data["lai_warren"].values)
        site = data["site"].values
    published = truncnorm(-2 / 3, (DENSE - 2) / 3, 2.0, 3.0)

    def cdf(x):
        measured = np.mean([(lai[site == s][:, None] <= x).mean(0) for s in np.unique(site)], axis=0)
        return 0.5 * measured + 0.5 * published.cdf(x)

    x = np.sort(draw(vegetation(), 20000)["lai"])
    # learned smoothly, with a few parameters, from steps
    assert np.abs(cdf(x[::20]) - np.linspace(0, 1, 20000)[::20]).max() < 0.02
    assert 2.0 < np.median(x) < 3.5
    assert (x < 0.5).mean() > 0.02
    assert 0.01 < (x > 7).mean() < 0.15
    assert x.max() < DENSE


def between(mean, sd, low, high):
    return truncnorm((low - mean) / sd, (high - mean) / sd, mean, sd)


@pytest.mark.parametrize("lai", [0.5, 3.0, 10.0])
def test_traits_follow_an_intervened_leaf_area(lai):
    """ATBD: a truncated normal, stretched from its range at leaf area 0 to that interpolated at the leaf area."""
    prior = vegetation().do(lai=lai)
    assert prior.intervened == {"lai"}
    x = draw(prior)
    assert np.ptp(x["lai"]) == 0
    assert x["lai"][0] == pytest.approx(lai, rel=1e-12)
    for name, t in TRAITS.items():
        share = lai / DENSE
        low, high = t.low + share * (t.low_dense - t.low), t.high + share * (t.high_dense - t.high)
        unstretched = t.low + (x[name] - low) * (t.high - t.low) / (high - low)
        pvalue = kstest(unstretched, between(t.mean, t.sd, t.low, t.high).cdf).pvalue
        assert pvalue > 0.01 / len(TRAITS), name


def test_dense_canopies_vary_less():
    sparse, medium, dense = (draw(vegetation().do(lai=lai)) for lai in (0.2, 3.0, 9.0))
    for name in ("n", "cab", "cbrown"):
        assert sparse[name].std() > medium[name].std() > dense[name].std()
    assert np.median(sparse["cab"]) < np.median(medium["cab"]) < np.median(dense["cab"])
    # what does not depend on leaf area stays as it is, draw by draw
    for name in ("ant", "soil_1", "soil_2", "soil_3", "wetness"):
        np.testing.assert_array_equal(sparse[name], dense[name])


def test_leaves_are_like_measured_ones():
    x = draw(vegetation())
    ratio, water = x["car"] / x["cab"], x["cw"] / x["cm"]
    # Féret et al. 2017: carotenoids a fifth to a quarter of chlorophyll; both lognormal about their medians
    assert np.median(ratio) == pytest.approx(0.22, rel=0.02)
    assert kstest(np.log(ratio / 0.22) / 0.25, norm.cdf).pvalue > 0.001
    # ATBD: relative water content cw / (cw + cm) mostly within 0.6 to 0.85, about 0.75
    content = water / (1 + water)
    assert np.median(content) == pytest.approx(0.74, abs=0.02)
    assert ((content > 0.6) & (content < 0.85)).mean() > 0.9
    assert 35 < np.median(x["cab"]) < 60
    pro = draw(vegetation(VARIANTS["PRO"]))
    content = pro["cw"] / (pro["cw"] + pro["prot"] + pro["cbc"])
    assert np.median(content) == pytest.approx(0.74, abs=0.02)


def test_verhoefs_angles_stay_a_distribution():
    x = draw(vegetation(VARIANTS["verhoef"]))
    assert (np.abs(x["lidfa"]) + np.abs(x["lidfb"])).max() <= 1 + 1e-12
    assert np.median(x["lidfa"]) == pytest.approx(-0.35, abs=0.05)  # spherical leaves


@pytest.mark.parametrize("name", VARIANTS)
def test_spectra_look_like_vegetation(name):
    model = VARIANTS[name]
    x = vegetation(model).sample(COUNT, seed=4, dtype=torch.float64)
    y = model(x, solar_zenith=torch.tensor(40.0), view_zenith=torch.tensor(5.0), relative_azimuth=torch.tensor(100.0))
    assert bool(torch.isfinite(y).all())
    assert 0 < float(y.min()) < float(y.max()) < 1
    bands = model.observables.block("reflectance").coordinates["band"].values
    red, near = y[:, bands.index("B04")], y[:, bands.index("B8A")]
    index = (near - red) / (near + red)
    lai = x[:, model.causes.names.index("lai")]
    assert float(index[lai > 4].median()) > 0.75
    assert float(index[lai < 0.3].median()) < 0.5


def test_only_canopies_are_described():
    with pytest.raises(TypeError, match="Leaf") as caught:
        vegetation(Leaf())
    assert ". " in str(caught.value)
    assert vegetation().causes.names == Canopy().causes.names
