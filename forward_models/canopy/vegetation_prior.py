"""The vegetation prior: which leaves, canopies and soils nature makes, all declared here.

Leaf area is learned from measurements; leaf traits co-vary with it as published for the Sentinel-2 level-2 algorithm;
soils are those of the measured library.

References
----------
Weiss, Baret & Jay (2020), *S2ToolBox level 2 products: LAI, FAPAR, FCOVER*, version 2.1, INRAE: tables of the
distributions of the input variables and of their co-distribution with leaf area ("ATBD" below).
Brown et al. (2020), Remote Sens. Environ. 247:111935 (GBOV leaf area).
Féret et al. (2017), Remote Sens. Environ. 193:204 (carotenoids and anthocyanins of measured leaves).
Féret et al. (2021), Remote Sens. Environ. 252:112173 (protein).
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cache
from typing import Any

import numpy as np
from scipy.stats import truncnorm
from torch import Tensor

from physgen.priors import (
    Chain,
    Conditional,
    Distribution,
    Empirical,
    Exponential,
    LogNormal,
    Normal,
    Stretched,
    TruncatedNormal,
    Uniform,
)

from .canopy_model import Canopy
from .tables import gbov_lai

DENSE = 15.0  # leaf area at which the narrowed ranges hold


@dataclass(frozen=True)
class Trait:
    """A truncated normal trait whose range narrows with leaf area (ATBD).

    Parameters
    ----------
    mean, sd, low, high : float
        Of the distribution at leaf area 0.
    low_dense, high_dense : float
        The range at leaf area `DENSE`; in between it is interpolated linearly, and the distribution stretched to fit.
    """

    mean: float
    sd: float
    low: float
    high: float
    low_dense: float
    high_dense: float

    def entry(self) -> Conditional:
        """The entry of a chain that has a cause `lai`."""
        base = TruncatedNormal(self.mean, self.sd, self.low, self.high)

        def at(lai: Tensor) -> Stretched:
            share = (lai / DENSE).clamp(max=1.0)
            low = self.low + share * (self.low_dense - self.low)
            return Stretched(base, low, self.high + share * (self.high_dense - self.high))

        return Conditional(at, support=(min(self.low, self.low_dense), max(self.high, self.high_dense)))


TRAITS = {  # mean, sd, low and high at leaf area 0; low and high in dense canopies (ATBD)
    "n": Trait(1.5, 0.3, 1.2, 2.2, 1.3, 1.8),
    "cab": Trait(45.0, 30.0, 20.0, 90.0, 45.0, 90.0),
    "cbrown": Trait(0.0, 0.3, 0.0, 2.0, 0.0, 0.2),
    "cm": Trait(0.005, 0.005, 0.003, 0.011, 0.005, 0.011),
    # ATBD has 30 to 80, narrowing to 55 to 65; flat beech crowns and needles lie outside it (see docs/decisions.md)
    "ala": Trait(60.0, 30.0, 15.0, 85.0, 15.0, 85.0),
    "hotspot": Trait(0.2, 0.5, 0.1, 0.5, 0.1, 0.5),
}
CAROTENOIDS = 0.22  # per chlorophyll, in leaves measured by Féret et al. 2017
WATER, WATER_SPREAD = 2.8, 0.3  # water per dry matter: ATBD's relative water content of 0.6 to 0.85, mode 0.75
_B = TruncatedNormal(0.0, 0.5, -1.0, 1.0)


def leaf_area() -> Distribution:
    """Leaf area index: half as measured, half as published.

    Half of it are the true (clumping-corrected) GBOV values of 17 NEON sites, each site with the same weight. Hardly
    any of them are below 0.5, as photographs from below are not taken where nothing grows; the other half is ATBD's
    truncated normal (mode 2, sd 3), which is.
    """
    return Empirical(_leaf_area_sample(), low=0.0, high=DENSE)


@cache
def _leaf_area_sample() -> np.ndarray:
    measured = gbov_lai()
    lai = 0.5 * (measured["lai_miller"] + measured["lai_warren"])  # two ways of reading the same photographs
    steps = (np.arange(60) + 0.5) / 60
    sites = [np.quantile(lai[measured["site"] == s], steps) for s in np.unique(measured["site"])]
    published = truncnorm.ppf((np.arange(60 * len(sites)) + 0.5) / (60 * len(sites)), -2 / 3, 13 / 3, 2.0, 3.0)
    return np.clip(np.concatenate([*sites, published]), 1e-3, DENSE - 1e-3)


def vegetation(forward: Canopy | None = None) -> Chain:
    """The prior of the causes of a canopy model.

    Parameters
    ----------
    forward : Canopy, optional
        Whose causes to describe; `Canopy()` by default.

    Returns
    -------
    Chain
        Causes in the order of the model's; under ``do(lai=3.0)`` the leaf traits follow leaf area.

    Raises
    ------
    TypeError
        If the forward model is not a `Canopy`.
    """
    if forward is not None and not isinstance(forward, Canopy):
        raise TypeError(f"Invalid forward model of type {type(forward).__name__}. `vegetation` describes a Canopy.")
    space = (forward or Canopy()).causes
    entries = _leaf("cbc" in space) | _structure() | _soil(space.names)
    return Chain({b.name: replace(entries[b.name], units=b.units, long_name=b.long_name) for b in space})


def _leaf(protein: bool) -> dict[str, Any]:
    """Leaf traits; with protein, dry matter is protein and the rest (PROSPECT-PRO)."""
    if protein:
        matter = {"prot": LogNormal(0.0007, 0.5), "cbc": TRAITS["cm"].entry()}
        water = Conditional(lambda prot, cbc: LogNormal(WATER * (prot + cbc), WATER_SPREAD), support=(0.0, np.inf))
    else:
        matter = {"cm": TRAITS["cm"].entry()}
        water = Conditional(lambda cm: LogNormal(WATER * cm, WATER_SPREAD), support=(0.0, np.inf))
    return {
        **{name: TRAITS[name].entry() for name in ("n", "cab", "cbrown")},
        "car": Conditional(lambda cab: LogNormal(CAROTENOIDS * cab, 0.25), support=(0.0, np.inf)),
        "ant": Exponential(2.0),
        "cw": water,
        **matter,
    }


def _structure() -> dict[str, Any]:
    """Leaf area, leaf angles and the hot spot; Verhoef's angle parameters within |lidfa| + |lidfb| <= 1."""
    return {
        "lai": leaf_area(),
        **{name: TRAITS[name].entry() for name in ("ala", "hotspot")},
        "lidfa": TruncatedNormal(-0.35, 0.4, -1.0, 1.0),
        "lidfb": Conditional(lambda lidfa: Stretched(_B, lidfa.abs() - 1, 1 - lidfa.abs()), support=(-1.0, 1.0)),
    }


def _soil(names: tuple[str, ...]) -> dict[str, Any]:
    """Coefficients of the measured soils, or the dry and wet soil with ATBD's range of brightness."""
    coefficients = {name: Normal(0.0, 1.0) for name in names if name.startswith("soil_")}
    return {**coefficients, "wetness": Uniform(0.0, 1.0), "psoil": Uniform(0.0, 1.0), "rsoil": Uniform(0.1, 1.5)}
