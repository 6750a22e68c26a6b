"""Interventions and counterfactuals of any prior that has them, beside `given`, `where` and `shift`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor

from .given import given
from .prior import Prior
from .shift import shift
from .where import where

__all__ = ["counterfactual", "do", "given", "shift", "where"]


def do(prior: Prior, **values: float) -> Prior:
    """The prior after an intervention: the named causes are set, what they act on follows (Pearl 2009, section 3.2).

    Parameters
    ----------
    prior : Prior
        With the capability "do".
    **values : float
        By cause, in its units.

    Returns
    -------
    Prior
        With the same latents, and without "log_prob" and "encode".

    Raises
    ------
    TypeError
        If the prior has no "do".
    ValueError
        If a name is unknown, or a value not within the support.
    """
    if "do" not in prior.capabilities:
        raise prior._lacks("do")
    return prior.do(**values)


def counterfactual(prior: Prior, x: Tensor, values: Mapping[str, float], **conditions: Any) -> Tensor:
    """What observed causes would have been if some had been set: encode, edit, decode (Pearl 2009, theorem 7.1.7).

    Parameters
    ----------
    prior : Prior
        With the capabilities "encode" and "do": a `Chain` or a `CausalFlow`.
    x : Tensor (*, n)
        What was observed, every cause.
    values : mapping of str to float
        What is set.
    **conditions : Tensor or float

    Returns
    -------
    Tensor (*, n)

    Raises
    ------
    TypeError
        If the prior lacks a capability.
    ValueError
        If a name is unknown, or a value not within the support.
    """
    for capability in ("encode", "do"):
        if capability not in prior.capabilities:
            raise prior._lacks(capability)
    return prior.do(**values).decode(prior.encode(x, **conditions), **conditions)
