"""Build vegetation_flow.safetensors and .json: leaf area by season, and leaf traits and structure by leaf area.

A causal flow with the graph day_of_year -> lai -> traits, cab -> car, cm -> cw. What it is learned from:

- leaf area, half as measured (GBOV: 17 sites, each with the same weight, with the day of the year of every photograph),
  half as published (the truncated normal of the Sentinel-2 processor, whose low values photographs from below lack),
  with days drawn from those of the photographs;
- traits, given leaf area, drawn from the published co-distribution: the prior `vegetation`. No table of measured leaf
  traits with leaf area is at hand, so that the flow cannot know more of them than that prior does, and the season
  acts on them through leaf area only.

Every fifth row is held out. The last lines printed are the figures of the card, computed from the stored file.

    python data/build/vegetation_flow.py data/gbov_lai.nc data/vegetation_flow.safetensors
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
import xarray as xr
from scipy.stats import truncnorm
from torch import Tensor
from write import arguments, digest

from physgen.diagnostics.generation import generation_report
from physgen.forward_models.canopy.canopy_model import Canopy
from physgen.forward_models.canopy.vegetation_prior import DENSE, vegetation
from physgen.priors import CausalFlow, Prior
from physgen.priors.storage import load_prior, save_prior
from physgen.random import single_stream, uniform
from physgen.space import Space

ROWS, HELD_OUT, SEED = 20_000, 5, 0
GRAPH = {
    "lai": ["day_of_year"],
    **{name: ["lai"] for name in ("n", "cab", "cbrown", "cm", "ala", "hotspot")},
    "car": ["cab"],
    "cw": ["cm"],
}


def leaf_area(path: Path) -> tuple[Tensor, Tensor]:
    """Leaf area (ROWS,), and day of the year (ROWS,)."""
    with xr.open_dataset(path) as data:
        lai = 0.5 * (data["lai_miller"].values + data["lai_warren"].values)
        day, site = data["time"].dt.dayofyear.values.astype(float), data["site"].values
    u = uniform((ROWS, 4), single_stream(), seed=SEED, stage=1).numpy()
    groups = [np.flatnonzero(site == s) for s in np.unique(site)]
    chosen = [groups[int(a * len(groups))] for a in u[:, 0]]  # the site, then a photograph of it
    row = np.array([g[int(b * len(g))] for g, b in zip(chosen, u[:, 1], strict=True)])
    published = truncnorm.ppf(u[:, 2], -2 / 3, 13 / 3, 2.0, 3.0)
    value = np.where(u[:, 3] < 0.5, lai[row], published)
    return torch.tensor(np.clip(value, 1e-3, DENSE - 1e-3)), torch.tensor(day[row])


def table(path: Path) -> tuple[Tensor, Tensor, Space]:
    """Causes (ROWS, n), days (ROWS,), and what the causes are: those of the leaf and the structure."""
    chain, (lai, day) = vegetation(), leaf_area(path)
    z = chain.sample_latents(ROWS, seed=SEED, dtype=torch.float64)
    # a cause of the chain that depends on nothing is its own marginal's map: set leaf area, keep the other latents
    z[:, chain.causes.names.index("lai")] = chain.entries["lai"].encode(lai)
    names = [b.name for b in Canopy().causes if not b.name.startswith("soil_") and b.name != "wetness"]
    x = chain.decode(z)[:, [chain.causes.names.index(n) for n in names]]
    x[:, names.index("lai")] = lai
    return x, day, Space(*(chain.causes.block(n) for n in names))


def figures(prior: Prior, x: Tensor, day: Tensor, held: Tensor) -> dict[str, object]:
    """How well the flow fits the rows held out, and the season and its effect, which tables can show."""
    drawn = prior.sample(int(held.sum()), seed=1, dtype=torch.float64, day_of_year=day[held])
    log_prob = prior.log_prob(x[held], day_of_year=day[held])
    report = generation_report(
        torch.cat([x[held], day[held, None]], 1), torch.cat([drawn, day[held, None]], 1), log_prob=log_prob
    )
    lai = list(prior.causes.names).index("lai")
    seasons = {"winter": (335, 60), "spring": (60, 152), "summer": (152, 244), "autumn": (244, 335)}
    medians = {}
    for name, (first, last) in seasons.items():
        inside = ((day >= first) & (day < last) if first < last else (day >= first) | (day < last))[held]
        medians[name] = [round(float(t[inside, lai].median()), 2) for t in (x[held], drawn)]
    return {
        "training_rows": int((~held).sum()),
        "held_out_rows": int(held.sum()),
        "log_likelihood_held_out": round(report.log_likelihood or np.nan, 3),
        "log_likelihood_held_out_standard_error": round(report.log_likelihood_error or np.nan, 3),
        "log_likelihood_training": round(float(prior.log_prob(x[~held], day_of_year=day[~held]).mean()), 3),
        "c2st_accuracy": round(report.c2st.accuracy, 3),
        "sliced_wasserstein": round(report.sliced_wasserstein, 3),
        "median_leaf_area_of_rows_and_draws": medians,
        "likelihoods_are": "means over rows, nats; rows and draws are compared with their days",
    }


def main() -> None:
    """Draw, split, fit, measure, store, and measure what was stored."""
    a = arguments(__doc__, "gbov")
    x, day, causes = table(a.gbov)
    held = torch.arange(ROWS) % HELD_OUT == 0
    prior = CausalFlow.fit(x[~held], GRAPH, causes=causes, conditions={"day_of_year": day[~held]}, hidden=(24, 24))
    ends = {n: [round(float(v), 4) for v in (c.min(), c.max())] for n, c in zip(causes.names, x[~held].mT, strict=True)}
    card = {
        "title": "Vegetation: leaf area by season, leaf traits and structure by leaf area, as a causal flow",
        "learned_from": f"leaf area: GBOV photographs of 17 sites (half of the rows) and the published distribution of "
        f"the Sentinel-2 processor (half); traits: {int((~held).sum())} draws of the published co-distribution with "
        f"leaf area, not measurements; built by data/build/vegetation_flow.py from {digest(a.gbov)}",
        "source": "Copernicus GBOV (Brown et al. 2020, Remote Sens. Environ. 247:111935); Weiss, Baret & Jay 2020, "
        "S2ToolBox level 2 products, version 2.1; Feret et al. 2017, Remote Sens. Environ. 193:204",
        "units": {b.name: b.units for b in causes} | {"day_of_year": "1 (day, from 1)"},
        "range": ends | {"day_of_year": [float(day.min()), float(day.max())]},
        "intended_use": "prior over the leaf and the structure of a Canopy (PROSPECT-D, Campbell's leaf angles) of "
        "temperate and subtropical North America by day of the year, with do(lai=...); the prior `vegetation-flow` "
        "adds the soil",
        "not_for": "the season of traits at a given leaf area, of which nothing was measured: no trait but leaf area "
        "depends on the day, so that autumn colours are not in it; the southern hemisphere; winters of deciduous "
        "woods, since photographs from December to March are of southern sites; crops in particular",
        "fit": figures(prior, x, day, held),
        "licence": "MIT (LEAF-Toolbox) and open Copernicus policy (leaf area); Apache-2.0 (this fit)",
    }
    save_prior(prior, a.output, card)
    for name, value in figures(load_prior(a.output), x, day, held).items():
        print(f"{name}: {value}")


if __name__ == "__main__":
    main()
