"""`where`: a prior of what was selected (detection limits, quality masks, a particle being cut at all)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from ..conditions import takes
from .prior import Prior
from .weighted import Weighted


def where(prior: Prior, accept: Callable[..., Tensor]) -> Prior:
    """The prior of those causes that are accepted.

    A selection by chance whose rate depends on the causes is a `where` on an auxiliary cause (the distance of a plane
    from a centre), or a `shift` by the logarithm of the rate.

    Parameters
    ----------
    prior : Prior
    accept : callable
        ``(x, **conditions)``, x ``(*, n)``, returns bool ``(*)``; it takes the conditions that it names.

    Returns
    -------
    Prior
        With the capability "log_factor": 0 where accepted, -inf elsewhere.

    Raises
    ------
    TypeError
        If `accept` is no function, or (when it is called) returns no bool.

    Examples
    --------
    >>> import physgen as pg
    >>> prior = where(pg.Independent(radius=pg.LogNormal(1.0, 0.5)), lambda x: x[..., 0] > 0.8)
    >>> bool((prior.sample(100) > 0.8).all())
    True
    """
    if not callable(accept):
        raise TypeError(f"Invalid accept {accept!r}. Give a function of causes that returns True or False.")

    def factor(x: Tensor, **conditions: Any) -> Tensor:
        kept = accept(x, **conditions)
        if not isinstance(kept, Tensor) or kept.dtype != torch.bool or kept.shape != x.shape[:-1]:
            got = f"{kept.dtype} of shape {tuple(kept.shape)}" if isinstance(kept, Tensor) else type(kept).__name__
            raise TypeError(f"The selection returned {got}. It must be bool of shape {tuple(x.shape[:-1])}.")
        return torch.where(kept, x.new_zeros(()), -torch.inf)

    return Weighted(prior, factor, f"where({prior!r}, {_name(accept)})", takes(accept))


def _name(function: object) -> str:
    return getattr(function, "__name__", type(function).__name__)
