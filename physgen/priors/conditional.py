"""A distribution that depends on other causes and on conditions: one entry of a `Chain`."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor

from ..conditions import Takes
from .distribution import Distribution


@dataclass(frozen=True, eq=False)
class Conditional:
    """A distribution whose parameters are a function of earlier causes and of conditions.

    A bare function in a `Chain` is the same as ``Conditional(function)``.

    Parameters
    ----------
    function : callable
        Returns a `Distribution`. Each of its parameters bears the name of an earlier cause or of a condition, and
        receives a tensor ``(*)`` of its values; a default makes a condition optional.
    support : (float, float), optional
        The interval that holds every value of the cause, whatever the other causes and conditions. It may be left out
        where the bounds of the distribution are numbers: they are found by calling the function on a few draws, with
        NaN for the conditions.
    units, long_name : str, optional
        Those of the returned distribution by default, where the function can be called with NaN for the conditions.

    Examples
    --------
    >>> import physgen as pg
    >>> cab = pg.Conditional(lambda lai: pg.TruncatedNormal(45, 30, 20 + 2.5 * lai, 90), support=(20, 90))
    """

    function: Callable[..., Distribution]
    support: tuple[float, float] | None = None
    units: str | None = None
    long_name: str | None = None
    takes: Takes = field(init=False, repr=False)

    def __post_init__(self) -> None:
        required: list[str] = []
        optional: list[str] = []
        for p in inspect.signature(self.function).parameters.values():
            if p.kind in (p.VAR_KEYWORD, p.VAR_POSITIONAL, p.POSITIONAL_ONLY):
                raise ValueError(
                    f"Invalid parameter {p} of the function of a conditional distribution. "
                    "Name each earlier cause and each condition that it depends on."
                )
            (required if p.default is p.empty else optional).append(p.name)
        object.__setattr__(self, "takes", Takes(frozenset(required), frozenset(optional)))

    def __call__(self, known: Mapping[str, Any]) -> Distribution:
        """The distribution, given the values of causes and conditions.

        Raises
        ------
        TypeError
            If the function returns something else.
        """
        distribution = self.function(**self.takes.pick(known))
        if not isinstance(distribution, Distribution):
            kind = type(distribution).__name__
            raise TypeError(f"A conditional distribution returned a {kind}. It must return a Distribution.")
        return distribution


@dataclass(frozen=True, eq=False)
class Fixed:
    """What an intervention puts in the place of a distribution: a value, whatever the latent.

    Parameters
    ----------
    value : float
        In the units of the cause.
    """

    value: float

    def decode(self, z: Tensor) -> Tensor:
        """The value, with the shape of `z`."""
        return z.new_full(z.shape, self.value)
