"""Nested Laplace: hyper-parameters on a lattice, and the Laplace posterior of everything else at each of its nodes."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from physgen.diagnostics.psis import pareto_smooth
from physgen.diagnostics.resampling import systematic
from physgen.noise import Noise
from physgen.problem import Posterior, Problem
from physgen.progress import Progress
from physgen.random import normal, uniform
from physgen.result import Result
from physgen.small_matrices import triangular_inverse
from physgen.status import Status

from .batched import Layout, invert
from .conditional_laplace import (
    HyperLattice,
    Node,
    block_rows,
    coordinates,
    fit,
    given,
    joined,
    order_of,
    precision_factor,
)
from .gradient import need_gradient
from .laplace_mixture import Component, Drawn, Part, anneal, share_out, spread
from .mode_search import chi2
from .mode_transfer import transferred

_STAGE = 1 << 20  # random stages of this method begin here
_SLOWER = (1, 4)  # how many times the steps of annealing asked for are taken in turn
_SHARE, _NORMALS, _STARTS, _PICK, _ORDER, _CELL, _ANNEAL = range(_STAGE, _STAGE + 7)


@dataclass(frozen=True)
class NestedLaplace:
    """Integrated nested Laplace approximation: the posterior of a field whose prior has a strength of its own.

    One or two hyper-parameters (amplitude and length scale of a smooth field: what a regularisation strength is
    elsewhere) are taken through the nodes of a lattice. At each node all other latents get a Laplace posterior, the
    evidence of which, times the hyper-prior, is the node's weight. The mixture of these posteriors is the answer;
    draws from it are weighted by the exact posterior, and `k_hat` and `ess` say how good it was. It is exact, up to
    the lattice, where the problem is linear and Gaussian once the hyper-parameters are given. Needs a gradient.

    Parameters
    ----------
    hyper_latents : tuple of int, optional
        Places of the hyper-parameters among the latents, two at most; those that the prior names by default.
    draws : int
        Posterior draws kept for each observation.
    proposals : int
        Draws from the mixture, out of which they are chosen.
    nodes : float
        Effective nodes along each axis of the lattice, which is refined until they are reached.
    depth : float
        Nodes count whose weight is above e^-depth of the largest.
    iterations : int
        Linearisations of each Laplace fit, at most.
    tolerance : float
        A mode is reached when its squared distance, in posterior standard deviations, is below this.
    candidates : int
        Prior draws tried as starts at each node.
    anneal : int
        Steps of annealing where plain weights will not do, and four times as many where that does not help; or 0.
    accept_ess, accept_k_hat : float
        What an answer must reach to be trusted.
    covariance : bool
        Whether to keep the covariance of the latents, which is large for a long field.
    chunk : int
        Observations held at once; the answer does not depend on it.

    Raises
    ------
    ValueError
        If a setting is out of range.

    References
    ----------
    Rue, Martino & Chopin (2009), *Approximate Bayesian inference for latent Gaussian models by using integrated
    nested Laplace approximations*, JRSS B 71:319, sections 3.1 and 6.5; weights and k_hat: Vehtari et al. (2024).
    """

    hyper_latents: tuple[int, ...] | None = None
    draws: int = 400
    proposals: int = 1000
    nodes: float = 2.5
    depth: float = 5.0
    iterations: int = 50
    tolerance: float = 1e-2
    candidates: int = 1
    anneal: int = 40
    accept_ess: float = 100.0
    accept_k_hat: float = 0.7
    covariance: bool = True
    chunk: int = 64

    def __post_init__(self) -> None:
        if self.hyper_latents is not None:
            object.__setattr__(self, "hyper_latents", tuple(self.hyper_latents))
        for name, least in (
            ("draws", 1),
            ("proposals", 20),
            ("iterations", 1),
            ("candidates", 0),
            ("anneal", 0),
            ("chunk", 1),
        ):
            if getattr(self, name) < least:
                raise ValueError(f"Invalid {name} {getattr(self, name)}. Must be at least {least}.")
        for name, bound in (("nodes", 1.0), ("depth", 1.0), ("tolerance", 0.0)):
            if not getattr(self, name) > bound:
                raise ValueError(f"Invalid {name} {getattr(self, name)}. Must be above {bound:g}.")

    def __call__(
        self,
        problem: Problem,
        y: Any,
        *,
        conditions: Mapping[str, Any] | None = None,
        seed: int = 0,
        index: Any = None,
        progress: Progress = False,
    ) -> Result:
        """Invert observations ``(*batch, m)``; see `physgen.inversions.inversion.Inversion`.

        Raises
        ------
        TypeError
            If the forward model has no gradient, or the noise no `whiten`.
        ValueError
            If the prior names no hyper-parameters, or more than two, or observations or conditions are of the wrong
            shape, names or range.
        """
        need_gradient(problem, "NestedLaplace needs")
        if type(problem.noise).whiten is Noise.whiten:
            raise TypeError(
                f"NestedLaplace needs a noise with whiten, and {type(problem.noise).__name__} has none. "
                "Use Hamiltonian, or SliceSampler, which needs no gradient either."
            )
        places = self._places(problem)

        def answer(posterior: Posterior, index: Tensor, advance: Callable[[int], None]) -> dict[str, Tensor]:
            return _Chunk(self, posterior, places, seed, index).answer(advance)

        settings = {"conditions": conditions, "seed": seed, "index": index, "progress": progress, "chunk": self.chunk}
        return invert(self, problem, y, answer, self._layout(len(places)), **settings)

    def _layout(self, hyper: int) -> Layout:
        statistics: dict[str, tuple[int | str, ...]] = dict.fromkeys(
            ("dofs", "chi2", "k_hat", "ess", "log_evidence"), ()
        )
        statistics |= {"latent_mean": ("k",)}
        statistics |= {"hyper": (self.draws, hyper)} if hyper else {}
        statistics |= {"latent_covariance": ("k", "k")} if self.covariance else {}
        return Layout(1, self.draws, statistics, ("measured", "nodes"), states=self.proposals)

    def _places(self, problem: Problem) -> tuple[int, ...]:
        prior = problem.prior
        found = self.hyper_latents if self.hyper_latents is not None else getattr(prior, "hyper_latents", None)
        if found is None:
            raise ValueError(
                f"NestedLaplace needs hyper-parameters, and {type(prior).__name__} names none. "
                "Give hyper_latents, their places among the latents, or use OptimalEstimation or Hamiltonian."
            )
        places = tuple(int(i) for i in found)
        if len(places) > 2 or len(places) >= prior.latent_dim:
            raise ValueError(
                f"Invalid hyper_latents {places} of {prior.latent_dim} latents. Give two at most, and leave one over."
            )
        if len(set(places)) < len(places) or not all(0 <= i < prior.latent_dim for i in places):
            raise ValueError(f"Invalid hyper_latents {places}. Give different places from 0 to {prior.latent_dim - 1}.")
        return places


class _Chunk:
    """The answers of some observations, all of which passed the screening."""

    def __init__(
        self, settings: NestedLaplace, posterior: Posterior, places: tuple[int, ...], seed: int, index: Tensor
    ) -> None:
        self.settings, self.posterior, self.places = settings, posterior, places
        self.seed, self.index = seed, index
        k, total, y = posterior.problem.prior.latent_dim - len(places), len(index), posterior.y
        self.order = order_of(places, posterior.problem.prior.latent_dim)
        self.modes: dict[Node, Tensor] = {}
        self.log_density: dict[Node, Tensor] = {}
        self.unfinished: dict[Node, Tensor] = {}
        self.undefined = torch.zeros(total, dtype=torch.bool, device=y.device)
        self.best, self.best_mode = y.new_full((total,), -torch.inf), y.new_zeros(total, k)
        self.best_hyper = y.new_zeros(total, len(places))
        drawn = normal((settings.candidates, k), index, seed=seed, stage=_STARTS, dtype=y.dtype)
        self.starts = drawn.transpose(0, 1)

    def answer(self, advance: Callable[[int], None]) -> dict[str, Tensor]:
        """Everything that is kept of each observation, by name."""
        settings = self.settings
        lattice = HyperLattice(
            len(self.index), len(self.places), self._evaluate, nodes=settings.nodes, depth=settings.depth
        )
        lattice.explore(advance)
        drawn = self._draw(lattice)
        weight, k_hat = pareto_smooth(drawn.log_weight.mT)
        weight = weight.mT.exp().nan_to_num()
        ess = 1 / weight.square().sum(-1).clamp(min=1e-30)
        status = self._judge(drawn, k_hat, ess)
        lost = (status == Status.MODEL_UNDEFINED) | (status == Status.INFEASIBLE)
        out = self._chosen(drawn, weight, lattice)
        mean = (weight[..., None] * joined(drawn.rest, drawn.hyper, self.order)).sum(1)
        at_best = joined(self.best_mode, self.best_hyper, self.order)
        out |= {
            "latent_mean": mean,
            "dofs": drawn.dofs,
            "k_hat": k_hat,
            "ess": ess,
            "log_evidence": torch.logsumexp(drawn.log_weight, -1) - math.log(settings.proposals),
            "chi2": chi2(self.posterior, at_best),
        }
        if settings.covariance:
            covariance = drawn.covariance - drawn.centre[:, :, None] * drawn.centre[:, None, :]
            out["latent_covariance"] = covariance[:, self.order][:, :, self.order]
        for value in out.values():
            value[lost] = torch.nan
        out["nodes"] = torch.tensor([len(lattice.nodes(b)[0]) for b in range(len(self.index))], device=status.device)
        out["measured"] = (~torch.isnan(self.posterior.y)).sum(-1)
        return out | {"status": status}

    def _evaluate(self, node: Node, rows: Tensor) -> Tensor:
        """Fit some observations at a node; their log densities."""
        values = torch.tensor(coordinates(node), dtype=self.posterior.y.dtype, device=self.posterior.y.device)
        here = given(self.posterior.select(rows), self.places, values)
        warm = self._warm(here, node, rows)[None]
        start = torch.cat([torch.zeros_like(warm), warm, self.starts[:, rows]])
        fits = fit(here, start, values, iterations=self.settings.iterations, tolerance=self.settings.tolerance)
        for store, value, blank in (
            (self.modes, fits.mode, 0.0),
            (self.log_density, fits.log_density, -torch.inf),
            (self.unfinished, ~fits.converged, False),
        ):
            whole = store.setdefault(node, value.new_full((len(self.index), *value.shape[1:]), blank))
            whole[rows] = value
        self.undefined[rows] |= fits.undefined
        better = fits.log_density > self.best[rows]
        at = rows[better]
        self.best[at], self.best_mode[at] = fits.log_density[better], fits.mode[better]
        self.best_hyper[at] = values
        return fits.log_density

    def _warm(self, here: Posterior, node: Node, rows: Tensor) -> Tensor:
        """Of each observation the mode at the nearest node where it has one, carried over; else the prior's centre."""
        out, found = torch.zeros_like(self.best_mode[rows]), torch.zeros_like(rows, dtype=torch.bool)
        for other in sorted(self.modes, key=lambda n: (math.dist(n, node), n)):
            new = torch.nonzero(~found & torch.isfinite(self.log_density[other][rows])).squeeze(-1)
            values = self.best_hyper.new_tensor(coordinates(other))
            for part in new.split(block_rows(here)) if len(new) else ():
                there = given(self.posterior.select(rows[part]), self.places, values)
                out[part] = transferred(there, self.modes[other][rows[part]], here.select(part))
            found[new] = True
            if bool(found.all()):
                break
        return out

    def _draw(self, lattice: HyperLattice) -> Drawn:
        """Draws from the mixtures, weighted by the exact posterior; annealed where plain weights will not do."""
        settings, like = self.settings, self.best_mode
        count, total = settings.proposals, len(self.index)
        drawn = Drawn.blank(count, like, self.posterior.problem.prior.causes.size, len(self.places))
        epsilon = normal((count, like.shape[-1]), self.index, seed=self.seed, stage=_NORMALS, dtype=like.dtype)
        offset = uniform((1,), self.index, seed=self.seed, stage=_SHARE)
        shares = {b: list(share_out(lattice, b, float(offset[b]), count)) for b in range(total)}
        size = block_rows(self.posterior)
        for start in range(0, total, size):
            rows = list(range(start, min(start + size, total)))
            for component in self._components(rows, shares):
                drawn.put(component, rows, epsilon[rows])
                self._moments(component, rows, drawn)
        for slower in _SLOWER if settings.anneal else ():
            for b in torch.nonzero(self._wanting(drawn)).flatten().tolist():
                self._anneal(b, shares, epsilon[b : b + 1], drawn, slower * settings.anneal)
        return drawn

    def _wanting(self, drawn: Drawn) -> Tensor:
        """Which observations (B,) have weights that will not do, though they are defined."""
        weight, k_hat = pareto_smooth(drawn.log_weight.mT)
        poor = (k_hat >= self.settings.accept_k_hat) | (1 / weight.exp().square().sum(0) < self.settings.accept_ess)
        return poor & torch.isfinite(drawn.log_weight).any(-1) & ~torch.isnan(drawn.log_weight).any(-1)

    def _components(self, rows: list[int], shares: Mapping[int, list[Part]]) -> Iterator[Component]:
        """The mixtures of some observations, node by node; places count from the first of `rows`."""
        parts: dict[Node, list[tuple[int, Part]]] = {}
        for i, b in enumerate(rows):
            for part in shares[b]:
                parts.setdefault(part.node, []).append((i, part))
        for node in sorted(parts):
            values = self.best_mode.new_tensor(coordinates(node))
            at = torch.tensor([rows[i] for i, _ in parts[node]], device=values.device)
            here, modes = given(self.posterior.select(at), self.places, values), self.modes[node][at]
            pair = torch.cat([torch.full((part.end - part.begin,), j) for j, (_, part) in enumerate(parts[node])])
            places = [(i, slice(part.begin, part.end)) for i, part in parts[node]]
            shared = modes.new_tensor([part.log_share for _, part in parts[node]])
            cells = modes.new_tensor([part.log_prior for _, part in parts[node]])
            factors = precision_factor(here, modes)
            # what the log ratio leaves out: the node's weight, and the volume of its Laplace posterior
            constants = cells - shared - factors.diagonal(dim1=-2, dim2=-1).log().sum(-1)
            roots = triangular_inverse(factors)
            yield Component(here.select(pair), places, modes, factors, roots, values, shared, constants)

    def _moments(self, component: Component, rows: list[int], drawn: Drawn) -> None:
        """Add a node's part to degrees of freedom, mean and covariance of the mixtures."""
        k = component.modes.shape[-1]
        for i, (place, _) in enumerate(component.places):
            b, share = rows[place], component.log_shares[i].exp()
            covariance = torch.cholesky_inverse(component.factors[i])
            drawn.dofs[b] += share * (k - covariance.diagonal().sum())
            if self.settings.covariance:
                both = torch.cat([component.modes[i], component.values])
                drawn.centre[b] += share * both
                drawn.covariance[b] += share * both[:, None] * both
                drawn.covariance[b, :k, :k] += share * covariance

    def _anneal(self, b: int, shares: Mapping[int, list[Part]], epsilon: Tensor, drawn: Drawn, steps: int) -> None:
        components, index = list(self._components([b], shares)), self.index[b : b + 1]
        moved, log_weight = anneal(components, epsilon, index, steps=steps, seed=self.seed, stage=_ANNEAL)
        for component in components:
            drawn.put(component, [b], moved)
            for i, (_, own) in enumerate(component.places):
                drawn.log_weight[b, own] = log_weight[0, own] + component.constants[i]

    def _judge(self, drawn: Drawn, k_hat: Tensor, ess: Tensor) -> Tensor:
        settings = self.settings
        status = torch.full(k_hat.shape, int(Status.TRUSTED), device=k_hat.device)
        status[~(ess >= settings.accept_ess)] = Status.FEW_EFFECTIVE_DRAWS
        status[~(k_hat < settings.accept_k_hat)] = Status.HEAVY_TAILS
        # good weights vouch for the draws wherever a search stopped; bad ones may be the search's fault
        unfinished = torch.stack([u & (self.log_density[n] > self.best - 2) for n, u in self.unfinished.items()])
        status[unfinished.any(0) & (status != Status.TRUSTED)] = Status.NOT_CONVERGED
        status[torch.isneginf(drawn.log_weight).all(-1)] = Status.INFEASIBLE
        bad = torch.isnan(drawn.log_weight).any(-1) | torch.isposinf(drawn.log_weight).any(-1)
        status[bad | (self.undefined & torch.isneginf(self.best))] = Status.MODEL_UNDEFINED
        return status

    def _chosen(self, drawn: Drawn, weight: Tensor, lattice: HyperLattice) -> dict[str, Tensor]:
        """Draws of causes and hyper-parameters by systematic resampling."""
        count = self.settings.draws
        pick = systematic(weight, count, self.index, seed=self.seed, stages=(_PICK, _ORDER))[..., None]
        out = {"samples": drawn.x.gather(1, pick.expand(-1, -1, drawn.x.shape[-1]))[:, None]}
        if not self.places:
            return out
        hyper = drawn.hyper.gather(1, pick.expand(-1, -1, len(self.places)))
        spacing = [lattice.spacing(b) for b in range(len(self.index))]
        pairs = uniform((count, len(self.places), 2), self.index, seed=self.seed, stage=_CELL, dtype=hyper.dtype)
        within = pairs.sum(-1) - 1
        return out | {"hyper": spread(hyper, within, hyper.new_tensor(spacing)[:, None])}
