"""The vegetation prior in learned form: leaf area by season, leaf and structure by leaf area, measured soils."""

from __future__ import annotations

from functools import cache

import torch

from physgen.priors import CausalFlow, Prior, given
from physgen.priors.joint import Joint
from physgen.priors.storage import load_prior

from .canopy_model import Canopy
from .soil_prior import soil


def vegetation_flow(forward: Canopy | None = None, *, day_of_year: float | None = None) -> Prior:
    """The learned prior of the causes of a canopy model with PROSPECT-D leaves.

    Leaf, leaf area and structure are those of the shipped causal flow "vegetation_flow", soils those of `soil`.
    ``prior_card("vegetation_flow")`` says what was measured (leaf area and its season) and what was drawn from the
    published co-distribution (every leaf trait). The chain `vegetation` needs no season and serves every canopy model.

    Parameters
    ----------
    forward : Canopy, optional
        Whose causes to describe; `Canopy()` by default.
    day_of_year : float, optional
        Fixes the season, from 1 (1 January) to 366, in the northern hemisphere. Otherwise it is a condition.

    Returns
    -------
    Prior
        Causes in the order of the model's; under ``do(lai=3.0)`` the leaf traits follow leaf area.

    Raises
    ------
    TypeError
        If the forward model is not a `Canopy`.
    ValueError
        If it has other causes, or the day is out of range.
    """
    if forward is not None and not isinstance(forward, Canopy):
        raise TypeError(
            f"Invalid forward model of type {type(forward).__name__}. `vegetation_flow` describes a Canopy."
        )
    if day_of_year is not None and not 1 <= day_of_year <= 366:
        raise ValueError(f"Invalid day_of_year {day_of_year:g}. Must lie within 1 to 366.")
    names, wanted = Canopy().causes.names, (forward or Canopy()).causes.names
    if wanted != names:
        raise ValueError(
            f"The learned prior has the causes {', '.join(names)}, the model {', '.join(wanted)}. "
            "Use `vegetation`, or a Canopy with leaf='D', leaf_angles='campbell' and soil='basis'."
        )
    flow: Prior = _flow() if day_of_year is None else given(_flow(), day_of_year=float(day_of_year))
    return Joint(flow, soil(), order=names)


@cache
def _flow() -> CausalFlow:
    with torch.inference_mode(False):
        flow: CausalFlow = load_prior("vegetation_flow")
    return flow
