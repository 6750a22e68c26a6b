"""The shipped soil and vegetation priors: cards, supports, and the figures of the cards computed again."""

from __future__ import annotations

from importlib.resources import files

import numpy as np
import pytest
import torch
import xarray as xr

from physgen.forward_models import BasisSoil, Canopy, vegetation
from physgen.forward_models.canopy.soil_prior import soil
from physgen.forward_models.canopy.tables import soil_table
from physgen.forward_models.canopy.vegetation_flow import vegetation_flow
from physgen.priors import load_prior, prior_card, shipped_priors
from physgen.priors.storage import CARD
from physgen.testing import check_prior


@pytest.fixture(scope="module")
def soils():
    with xr.open_dataset(files("physgen") / "data" / "soil_coefficients.nc") as data:
        x = torch.tensor(np.stack([data[f"soil_{k}"].values for k in range(1, 11)], 1), dtype=torch.float64)
        return x, torch.tensor(data["site"].values.astype(int) % 5 == 0)


@pytest.mark.parametrize("name", ["soil", "vegetation_flow", "particle_shape"])
def test_card_is_complete_and_says_where_the_prior_was_built(name):
    card = prior_card(name)
    assert name in shipped_priors()
    assert all(card[key] for key in CARD)
    script = card["learned_from"].partition("built by ")[2].split()[0]
    assert script.startswith("data/build/")
    assert load_prior(name.replace("_", "-")).causes.names == load_prior(name).causes.names


def test_coefficients_are_those_of_the_basis(soils):
    x, _ = soils
    torch.testing.assert_close(x.mean(0), torch.zeros(10), rtol=0, atol=1e-6)
    torch.testing.assert_close(x.mT.cov(), torch.eye(10), rtol=0, atol=1e-5)
    t = soil_table()
    torch.testing.assert_close(
        torch.quantile(x[:, :3], torch.special.ndtr(t.z), dim=0).mT, t.quantile[:3], rtol=0, atol=1e-4
    )


def test_soil_figures_of_the_card_come_back(soils):
    x, held = soils
    prior, fit = load_prior("soil"), prior_card("soil")["fit"]
    check_prior(prior)
    assert (int((~held).sum()), int(held.sum())) == (fit["training_soils"], fit["held_out_soils"])
    own = float(prior.log_prob(x[held, :3]).mean())
    plain = float(torch.distributions.Normal(0.0, 1.0).log_prob(x[held, :3]).sum(-1).mean())
    print(f"\nheld-out soils: flow {own:.3f}, standard normal {plain:.3f} nats")
    assert own == pytest.approx(fit["flow"]["log_likelihood_held_out"], abs=2e-3)
    assert plain == pytest.approx(fit["standard_normal"]["log_likelihood_held_out"], abs=2e-3)
    assert own > plain + 0.1
    assert fit["flow"]["c2st_accuracy"] < fit["standard_normal"]["c2st_accuracy"]


def test_soil_draws_are_soils_of_any_wetness():
    prior = soil()
    assert prior.causes.names == BasisSoil(rank=3).causes.names
    check_prior(prior)
    x = prior.sample(2000, seed=1)
    wavelengths = torch.tensor([450.0, 670.0, 860.0, 1650.0, 2200.0])
    model = BasisSoil(rank=3)
    reflectance = model(x, model.prepare(wavelengths))
    assert bool(((reflectance > 0) & (reflectance < 1)).all())
    assert float(x[:, 3].min()) > 0
    assert float(x[:, 3].max()) < 1
    assert bool((x[:, :3].std(0) - 1).abs().max() < 0.15)


def test_vegetation_keeps_the_contract_and_its_order():
    prior = vegetation_flow(day_of_year=190.0)
    assert prior.causes.names == Canopy().causes.names
    check_prior(prior)
    x = prior.sample(1000, seed=2)
    for column, block in zip(x.mT, prior.causes, strict=True):
        assert block.support[0] < float(column.min()) < float(column.max()) < block.support[1], block.name
    assert vegetation_flow().takes.required == {"day_of_year"}


def test_leaf_area_follows_the_season_and_traits_follow_leaf_area():
    prior, lai = vegetation_flow(), Canopy().causes.names.index("lai")
    medians = {d: float(prior.sample(2000, day_of_year=d)[:, lai].median()) for d in (20.0, 200.0)}
    assert medians[200.0] > medians[20.0] + 0.5
    for value in (0.5, 6.0):
        flow = prior.do(lai=value).sample(4000, seed=3, day_of_year=200.0)
        chain = vegetation().do(lai=value).sample(4000, seed=4)
        for name in ("n", "cab", "car", "cm", "cw", "ala"):
            i = Canopy().causes.names.index(name)
            spread = float(chain[:, i].std())
            # the chain is what the traits were learned from
            assert abs(float(flow[:, i].mean() - chain[:, i].mean())) < 0.25 * spread, (value, name)


def test_other_canopies_are_refused_by_name():
    with pytest.raises(ValueError, match=r"The learned prior has the causes n, .* Use `vegetation`, or a Canopy with"):
        vegetation_flow(Canopy(leaf="PRO"))
    with pytest.raises(TypeError, match=r"Invalid forward model of type int\. `vegetation_flow` describes a Canopy\."):
        vegetation_flow(3)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=r"Invalid day_of_year 400\. Must lie within 1 to 366\."):
        vegetation_flow(day_of_year=400)


@pytest.mark.slow
def test_vegetation_figures_of_the_card_come_back_from_the_build_script():
    import sys

    folder = str(files("physgen") / "data" / "build")
    sys.path.insert(0, folder)
    try:
        import vegetation_flow as script
    finally:
        sys.path.remove(folder)
    x, day, causes = script.table(files("physgen") / "data" / "gbov_lai.nc")
    prior, fit = load_prior("vegetation_flow"), prior_card("vegetation_flow")["fit"]
    held = torch.arange(len(x)) % script.HELD_OUT == 0
    assert causes == prior.causes
    found = script.figures(prior, x, day, held)
    print(f"\n{found}")
    for name in ("log_likelihood_held_out", "c2st_accuracy", "sliced_wasserstein"):
        assert found[name] == pytest.approx(fit[name], abs=5e-3), name
