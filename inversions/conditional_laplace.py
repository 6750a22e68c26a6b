"""Hyper-parameters on a lattice, and the Laplace posterior of all other latents at each of its nodes."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from physgen.conditions import Takes, takes
from physgen.priors import Prior
from physgen.problem import Posterior, Problem
from physgen.small_matrices import cholesky

from .levenberg_marquardt import maximise, quadratic_model

LOG_2_PI = math.log(2 * math.pi)
_ELEMENTS = 1 << 22  # of the matrices of a block of rows


class Pinned(Prior):
    """A prior with some of its latents given; those that are left keep their order.

    Parameters
    ----------
    prior : Prior
    places : tuple of int
        Of the latents that are given.
    values : Tensor (len(places),)
    """

    def __init__(self, prior: Prior, places: tuple[int, ...], values: Tensor) -> None:
        self.prior, self.values = prior, values
        self.causes, self.latent_dim = prior.causes, prior.latent_dim - len(places)
        self.capabilities = prior.capabilities & {"log_factor"}
        self.takes: Takes = takes(prior, "decode")
        self._order = order_of(places, prior.latent_dim)

    def decode(self, z: Tensor, /, **conditions: Tensor) -> Tensor:
        return self.prior.decode(joined(z, self.values.to(z).expand(*z.shape[:-1], -1), self._order), **conditions)

    def log_factor(self, x: Tensor, /, **conditions: Tensor) -> Tensor:
        return self.prior.log_factor(x, **conditions)


def order_of(places: tuple[int, ...], size: int) -> Tensor:
    """Where each latent is found when those at `places` come after all others."""
    rest = [i for i in range(size) if i not in places]
    return torch.tensor([*rest, *places]).argsort()


def joined(rest: Tensor, given: Tensor, order: Tensor) -> Tensor:
    """All latents ``(*, k)``, of those that are left and those that are given."""
    return torch.cat([rest, given], -1)[..., order.to(rest.device)]


def given(posterior: Posterior, places: tuple[int, ...], values: Tensor) -> Posterior:
    """The posterior of the other latents; the prior may know a quicker way (`given_hyper`)."""
    problem = posterior.problem
    quicker: Callable[[Tensor], Prior] | None = getattr(problem.prior, "given_hyper", None)
    own = tuple(getattr(problem.prior, "hyper_latents", ())) == places and quicker is not None
    prior = quicker(values) if own and quicker is not None else Pinned(problem.prior, places, values)
    return Posterior(Problem(problem.forward, prior, problem.noise), posterior.y, posterior.conditions)


@dataclass(frozen=True, eq=False)
class Fits:
    """Conditional Laplace approximations of R observations at one node.

    Attributes
    ----------
    mode : Tensor (R, k)
    log_density : Tensor (R,)
        Of the observation and the node, the other latents integrated out; -inf where there is none.
    converged, undefined : boolean Tensor (R,)
    """

    mode: Tensor
    log_density: Tensor
    converged: Tensor
    undefined: Tensor


def fit(posterior: Posterior, start: Tensor, values: Tensor, *, iterations: int, tolerance: float) -> Fits:
    """Fit the conditional posteriors of R observations (Rue, Martino & Chopin 2009, eq. 3).

    Parameters
    ----------
    posterior : Posterior
        Of `given`.
    start : Tensor (starts, R, k)
        The best of them is climbed from.
    values : Tensor (d,)
        The node's latents.
    iterations, tolerance
        See `maximise`.
    """
    k, parts = start.shape[-1], []
    size = block_rows(posterior)
    for first in range(0, start.shape[1], size):
        here, own = posterior.select(slice(first, first + size)), start[:, first : first + size]
        best = torch.nan_to_num(here.log_prob(own), nan=-torch.inf).argmax(0)
        begin = own.gather(0, best[None, :, None].expand(1, -1, k)).squeeze(0)
        modes = maximise(here, begin, iterations=iterations, tolerance=tolerance)
        factor = cholesky(modes.information + torch.eye(k, dtype=begin.dtype, device=begin.device))
        log_volume = 0.5 * k * LOG_2_PI - factor.diagonal(dim1=-2, dim2=-1).log().sum(-1)
        parts.append((modes.z, modes.log_prob + log_volume, modes.converged, modes.undefined))
    mode, density, converged, undefined = (torch.cat(part) for part in zip(*parts, strict=True))
    density = density + float(-0.5 * (values * values).sum() - 0.5 * len(values) * LOG_2_PI)
    density = torch.nan_to_num(density, nan=-torch.inf, posinf=-torch.inf, neginf=-torch.inf)
    return Fits(mode, torch.where(undefined, -torch.inf, density), converged, undefined)


def precision_factor(posterior: Posterior, mode: Tensor) -> Tensor:
    """The lower Cholesky factor ``(R, k, k)`` of the precision I + A^T A at the modes ``(R, k)``."""
    _, information, _ = quadratic_model(posterior, mode)
    return cholesky(information + torch.eye(mode.shape[-1], dtype=mode.dtype, device=mode.device))


def block_rows(posterior: Posterior) -> int:
    """Observations whose matrices are held at once."""
    k, problem = posterior.problem.prior.latent_dim, posterior.problem
    return max(1, _ELEMENTS // (max(k, posterior.y.shape[-1], problem.prior.causes.size) * max(k, 1)))


Node = tuple[int, ...]

_LEVELS = 5  # halvings of the spacing
_FINEST = 2**_LEVELS
_LIMIT = 6.0  # standard normal latents beyond which there is no prior mass


def coordinates(node: Node) -> list[float]:
    """The latents of a node."""
    return [i / _FINEST for i in node]


class HyperLattice:
    """Log densities of B observations on a lattice over d latents, made finer where an observation needs it.

    All observations share the lattice of spacing 1 and its refinements by halves, so that what depends on the node
    alone is computed once. An observation's region grows from the origin, by neighbours of nodes whose density is
    within e^-depth of the largest. When it no longer grows, the spacing is halved along each axis with fewer than
    `nodes` effective ones (3.5 standard deviations over the spacing), or along all where those are too few together,
    as on a diagonal ridge: the sum over a lattice is an integral up to an error like exp(-2 (pi sd / spacing)^2).

    Parameters
    ----------
    total : int
        B.
    dimensions : int
        d.
    evaluate : callable
        (node, rows) -> log densities (rows,), -inf for none.
    nodes : float
        Effective nodes in each dimension.
    depth : float
        How far below the largest, in natural logarithms, a density still counts.

    Attributes
    ----------
    level : list of list of int
        Halvings of each observation along each axis.
    """

    def __init__(
        self,
        total: int,
        dimensions: int,
        evaluate: Callable[[Node, Tensor], Tensor],
        *,
        nodes: float,
        depth: float,
    ) -> None:
        self.total, self.dimensions, self._evaluate = total, dimensions, evaluate
        self.enough, self.depth = nodes, depth
        self.level = [[0] * dimensions for _ in range(total)]
        self._known: list[dict[Node, float]] = [{} for _ in range(total)]

    def explore(self, advance: Callable[[int], None]) -> None:
        """Compute every density that counts; `advance` hears of each observation that is done."""
        wanted: dict[int, set[Node]] = {b: {(0,) * self.dimensions} for b in range(self.total)}
        while wanted:
            by_node: dict[Node, list[int]] = {}
            for b, nodes in wanted.items():
                for node in nodes:
                    by_node.setdefault(node, []).append(b)
            for node in sorted(by_node):
                rows = by_node[node]
                values = self._evaluate(node, torch.tensor(rows)).tolist()
                for b, value in zip(rows, values, strict=True):
                    self._known[b][node] = value
            before = len(wanted)
            wanted = {b: more for b in wanted if (more := self._next(b))}
            advance(before - len(wanted))

    def nodes(self, row: int) -> tuple[list[Node], Tensor]:
        """The nodes of an observation's own lattice that count, and their log densities, integrated over a cell."""
        chosen = self._counting(row)
        cell = sum(math.log(spacing) for spacing in self.spacing(row))
        return list(chosen), torch.tensor(list(chosen.values()), dtype=torch.float64) + cell

    def spacing(self, row: int) -> list[float]:
        """Of the lattice of an observation, along each axis."""
        return [0.5**level for level in self.level[row]]

    def best(self, row: int) -> Node | None:
        """The node of the largest density so far."""
        known = {k: v for k, v in self._known[row].items() if math.isfinite(v)}
        return max(known, key=lambda node: known[node]) if known else None

    def _steps(self, row: int) -> list[int]:
        return [_FINEST >> level for level in self.level[row]]

    def _counting(self, row: int) -> Mapping[Node, float]:
        steps = self._steps(row)
        own = {
            node: value
            for node, value in self._known[row].items()
            if math.isfinite(value) and all(i % step == 0 for i, step in zip(node, steps, strict=True))
        }
        least = max(own.values(), default=0.0) - self.depth
        return {node: value for node, value in own.items() if value >= least}

    def _next(self, row: int) -> set[Node]:
        """The nodes that the region of an observation needs next; none when it is done."""
        if not self.dimensions or self.best(row) is None:
            return set()
        while True:
            counting = self._counting(row)
            grown = {n for node in counting for n in self._neighbours(node, row)} - self._known[row].keys()
            if grown:
                return grown
            coarse = self._coarse(counting, row)
            if not coarse:
                return set()
            for axis in coarse:
                self.level[row][axis] += 1

    def _coarse(self, counting: Mapping[Node, float], row: int) -> list[int]:
        """The axes along which the lattice of an observation must be finer."""
        weight = torch.softmax(torch.tensor(list(counting.values()), dtype=torch.float64), 0).tolist()
        finer = [axis for axis in range(self.dimensions) if self.level[row][axis] < _LEVELS]
        found = []
        for axis in finer:
            along: dict[int, float] = {}
            for node, share in zip(counting, weight, strict=True):
                along[node[axis]] = along.get(node[axis], 0.0) + share
            if 1 / sum(share**2 for share in along.values()) < self.enough:
                found.append(axis)
        if not found and 1 / sum(share**2 for share in weight) < 0.5 * self.enough**self.dimensions:
            return finer
        return found

    def _neighbours(self, node: Node, row: int) -> list[Node]:
        found = []
        for axis, step in enumerate(self._steps(row)):
            found += [(*node[:axis], node[axis] + move, *node[axis + 1 :]) for move in (-step, step)]
        return [n for n in found if max(map(abs, n)) <= _LIMIT * _FINEST]
