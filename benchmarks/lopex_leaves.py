"""Measured leaves: the contents of LOPEX leaves from their spectra, against the chemistry.

    python benchmarks/lopex_leaves.py lopex93_leaves.npz
    python benchmarks/lopex_leaves.py lopex93_leaves.npz --fit

The file holds ``wavelength_nm`` (2101,), ``reflectance`` and ``transmittance`` (leaves, 2101), and the chemistry
``leaf_chltot_per_area``, ``leaf_cartot_per_area`` (ug cm-2), ``leaf_water_thickness`` (cm), ``leaf_mass_per_area``
(g cm-2), NaN where not measured (Hosgood et al. 1994). It carries no licence and is no part of physgen.

Printed: RMSE and bias of the posterior median, RMSE of the posterior mean, and the share of the leaves whose chemistry
lies in the 90 % interval, by its rank among the draws. Spectra are read every 10 nm, half the correlation length of
the noise.

The four settings (discrepancy and its length; spreads of the specific absorption of dry matter, and of carotenoids
given chlorophyll) are the defaults of `leaf_noise` and `leaves`; ``--fit`` shows where they come from. On a grid, it
scores the 90 % intervals of the logarithms of the four contents against the chemistry (Gneiting & Raftery 2007, JASA
102:359, eq. 43), takes the geometric mean over the contents, and prints the ten settings with the least. Beside them
stands what five-fold cross-validation gives: every leaf inverted with the settings that score best on the other four
fifths. The score is flat: the defaults are the best inside the grid, and settings at its edge (discrepancy 0.06, length
10 nm) score 0.3 % better. The log evidence of the spectra, which knows no chemistry, is printed,
too, and what its choice would cover.
"""

from __future__ import annotations

import argparse
import itertools
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

import physgen as pg
from physgen.forward_models.canopy import Leaf
from physgen.forward_models.canopy.leaf_noise import DISCREPANCY, LENGTH, leaf_noise
from physgen.forward_models.canopy.leaf_prior import CAROTENOID_SPREAD, FACTOR_SPREAD, VariableLeaf, leaves
from physgen.inversions import OptimalEstimation

MEASURED = {  # by cause: name in the file, RMSE of plain least squares
    "cab": ("leaf_chltot_per_area", 13.9),
    "car": ("leaf_cartot_per_area", 3.85),
    "cw": ("leaf_water_thickness", 0.00180),
    "cm": ("leaf_mass_per_area", 0.00327),
}
SETTINGS = (DISCREPANCY, LENGTH, FACTOR_SPREAD, CAROTENOID_SPREAD)
GRID = ((0.03, 0.04, 0.05, 0.06), (10.0, 20.0, 30.0), (0.3, 0.4, 0.5), (0.2, 0.3, 0.4))
FOLDS = 5
MISS = 2 / 0.1  # what a miss costs per unit of distance from a 90 % interval


@dataclass(frozen=True, eq=False)
class Measurements:
    """Spectra (leaves, 2 w) and what the chemists found, (leaves,) by cause."""

    wavelengths: np.ndarray
    y: torch.Tensor
    truth: dict[str, np.ndarray]


