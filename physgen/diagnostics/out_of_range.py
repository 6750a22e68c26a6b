"""Is an observation like any that the model makes? Learned from simulated observations alone, without inverting one."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch
from torch import Tensor

from ..problem import Problem
from .observation_embedding import lent, own_seed, whitened

_FEWEST = 100  # simulations, below which a p-value of 1 % means nothing
_NUMBERS = 1 << 22  # of the matrix of pairs, held at once
_NEIGHBOUR = 5  # which of them counts
_WIDTH = 0.25  # of the kernel, in median distances: as wide as the cloud is thick, not as it is long

Embedding = Callable[[Tensor, Mapping[str, Tensor]], Tensor]
"""``(y (b, m), conditions) -> (b, d)``: what of an observation is compared."""


@dataclass(frozen=True, eq=False)
class OutOfRange:
    """How far an observation lies from those that the model makes, and how many of these lie as far.

    Three distances in the space of the embedding see different things: Mahalanobis' to the whole cloud (far out), the
    maximum mean discrepancy between the one observation and the cloud (where it is thin: Gretton et al. 2012, JMLR 13,
    eq. 3), and that to the fifth nearest neighbour (a hole in it). Each is ranked among simulated observations that
    were held out, and so is the smallest of the three ranks, so that a share p of what the model makes has a p-value
    below p. An observation that lacks elements is ranked among held-out ones that lack the same.

    Made by `learn_range`.

    Attributes
    ----------
    embedding : callable
    reference : Tensor (N, d)
        Embedded simulations, whitened.
    centre : Tensor (d,)
    factor : Tensor (d, d')
        Whitens: ``(e - centre) @ factor``.
    bandwidth : float
        Of the kernel exp(-r^2 / (2 bandwidth^2)), in whitened units.
    held_out : Tensor (H, m)
        Simulated observations with which the p-values are calibrated.
    held_conditions : mapping of str to Tensor (H, *own)
    """

    embedding: Embedding
    reference: Tensor
    centre: Tensor
    factor: Tensor
    bandwidth: float
    held_out: Tensor
    held_conditions: Mapping[str, Tensor]

    def distances(self, y: Tensor, conditions: Mapping[str, Tensor]) -> Tensor:
        """Mahalanobis distance, minus the log of the mean kernel, distance to the fifth neighbour: ``(b, 3)``.

        Infinite where an element of y (b, m) is; NaN where nothing was measured.
        """
        wrong, nothing = torch.isinf(y).any(-1), torch.isnan(y).all(-1)
        w = (_embedded(self.embedding, torch.where(torch.isinf(y), 0, y), conditions) - self.centre) @ self.factor
        parts = []
        for rows in w.split(max(1, _NUMBERS // len(self.reference))):
            near = torch.cdist(rows, self.reference)
            kernel = -torch.logsumexp(near.square() / (-2 * self.bandwidth**2), -1)
            fifth = near.topk(_NEIGHBOUR, largest=False).values[:, -1]
            parts.append(torch.stack([rows.norm(dim=-1), kernel, fifth], -1))
        out = torch.cat(parts) if parts else y.new_zeros(0, 3)
        out = torch.where(wrong[:, None], torch.inf, out)
        return torch.where(nothing[:, None], torch.nan, out)

    def p_values(self, y: Tensor, conditions: Mapping[str, Tensor] | None = None) -> Tensor:
        """Share of what the model makes that lies at least as far out.

        Parameters
        ----------
        y : Tensor (*batch, m)
            NaN where not measured.
        conditions : mapping of str to Tensor (*batch, *own)

        Returns
        -------
        Tensor (*batch)
            Between 1 / (H + 1) and 4 / (H + 1) where all three distances are larger than any; NaN where nothing was
            measured.

        Raises
        ------
        ValueError
            If the observations have another number of elements than those of the problem.
        """
        batch, m = y.shape[:-1], self.held_out.shape[-1]
        if y.shape[-1] != m:
            raise ValueError(f"Invalid observations of {y.shape[-1]} elements. The problem that was learned has {m}.")
        rows = y.reshape(-1, m).to(self.held_out)
        own = {}
        for name, value in (conditions or {}).items():
            trailing = self.held_conditions[name].shape[1:]
            own[name] = torch.broadcast_to(value, (*batch, *trailing)).reshape(-1, *trailing).to(rows)
        missing, out = torch.isnan(rows), rows.new_full((len(rows),), torch.nan)
        patterns, which = missing.unique(dim=0, return_inverse=True)
        for number, pattern in enumerate(patterns):
            if bool(pattern.all()):
                continue
            here = which == number
            found = self.distances(rows[here], {k: v[here] for k, v in own.items()})
            out[here] = _ranked(found, self._null(pattern))
        return out.reshape(batch)

    def _null(self, missing: Tensor) -> Tensor:
        """Distances (H, 3) of what was held out, without some elements."""
        if not bool(missing.any()):
            return self._complete
        return self.distances(torch.where(missing, torch.nan, self.held_out), self.held_conditions)

    @cached_property
    def _complete(self) -> Tensor:
        return self.distances(self.held_out, self.held_conditions)


def learn_range(
    problem: Problem,
    *,
    conditions: Mapping[str, Any] | None = None,
    embedding: Embedding | None = None,
    n: int = 2000,
    held_out: int = 2000,
    seed: int = 0,
) -> OutOfRange:
    """Simulate, embed, and keep what the p-values are calibrated with: a function of the arguments alone.

    Parameters
    ----------
    problem : Problem
    conditions : mapping, optional
        One value each, or those of N observations (N, *own): each simulation takes all of a random one.
    embedding : callable, optional
        ``(y, conditions) -> (b, d)``, such as that of a trained network; by default the principal components of
        residuals in units of the noise.
    n, held_out : int
        Simulations to compare with, and to calibrate with.
    seed : int

    Raises
    ------
    ValueError
        If simulations are too few, or the embedding gives something else than rows of finite numbers.
    """
    if min(n, held_out) < _FEWEST:
        raise ValueError(
            f"Too few simulations: {n} to compare with and {held_out} to calibrate with. "
            f"Give at least {_FEWEST} of each; a p-value of 0.001 takes 1,000."
        )
    seed = own_seed(seed)
    own = lent(problem, conditions or {}, n + held_out, seed)
    x, y = problem.simulate(n + held_out, seed=seed, **own)
    good = torch.isfinite(y).all(-1)
    x, y, own = x[good], y[good], {k: v[good] for k, v in own.items()}
    n = n * len(y) // len(good)
    first, held = {k: v[:n] for k, v in own.items()}, {k: v[n:] for k, v in own.items()}
    if min(n, len(y) - n) < _FEWEST:
        raise ValueError(
            f"Too few simulations that are finite: {len(y)} of {len(good)}. Narrow the prior to where the model holds."
        )
    embed = embedding or whitened(problem, x[:n], y[:n], first)
    e = _embedded(embed, y[:n], first)
    centre = e.mean(0)
    value, vector = torch.linalg.eigh((e - centre).mT @ (e - centre) / len(e))
    kept = value > 1e-9 * value.amax()
    factor = vector[:, kept] * value[kept].rsqrt()
    reference = (e - centre) @ factor
    width = _WIDTH * float(torch.pdist(reference[:1000]).median())
    return OutOfRange(embed, reference, centre, factor, width, y[n:], held)


def _ranked(found: Tensor, null: Tensor) -> Tensor:
    """P-values (b,) of distances (b, 3): each is ranked among those held out (H, 3), the smallest rank among theirs."""
    count, smallest = len(null), []
    for values in (found, null):
        ranks = []
        for own, others in zip(values.unbind(-1), null.sort(0).values.unbind(-1), strict=True):
            ranks.append(count - torch.searchsorted(others.contiguous(), own.contiguous()))  # as far out, or farther
        smallest.append(torch.stack(ranks, -1).amin(-1))
    theirs = smallest[1].sort().values
    # one that was held out counts itself
    below = torch.searchsorted(theirs, smallest[0] + 1, right=True)
    return (1 + below).to(found.dtype) / (count + 1)


def _embedded(embedding: Embedding, y: Tensor, conditions: Mapping[str, Tensor]) -> Tensor:
    with torch.no_grad():
        e = embedding(y, conditions)
    if not isinstance(e, Tensor) or e.ndim != 2 or len(e) != len(y) or not bool(torch.isfinite(e).all()):
        shape = tuple(e.shape) if isinstance(e, Tensor) else type(e).__name__
        raise ValueError(
            f"Invalid embedding of shape {shape} for {len(y)} observations, or not finite. "
            "Return one row of finite numbers for each observation, also where elements are missing (NaN)."
        )
    return e.to(y.dtype)
