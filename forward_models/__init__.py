"""The physics: differentiable forward models, installed as ``physgen.forward_models``."""

if __name__ == "forward_models":
    raise ImportError(
        "Import physgen.forward_models instead. The folder is a part of physgen, not a package of its own."
    )

from .canopy import (
    BasisSoil,
    Canopy,
    DryWetSoil,
    FourStream,
    Leaf,
    Sensor,
    VariableLeaf,
    leaf_noise,
    leaves,
    sail,
    vegetation,
)
from .projection import AbelProjection, abel, inverse_abel
from .stereology import FreeSpheres, SectionHistogram, SectionSizes, Spheres, SpheroidSections

__all__ = [
    "AbelProjection",
    "BasisSoil",
    "Canopy",
    "DryWetSoil",
    "FourStream",
    "FreeSpheres",
    "Leaf",
    "SectionHistogram",
    "SectionSizes",
    "Sensor",
    "Spheres",
    "SpheroidSections",
    "VariableLeaf",
    "abel",
    "inverse_abel",
    "leaf_noise",
    "leaves",
    "sail",
    "vegetation",
]
