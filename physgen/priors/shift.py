"""`shift`: a prior whose density is multiplied by a ratio (other class frequencies, another population)."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from ..conditions import takes
from .prior import Prior
from .weighted import Weighted


def shift(prior: Prior, log_ratio: Callable[..., Tensor], *, bound: float = 0.0) -> Prior:
    """The prior with the density p(x) exp(log_ratio(x)), normalised.

    Parameters
    ----------
    prior : Prior
    log_ratio : callable
        ``(x, **conditions)``, x ``(*, n)``, returns ``(*)``: log of the new density over the old one, up to a constant.
        It takes the conditions that it names.
    bound : float
        The largest value that `log_ratio` can take: draws are accepted with the probability exp(log_ratio - bound).

    Returns
    -------
    Prior
        With the capability "log_factor": log_ratio - bound.

    Raises
    ------
    TypeError, ValueError
        If `log_ratio` is no function or `bound` not finite; when it is called, if it returns another shape, NaN, or
        more than the bound, with which draws would not follow the density.

    Examples
    --------
    >>> import physgen as pg
    >>> base = pg.Independent(radius=pg.Uniform(0, 2))
    >>> float(shift(base, lambda x: x[..., 0].log(), bound=0.7).sample(20_000).mean()) > 1.3
    True
    """
    if not callable(log_ratio):
        raise TypeError(f"Invalid log_ratio {log_ratio!r}. Give a function of causes.")
    if not math.isfinite(bound):
        raise ValueError(f"Invalid bound {bound}. Give the largest value that log_ratio can take.")

    def factor(x: Tensor, **conditions: Any) -> Tensor:
        value = log_ratio(x, **conditions)
        if not isinstance(value, Tensor) or value.shape != x.shape[:-1]:
            got = f"the shape {tuple(value.shape)}" if isinstance(value, Tensor) else f"a {type(value).__name__}"
            raise TypeError(f"The ratio returned {got}. It must be a tensor of shape {tuple(x.shape[:-1])}.")
        # rounding may carry a value that equals the bound above it
        allowed = bound + 1e-5 * (1 + abs(bound))
        if bool(torch.isnan(value).any()):
            raise ValueError("The log ratio is not a number somewhere. It must be defined wherever the prior has mass.")
        if value.numel() and bool((value > allowed).any()):
            raise ValueError(
                f"The log ratio reaches {float(value.max()):g}, above the bound {bound:g}. Raise the bound."
            )
        return (value - bound).clamp(max=0)

    name = getattr(log_ratio, "__name__", type(log_ratio).__name__)
    return Weighted(prior, factor, f"shift({prior!r}, {name}, bound={bound:g})", takes(log_ratio))
