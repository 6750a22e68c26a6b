"""Build canopy_spectra.nc: principal spectra of simulated canopies, on which short band quadratures are fitted.

21,000 canopies are simulated at 1 nm with this project's own leaf and canopy models (a third each with PROSPECT-D, PRO
and 5) over measured soils (rank 10, half of them wet) and the dry-wet mixture, wider than any prior of leaves in use:
contents are uniform over the ranges below, to the power 1, 2 or 4 so that small contents occur; leaf area, angles and
geometry are uniform; in half of them up to half of the light is diffuse. The eigenvectors of the spectra's second
moment, each times the largest coefficient that occurs, are the rows of the table: a quadrature that is right on all of
them to within e (root of the sum of squares) errs on a canopy by about e at most.

Nothing measured goes in but the tables prospect.nc and soils.nc, which must have been built.

    python data/build/canopy_spectra.py data/prospect.nc data/soils.nc data/canopy_spectra.nc
"""

from __future__ import annotations

import numpy as np
import torch
import xarray as xr
from write import arguments, write

from physgen.forward_models.canopy.leaf import LeafCoefficients, prospect
from physgen.forward_models.canopy.leaf_angles import campbell
from physgen.forward_models.canopy.sail import sail
from physgen.forward_models.canopy.soil import BasisSoil, DryWetSoil
from physgen.forward_models.canopy.tables import grid, leaf_table

RANK, CHUNK, CHUNKS = 120, 500, 14
LARGEST = {"cab": 100, "car": 25, "ant": 10, "cbrown": 1, "cw": 0.05, "cm": 0.03, "prot": 0.003, "cbc": 0.027}
SMALLEST = {"cw": 0.001, "cm": 0.001, "cbc": 0.001}


def contents(rng: np.random.Generator, names: tuple[str, ...], n: int) -> torch.Tensor:
    """Leaf contents (n, names), uniform to the power 1, 2 or 4."""
    u = rng.random((n, len(names))) ** rng.choice([1, 2, 4], (n, 1))
    low, high = (np.array([t.get(c, 0.0) for c in names]) for t in (SMALLEST, LARGEST))
    return torch.as_tensor(low + u * (high - low))


def soils(rng: np.random.Generator, n: int) -> torch.Tensor:
    """Soil reflectance (n, 2101): three in ten a dry-wet mixture, the rest measured soils, half of them wet."""
    basis, mixture = BasisSoil(10), DryWetSoil()
    wetness = rng.random((n, 1)) * (rng.random((n, 1)) < 0.5)
    measured = basis(torch.as_tensor(np.hstack([rng.standard_normal((n, 10)), wetness])), basis.prepare(grid()))
    mixed = mixture(
        torch.as_tensor(np.hstack([rng.uniform(0.2, 1.6, (n, 1)), rng.random((n, 1))])), mixture.prepare(grid())
    )
    return torch.where(torch.as_tensor(rng.random((n, 1)) < 0.3), mixed, measured)


def simulate(seed: int, version: str, n: int) -> np.ndarray:
    """Reflectance (n, 2101) of random canopies."""
    rng, table = np.random.default_rng(seed), leaf_table(version)

    def uniform(low: float, high: float) -> torch.Tensor:
        return torch.as_tensor(rng.uniform(low, high, n))

    coefficients = LeafCoefficients(table.wavelength, table.refractive_index, table.absorption, table.constituents)
    rho, tau = prospect(uniform(1, 3), contents(rng, table.constituents, n), coefficients)
    lai = torch.as_tensor(rng.uniform(0, np.where(rng.random(n) < 0.3, 2.0, 10.0)))
    factors = sail(
        rho,
        tau,
        soils(rng, n),
        lai=lai,
        hotspot_size=uniform(0.01, 0.5),
        leaf_angles=campbell(uniform(30, 80)),
        solar_zenith=uniform(0, 75),
        view_zenith=uniform(0, 40),
        relative_azimuth=uniform(0, 180),
    )
    diffuse = uniform(0, 0.5)[:, None] * torch.as_tensor(rng.random((n, 1)) < 0.5)
    return (factors.rso + diffuse * (factors.rdo - factors.rso)).numpy()


def main() -> None:
    """Simulate, decompose, scale, write."""
    torch.set_num_threads(1)
    a = arguments(__doc__, "prospect", "soils")
    spectra = np.concatenate(
        [simulate(3 * i + j, v, CHUNK) for i in range(CHUNKS) for j, v in enumerate(("D", "PRO", "5"))]
    )
    if not np.isfinite(spectra).all():
        raise ValueError("Invalid simulated spectra that are not finite. The canopy model must be finite everywhere.")
    _, vectors = np.linalg.eigh(spectra.T @ spectra)
    vectors = vectors[:, ::-1][:, :RANK]
    vectors *= np.sign(vectors[np.abs(vectors).argmax(0), np.arange(RANK)])
    scores = spectra @ vectors
    left = spectra - scores @ vectors.T
    print(
        f"{len(spectra)} canopies, {spectra.min():.4f} to {spectra.max():.4f}; largest error {np.abs(left).max():.1e}"
    )
    dataset = xr.Dataset(
        {
            "spectrum": (
                ("component", "wavelength"),
                (vectors * np.abs(scores).max(0)).T,
                {
                    "long_name": "principal spectrum of simulated canopy reflectance times its largest coefficient",
                    "units": "1",
                },
            )
        },
        coords={
            "wavelength": ("wavelength", grid().numpy(), {"long_name": "wavelength", "units": "nm"}),
            "component": ("component", np.arange(1, RANK + 1), {"long_name": "component, largest first", "units": "1"}),
        },
        attrs={
            "title": "Principal spectra of simulated canopies",
            "source": "simulated with physgen's leaf and canopy models",
            "licence": "Apache-2.0",
            "citation": "physgen; PROSPECT: Féret et al. 2017, 2021; 4SAIL: Verhoef et al. 2007",
        },
    )
    write(dataset, a.output, "canopy_spectra.py", [a.prospect, a.soils], {"spectrum": {"dtype": "float32"}})


if __name__ == "__main__":
    main()
