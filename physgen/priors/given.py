"""`given`: a prior under fixed conditions."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from ..conditions import Takes, takes
from .prior import Prior


def given(prior: Prior, **conditions: Any) -> Prior:
    """The prior with some of its conditions fixed; the others may still be given.

    Parameters
    ----------
    prior : Prior
    **conditions : float
        One number each, by name.

    Returns
    -------
    Prior
        With the same latents and capabilities.

    Raises
    ------
    ValueError, TypeError
        If a condition is unknown, or not one finite number.

    Examples
    --------
    >>> import physgen as pg
    >>> prior = pg.Chain(t=pg.Conditional(lambda day: pg.Normal(10 + 0.1 * day, 2), support=(-90, 60), units="degC"))
    >>> given(prior, day=100.0).sample(5).shape
    torch.Size([5, 1])
    """
    return Given(prior, conditions) if conditions else prior


class Given(Prior):
    """What `given` returns.

    Parameters
    ----------
    prior : Prior
    fixed : dict of str to float
    """

    def __init__(self, prior: Prior, fixed: dict[str, Any]) -> None:
        taken = takes(prior, "decode")
        for name, value in fixed.items():
            if not taken.everything and name not in taken.names:
                known = ", ".join(sorted(taken.names)) or "none"
                raise ValueError(f"Unknown condition {name!r} of {type(prior).__name__}. Its conditions are {known}.")
            _check_number(name, value)
        self.prior, self.fixed = prior, {n: float(v) for n, v in fixed.items()}
        self.takes = Takes(taken.required - fixed.keys(), taken.optional - fixed.keys(), taken.everything)
        self.causes, self.latent_dim = prior.causes, prior.latent_dim
        self.capabilities, self.intervened = prior.capabilities, prior.intervened

    def __repr__(self) -> str:
        return f"given({self.prior!r}, {', '.join(f'{n}={v:g}' for n, v in self.fixed.items())})"

    def decode(self, z: Tensor, /, **conditions: Any) -> Tensor:
        return self.prior.decode(z, **self._all(z, conditions))

    def encode(self, x: Tensor, /, **conditions: Any) -> Tensor:
        return self.prior.encode(x, **self._all(x, conditions))

    def log_prob(self, x: Tensor, /, **conditions: Any) -> Tensor:
        return self.prior.log_prob(x, **self._all(x, conditions))

    def log_factor(self, x: Tensor, /, **conditions: Any) -> Tensor:
        return self.prior.log_factor(x, **self._all(x, conditions))

    def score(self, x: Tensor, /, **conditions: Any) -> Tensor:
        """Gradient of the log density ``(*, n)``, where the prior has one."""
        if "score" not in self.capabilities:
            raise self._lacks("score")
        return self.prior.score(x, **self._all(x, conditions))  # type: ignore[attr-defined]

    def do(self, **values: float) -> Prior:
        return Given(self.prior.do(**values), dict(self.fixed))

    def _all(self, like: Tensor, conditions: dict[str, Any]) -> dict[str, Any]:
        both = sorted(self.fixed.keys() & conditions.keys())
        if both:
            raise ValueError(f"The condition {', '.join(map(repr, both))} is fixed. Leave it out, or do not fix it.")
        return {**conditions, **{n: like.new_tensor(v) for n, v in self.fixed.items()}}


def _check_number(name: str, value: Any) -> None:
    try:
        finite = bool(torch.isfinite(torch.tensor(float(value))))
    except (TypeError, ValueError, RuntimeError) as error:
        raise TypeError(f"Invalid condition {name!r} of type {type(value).__name__}. Give one number.") from error
    if not finite:
        raise ValueError(f"Invalid condition {name} {value}. It must be finite.")
