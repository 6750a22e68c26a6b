"""The soil prior: which dry soils nature makes, learned from 4,168 measured ones, under any wetness."""

from __future__ import annotations

from dataclasses import replace
from functools import cache

import torch

from physgen.priors import Flow, Independent, Uniform
from physgen.priors.joint import Joint
from physgen.priors.storage import load_prior

from .soil import BasisSoil

RANK = 3  # of the basis whose coefficients were learned: that of Canopy(soil="basis")


def soil() -> Joint:
    """The prior of the causes of ``BasisSoil(rank=3)``: three coefficients as measured, and a uniform wetness.

    The coefficients are those of the shipped flow "soil"; ``prior_card("soil")`` says what it was learned from, how
    well it fits the sites that were held out, and what it is not for. The measured samples were dry, so that nothing is
    known of wetness, nor of how it goes with the coefficients.
    """
    wetness = BasisSoil(rank=RANK).causes.block("wetness")
    return Joint(_coefficients(), Independent(wetness=replace(Uniform(0.0, 1.0), long_name=wetness.long_name)))


@cache
def _coefficients() -> Flow:
    with torch.inference_mode(False):
        flow: Flow = load_prior("soil")
    return flow
