"""Chains: priors in which the distribution of a cause may depend on other causes and on conditions."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping
from graphlib import CycleError, TopologicalSorter
from typing import Any

import torch
from torch import Tensor

from ..conditions import Takes, check_names
from ..space import Block, Space
from .chain_causes import describe
from .conditional import Conditional, Fixed
from .distribution import Distribution
from .prior import Prior

Entry = Distribution | Conditional | Callable[..., Distribution]


class Chain(Prior):
    """A structural prior: causes, each with a distribution that may depend on others, without a cycle.

    Each cause is x_i = Q_i(Phi(z_i); its own causes, conditions): the latents z are the exogenous noises of a
    structural causal model (Pearl 2009, *Causality*, section 1.4). The order of the entries is that of x, in which a
    cause may come before those that it depends on.

    Parameters
    ----------
    entries : mapping of str to Distribution, Conditional or callable, optional
        By cause. A function returns the distribution; the names of its parameters that are not causes are conditions.
        See `Conditional`, also for what a bare function cannot tell.
    **named
        More entries, by keyword.

    Attributes
    ----------
    entries : dict
        As given, functions wrapped in `Conditional`.
    takes : Takes
        The conditions.
    intervened : frozenset of str
        Causes that `do` has fixed.

    Raises
    ------
    ValueError, TypeError
        If an entry is of the wrong kind, depends on itself (over others, too), or its function fails on a batch.

    Examples
    --------
    >>> import physgen as pg
    >>> prior = pg.Chain(
    ...     lai=pg.TruncatedNormal(2, 3, 0, 12, units="m2 m-2"),
    ...     cab=lambda lai: pg.TruncatedNormal(40 + 3 * lai, 20, 0, 100, units="ug cm-2"),
    ... )
    >>> prior.sample(5).shape
    torch.Size([5, 2])
    """

    takes: Takes
    intervened: frozenset[str] = frozenset()

    def __init__(self, entries: Mapping[str, Entry] | None = None, /, **named: Entry) -> None:
        made = {name: _entry(name, e) for name, e in {**(entries or {}), **named}.items()}
        if not made:
            raise ValueError("Invalid prior without causes. Give at least one distribution, by name.")
        self.entries: Mapping[str, Distribution | Conditional | Fixed] = made
        self.takes = _conditions(made)
        self._order = _causal_order(made)
        described = describe({name: made[name] for name in self._order})
        self.causes = Space(*(described.block(name) for name in made))
        self.latent_dim = len(self.entries)
        self.capabilities = frozenset({"log_prob", "encode", "do"})

    def __repr__(self) -> str:
        return f"{type(self).__name__}({', '.join(f'{k}={v!r}' for k, v in self.entries.items())})"

    def decode(self, z: Tensor, /, **conditions: Any) -> Tensor:
        """Causes ``(*, n)`` of latents ``(*, n)``."""
        self.causes.check(z)
        known = self._known(conditions, z)
        for name, entry, latent in self._ordered(z):
            known[name] = _resolve(entry, known).decode(latent)
        return self._stack(known)

    def encode(self, x: Tensor, /, **conditions: Any) -> Tensor:
        """Latents ``(*, n)`` of causes ``(*, n)``; NaN for a cause outside its support."""
        self._need("encode")
        self.causes.check(x)
        known = self._known(conditions, x)
        latents = {}
        for name, entry, value in self._ordered(x):
            latents[name] = _resolve(entry, known).encode(value)  # type: ignore[union-attr]
            known[name] = value
        return self._stack(latents)

    def log_prob(self, x: Tensor, /, **conditions: Any) -> Tensor:
        """Log density ``(*)`` of causes ``(*, n)``; -inf outside the support."""
        self._need("log_prob")
        self.causes.check(x)
        known = self._known(conditions, x)
        total = x.new_zeros(x.shape[:-1])
        for name, entry, value in self._ordered(x):
            distribution = _resolve(entry, known)
            log_prob = distribution.log_prob(value)  # type: ignore[union-attr]
            total = total + log_prob
            # what depends on it must see a possible value, or their NaN would hide the -inf
            median = distribution.decode(torch.zeros_like(log_prob))
            known[name] = torch.where(torch.isneginf(log_prob), median, value)
        return total

    def do(self, **values: float) -> Chain:
        """The prior after an intervention: the named causes are set, later ones follow.

        The layout of the latents stays (those of the named causes have no effect any more); the capabilities
        "log_prob" and "encode" are lost, as x no longer has a density in all its elements.

        Parameters
        ----------
        **values : float
            By cause, in its units and within its support.

        Returns
        -------
        Chain
            With the names in `intervened`.

        Raises
        ------
        ValueError, TypeError
            If a name is unknown, or a value is not a number or not within the support.
        """
        fixed = {name: Fixed(_within(self.causes.block(name), value)) for name, value in values.items()}
        prior = copy.copy(self)
        prior.entries = {**self.entries, **fixed}
        prior.intervened = self.intervened | fixed.keys()
        needed = _conditions(prior.entries).required
        prior.takes = Takes(needed, self.takes.names - needed)  # what only the replaced entries took may still be given
        prior.capabilities = self.capabilities - {"log_prob", "encode"} if fixed else self.capabilities
        return prior

    def _ordered(self, values: Tensor) -> list[tuple[str, Any, Tensor]]:
        """Name, entry and column of `values` of every cause, each after those that it depends on."""
        columns = dict(zip(self.entries, values.unbind(-1), strict=True))
        return [(name, self.entries[name], columns[name]) for name in self._order]

    def _stack(self, columns: Mapping[str, Tensor]) -> Tensor:
        return torch.stack(torch.broadcast_tensors(*(columns[name] for name in self.entries)), dim=-1)

    def _known(self, conditions: Mapping[str, Any], like: Tensor) -> dict[str, Tensor]:
        check_names(conditions, self.takes)
        return {k: torch.as_tensor(v).to(dtype=like.dtype, device=like.device) for k, v in conditions.items()}

    def _need(self, capability: str) -> None:
        if capability not in self.capabilities:
            raise self._lacks(capability)


def _entry(name: str, entry: Any) -> Distribution | Conditional:
    if isinstance(entry, Distribution | Conditional):
        return entry
    if isinstance(entry, type) or not callable(entry):
        raise TypeError(f"Invalid entry {entry!r} for {name!r}. Give a Distribution, or a function that returns one.")
    return Conditional(entry)


def _resolve(entry: Any, known: Mapping[str, Tensor]) -> Distribution | Fixed:
    return entry(known) if isinstance(entry, Conditional) else entry


def _conditions(entries: Mapping[str, Any]) -> Takes:
    """What the functions take besides causes."""
    taken = Takes()
    for entry in entries.values():
        if isinstance(entry, Conditional):
            taken |= Takes(entry.takes.required - entries.keys(), entry.takes.optional - entries.keys())
    return taken


def _causal_order(entries: Mapping[str, Distribution | Conditional]) -> tuple[str, ...]:
    """The names, each after those that it depends on."""
    parents = {
        n: sorted(e.takes.names & entries.keys()) if isinstance(e, Conditional) else [] for n, e in entries.items()
    }
    try:
        return tuple(TopologicalSorter(parents).static_order())
    except CycleError as error:
        names = " <- ".join(map(repr, error.args[1]))
        raise ValueError(f"The causes depend on themselves: {names}. Remove one of these dependences.") from error


def _within(block: Block, value: Any) -> float:
    try:
        number = float(value)
    except (TypeError, ValueError, RuntimeError) as error:
        raise TypeError(f"Invalid value {value!r} for {block.name!r}. Give one number.") from error
    if not block.support[0] < number < block.support[1]:
        low, high = block.support
        raise ValueError(f"Invalid value {number:g} for {block.name!r}. Must lie within {low:g} to {high:g}.")
    return number
