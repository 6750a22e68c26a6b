"""The inversions, one method a file, installed as ``physgen.inversions``."""

if __name__ == "inversions":
    raise ImportError("Import physgen.inversions instead. The folder is a part of physgen, not a package of its own.")

from .amortised import Amortised
from .ensemble import Ensemble
from .grid import Grid
from .guided_diffusion import GuidedDiffusion
from .hamiltonian import Hamiltonian
from .inversion import Inversion
from .lookup_table import LookupTable
from .microcanonical import Microcanonical
from .nested_laplace import NestedLaplace
from .nuts import NUTS
from .optimal_estimation import OptimalEstimation
from .pathfinder import Pathfinder
from .slice_sampler import SliceSampler
from .suggestion import suggest
from .suggestion_auto import Auto
from .tempered_smc import TemperedSMC
from .variational import Variational

__all__ = [
    "NUTS",
    "Amortised",
    "Auto",
    "Ensemble",
    "Grid",
    "GuidedDiffusion",
    "Hamiltonian",
    "Inversion",
    "LookupTable",
    "Microcanonical",
    "NestedLaplace",
    "OptimalEstimation",
    "Pathfinder",
    "SliceSampler",
    "TemperedSMC",
    "Variational",
    "suggest",
]
