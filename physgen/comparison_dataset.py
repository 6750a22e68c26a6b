"""A comparison of priors as labelled arrays."""

from __future__ import annotations

from typing import Any

import numpy as np
import xarray as xr

from .datatree import batch_coordinates, batch_dims
from .diagnostics.prior_comparison import PriorComparison

_SCALARS = {
    "trusted": "whether the answer can be trusted",
    "log_evidence": "log evidence",
    "rank": "rank of the prior by its evidence, 1 for the highest; 0: not known",
    "dofs": "degrees of freedom for signal",
}
_BY_CAUSE = {
    "mean": "posterior mean, in the units of the cause",
    "sd": "posterior standard deviation, in the units of the cause",
    "contraction": "1 minus posterior over prior variance",
    "overlap": "overlap of prior and posterior density",
    "from_data": "diagonal of the averaging kernel in the causes",
}


def comparison_dataset(comparison: PriorComparison) -> xr.Dataset:
    """Dimensions ``prior``, those of the observations, and ``cause``, with names along the first and the last.

    Parameters
    ----------
    comparison : PriorComparison

    Returns
    -------
    xarray.Dataset
        trusted, log_evidence, rank and dofs (prior, *batch); mean, sd, contraction, overlap and from_data (prior,
        *batch, cause); disagreement (*batch, cause).
    """
    first = next(iter(comparison.results.values()))
    batch = tuple(first.status.shape)
    dims = batch_dims(first.dims, batch)
    data: dict[str, Any] = {
        name: (("prior", *dims), getattr(comparison, name).cpu().numpy(), {"long_name": words})
        for name, words in _SCALARS.items()
    }
    for name, words in _BY_CAUSE.items():
        data[name] = (("prior", *dims, "cause"), getattr(comparison, name).cpu().numpy(), {"long_name": words})
    words = "largest difference of two posterior means, in posterior standard deviations"
    data["disagreement"] = ((*dims, "cause"), comparison.disagreement.cpu().numpy(), {"long_name": words})
    units = [b.units for b in comparison.causes for _ in range(b.size)]
    coords = {
        "prior": np.array(comparison.priors),
        "cause": np.array(comparison.causes.element_names),
        "units": ("cause", np.array(units)),
    }
    return xr.Dataset(data, coords).assign_coords(batch_coordinates(first.coords, first.dims, batch))
