"""The problem (forward model, prior, noise), and the posterior that it becomes with a measurement."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor

from .conditions import Takes, align, check_names, check_ranges, takes
from .noise import Noise
from .priors import Prior
from .rare import is_unseen
from .row_code import SLOPE_ROWS, RowCode
from .rows import in_blocks, jacobian
from .small_matrices import product
from .space import Space
from .status import Status

# rows of an evaluation that stay in the cache, and are enough to outweigh what each operation costs by itself
VALUE_ROWS = 1024
JACOBIAN_ROWS = 512
NUMBERS = 72 * VALUE_ROWS  # that an operation may hold, for the same reason
PRIOR_JACOBIAN_ROWS = 2048
DECODE_ROWS = 16384


class ForwardModel(Protocol):
    """Any callable ``(x, **conditions) -> prediction``, noise-free: a function, a `torch.nn.Module`, a plug-in.

    Optional attributes, used when present: ``causes``, ``conditions`` and ``observables`` (each a `Space`),
    ``jacobian(x, **conditions)`` returning (prediction, d prediction / d x), ``differentiable`` (False: a black box),
    and ``width``, the numbers that its operations hold for each row, where they are many (wavelengths, say).
    """

    def __call__(self, x: Tensor, /, **conditions: Tensor) -> Tensor:
        """Predictions ``(*, m')`` of causes ``(*, n)``."""


@dataclass(frozen=True, eq=False)
class Problem:
    """Everything but the measurement.

    Parameters
    ----------
    forward : ForwardModel
        What a cause would look like to the instrument.
    prior : Prior
        Which causes nature makes.
    noise : Noise
        How the instrument (and the model) err.

    Raises
    ------
    TypeError, ValueError
        If a part is of the wrong kind, or the forward model's causes are not the prior's.
    """

    forward: ForwardModel
    prior: Prior
    noise: Noise

    def __post_init__(self) -> None:
        if not callable(self.forward):
            raise TypeError(f"Invalid forward model of type {type(self.forward).__name__}. It must be callable.")
        if not isinstance(self.prior, Prior):
            raise TypeError(f"Invalid prior of type {type(self.prior).__name__}. It must be a physgen Prior.")
        if not isinstance(self.noise, Noise):
            raise TypeError(f"Invalid noise of type {type(self.noise).__name__}. It must be a physgen Noise.")
        causes = getattr(self.forward, "causes", None)
        if causes is not None and causes.names != self.prior.causes.names:
            raise ValueError(
                f"The forward model needs the causes {', '.join(causes.names)}. "
                f"The prior has {', '.join(self.prior.causes.names)}: give the same, in the same order."
            )

    @cached_property
    def takes(self) -> Takes:
        """The conditions that the three parts take together."""
        return self.forward_takes | self.prior_takes | self.noise_takes

    @cached_property
    def forward_takes(self) -> Takes:
        """The conditions that the forward model takes."""
        return takes(self.forward)

    @cached_property
    def prior_takes(self) -> Takes:
        """The conditions that the prior takes."""
        return takes(self.prior, "decode")

    @cached_property
    def noise_takes(self) -> Takes:
        """The conditions that the noise takes."""
        return takes(self.noise, "log_prob", 2)

    @property
    def differentiable(self) -> bool:
        """Whether gradients pass through the forward model."""
        return getattr(self.forward, "differentiable", True)

    @cached_property
    def code(self) -> RowCode | None:
        """Code of its densities; None if its forward model is not compiled."""
        return RowCode() if getattr(self.forward, "compiles_densities", False) else None

    @property
    def value_rows(self) -> int:
        """Rows that are evaluated at once."""
        return cache_rows(VALUE_ROWS, self.forward)

    @property
    def jacobian_rows(self) -> int:
        """Rows that are linearised at once."""
        return cache_rows(JACOBIAN_ROWS, self.forward)

    @property
    def observables(self) -> Space | None:
        """What the forward model predicts, if it says so."""
        return getattr(self.forward, "observables", None)

    def simulate(self, n: int, *, seed: int = 0, **conditions: Any) -> tuple[Tensor, Tensor]:
        """Draw causes from the prior and measure them.

        Parameters
        ----------
        n : int
            How many.
        seed : int
            The draws are a function of it.
        **conditions
            One value each, or n.

        Returns
        -------
        (Tensor (n, causes), Tensor (n, observables))
        """
        check_names(conditions, self.takes)
        like = torch.empty((), dtype=torch.get_default_dtype())
        conditions = align(conditions, (n,), like, self._trailing())
        own = self.prior_takes.pick(conditions)
        z = self.prior.sample_latents(n, seed=seed, **own)
        x, prediction = Posterior(self, like.new_empty(n, 0), conditions).predict(z)
        own = self.noise_takes.pick(conditions)
        return x, self.noise.sample(prediction, seed=seed, **own)

    def condition(self, y: Any, **conditions: Any) -> Posterior:
        """The posterior given measurements.

        Parameters
        ----------
        y : array_like (*batch, m)
            NaN where not measured.
        **conditions
            One value each, or one for each observation.

        Returns
        -------
        Posterior

        Raises
        ------
        ValueError, TypeError
            If a condition is unknown, missing, of the wrong shape or out of range, or y is not numeric or of
            the wrong length.
        """
        y = _numeric(y)
        check_names(conditions, self.takes)
        aligned = align(conditions, tuple(y.shape[:-1]), y, self._trailing())
        check_ranges(aligned, getattr(self.forward, "conditions", None) or Space())
        if self.observables is not None:
            self.observables.check(y)
        return Posterior(self, y, aligned)

    def out_of_range(self, y: Tensor) -> Tensor:
        """Which observations ``(*batch)`` hold a value outside the observables' range, or an infinite one."""
        outside = torch.isinf(y)
        if self.observables is not None:
            low, high = y.new_tensor([b.support for b in self.observables for _ in range(b.size)]).unbind(-1)
            outside = outside | (y < low) | (y > high)
        return outside.any(-1)

    def _trailing(self) -> dict[str, tuple[int, ...]]:
        space = getattr(self.forward, "conditions", None) or Space()
        return {b.name: b.shape for b in space}


def cache_rows(most: int, forward: ForwardModel) -> int:
    """Rows that a forward model takes at once: `most`, fewer where its operations hold many numbers for each."""
    return min(most, max(8, NUMBERS * most // VALUE_ROWS // getattr(forward, "width", 1)))


@dataclass(frozen=True, eq=False)
class Posterior:
    """Unnormalised p(z | y), batched over observations; made by `Problem.condition`.

    Parameters
    ----------
    problem : Problem
    y : Tensor (*batch, m)
    conditions : mapping of str to Tensor (*batch, *own)
    """

    problem: Problem
    y: Tensor
    conditions: Mapping[str, Tensor]

    @property
    def batch(self) -> tuple[int, ...]:
        """Shape of the observations."""
        return tuple(self.y.shape[:-1])

    def select(self, index: Any) -> Posterior:
        """Some of the observations, with their conditions; `index` indexes the leading axis of the batch."""
        return Posterior(self.problem, self.y[index], {k: v[index] for k, v in self.conditions.items()})

    def repeat(self, times: int) -> Posterior:
        """Each observation so many times, one after the other, for a batch with one axis."""
        conditions = {k: v.repeat_interleave(times, 0) for k, v in self.conditions.items()}
        return Posterior(self.problem, self.y.repeat_interleave(times, 0), conditions)

    def flatten(self) -> Posterior:
        """The same observations on one axis."""
        lead = len(self.batch)
        conditions = {k: v.reshape(-1, *v.shape[lead:]) for k, v in self.conditions.items()}
        return Posterior(self.problem, self.y.reshape(-1, self.y.shape[-1]), conditions)

    def screen(self) -> Tensor:
        """A status for each observation ``(*batch)`` before any computing: TRUSTED, NO_DATA or OUT_OF_RANGE."""
        out = torch.zeros(self.batch, dtype=torch.int64, device=self.y.device)
        out[torch.isnan(self.y).all(-1)] = Status.NO_DATA
        out[self.problem.out_of_range(self.y)] = Status.OUT_OF_RANGE
        return out

    def log_prob(self, z: Tensor) -> Tensor:
        """``log N(z) + log_factor(g(z)) + log p(y | F(g(z)))``, ``(*draws, *batch)`` for z ``(*draws, *batch, k)``."""
        made = self._by_code("log_prob", lambda part, z: (part.log_prob(z),), z)
        if made is not None:
            return made[0]
        x, prediction = self.predict(z)
        return self.log_weight(x, prediction) + log_normal(z)

    def slope(self, z: Tensor) -> tuple[Tensor, Tensor]:
        """`log_prob` of latents ``(*draws, *batch, k)``, and its gradient in them, without a history."""
        with torch.no_grad():
            made = self._by_code("slope", Posterior.slope, z, SLOPE_ROWS)
        if made is not None:
            return made[0], made[1]
        with torch.enable_grad():
            leaf = z.detach().requires_grad_(True)
            value = self.log_prob(leaf)
            (gradient,) = torch.autograd.grad(value.sum(), leaf)
        return value.detach(), gradient

    def log_weight(self, x: Tensor, prediction: Tensor) -> Tensor:
        """``log_factor(x) + log p(y | prediction)``, ``(*draws, *batch)``; NaN where the model is undefined."""
        problem = self.problem
        out = problem.noise.log_prob(self.y, prediction, **problem.noise_takes.pick(self.conditions))
        # an infinite prediction would have the density 0, and pass for one that merely does not fit
        out = torch.where(torch.isfinite(prediction).all(-1), out, torch.nan)
        if "log_factor" in problem.prior.capabilities:
            factor = problem.prior.log_factor(x, **problem.prior_takes.pick(self.conditions))
            out = torch.where(torch.isneginf(factor), factor, out + factor)  # what is excluded need not be defined
        return out

    def predict(self, z: Tensor) -> tuple[Tensor, Tensor]:
        """Causes ``(*draws, *batch, n)`` and their noise-free predictions ``(*draws, *batch, m')``."""
        x = self.decode(z)
        return x, self.predict_causes(x)

    def predict_causes(self, x: Tensor) -> Tensor:
        """Noise-free predictions ``(*draws, *batch, m')`` of causes ``(*draws, *batch, n)``."""
        lead = x.shape[:-1]
        rows, conditions = x.reshape(-1, x.shape[-1]), self._rows(lead)
        size = len(rows) if torch.is_grad_enabled() and x.requires_grad else self.problem.value_rows
        (prediction,) = in_blocks(lambda x, conditions: (self._forward(x, conditions),), rows, conditions, size)
        return prediction.reshape(*lead, -1)

    def decode(self, z: Tensor) -> Tensor:
        """Causes ``(*draws, *batch, n)`` of latents ``(*draws, *batch, k)``."""
        lead = z.shape[:-1]
        rows, conditions = z.reshape(-1, z.shape[-1]), self._rows(lead)
        size = len(rows) if torch.is_grad_enabled() and z.requires_grad else DECODE_ROWS
        (x,) = in_blocks(lambda rows, conditions: (self._decode(rows, conditions),), rows, conditions, size)
        return x.reshape(*lead, -1)

    def linearise(self, z: Tensor) -> tuple[Tensor, Tensor]:
        """Predictions ``(*draws, *batch, m')`` and their Jacobian ``(*draws, *batch, m', k)`` in the latents.

        Raises
        ------
        TypeError
            If the forward model is a black box.
        """
        lead = z.shape[:-1]

        own = getattr(self.problem.forward, "jacobian", None)

        def prior(rows: Tensor, conditions: Mapping[str, Tensor]) -> tuple[Tensor, Tensor]:
            return jacobian(lambda r: self._decode(r, conditions), rows)

        def forward(x: Tensor, conditions: Mapping[str, Tensor]) -> tuple[Tensor, Tensor]:
            if own is None:
                return jacobian(lambda r: self._forward(r, conditions), x)
            return own(x, **self.problem.forward_takes.pick(conditions))

        rows, conditions = z.reshape(-1, z.shape[-1]), self._rows(lead)
        x, by_z = in_blocks(prior, rows, conditions, PRIOR_JACOBIAN_ROWS)
        prediction, by_x = in_blocks(forward, x, conditions, self.problem.jacobian_rows)
        slopes = product(by_x, by_z)
        return prediction.reshape(*lead, -1), slopes.reshape(*lead, *slopes.shape[1:])

    def _by_code(
        self, name: str, function: Callable[[Posterior, Tensor], tuple[Tensor, ...]], z: Tensor, most: int = VALUE_ROWS
    ) -> tuple[Tensor, ...] | None:
        """What a function returns for this posterior and z, from code; None if there is none, or gradients follow."""
        code, lead = self.problem.code, z.shape[:-1]
        if code is None or is_unseen() or torch.is_grad_enabled() or not z.numel():
            return None
        conditions = self._rows(lead)

        def rows(z: Tensor, y: Tensor, *own: Tensor) -> tuple[Tensor, ...]:
            return function(Posterior(self.problem, y, dict(zip(conditions, own, strict=True))), z)

        y = self.y.expand(*lead, -1).reshape(-1, self.y.shape[-1])
        inputs = z.reshape(-1, z.shape[-1]), y, *conditions.values()
        try:
            made = code(" ".join((name, *conditions)), rows, *inputs, size=min(most, self.problem.value_rows))
        except torch.linalg.LinAlgError:  # of one row; see `_row_by_row`
            return None
        return None if made is None else tuple(t.reshape(*lead, *t.shape[1:]) for t in made)

    def _decode(self, rows: Tensor, conditions: Mapping[str, Tensor]) -> Tensor:
        return self.problem.prior.decode(rows, **self.problem.prior_takes.pick(conditions))

    def _forward(self, x: Tensor, conditions: Mapping[str, Tensor]) -> Tensor:
        try:
            prediction = self.problem.forward(x, **self.problem.forward_takes.pick(conditions))
        except (torch.linalg.LinAlgError, np.linalg.LinAlgError):
            return self._row_by_row(x, conditions)
        if prediction.shape[:-1] != x.shape[:-1]:
            raise ValueError(
                f"The forward model returned the shape {tuple(prediction.shape)} for causes {tuple(x.shape)}. "
                "It must keep every axis but the last."
            )
        return prediction

    def _row_by_row(self, x: Tensor, conditions: Mapping[str, Tensor]) -> Tensor:
        """Predictions of rows of which some cannot be factorised: the model is undefined there, and there alone.

        A Cholesky factorisation of a batch fails as a whole. Halves that do not fail are evaluated at once.
        """
        if len(x) == 1:
            centre = self.problem.prior.decode(
                x.new_zeros(1, self.problem.prior.latent_dim), **self.problem.prior_takes.pick(conditions)
            )
            width = self.problem.forward(centre, **self.problem.forward_takes.pick(conditions)).shape[-1]
            return (torch.nan * x.sum(-1, keepdim=True)).expand(-1, width)
        halves = (slice(0, len(x) // 2), slice(len(x) // 2, None))
        return torch.cat([self._forward(x[h], {k: v[h] for k, v in conditions.items()}) for h in halves])

    def _rows(self, lead: tuple[int, ...]) -> dict[str, Tensor]:
        """Every condition, repeated over the draws, on one axis."""
        batch = len(self.batch)
        return {
            k: v.expand((*lead, *v.shape[batch:])).reshape(-1, *v.shape[batch:]) for k, v in self.conditions.items()
        }


def log_normal(z: Tensor) -> Tensor:
    """Log density of N(0, I) over the last axis."""
    return -0.5 * (z * z).sum(-1) - 0.5 * z.shape[-1] * 1.8378770664093453


def _numeric(y: Any) -> Tensor:
    try:
        y = torch.as_tensor(y)
    except (TypeError, ValueError, RuntimeError) as error:
        raise TypeError(f"Invalid observations of type {type(y).__name__}. Give numbers, NaN for missing.") from error
    if y.is_complex():
        raise TypeError("Invalid complex observations. Give real numbers, the parts side by side.")
    if not y.is_floating_point():
        y = y.to(torch.get_default_dtype())
    if y.ndim == 0 or y.shape[-1] == 0 or y.numel() == 0:
        raise ValueError(f"Invalid observations of shape {tuple(y.shape)}. Give (*batch, m) with m observables.")
    return y


def refuse_wrong_units(outside: int, total: int) -> None:
    """Raise `ValueError` if most observations are out of range: some are bad pixels, most have the wrong units."""
    if outside > 0.5 * total:
        raise ValueError(
            f"Invalid observations: {outside} of {total} lie outside the observable's range. "
            "Check the units; digital numbers must be scaled first."
        )
