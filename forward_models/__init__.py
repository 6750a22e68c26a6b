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

__all__ = [
    "BasisSoil",
    "Canopy",
    "DryWetSoil",
    "FourStream",
    "Leaf",
    "Sensor",
    "VariableLeaf",
    "leaf_noise",
    "leaves",
    "sail",
    "vegetation",
]
