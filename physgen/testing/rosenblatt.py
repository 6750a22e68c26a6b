"""The distribution of a noise by quadrature of its density, one element after the other."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from ..random import single_stream, uniform


@dataclass(frozen=True, eq=False)
class Grid:
    """Nodes at which a density is summed.

    Attributes
    ----------
    nodes, weights : Tensor (G,)
    discrete : bool
        Whether the nodes are all the values that there are.
    """

    nodes: Tensor
    weights: Tensor
    discrete: bool


def grid(draws: Tensor, count: int, reach: float = 14.0) -> Grid:
    """Nodes for one element, from draws ``(N,)`` of it.

    Counts are summed one by one. A density is integrated by the trapezoidal rule in u, t = centre + scale sinh(u),
    which converges geometrically and reaches sinh(reach) scales into heavy tails (Trefethen & Weideman 2014).
    """
    if bool((draws == draws.round()).all()):
        last = int(2 * draws.max() + 50)
        nodes = torch.arange(last + 1, dtype=draws.dtype)
        return Grid(nodes, torch.ones_like(nodes), True)
    low, centre, high = torch.quantile(draws, draws.new_tensor([0.16, 0.5, 0.84]))
    scale = 0.5 * (high - low)
    u = torch.linspace(-reach, reach, count, dtype=draws.dtype)
    return Grid(centre + scale * torch.sinh(u), scale * torch.cosh(u) * (u[1] - u[0]), False)


def conditionals(
    log_prob: Callable[[Tensor], Tensor], y: Tensor, element: int, g: Grid
) -> tuple[Tensor, Tensor, Tensor]:
    """Distribution of one element given those before it, with those after it not measured.

    Parameters
    ----------
    log_prob : callable
        Of y ``(G, N, m)``, one density ``(G, N)`` for each.
    y : Tensor (N, m)
    element : int
    g : Grid

    Returns
    -------
    before : Tensor (N,)
        Log density of the elements before.
    total : Tensor (N,)
        Log of the integral over the element: equal to `before` where NaN means "not measured".
    rank : Tensor (N,)
        Of the element in its distribution: uniform where `y` was drawn from `log_prob` (Rosenblatt 1952).
    """
    known = y.clone()
    known[:, element:] = torch.nan
    before = log_prob(known[None])[0]
    known = known.expand(len(g.nodes), *y.shape).clone()
    known[..., element] = g.nodes[:, None]
    terms = log_prob(known) + g.weights.log()[:, None]
    total = torch.logsumexp(terms, 0)
    return before, total, _rank(torch.exp(terms - total), y[:, element], g)


def _rank(mass: Tensor, value: Tensor, g: Grid) -> Tensor:
    """Cumulative mass ``(G, N)`` up to each value: spread at random over a jump, interpolated elsewhere."""
    last = len(g.nodes) - 1
    at = torch.searchsorted(g.nodes, value.contiguous()).clamp(1 - int(g.discrete), last)[None]
    below = (mass.cumsum(0) - mass).gather(0, at)[0]
    here = mass.gather(0, at)[0]
    if g.discrete:
        return below + here * uniform((len(value),), single_stream(), seed=3).to(value)
    # the trapezoidal rule gives half a node's mass to either side of it
    previous = mass.gather(0, at - 1)[0]
    left = g.nodes[at[0] - 1]
    share = ((value - left) / (g.nodes[at[0]] - left)).clamp(0, 1)
    return below - 0.5 * previous + share * previous + 0.5 * share.square() * (here - previous)
