"""Build soils.nc: a dry and a wet soil, and a low-rank basis of 4,168 measured soil reflectance spectra.

The basis. Each reflectance r becomes y = log(r / (1 - r)), so that every soil made from the basis lies in (0, 1) with
no clipping, and so that its coefficients come out nearly Gaussian. y minus its mean is weighted by the root mean
square over the soils of dr/dy = r (1 - r), which makes the error that the singular value decomposition minimises one of
reflectance, decomposed, unweighted; the vectors are scaled so that the coefficients of the measured soils have mean 0,
variance 1 and no correlation. A soil is thus

    r = 1 / (1 + exp(-(mean + sum_j s_j basis_j))),        s_j close to N(0, 1), uncorrelated.

`quantile` holds the quantiles of each coefficient at the standard normal quantiles `z` for a prior that follows them
beyond the Gaussian. The reconstruction error by rank is stored and printed beside that of the plain singular value
decomposition of reflectance (uncentred).

The grid. The spectra have steps of 10 nm from 400 to 2450 nm and none at 1360-1450 and 1800-1950 nm. Mean and vectors
are carried to 1 nm, also across these two gaps, by monotone cubic (PCHIP) interpolation: the hydroxyl and water
features inside the gaps are not in the source and are not invented. Beyond 2450 nm they go on with the mean slope of
2400-2450 nm, fading as exp(-(w - 2450) / 25 nm).

    python data/build/soils.py soil_dry_wet.dat icraf_isric_soils.npz data/soils.nc
"""

from __future__ import annotations

import numpy as np
import xarray as xr
from scipy.interpolate import PchipInterpolator
from scipy.stats import norm
from write import arguments, write

WAVELENGTH = np.arange(400.0, 2501.0)
RANK = 10
PROBABILITY = np.concatenate([[0.001, 0.0025, 0.005, 0.01], np.linspace(0.02, 0.98, 49), [0.99, 0.995, 0.9975, 0.999]])


def rmse(difference: np.ndarray) -> float:
    """Root mean square."""
    return float(np.sqrt((difference**2).mean()))


def decompose(r: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Mean (w,), vectors (k, w) and unit-variance coefficients (n, k) of the logit of reflectance (n, w)."""
    y = np.log(r / (1 - r))
    mean, weight = y.mean(0), np.sqrt(((r * (1 - r)) ** 2).mean(0))
    u, s, v = np.linalg.svd((y - mean) * weight, full_matrices=False)
    scale = np.sqrt(len(r) - 1)
    sign = np.sign(v.sum(1))  # more of a coefficient brightens the soil
    return mean, (s * sign)[:, None] * v / weight / scale, u * sign * scale


def errors(r: np.ndarray, mean: np.ndarray, basis: np.ndarray, score: np.ndarray) -> tuple[list[float], list[float]]:
    """Reconstruction error of reflectance at rank 1 to RANK: of this basis, and of the plain decomposition."""
    u, s, v = np.linalg.svd(r, full_matrices=False)
    here = [rmse(1 / (1 + np.exp(-(mean + score[:, :k] @ basis[:k]))) - r) for k in range(1, RANK + 1)]
    return here, [rmse((u[:, :k] * s[:k]) @ v[:k] - r) for k in range(1, RANK + 1)]


def to_grid(w: np.ndarray, rows: np.ndarray) -> np.ndarray:
    """Carry rows (k, len(w)) to the 1-nm grid, extended beyond the last wavelength with a fading slope."""
    fine = PchipInterpolator(w, rows, axis=-1)(np.minimum(WAVELENGTH, w[-1]))
    slope = (rows[:, -1] - rows[:, -6]) / (w[-1] - w[-6])
    beyond = np.maximum(WAVELENGTH - w[-1], 0.0)
    return fine + slope[:, None] * 25.0 * (1 - np.exp(-beyond / 25.0))


def main() -> None:
    """Decompose, interpolate, print the errors, write."""
    a = arguments(__doc__, "dry_wet", "measured")
    grid, dry, wet = np.loadtxt(a.dry_wet).T
    np.testing.assert_array_equal(grid, WAVELENGTH)
    with np.load(a.measured) as library:
        w, r = library["wavelength_nm"].astype(float), library["reflectance_x10000"] / 1e4
    mean, basis, score = decompose(r)
    here, plain = errors(r, mean, basis, score)
    for k in range(RANK):
        print(f"rank {k + 1:2d}: RMSE {here[k]:.5f} (logit basis), {plain[k]:.5f} (plain decomposition)")
    quantile = np.quantile(score[:, :RANK], PROBABILITY, axis=0).T
    rank, one = np.arange(1, RANK + 1), {"units": "1"}
    dataset = xr.Dataset(
        {
            "dry": ("wavelength", dry, one | {"long_name": "reflectance of a dry soil"}),
            "wet": ("wavelength", wet, one | {"long_name": "reflectance of a wet soil"}),
            "mean": ("wavelength", to_grid(w, mean[None])[0], one | {"long_name": "mean logit of soil reflectance"}),
            "basis": (
                ("component", "wavelength"),
                to_grid(w, basis[:RANK]),
                one | {"long_name": "change of the logit of soil reflectance per unit of a coefficient"},
            ),
            "quantile": (
                ("component", "z"),
                quantile,
                one | {"long_name": "quantiles of the coefficients of the measured soils"},
            ),
            "rmse": (
                "component",
                here,
                one | {"long_name": "error of reflectance over the measured soils with components up to this one"},
            ),
            "rmse_plain": (
                "component",
                plain,
                one | {"long_name": "the same for the uncentred singular value decomposition of reflectance"},
            ),
        },
        coords={
            "wavelength": ("wavelength", WAVELENGTH, {"long_name": "wavelength", "units": "nm"}),
            "component": ("component", rank, {"long_name": "component, largest first", "units": "1"}),
            "z": ("z", norm.ppf(PROBABILITY), one | {"long_name": "standard normal quantile"}),
        },
        attrs={
            "title": "Soil reflectance: dry, wet, and a basis of measured soils",
            "source": "dry, wet: ashiklom/rrtm; basis: 4,168 spectra of the ICRAF-ISRIC library in PyPI earthlib 1.1.0",
            "licence": "MIT",
            "citation": "ICRAF-ISRIC Soil VNIR Spectral Library (World Agroforestry Centre and ISRIC, 2010)",
            "comment": "measured at 400-2450 nm without 1360-1450 and 1800-1950 nm; see data/build/soils.py",
        },
    )
    small = {n: {"dtype": "float32"} for n in ("basis", "mean", "quantile")}
    write(dataset, a.output, "soils.py", [a.dry_wet, a.measured], small)


if __name__ == "__main__":
    main()
