"""Real particles from X-ray tomography, read from `data/ct_particle_shapes.nc`.

References
----------
Garboczi (2002), *Cement and Concrete Research* 32, 1621-1638.
"""

from __future__ import annotations

from functools import cache
from importlib import resources

import numpy as np
import torch
from torch import Tensor

CT_SETS = ("cement133", "sacci425", "ma165", "sika-fib", "box", "ellipsoid")
"""A cement, two sands, an aggregate; exact boxes and ellipsoids, which lose much when cut off at degree 16."""


def ct_particles(name: str) -> Tensor:
    """Coefficients ``(particle, 153)``, complex64, of one set, in um: degree 16, laid out as `StarBody` takes them.

    Particles whose radius falls to 0 or below somewhere are left out (those marked in the file).

    Parameters
    ----------
    name : str
        One of `CT_SETS`. The sizes of "sika-fib" are nominal: its unit is about a millimetre.

    Raises
    ------
    ValueError
        If there is no such set.
    """
    table = ct_table()
    chosen = (table["set"] == _number(name)) & (table["least_radius"] > 0)
    parts = torch.from_numpy(np.stack([table["coefficient_re"], table["coefficient_im"]], -1)[chosen])
    return torch.view_as_complex(parts.float().contiguous())


def ct_geometry(name: str, variable: str) -> Tensor:
    """A column ``(particle,)``, float32, of the table that came with the particles of `ct_particles(name)`.

    It describes the body at the degree of the source (up to 30), in um and its powers.

    Parameters
    ----------
    name : str
        One of `CT_SETS`.
    variable : str
        ``volume``, ``surface``, ``length``, ``width``, ``thickness``, ``curvature``, ``degree`` ...

    Raises
    ------
    ValueError
        If there is no such set, or no such column.
    """
    table = ct_table()
    columns = [n for n, v in table.items() if v.shape == table["set"].shape and v.dtype.kind == "f"]
    if variable not in columns:
        raise ValueError(f"Unknown column {variable!r} of the particle table. Must be one of {', '.join(columns)}.")
    chosen = (table["set"] == _number(name)) & (table["least_radius"] > 0)
    return torch.from_numpy(np.asarray(table[variable][chosen], dtype=np.float32))


@cache
def ct_table() -> dict[str, np.ndarray]:
    """Every variable of the file as an array, by name."""
    import xarray as xr  # here, so that the model itself starts without it

    source = resources.files("physgen") / "data" / "ct_particle_shapes.nc"
    with resources.as_file(source) as path, xr.open_dataset(path) as data:
        return {str(n): v.values for n, v in data.variables.items()}


def _number(name: str) -> int:
    if name not in CT_SETS:
        raise ValueError(f"Unknown set of particles {name!r}. Must be one of {', '.join(CT_SETS)}.")
    return CT_SETS.index(name)
