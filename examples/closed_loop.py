"""A prior learned from observations alone: hidden sizes of spheres, and the leaves and canopies of forest plots.

No cause is measured. The loop infers, refits the prior to what it inferred, generates, compares, and repeats; held-out
observations say at every turn how likely they are and how far generated ones lie from them. In the end both priors,
the first one and the learned one, are held against observations that the loop has never used.

    python examples/closed_loop.py closed_loop.png
"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path

import numpy as np
import torch
import xarray as xr
from torch import Tensor

import physgen as pg
from physgen.closed_loop import ClosedLoop, closed_loop
from physgen.forward_models import Canopy, SectionHistogram, Spheres, vegetation
from physgen.inversions import OptimalEstimation
from physgen.random import normal, single_stream

EDGES = [0.0, 4, 8, 12, 16, 20, 25, 30, 36, 44, 54, 70, 100, 1000]  # um
BANDS = ["B02", "B03", "B04", "B05", "B06", "B07", "B08", "B8A", "B11", "B12"]
ANGLES = ("solar_zenith", "view_zenith", "relative_azimuth")


@dataclass(frozen=True, eq=False)
class Shown:
    """A loop, the problem it began with, and the gain of each observation that it has never used, in nats."""

    found: ClosedLoop
    first: pg.Problem
    gain: Tensor
    truth: Tensor | None = None

    def __str__(self) -> str:
        mean, error = float(self.gain.mean()), float(self.gain.std() / len(self.gain) ** 0.5)
        words = f"gain on {len(self.gain)} observations never used: {mean:+.2f} +- {error:.2f} nats each"
        return f"{self.found}\n{words}"


def spheres(starts: int = 2, turns: int = 8) -> Shown:
    """Materials of spheres, 80 sections counted in each: how do the sizes differ from material to material?"""
    z = normal((240, 2), single_stream(), seed=3)
    truth = torch.stack([25 * torch.exp(0.2 * z[:, 0]), 1 + 0.5 * torch.exp(0.15 * z[:, 1])], 1)
    noise = SectionHistogram(EDGES, profiles=80)
    y = noise.sample(Spheres()(truth), seed=5)
    wide = pg.Independent(geometric_mean=pg.LogNormal(30.0, 1.0, units="um"), multiplicative_sd=pg.Uniform(1.02, 4.0))
    problem, method = pg.Problem(Spheres(), wide, noise), OptimalEstimation(draws=100, round_draws=(150, 250))
    found = closed_loop(problem, y[:160], inversion=method, starts=starts, turns=turns)
    before, after = (method(p, y[160:]).stats["log_evidence"] for p in (problem, found.problem))
    return Shown(found, problem, after - before, truth)


def forest(every: int = 10, starts: int = 1, turns: int = 4) -> Shown:
    """Sentinel-2 spectra of plots on two dates, against the published distributions of leaves and canopies."""
    with xr.open_dataset(files("physgen") / "data" / "forest_plots_2018.nc") as data:
        chosen = data.isel(time=[4, 7], plot=slice(0, None, every)).transpose("plot", "time", "band")
        y = torch.tensor(chosen.reflectance.sel(band=BANDS).values.reshape(-1, len(BANDS)))
        like = chosen.reflectance.isel(band=0)
        angles = {n: torch.tensor(np.array(chosen[n].broadcast_like(like)).reshape(-1)) for n in ANGLES}
    plot = torch.arange(len(y) // 2).repeat_interleave(2)
    test, held = plot % 4 == 0, plot % 4 == 1  # a plot is held out on both dates
    model = Canopy(bands=BANDS)
    wavelengths = list(model.observables.block("reflectance").coordinates["wavelength"].values)
    spread = {"absolute": 0.005, "relative": 0.02, "discrepancy": 0.01, "relative_discrepancy": 0.05}
    noise = pg.CorrelatedGaussianNoise(**spread, length=150.0, coordinate=wavelengths)
    problem = pg.Problem(model, vegetation(model), noise)
    method = OptimalEstimation(draws=60, round_draws=(100, 200, 400))
    own, other = ({n: v[rows] for n, v in angles.items()} for rows in (~test, test))
    found = closed_loop(
        problem, y[~test], inversion=method, conditions=own, held_out=held[~test], starts=starts, turns=turns
    )
    before, after = (
        method(p, y[test], conditions=other).stats["log_evidence"].double() for p in (problem, found.problem)
    )
    gain = after - before
    return Shown(found, problem, gain[torch.isfinite(gain)])


def draw(shown: dict[str, Shown], causes: dict[str, list[str]], out: Path) -> None:
    """A row for each: evidence and distance by turn, and what the first and the learned prior say of two causes."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(14, 3.3 * len(shown)), layout="constrained")
    grid = figure.subplots(len(shown), 4, squeeze=False)
    for row, (name, one) in zip(grid, shown.items(), strict=True):
        for start in sorted({t.start for t in one.found.turns}):
            turns = [t for t in one.found.turns if t.start == start]
            row[0].plot([t.turn for t in turns], [t.gain for t in turns], marker="o", ms=3, label=f"start {start}")
            row[1].plot([t.turn for t in turns], [t.distance for t in turns], marker="o", ms=3)
        row[0].set_title(f"{name}: held-out log evidence", fontsize=10)
        row[0].set_ylabel("gain (nats an observation)")
        row[0].legend(frameon=False, fontsize=8)
        row[1].axhline(one.found.floor, color="#777777", ls="--", lw=1, label="observations among themselves")
        row[1].set_yscale("log")
        row[1].set_title("from generated to observed", fontsize=10)
        row[1].set_ylabel("distance (deviations)")
        row[1].legend(frameon=False, fontsize=8)
        for axes in row[:2]:
            axes.set_xlabel("turn")
        for axes, cause in zip(row[2:], causes[name], strict=True):
            _marginal(axes, one, cause)
    figure.savefig(out, dpi=110)


def _marginal(axes: object, one: Shown, cause: str) -> None:
    """Distributions of one cause."""
    i = one.first.prior.causes.names.index(cause)
    samples = {"first prior": one.first.prior.sample(4000)[:, i], "learned prior": one.found.prior.sample(4000)[:, i]}
    both = torch.cat([*samples.values()])
    bins = np.linspace(float(both.quantile(0.005)), float(both.quantile(0.98)), 45)
    for (label, values), colour in zip(samples.items(), ("#777777", "#0072b2"), strict=True):
        axes.hist(values.numpy(), bins, density=True, histtype="step", lw=1.6, color=colour, label=label)
    if one.truth is not None:
        axes.hist(one.truth[:, i].numpy(), bins, density=True, color="#e69f00", alpha=0.5, label="truth, never seen")
    axes.set_title(one.first.prior.causes.block(cause).long_name or cause, fontsize=10)
    axes.set_xlabel(f"{cause} ({one.first.prior.causes.block(cause).units})")
    axes.set_yticks([])
    axes.legend(frameon=False, fontsize=8)


def main() -> None:
    """Run both loops, print their turns, draw."""
    torch.set_default_dtype(torch.float64)
    shown = {"spheres": spheres(), "forest plots": forest()}
    for name, one in shown.items():
        print(f"{name}\n{one}\n")
    causes = {"spheres": ["geometric_mean", "multiplicative_sd"], "forest plots": ["lai", "cab"]}
    draw(shown, causes, Path(sys.argv[1] if len(sys.argv) > 1 else "closed_loop.png"))


if __name__ == "__main__":
    main()
