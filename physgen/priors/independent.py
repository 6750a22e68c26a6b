"""The independent prior: a chain without dependencies."""

from __future__ import annotations

from collections.abc import Mapping

from .chain import Chain
from .distribution import Distribution


class Independent(Chain):
    """Independent causes, each with a distribution of its own: x_i = Q_i(Phi(z_i)).

    Parameters
    ----------
    distributions : mapping of str to Distribution, optional
        By cause; their order is that of the causes. Units and long names are stated in each distribution.
    **named : Distribution
        More of them, by keyword.

    Raises
    ------
    TypeError
        If one is not a distribution (use `Chain` for functions).

    Examples
    --------
    >>> import physgen as pg
    >>> prior = pg.Independent(depth=pg.LogNormal(0.3, 0.5), albedo=pg.Uniform(0, 1))
    >>> prior.causes.names
    ('depth', 'albedo')
    """

    def __init__(self, distributions: Mapping[str, Distribution] | None = None, /, **named: Distribution) -> None:
        given = {**(distributions or {}), **named}
        for name, distribution in given.items():
            if not isinstance(distribution, Distribution):
                raise TypeError(
                    f"Invalid distribution {distribution!r} for {name!r}. Give one such as Normal(0, 1); "
                    "what depends on other causes belongs in a Chain."
                )
        super().__init__(given)
