"""The families of sphere sizes by name."""

from __future__ import annotations

from .sizes import Sizes
from .sizes_bounded import ParetoSizes, SingleSize, UniformSizes
from .sizes_gamma import ExponentialSizes, GammaSizes, RayleighSizes, WeibullSizes
from .sizes_lognormal import LogNormalSizes
from .sizes_mixture import MixtureSizes
from .sizes_normal import NormalSizes

FAMILIES: dict[str, type[Sizes]] = {
    "lognormal": LogNormalSizes,
    "gamma": GammaSizes,
    "weibull": WeibullSizes,
    "normal": NormalSizes,
    "exponential": ExponentialSizes,
    "rayleigh": RayleighSizes,
    "pareto": ParetoSizes,
    "uniform": UniformSizes,
    "single": SingleSize,
}


def family(sizes: str | Sizes) -> Sizes:
    """A family of sphere sizes by its name; names joined by "+" make a mixture.

    Parameters
    ----------
    sizes : str or Sizes
        "lognormal", "gamma", "weibull", "normal", "exponential", "rayleigh", "pareto", "uniform",
        "single", or several of them, as in "lognormal + lognormal". What is a family
        already comes back as it is.

    Raises
    ------
    ValueError, TypeError
        If a name is unknown, or it is no text.
    """
    if isinstance(sizes, Sizes):
        return sizes
    if not isinstance(sizes, str):
        raise TypeError(f"Invalid sizes of type {type(sizes).__name__}. Give the name of a family, or a Sizes.")
    names = [name.strip() for name in sizes.split("+")]
    for name in names:
        if name not in FAMILIES:
            raise ValueError(f"Unknown sizes {name!r}. Must be one of {', '.join(FAMILIES)}, or several joined by '+'.")
    parts = [FAMILIES[name]() for name in names]
    return parts[0] if len(parts) == 1 else MixtureSizes(parts)
