"""Every method that applies on the same pixels of real forest plots: do they agree on the leaf area?

    python benchmarks/real_pixels.py                             # 200 pixels, all methods: hours on one core
    python benchmarks/real_pixels.py --pixels 20 --method OptimalEstimation Hamiltonian
    python benchmarks/real_pixels.py --compiled                  # with compiled densities

The pixels are those of `physgen/data/forest_plots_2018.nc` (Sentinel-2, Wienerwald 2018), with model, prior and noise
of `examples/canopy/forest_plots.toml`. The reference is importance sampling until 10,000 draws are effective, fifty
times as many as the default asks. Markov chains share nothing with it: they vouch for it where they agree.
Printed, as a Markdown table, for each method at its default settings: the share of pixels that it trusts; over these,
the difference between its mean of the leaf area and the reference's in posterior standard deviations (root mean square,
largest, and the same that its own Monte-Carlo error explains), and the ratio of the standard deviations (median, and
the central 90 %); and its processor time. The last column is the same difference over all pixels, trusted or not.
"""

from __future__ import annotations

import argparse
import time
from dataclasses import dataclass, replace
from importlib.resources import files
from pathlib import Path
from typing import Any

import numpy as np
import torch
import xarray
from torch import Tensor

import physgen.inversions as inversions
from physgen import compiled
from physgen.diagnostics.convergence import ess
from physgen.inversions import OptimalEstimation, suggest
from physgen.problem import Problem
from physgen.recipe import load_recipe
from physgen.result import Result

RECIPE = Path(__file__).parent.parent / "examples" / "canopy" / "forest_plots.toml"
ANGLES = ("solar_zenith", "view_zenith", "relative_azimuth")
REFERENCE = OptimalEstimation(
    draws=10_000, round_draws=(5000, 10_000, 20_000, 40_000), stop_ess=10_000.0, accept_ess=5000.0, chunk=16
)
CAUSE = "lai"


@dataclass(frozen=True, eq=False)
class Pixels:
    """Reflectances (P, 10), and conditions (P,)."""

    y: Tensor
    conditions: dict[str, Tensor]


def pixels(count: int, bands: list[str]) -> Pixels:
    """Plots of several species on all dates, evenly spread, without those that clouds hide."""
    with xarray.open_dataset(str(files("physgen") / "data" / "forest_plots_2018.nc")) as data:
        data = data.sel(band=bands).load()
    seen = data.reflectance.values  # (time, plot, band)
    times, plots = seen.shape[:2]
    where = [(i % times, (61 * i) % plots) for i in range(4 * count)]
    where = [place for place in where if np.isfinite(seen[place]).all()][:count]
    time_, plot = (torch.tensor(column) for column in zip(*where, strict=True))
    angles = {name: torch.as_tensor(data[name].values, dtype=torch.float64)[time_] for name in ANGLES}
    return Pixels(torch.as_tensor(seen, dtype=torch.float64)[time_, plot], angles)


def bands_of(problem: Problem) -> list[str]:
    """Names of the bands that the model predicts."""
    return list(problem.observables.block("reflectance").coordinates["band"].values)


@dataclass(frozen=True, eq=False)
class Answer:
    """Of the leaf area of each pixel: mean, sd, effective draws (P,); whether it is trusted; processor seconds."""

    mean: Tensor
    sd: Tensor
    effective: Tensor
    trusted: Tensor
    seconds: float

    @staticmethod
    def of(result: Result, seconds: float) -> Answer:
        """From the draws."""
        x = result.samples[..., result.causes.names.index(CAUSE)]
        total = float(x.shape[0] * x.shape[1])
        own = result.stats.get("ess", torch.full_like(x[0, 0], total)).nan_to_num(nan=total)
        effective = torch.minimum(ess(x), own) if len(x) > 1 else 1 / (1 / total + 1 / own)
        return Answer(x.mean((0, 1)), x.flatten(0, 1).std(0), effective, result.trusted, seconds)


def answered(method: Any, problem: Problem, data: Pixels, seed: int) -> Answer:
    """What a method makes of the pixels."""
    began = time.process_time()
    if hasattr(method, "fit"):
        method = method.fit(problem, y=data.y, conditions=data.conditions, seed=seed)
    result = method(problem, data.y, conditions=data.conditions, seed=seed)
    return Answer.of(result, time.process_time() - began)


def line(name: str, found: Answer, truth: Answer) -> str:
    """One row of the table."""
    shift = (found.mean - truth.mean) / truth.sd
    ratio, explained = found.sd / truth.sd, 1 / found.effective + 1 / truth.effective
    good = found.trusted & truth.trusted

    def rms(value: Tensor) -> str:
        return f"{float(value.mean().sqrt()):.3f}" if len(value) else "-"

    cells = [f"`{name}`", f"{float(found.trusted.double().mean()):.2f}", rms(shift[good] ** 2)]
    cells += [f"{float(shift[good].abs().max()):.3f}" if bool(good.any()) else "-", rms(explained[good])]
    if bool(good.any()):
        low, middle, high = ratio[good].quantile(ratio.new_tensor([0.05, 0.5, 0.95])).tolist()
        cells.append(f"{middle:.3f} ({low:.3f} to {high:.3f})")
    else:
        cells.append("-")
    every = torch.isfinite(shift) & truth.trusted
    return " | ".join(["|", *cells, rms(shift[every] ** 2), f"{found.seconds:.0f} s |"]).replace("| |", "|", 1)


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pixels", type=int, default=200)
    parser.add_argument("--method", nargs="*", help="by default all that the problem allows, and Auto")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--compiled", action="store_true")
    asked = parser.parse_args()
    torch.set_default_dtype(torch.float64)
    torch.set_num_threads(1)
    recipe = load_recipe(RECIPE)
    problem = recipe.problem()
    if asked.compiled:
        problem = replace(problem, forward=compiled(problem.forward))
    data = pixels(asked.pixels, bands_of(problem))
    plan = suggest(problem, data.y)
    truth = answered(REFERENCE, problem, data, asked.seed + 1)
    print(
        f"reference: {len(data.y)} pixels, {float(truth.trusted.double().mean()):.2f} trusted, effective draws "
        f"{float(truth.effective.min()):.0f} to {float(truth.effective.max()):.0f}, {truth.seconds:.0f} s\n"
    )
    print("| method | trusted | off, rms | off, largest | explained, rms | sd ratio | off, all | processor |")
    print("| --- " * 8 + "|", flush=True)
    for name in asked.method or [*plan.take, *plan.allowed, "Auto"]:
        print(line(name, answered(getattr(inversions, name)(), problem, data, asked.seed), truth), flush=True)


if __name__ == "__main__":
    main()
