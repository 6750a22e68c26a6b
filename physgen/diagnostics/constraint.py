"""Constraints: conditions between causes, however far apart, as soft likelihoods that any inversion uses."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from ..conditions import Takes, takes
from ..priors.prior import Prior


@dataclass(frozen=True, eq=False)
class Constraint:
    """A condition residual(x) = 0 that causes satisfy to within a tolerance.

    Parameters
    ----------
    name : str
        For the report.
    residual : callable
        Causes ``(*, n)`` to ``(*)`` or ``(*, r)``: what should be 0. For an inequality give what exceeds the bound,
        ``relu(x - bound)``.
    tolerance : float
        Standard deviation of the residual, in its units: the soft likelihood is that of measuring 0 with this error.

    Raises
    ------
    ValueError, TypeError
        If the residual is not callable or the tolerance is not positive.

    Examples
    --------
    Two distant elements of a profile that are bound to each other:

    >>> bond = Constraint("bond", lambda x: x[..., 0] + x[..., 40] - 1, 0.01)
    """

    name: str
    residual: Callable[[Tensor], Tensor]
    tolerance: float

    def __post_init__(self) -> None:
        if not callable(self.residual):
            raise TypeError(f"Invalid residual of type {type(self.residual).__name__}. It must be callable.")
        if not self.tolerance > 0 or self.tolerance == float("inf"):
            raise ValueError(f"Invalid tolerance {self.tolerance} of {self.name}. Must be finite and greater than 0.")

    def log_factor(self, x: Tensor) -> Tensor:
        """-|residual / tolerance|^2 / 2, ``(*)`` for causes ``(*, n)``; at most 0, and 0 where it is satisfied."""
        return -0.5 * self._scaled(x).square().sum(-1)

    def satisfied(self, x: Tensor, within: float = 3.0) -> Tensor:
        """Whether every residual lies within so many tolerances of 0, bool ``(*)``; False where it is NaN."""
        return (self._scaled(x).abs() <= within).all(-1)

    def _scaled(self, x: Tensor) -> Tensor:
        r = self.residual(x)
        lead = x.shape[:-1]
        if r.shape[: len(lead)] != lead or r.ndim > len(lead) + 1:
            raise ValueError(
                f"Invalid residual of shape {tuple(r.shape)} of {self.name}. "
                f"Give {(*lead,)} or {(*lead, 'r')} for causes {tuple(x.shape)}."
            )
        return (r.unsqueeze(-1) if r.ndim == len(lead) else r) / self.tolerance


class Constrained(Prior):
    """A prior whose causes satisfy constraints softly.

    Its capability "log_factor" carries them to every inversion, and `sample` draws by rejection; "encode" stays. The
    density is no longer normalised, so that "log_prob" and "score" go; "do" goes as well.

    Parameters
    ----------
    prior : Prior
    *constraints : Constraint
        At least one, with different names.

    Raises
    ------
    ValueError, TypeError
        If a part is of the wrong kind, or names are missing or repeated.
    """

    def __init__(self, prior: Prior, *constraints: Constraint) -> None:
        if not isinstance(prior, Prior) or not all(isinstance(c, Constraint) for c in constraints):
            raise TypeError("Invalid parts of a constrained prior. Give a Prior and one Constraint or more.")
        names = [c.name for c in constraints]
        if not names or len(set(names)) < len(names):
            raise ValueError(f"Invalid constraints {names}. Give at least one, each with a name of its own.")
        self.prior, self.constraints = prior, constraints
        self.causes, self.latent_dim = prior.causes, prior.latent_dim
        self.intervened = prior.intervened
        self.capabilities = (prior.capabilities & {"encode"}) | {"log_factor"}

    @property
    def takes(self) -> Takes:
        """The conditions of the prior."""
        return takes(self.prior, "decode")

    def decode(self, z: Tensor, /, **conditions: Tensor) -> Tensor:
        return self.prior.decode(z, **conditions)

    def encode(self, x: Tensor, /, **conditions: Tensor) -> Tensor:
        return self.prior.encode(x, **conditions)

    def log_factor(self, x: Tensor, /, **conditions: Tensor) -> Tensor:
        own = self.prior.log_factor(x, **conditions)
        return own + torch.stack([c.log_factor(x) for c in self.constraints]).sum(0)


def satisfaction(
    x: Tensor, *constraints: Constraint, within: float = 3.0, weights: Tensor | None = None
) -> Mapping[str, Tensor]:
    """How often draws satisfy each constraint, and all of them.

    Parameters
    ----------
    x : Tensor (S, *batch, n)
        Draws of a prior or a posterior.
    *constraints : Constraint
    within : float
        In tolerances.
    weights : Tensor (S, *batch), optional
        Of the draws; equal by default.

    Returns
    -------
    mapping of str to Tensor (*batch)
        By the constraint's name, and "all".

    Raises
    ------
    ValueError
        If there is no constraint, no draw, or a weight is negative.
    """
    if not constraints or x.ndim < 2 or not len(x):
        raise ValueError(f"Invalid draws of shape {tuple(x.shape)}, {len(constraints)} constraints. Give some of both.")
    w = torch.ones_like(x[..., 0]) if weights is None else weights
    if w.shape != x.shape[:-1] or bool((w < 0).any()):
        raise ValueError(f"Invalid weights of shape {tuple(w.shape)}. Give one for each draw, at least 0.")
    kept = {c.name: c.satisfied(x, within) for c in constraints}
    kept["all"] = torch.stack(list(kept.values())).all(0)
    return {name: (w * held).sum(0) / w.sum(0) for name, held in kept.items()}
