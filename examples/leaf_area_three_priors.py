"""Where and when does the leaf area of a forest depend on the prior? Beech, oak and conifers through one year.

Three priors over the same causes: the shipped one (leaf area half as measured by GBOV and half as published, leaf
angles wide), that of the Sentinel-2 level-2 algorithm (as published), and uniform over ranges. The plots are inverted
once, under the shipped prior; the two others take those draws by weights where these can be relied on, and invert the
rest anew.

    python examples/leaf_area_three_priors.py leaf_area_three_priors.png [--plots 6] [--results FOLDER]

With --results the inversions are kept in a folder, and read from there the next time.
"""

from __future__ import annotations

import argparse
from dataclasses import replace
from importlib.resources import files
from pathlib import Path
from typing import Any

import numpy as np
import torch
import xarray as xr
from torch import Tensor

import physgen as pg
from physgen.diagnostics.power_scaling import power_scaling
from physgen.diagnostics.prior_comparison import PriorComparison, compare_results
from physgen.diagnostics.reweighting import reweight, swapped
from physgen.diagnostics.sensitivity_verdict import Verdict
from physgen.forward_models import Canopy, vegetation
from physgen.forward_models.canopy.vegetation_prior import Trait
from physgen.inversions import OptimalEstimation
from physgen.priors import Chain, Prior

BANDS = ["B02", "B03", "B04", "B05", "B06", "B07", "B08", "B8A", "B11", "B12"]
ANGLES = ("solar_zenith", "view_zenith", "relative_azimuth")
FORESTS = {
    "beech": ("Fagus sylvatica",),
    "oak": ("Quercus spp",),
    "conifers": ("Picea abies", "Pinus nigra", "Pinus sylvestris", "Pseudotsuga menziesii"),
}
RANGES = {  # of the uniform prior; soil coefficients stay as measured, as they have no range
    "n": (1.2, 2.2),
    "cab": (20.0, 90.0),
    "car": (2.0, 30.0),
    "ant": (0.0, 10.0),
    "cbrown": (0.0, 2.0),
    "cw": (0.003, 0.06),
    "cm": (0.003, 0.011),
    "lai": (0.0, 15.0),
    "ala": (15.0, 85.0),
    "hotspot": (0.1, 0.5),
}
COLOURS = {"learned": "#0072b2", "published": "#d55e00", "uniform": "#555555"}


def priors(model: Canopy) -> dict[str, Prior]:
    """The three, by name."""
    learned = vegetation(model)
    published = {"lai": pg.TruncatedNormal(2.0, 3.0, 0.0, 15.0), "ala": Trait(60, 30, 30, 80, 55, 65).entry()}
    uniform = {name: pg.Uniform(*ends) for name, ends in RANGES.items()}
    return {"learned": learned, "published": _with(learned, published), "uniform": _with(learned, uniform)}


def _with(chain: Chain, entries: dict[str, Any]) -> Chain:
    """A chain with other entries under some names, in the same units."""
    blocks = {b.name: {"units": b.units, "long_name": b.long_name} for b in chain.causes}
    return Chain({**chain.entries, **{name: replace(e, **blocks[name]) for name, e in entries.items()}})


