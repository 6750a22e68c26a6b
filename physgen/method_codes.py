"""Which method answered an observation, as a number in a file."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

CODES: Mapping[str, int] = MappingProxyType(
    {
        "none": 0,
        "OptimalEstimation": 1,
        "Ensemble": 2,
        "NestedLaplace": 3,
        "Hamiltonian": 4,
        "SliceSampler": 5,
        "Grid": 6,
        "LookupTable": 7,
        "NUTS": 8,
        "Microcanonical": 9,
        "TemperedSMC": 10,
        "Amortised": 11,
        "Variational": 12,
        "GuidedDiffusion": 13,
        "Auto": 14,
        "Pathfinder": 15,
    }
)
"""The statistic `answered_by` of each method. Codes are stored in files: a new method gets a new number."""