def main(arguments: list[str] | None = None) -> int:
    """Print the table; 0 if every error is below that of least squares and every coverage within 85 to 95 %."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("file", type=Path, help="npz file of the leaves")
    parser.add_argument("--fit", action="store_true", help="choose the settings anew, with cross-validation")
    parser.add_argument("--step", type=int, default=10, help="read every so many nm (default 10)")
    given = parser.parse_args(arguments)
    measurements = read(given.file, given.step)
    if given.fit:
        fit(measurements)
    print("discrepancy {:g}, length {:g} nm, spreads {:g} and {:g},".format(*SETTINGS), f"every {given.step} nm")
    result = invert(measurements, *SETTINGS)
    print(f"trusted: {np.mean(trusted(result)):.1%} of {len(measurements.y)} leaves")
    return table(measurements, contents(result))


def read(file: Path, step: int) -> Measurements:
    """The leaves, at every `step` nm."""
    with np.load(file) as data:
        wavelengths = data["wavelength_nm"][::step].astype(float)
        spectra = [data[name][:, ::step] for name in ("reflectance", "transmittance")]
        truth = {cause: data[name].astype(float) for cause, (name, _) in MEASURED.items()}
    return Measurements(wavelengths, torch.tensor(np.concatenate(spectra, axis=1), dtype=torch.float64), truth)


def invert(
    measurements: Measurements, discrepancy: float, length: float, factor: float, carotenoids: float
) -> pg.Result:
    """The posterior of every leaf."""
    model = VariableLeaf(Leaf("D", measurements.wavelengths.tolist()))
    noise = leaf_noise(measurements.wavelengths.tolist(), discrepancy=discrepancy, length=length)
    prior = leaves(model, factor_spread=factor, carotenoid_spread=carotenoids)
    problem = pg.Problem(model, prior, noise)
    return OptimalEstimation(draws=400)(problem, measurements.y)


def trusted(result: pg.Result) -> np.ndarray:
    """Which leaves have a posterior to be trusted, (leaves,)."""
    return (result.status == pg.Status.TRUSTED).numpy()


def contents(result: pg.Result) -> dict[str, np.ndarray]:
    """Draws (draws, leaves) by cause."""
    names = result.causes.names
    return {cause: result.samples[0, ..., names.index(cause)].numpy() for cause in MEASURED}


def table(measurements: Measurements, draws: dict[str, np.ndarray]) -> int:
    """Print errors and coverage; 1 if one of them is not as good as it should be."""
    failures = 0
    print(f"{'':4s} {'leaves':>6s} {'RMSE':>9s} {'bias':>9s} {'RMSE mean':>10s} {'least sq.':>9s} {'coverage':>8s}")
    for cause, truth in measurements.truth.items():
        known = ~np.isnan(truth)
        x, truth, limit = draws[cause][:, known], truth[known], MEASURED[cause][1]
        error, rank = np.median(x, axis=0) - truth, ((x < truth).sum(0) + 0.5) / (len(x) + 1)
        coverage = np.mean((rank > 0.05) & (rank < 0.95))
        rmse, of_mean = (float(np.sqrt(np.mean(e**2))) for e in (error, x.mean(0) - truth))
        failures += not (rmse < limit and 0.85 <= coverage <= 0.95)
        print(
            f"{cause:4s} {known.sum():6d} {rmse:9.3g} {error.mean():9.2g} {of_mean:10.3g} {limit:9.3g} {coverage:8.1%}"
        )
    return int(failures > 0)


def fit(measurements: Measurements) -> None:
    """Print the settings that score best, and the table under cross-validation."""
    grid = list(itertools.product(*GRID))
    results = [invert(measurements, *settings) for settings in grid]
    draws = [contents(r) for r in results]
    scores = np.array([[interval_score(d[c], t) for c, t in measurements.truth.items()] for d in draws])
    evidence = [float(r.stats["log_evidence"].sum()) for r in results]
    total = np.log(np.nanmean(scores, axis=-1)).mean(-1)
    print("discrepancy  length  factor  carotenoids     score  log evidence")
    for i in np.argsort(total)[:10]:
        discrepancy, length, factor, carotenoids = grid[i]
        print(
            f"{discrepancy:11g} {length:7g} {factor:7g} {carotenoids:12g} {np.exp(total[i]):9.4f} {evidence[i]:13.0f}"
        )
    most = grid[int(np.argmax(evidence))]
    print("most evidence at", *most, "which covers:")
    table(measurements, draws[int(np.argmax(evidence))])
    crossed, chosen = {c: np.empty_like(d) for c, d in draws[0].items()}, []
    fold = np.arange(len(measurements.y)) % FOLDS
    for part in range(FOLDS):
        best = int(np.argmin(np.log(np.nanmean(scores[..., fold != part], axis=-1)).mean(-1)))
        chosen.append(grid[best])
        for cause in crossed:
            crossed[cause][:, fold == part] = draws[best][cause][:, fold == part]
    print("cross-validated, settings", *chosen)
    table(measurements, crossed)
    print()


def interval_score(x: np.ndarray, truth: np.ndarray) -> np.ndarray:
    """Score (leaves,) of the 90 % intervals of the logarithm, from draws (draws, leaves); less is better."""
    low, high = np.log(np.quantile(x, [0.05, 0.95], axis=0))
    y = np.log(truth)
    return high - low + MISS * (np.maximum(low - y, 0) + np.maximum(y - high, 0))


if __name__ == "__main__":
    sys.exit(main())