def observations(plots: int) -> tuple[Tensor, dict[str, Tensor], list[str], np.ndarray]:
    """Spectra (plot, date, band), their angles, the forest of each plot, and the day of the year of each date."""
    with xr.open_dataset(files("physgen") / "data" / "forest_plots_2018.nc") as data:
        species = data.species.values.astype(str)
        chosen, forest = [], []
        for name, members in FORESTS.items():
            rows = np.nonzero(np.isin(species, members))[0]
            chosen += list(rows[np.arange(plots) * len(rows) // plots])
            forest += [name] * plots
        data = data.isel(plot=chosen).transpose("plot", "time", "band")
        spectra = data.reflectance.sel(band=BANDS)
        like = spectra.isel(band=0)
        angles = {n: torch.tensor(np.array(data[n].broadcast_like(like)), dtype=torch.float32) for n in ANGLES}
        day = data.time.dt.dayofyear.values
        return torch.tensor(spectra.values, dtype=torch.float32), angles, forest, day


def problem(prior: Prior, model: Canopy) -> pg.Problem:
    """The noise is that of ``examples/canopy/forest_plots.toml``."""
    wavelengths = list(model.observables.block("reflectance").coordinates["wavelength"].values)
    spread = {"absolute": 0.005, "relative": 0.02, "discrepancy": 0.01, "relative_discrepancy": 0.05}
    return pg.Problem(model, prior, pg.CorrelatedGaussianNoise(**spread, length=150.0, coordinate=wavelengths))


def invert(y: Tensor, angles: dict[str, Tensor], model: Canopy, folder: Path | None) -> dict[str, pg.Result]:
    """The posterior under each prior."""
    method = OptimalEstimation(draws=1000)
    known = priors(model)
    first, found = problem(known["learned"], model), {}
    for name, prior in known.items():
        kept = folder / f"{name}.nc" if folder else None
        if kept and kept.is_file():
            found[name] = pg.Result.from_netcdf(kept)
        elif name == "learned":
            found[name] = method(first, y, conditions=angles, seed=1, progress=True)
        else:
            found[name] = reweight(found["learned"], prior, problem=first, inversion=method, seed=1, progress=True)
        if kept and not kept.is_file():
            kept.parent.mkdir(parents=True, exist_ok=True)
            found[name].to_netcdf(kept)
    return found


def tell(compared: PriorComparison, verdicts: np.ndarray, forest: list[str], day: np.ndarray) -> None:
    """What was found, in figures: by forest and season, medians over plots and dates."""
    lai = compared.causes.names.index("lai")
    others = [p for p in compared.priors if p != "learned"]
    mean, sd = compared.mean[..., lai], compared.sd[..., lai]
    base = compared.priors.index("learned")
    dense = (day >= 140) & (day <= 270)
    print(f"{'':22s} n    leaf area     sd   dofs  " + "  ".join(f"to {p} (sd)" for p in others) + "  prior matters")
    for name in FORESTS:
        rows = np.array([f == name for f in forest])
        for season, dates in (("days 140 to 270", dense), ("other days", ~dense)):
            pick = torch.as_tensor(rows)[:, None] & torch.as_tensor(dates)[None]
            usable = pick & compared.trusted.all(0)
            gaps = [
                float(((mean[compared.priors.index(p)] - mean[base]).abs() / sd[base])[usable].nanmedian())
                for p in others
            ]
            owes = (Verdict.PRIOR_DATA_CONFLICT, Verdict.LIKELIHOOD_NONINFORMATIVE)
            matters = np.isin(verdicts[usable.numpy()], owes)
            figures = [float(v[base][usable].nanmedian()) for v in (mean, sd, compared.dofs)]
            print(
                f"{name:9s} {season:18s} {int(usable.sum()):3d}  {figures[0]:8.1f}  {figures[1]:6.2f}  "
                + f"{figures[2]:5.1f}  "
                + "  ".join(f"{g:{len(p) + 8}.2f}" for g, p in zip(gaps, others, strict=True))
                + f"  {100 * matters.mean():10.0f} %"
            )


def draw(compared: PriorComparison, forest: list[str], day: np.ndarray, out: Path) -> None:
    """Above, leaf area under each prior through the year; below, how far apart, in posterior standard deviations."""
    from matplotlib.figure import Figure

    lai, base = compared.causes.names.index("lai"), compared.priors.index("learned")
    mean = torch.where(compared.trusted, compared.mean[..., lai], torch.nan)
    sd = torch.where(compared.trusted, compared.sd[..., lai], torch.nan)
    figure = Figure(figsize=(11, 6.4), layout="constrained")
    grid = figure.subplots(2, len(FORESTS), sharex=True, sharey="row")
    for column, name in enumerate(FORESTS):
        rows = [i for i, f in enumerate(forest) if f == name]
        for p, prior in enumerate(compared.priors):
            colour = COLOURS[prior]
            middle = mean[p][rows].nanmedian(0).values
            grid[0, column].plot(day, middle, color=colour, marker="o", ms=3.5, lw=1.6, label=prior)
            spread = sd[p][rows].nanmedian(0).values
            grid[0, column].fill_between(day, middle - spread, middle + spread, color=colour, alpha=0.12, lw=0)
            if p == base:
                continue
            gap = ((mean[p] - mean[base]) / sd[base])[rows]
            quartiles = torch.nanquantile(gap, torch.tensor([0.25, 0.5, 0.75], dtype=gap.dtype), dim=0)
            grid[1, column].fill_between(day, quartiles[0], quartiles[2], color=colour, alpha=0.25, lw=0)
            grid[1, column].plot(
                day, quartiles[1], color=colour, marker="o", ms=3.5, lw=1.6, label=f"{prior} - learned"
            )
        grid[1, column].axhline(0, color="#0072b2", lw=1)
        grid[0, column].set_title(f"{name} ({len(rows)} plot{'s' * (len(rows) > 1)})", fontsize=11)
        grid[1, column].set_xlabel("day of the year 2018")
        for axes in grid[:, column]:
            axes.spines[["top", "right"]].set_visible(False)
            axes.grid(axis="y", color="#dddddd", lw=0.6)
    grid[0, 0].set_ylabel("leaf area index (m2 m-2)\nmedian plot, +- its posterior sd")
    grid[1, 0].set_ylabel("difference from the learned prior\n(posterior sd; median plot, quartiles)")
    grid[0, 0].legend(frameon=False, fontsize=9, loc="upper left", title="prior")
    grid[1, 0].legend(frameon=False, fontsize=9)
    figure.savefig(out, dpi=120)


def main() -> None:
    """Invert, compare, print, draw."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("picture", type=Path, nargs="?", default=Path("leaf_area_three_priors.png"))
    parser.add_argument("--plots", type=int, default=6, help="of each kind of forest")
    parser.add_argument("--results", type=Path, help="a folder that keeps the inversions")
    options = parser.parse_args()
    model = Canopy(bands=BANDS)
    y, angles, forest, day = observations(options.plots)
    found = invert(y, angles, model, options.results)
    for name in ("published", "uniform"):
        print(f"{name}: {swapped(found[name])}")
    known, first = priors(model), problem(vegetation(model), model)
    sensitivity = power_scaling(first, found["learned"])
    print(sensitivity)
    compared = compare_results(first, known, found)
    print(compared)
    lai = compared.causes.names.index("lai")
    tell(compared, sensitivity.verdict[..., lai].numpy(), forest, day)
    draw(compared, forest, day, options.picture)


if __name__ == "__main__":
    main()
