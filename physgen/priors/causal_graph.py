"""Which cause acts on which: a directed graph without cycles."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from graphlib import CycleError, TopologicalSorter

from ..space import Space


@dataclass(frozen=True)
class CausalGraph:
    """Parents of every cause, made by `causal_graph`.

    Attributes
    ----------
    parents : tuple of tuple of int
        For each cause, the causes that act on it.
    outside : tuple of tuple of int
        For each cause, the conditions that act on it.
    order : tuple of int
        The causes, each after its parents.
    """

    parents: tuple[tuple[int, ...], ...]
    outside: tuple[tuple[int, ...], ...]
    order: tuple[int, ...]

    def ancestors(self, cause: int) -> frozenset[int]:
        """All causes that act on a cause, over others too."""
        found: frozenset[int] = frozenset(self.parents[cause])
        return found.union(*(self.ancestors(p) for p in self.parents[cause]))


def causal_graph(graph: Mapping[str, Iterable[str]], causes: Space, conditions: Sequence[str]) -> CausalGraph:
    """Check a graph given by names.

    Parameters
    ----------
    graph : mapping of str to iterable of str
        The parents of each cause: causes and conditions. A cause that is left out has none.
    causes : Space
        Of scalars.
    conditions : sequence of str

    Raises
    ------
    ValueError
        If a name is unknown, a condition acts on nothing, a cause is not a scalar, or the causes act on themselves.
    """
    names = causes.names
    if causes.size != len(causes):
        raise ValueError("Invalid causes with a shape. A causal graph needs scalars: give each element a name.")
    given = {child: tuple(dict.fromkeys(parents)) for child, parents in graph.items()}
    unknown = sorted({*given} - {*names} | {p for ps in given.values() for p in ps} - {*names, *conditions})
    if unknown:
        known = ", ".join([*names, *conditions])
        raise ValueError(f"Unknown name {', '.join(map(repr, unknown))} in the graph. The names are {known}.")
    idle = sorted({*conditions} - {p for ps in given.values() for p in ps})
    if idle:
        raise ValueError(f"The condition {', '.join(map(repr, idle))} acts on no cause. Name it among some parents.")
    parents = {n: [p for p in given.get(n, ()) if p in names] for n in names}
    try:
        order = tuple(names.index(n) for n in TopologicalSorter(parents).static_order())
    except CycleError as error:
        cycle = " <- ".join(map(repr, error.args[1]))
        raise ValueError(f"The causes act on themselves: {cycle}. Remove one of these edges.") from error
    return CausalGraph(
        tuple(tuple(names.index(p) for p in parents[n]) for n in names),
        tuple(tuple(conditions.index(p) for p in given.get(n, ()) if p not in names) for n in names),
        order,
    )
