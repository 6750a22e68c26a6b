"""Leaf and canopy against the output of other codes: PROSPECT-5, -D, -PRO and the Fortran PRO4SAIL.

    python benchmarks/canopy_reference.py FOLDER

FOLDER holds ``prospect_d_test.mat``, ``tav_alpha40.mat`` (Matlab PROSPECT-D), ``prospect_pro_test.txt`` (Matlab
PROSPECT-PRO), ``prospect5_spectrum.txt`` (online PROSPECT-5, four decimals) and ``REFL_CAN.txt`` (Fortran PRO4SAIL with
PROSPECT-5, five digits). They carry no licence and are no part of physgen. The largest absolute difference over 400 to
2500 nm is printed for each spectrum, and the exit status is 1 if one is above its limit.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import numpy as np
import scipy.io
import torch
from torch import Tensor

from physgen.forward_models.canopy.leaf import LeafCoefficients, interface_transmissivity, prospect
from physgen.forward_models.canopy.leaf_angles import verhoef
from physgen.forward_models.canopy.sail import sail
from physgen.forward_models.canopy.tables import leaf_table, soil_table


def main(arguments: list[str] | None = None) -> int:
    """Print each comparison; 0 if all are within their limits."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, help="folder of the reference files")
    folder = parser.parse_args(arguments).folder
    failures = 0
    for compare in (surface, prospect_d, prospect_pro, prospect_5, pro4sail):
        for name, mine, theirs, limit in compare(folder):
            error = np.abs(mine.numpy() - theirs)
            worst = 400 + int(error.argmax())
            failures += not error.max() <= limit
            print(f"{name:42s} {error.max():9.2e} at {worst} nm   limit {limit:.0e}")
    return int(failures > 0)


def surface(folder: Path) -> list[tuple[str, Tensor, np.ndarray, float]]:
    """Transmissivity of the leaf surface within 40 degrees."""
    theirs = scipy.io.loadmat(folder / "tav_alpha40.mat")["tav"].ravel()
    return [
        ("surface transmissivity, 40 degrees", interface_transmissivity(_all().refractive_index, 40.0), theirs, 1e-12)
    ]


def prospect_d(folder: Path) -> list[tuple[str, Tensor, np.ndarray, float]]:
    """Matlab PROSPECT-D."""
    theirs = scipy.io.loadmat(folder / "prospect_d_test.mat")["LRT"]
    return _leaf("PROSPECT-D", theirs, _all(), 1.2, 1e-12, cab=30, car=10, ant=1, cw=0.015, cm=0.009)


def prospect_pro(folder: Path) -> list[tuple[str, Tensor, np.ndarray, float]]:
    """Matlab PROSPECT-PRO, run with dry matter beside its proteins and carbon."""
    theirs = np.loadtxt(folder / "prospect_pro_test.txt")
    contents = {"cab": 30, "car": 10, "ant": 1, "cw": 0.015, "cm": 0.009, "prot": 0.001, "cbc": 0.009}
    return _leaf("PROSPECT-PRO", theirs, _all(), 1.2, 1e-12, **contents)


def prospect_5(folder: Path) -> list[tuple[str, Tensor, np.ndarray, float]]:
    """Online PROSPECT-5; the limit is the rounding of its output."""
    theirs = np.loadtxt(folder / "prospect5_spectrum.txt")
    contents = {"cab": 40, "car": 10, "cbrown": 0.1, "cw": 0.015, "cm": 0.009}
    return _leaf("PROSPECT-5", theirs, _version("5"), 2.1, 5.1e-5, **contents)


def pro4sail(folder: Path) -> list[tuple[str, Tensor, np.ndarray, float]]:
    """Fortran PRO4SAIL on dry soil, PROSPECT-5 leaves."""
    theirs = np.loadtxt(folder / "REFL_CAN.txt")
    rho, tau = _spectra(_version("5"), 1.5, cab=40, car=8, cw=0.01, cm=0.009)
    factors = sail(
        rho,
        tau,
        soil_table().dry,
        lai=_f64(3),
        hotspot_size=_f64(0.01),
        leaf_angles=verhoef(_f64(-0.35), _f64(-0.15)),
        solar_zenith=_f64(30),
        view_zenith=_f64(10),
        relative_azimuth=_f64(0),
    )
    columns = {"rdo": 2, "rso": 3, "rdd": 4, "rsd": 5}
    return [(f"PRO4SAIL {name}", getattr(factors, name), theirs[:, c], 5e-5) for name, c in columns.items()]


def _leaf(
    name: str, theirs: np.ndarray, leaf: LeafCoefficients, n: float, limit: float, **contents: float
) -> list[tuple[str, Tensor, np.ndarray, float]]:
    rho, tau = _spectra(leaf, n, **contents)
    return [(f"{name} reflectance", rho, theirs[:, 1], limit), (f"{name} transmittance", tau, theirs[:, 2], limit)]


def _spectra(leaf: LeafCoefficients, n: float, **contents: float) -> tuple[Tensor, Tensor]:
    return prospect(_f64(n), _f64([contents.get(name, 0.0) for name in leaf.constituents]), leaf)


def _version(version: str) -> LeafCoefficients:
    table = leaf_table(version)
    return LeafCoefficients(table.wavelength, table.refractive_index, table.absorption, table.constituents)


def _all() -> LeafCoefficients:
    """Every constituent of D and of PRO."""
    d, pro = leaf_table("D"), leaf_table("PRO")
    more = [i for i, name in enumerate(pro.constituents) if name not in d.constituents]
    names = d.constituents + tuple(pro.constituents[i] for i in more)
    return LeafCoefficients(d.wavelength, d.refractive_index, torch.cat([d.absorption, pro.absorption[more]]), names)


def _f64(value: float | list[float]) -> Tensor:
    return torch.tensor(value, dtype=torch.float64)


if __name__ == "__main__":
    sys.exit(main())
