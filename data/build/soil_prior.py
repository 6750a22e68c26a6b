"""Build soil.safetensors and .json: a prior over the three coefficients that make a dry soil in `BasisSoil(rank=3)`.

A spline flow is fitted to the coefficients of the measured soils, which are uncorrelated but neither independent nor
normal. Every fifth site is held out, with all its soils: horizons of one profile resemble each other. What is stored
was learned from the other sites, so that the figures of the card are those of the stored prior; the last lines printed
are these figures, computed from the stored file.

    python data/build/soil_prior.py data/soil_coefficients.nc data/soil.safetensors
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
import xarray as xr
from torch import Tensor
from write import arguments, digest

from physgen.diagnostics.generation import report_prior
from physgen.forward_models.canopy.soil import BasisSoil
from physgen.priors import Flow, Independent, Normal, Prior, Training
from physgen.priors.storage import load_prior, save_prior
from physgen.space import Space

HELD_OUT = 5


def read(path: Path) -> tuple[Tensor, Tensor]:
    """Coefficients (N, 3) of the soils to learn from, and of those of the sites that are held out."""
    with xr.open_dataset(path) as data:
        x = torch.tensor(np.stack([data[f"soil_{k}"].values for k in (1, 2, 3)], 1), dtype=torch.float64)
        held = torch.tensor(data["site"].values.astype(int) % HELD_OUT == 0)
    return x[~held], x[held]


def figures(prior: Prior, train: Tensor, held: Tensor) -> dict[str, object]:
    """How well the prior fits the sites that were held out, beside the standard normal one."""
    normal = Independent(dict.fromkeys(prior.causes.names, Normal(0.0, 1.0)))
    found: dict[str, object] = {"training_soils": len(train), "held_out_soils": len(held)}
    for name, one in (("flow", prior), ("standard_normal", normal)):
        report = report_prior(one, held, training=train)
        found[name] = {
            "log_likelihood_held_out": round(report.log_likelihood or np.nan, 3),
            "log_likelihood_held_out_standard_error": round(report.log_likelihood_error or np.nan, 3),
            "log_likelihood_training": round(float(one.log_prob(train).mean()), 3),
            "c2st_accuracy": round(report.c2st.accuracy, 3),
            "pqmass_statistic": round(report.pqmass.statistic, 1),
            "sliced_wasserstein": round(report.sliced_wasserstein, 3),
        }
    return found | {"likelihoods_are": "means over soils, nats", "held_out": "every fifth site, with all its soils"}


def main() -> None:
    """Split, fit, measure, store, and measure what was stored."""
    a = arguments(__doc__, "coefficients")
    train, held = read(a.coefficients)
    causes = Space(*list(BasisSoil(rank=3).causes)[:3])
    prior = Flow.fit(train, causes=causes, transforms=4, hidden=(32, 32), training=Training(weight_decay=0.1))
    columns = zip(causes.names, train.mT, strict=True)
    ends = {n: [round(float(v), 2) for v in (c.min(), c.max())] for n, c in columns}
    card = {
        "title": "Dry soils: a spline flow over the three coefficients of BasisSoil(rank=3)",
        "learned_from": f"{len(train)} of {len(train) + len(held)} measured soils (ICRAF-ISRIC), those of four sites "
        f"in five; built by data/build/soil_prior.py from {digest(a.coefficients)}",
        "source": "ICRAF-ISRIC Soil VNIR Spectral Library, 2010, in PyPI earthlib 1.1.0",
        "units": "1: coefficients of the logit of reflectance, of variance 1 over the measured soils",
        "range": ends,
        "intended_use": "prior over soil_1, soil_2, soil_3 under a canopy or bare, 400 to 2500 nm; the prior `soil` "
        "adds wetness, uniform from 0 to 1",
        "not_for": "wetness (the samples were dry, sieved and measured in a laboratory), roughness, crusts, litter, "
        "snow, rock, urban surfaces; features at 1360-1450 and 1800-1950 nm, which were not measured; another rank "
        "or another basis",
        "fit": figures(prior, train, held),
        "licence": "MIT (the measurements); Apache-2.0 (this fit)",
    }
    save_prior(prior, a.output, card)
    for name, value in figures(load_prior(a.output), train, held).items():
        print(f"{name}: {value}")


if __name__ == "__main__":
    main()
