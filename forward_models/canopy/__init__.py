"""Canopy and leaf radiative transfer: PROSPECT, 4SAIL, soils, sensors."""

from .canopy_model import Canopy
from .leaf_model import Leaf
from .leaf_noise import leaf_noise
from .leaf_prior import VariableLeaf, leaves
from .sail import FourStream, sail
from .sensors import Sensor
from .soil import BasisSoil, DryWetSoil
from .vegetation_prior import vegetation

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
