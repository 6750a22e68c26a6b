"""Mixtures of conditional Laplace posteriors, and the annealing that leads their draws to the posterior itself."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from physgen.problem import Posterior
from physgen.random import normal, uniform

from .conditional_laplace import LOG_2_PI, HyperLattice, Node, coordinates

_LEAPS = 5  # leapfrog steps of a move
_FIRST_STEP, _GOOD_SHARE = 0.25, 0.8  # step in Laplace standard deviations; share of moves that should be accepted


@dataclass(frozen=True, eq=False)
class Component:
    """The draws of some observations at one node of the lattice.

    Attributes
    ----------
    posterior : Posterior
        Of the latents that the node leaves free, one observation for each of the P draws.
    places : list of (int, slice)
        Observation, and which of its draws.
    modes : Tensor (parts, k)
    factors, roots : Tensor (parts, k, k)
        Lower Cholesky factors R of the precisions, and R^-1.
    values : Tensor (d,)
        The node's own latents.
    log_shares, constants : Tensor (parts,)
        Logarithm of the node's weight; what is to be added to the log ratio for the log weight of a plain draw.
    """

    posterior: Posterior
    places: list[tuple[int, slice]]
    modes: Tensor
    factors: Tensor
    roots: Tensor
    values: Tensor
    log_shares: Tensor
    constants: Tensor

    @property
    def sizes(self) -> list[int]:
        """Draws of each part."""
        return [own.stop - own.start for _, own in self.places]

    def gather(self, whole: Tensor) -> Tensor:
        """The rows ``(P, ...)`` of this component in ``(B, S, ...)``."""
        return torch.cat([whole[own] for own in self.places])

    def latents(self, epsilon: Tensor) -> Tensor:
        """w = mode + R^-T epsilon ``(P, k)``, of the component's own epsilon ``(P, k)``."""
        parts = epsilon.split(self.sizes)
        return torch.cat([m + e @ u for m, e, u in zip(self.modes, parts, self.roots, strict=True)])

    def log_ratio(self, epsilon: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """log p(y, w) less log N(epsilon), both without the constant of N, w and causes, all of the P draws."""
        w = self.latents(epsilon)
        x, prediction = self.posterior.predict(w)
        value = self.posterior.log_weight(x, prediction) - 0.5 * w.square().sum(-1) + 0.5 * epsilon.square().sum(-1)
        return value, w, x

    def slope(self, epsilon: Tensor) -> tuple[Tensor, Tensor]:
        """`log_ratio` ``(P,)``, and its gradient ``(P, k)``."""
        with torch.enable_grad():
            leaf = epsilon.detach().requires_grad_(True)
            value, _, _ = self.log_ratio(leaf)
            finite = torch.where(torch.isfinite(value), value, 0)
            (gradient,) = torch.autograd.grad(finite.sum(), leaf)
        return value.detach(), gradient.nan_to_num(0.0, 0.0, 0.0)

    def scatter(self, whole: Tensor, values: Tensor) -> None:
        """Put values ``(P, ...)`` where they belong in ``(B, S, ...)``."""
        for place, value in zip(self.places, values.split(self.sizes), strict=True):
            whole[place] = value


def anneal(
    components: list[Component], epsilon: Tensor, index: Tensor, *, steps: int, seed: int, stage: int
) -> tuple[Tensor, Tensor]:
    r"""Lead draws of a mixture to the posterior, with weights that stay exact.

    Annealed importance sampling (Neal 2001) along :math:`N(\epsilon)\, e^{\beta r(\epsilon)}`, beta from 0 to 1, r the
    log ratio of the posterior to its Laplace approximation; the moves are Hamiltonian (Neal 2011, section 5.3), in
    coordinates in which that approximation is a standard normal.

    Parameters
    ----------
    components : list of Component
    epsilon : Tensor (B, S, k)
        Standard normal draws.
    index : integer Tensor (B,)
        Numbers of the observations.
    steps : int
        Values of beta.
    seed, stage : int
        Of the random numbers; two stages are used for each value of beta.

    Returns
    -------
    epsilon : Tensor (B, S, k)
    log_weight : Tensor (B, S)
        In place of the log ratio of a plain draw.
    """

    def slope(at: Tensor) -> tuple[Tensor, Tensor]:
        value, gradient = at.new_full(at.shape[:-1], -torch.inf), torch.zeros_like(at)
        for component in components:
            own, part = component.slope(component.gather(at))
            component.scatter(value, own)
            component.scatter(gradient, part)
        return value, gradient

    value, gradient = slope(epsilon)
    log_weight, step, before = torch.zeros_like(value), epsilon.new_full((len(epsilon), 1, 1), _FIRST_STEP), 0.0
    for t in range(steps):
        beta = ((t + 1) / steps) ** 2  # the first steps are small, where the ratio varies most
        log_weight = log_weight + (beta - before) * value
        momentum = normal(tuple(epsilon.shape[1:]), index, seed=seed, stage=stage + 2 * t, dtype=epsilon.dtype)
        u = uniform((epsilon.shape[1],), index, seed=seed, stage=stage + 2 * t + 1, dtype=epsilon.dtype)
        moved = _leapfrog(slope, epsilon, momentum, value, gradient, beta, step)
        accepted = u.log() < moved[3]
        epsilon = torch.where(accepted[..., None], moved[0], epsilon)
        value = torch.where(accepted, moved[1], value)
        gradient = torch.where(accepted[..., None], moved[2], gradient)
        share = accepted.to(epsilon.dtype).mean(-1)[:, None, None]
        step = (step * torch.exp(0.5 * (share - _GOOD_SHARE))).clamp(1e-3, 0.5)
        before = beta
    return epsilon, log_weight


def _leapfrog(
    slope: Callable[[Tensor], tuple[Tensor, Tensor]],
    start: Tensor,
    momentum: Tensor,
    value: Tensor,
    gradient: Tensor,
    beta: float,
    step: Tensor,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Where a trajectory ends, log ratio and gradient there, and the logarithm of the odds to accept."""

    def energy(at: Tensor, p: Tensor, ratio: Tensor) -> Tensor:
        return 0.5 * at.square().sum(-1) + 0.5 * p.square().sum(-1) - beta * ratio

    before, at = energy(start, momentum, value), start
    p = momentum - 0.5 * step * (at - beta * gradient)
    for leap in range(_LEAPS):
        at = at + step * p
        value, gradient = slope(at)
        p = p - (0.5 if leap == _LEAPS - 1 else 1.0) * step * (at - beta * gradient)
    odds = torch.nan_to_num(before - energy(at, p, value), nan=-torch.inf, posinf=-torch.inf)
    return at, value, gradient, odds


@dataclass(frozen=True)
class Part:
    """The draws of one observation at one node: from `begin` to `end` among its own."""

    node: Node
    begin: int
    end: int
    log_share: float
    log_prior: float


@dataclass(frozen=True, eq=False)
class Drawn:
    """Draws from the mixtures of B observations, S each."""

    rest: Tensor
    hyper: Tensor
    x: Tensor
    log_weight: Tensor
    dofs: Tensor
    centre: Tensor
    covariance: Tensor

    @staticmethod
    def blank(count: int, like: Tensor, causes: int, hyper: int) -> Drawn:
        """Nothing drawn yet: weights of zero."""
        total, k = like.shape
        return Drawn(
            like.new_zeros(total, count, k),
            like.new_zeros(total, count, hyper),
            like.new_zeros(total, count, causes),
            like.new_full((total, count), -torch.inf),
            like.new_zeros(total),
            like.new_zeros(total, k + hyper),
            like.new_zeros(total, k + hyper, k + hyper),
        )

    def put(self, component: Component, rows: list[int], epsilon: Tensor) -> None:
        """Keep the draws of a component, of the observations `rows`, at epsilon ``(rows, S, k)``."""
        split = (values.split(component.sizes) for values in component.log_ratio(component.gather(epsilon)))
        for i, ((place, own), *values) in enumerate(zip(component.places, *split, strict=True)):
            at = rows[place], own
            self.log_weight[at] = values[0] + component.constants[i]
            self.rest[at], self.x[at], self.hyper[at] = values[1], values[2], component.values


def share_out(lattice: HyperLattice, row: int, offset: float, count: int) -> Iterator[Part]:
    """How many of `count` draws each node of an observation gets, by systematic sampling of the nodes' weights."""
    nodes, log_density = lattice.nodes(row)
    if not nodes:
        return
    log_share = torch.log_softmax(log_density, 0)
    ends = (log_share.exp().cumsum(0) * count - offset).ceil().clamp(0, count).to(torch.int64).tolist()
    ends[-1], begin = count, 0
    for node, end, share in zip(nodes, ends, log_share.tolist(), strict=True):
        if end > begin:
            values = coordinates(node)
            log_normal = -0.5 * sum(v * v for v in values) - 0.5 * len(values) * LOG_2_PI
            yield Part(node, begin, end, share, log_normal + sum(math.log(h) for h in lattice.spacing(row)))
        begin = max(begin, end)


def spread(hyper: Tensor, within: Tensor, spacing: Tensor) -> Tensor:
    """Draws ``(B, S, d)`` at nodes spread between them by a hat function, their mean and variance kept.

    The density between nodes is then linear; `within` is a sum of two uniform numbers, from -1 to 1, of variance 1/6.
    """
    mean, variance = hyper.mean(1, keepdim=True), hyper.var(1, keepdim=True, correction=0)
    shrink = torch.sqrt(variance / (variance + spacing.square() / 6))
    return mean + shrink * (hyper + within * spacing - mean)
