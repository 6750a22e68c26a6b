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


def counterfactual(prior: Prior, x: Tensor, values: Mapping[str, float], *, seed: int = 0, **conditions: Any) -> Tensor:
    """What observed causes would have been if some had been set: encode, edit, decode (Pearl 2009, theorem 7.1.7).

    Parameters
    ----------
    prior : Prior
        With the capability "do", and with "encode" (a `Chain` or a `CausalFlow`) or an `abduct` of its own (`Composed`,
        whose features may come from a decoder).
    x : Tensor (*, n)
        What was observed, every cause.
    values : mapping of str to float
        What is set.
    seed : int
        Of the code of a decoder, of which many fit what was observed: see `Composed.abduct`.
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
    if "do" not in prior.capabilities:
        raise prior._lacks("do")
    if "encode" in prior.capabilities:
        z = prior.encode(x, **conditions)
    elif hasattr(prior, "abduct"):
        z = prior.abduct(x, seed=seed, **conditions)
    else:
        raise prior._lacks("encode")
    return prior.do(**values).decode(z, **conditions)
