"""The inversions, one method a file, installed as ``physgen.inversions``."""

if __name__ == "inversions":
    raise ImportError("Import physgen.inversions instead. The folder is a part of physgen, not a package of its own.")

from .ensemble import Ensemble
from .inversion import Inversion
from .nested_laplace import NestedLaplace
from .optimal_estimation import OptimalEstimation

__all__ = ["Ensemble", "Inversion", "NestedLaplace", "OptimalEstimation"]
