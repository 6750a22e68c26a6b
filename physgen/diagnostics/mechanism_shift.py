"""Which mechanism of a structural causal model differs between two environments.

In a causal model the joint distribution changes where one mechanism does, and the others stay as they are (Schölkopf et
al. 2021; Liu et al. 2024, Identifiable latent neural causal models). So each is tested by itself, given its parents,
whose distribution may differ because of a change further up.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from ..priors.standard_normal import cdf
from .sample_table import paired_rows, permutation, sample_table

_FEWEST = 50  # rows of each environment
_ORDER = 4  # of the polynomials of the noise
_ROWS = 2_000_000  # numbers of permuted noises, held at once


@dataclass(frozen=True, eq=False)
class MechanismShift:
    """Result of `mechanism_shift`.

    Attributes
    ----------
    names : tuple of str
    p_value : Tensor (n,)
        Of each mechanism, that it is one in both environments.
    information : Tensor (n,)
        What the environment says of the cause beyond its parents, in nats a row: how large the change is.
    """

    names: tuple[str, ...]
    p_value: Tensor
    information: Tensor

    def changed(self, level: float = 0.05) -> tuple[str, ...]:
        """Mechanisms that differ; the chance of any false one is at most `level` (Holm 1979)."""
        order, found = self.p_value.argsort().tolist(), []
        for rank, i in enumerate(order):
            if float(self.p_value[i]) > level / (len(order) - rank):
                break
            found.append(i)
        return tuple(self.names[i] for i in sorted(found))


def mechanism_shift(
    noises: Tensor,
    parents: Sequence[Tensor],
    environment: Tensor,
    *,
    names: Sequence[str] | None = None,
    times: int = 500,
    seed: int = 0,
) -> MechanismShift:
    """Test every mechanism x_i = f_i(z_i; parents of i) for a difference between two environments.

    If one f_i holds in both, its noise z_i is N(0, 1) whatever parents and environment are. The statistic is the
    covariance of polynomials of z_i (Neyman 1937) with products of the environment, freed of what the parents say of
    it, and polynomials of the parents: the generalised covariance measure of Shah & Peters (2020), weighted as by
    Scheidegger et al. (2022). It errs by the product of the errors of both models only. Its p-value comes from
    permuting the noise.

    Parameters
    ----------
    noises : Tensor (N, n)
        z of every row under one model of both environments, best of rows that it was not fitted to.
    parents : sequence of Tensor (N, p_i)
        Values of the parents of each cause; no columns where it has none.
    environment : Tensor (N,)
        0 or 1, or bool; at least 50 rows of each.
    names : sequence of str, optional
        Of the causes.
    times : int
        Permutations; the smallest p-value is 1 / (times + 1).
    seed : int

    Returns
    -------
    MechanismShift

    Raises
    ------
    ValueError, TypeError
        If shapes disagree, an environment has too few rows, or a value is not finite.

    References
    ----------
    Shah & Peters (2020), The hardness of conditional independence testing and the generalised covariance measure,
    *Ann. Stat.* 48. Scheidegger, Hörrmann & Bühlmann (2022), The weighted generalised covariance measure, *JMLR* 23.
    """
    z = sample_table("noises", noises)
    own = tuple(names) if names is not None else tuple(f"x{i}" for i in range(z.shape[1]))
    if len(parents) != z.shape[1] or len(own) != z.shape[1] or times < 1:
        raise ValueError(
            f"Invalid input: {z.shape[1]} noises, {len(parents)} sets of parents, {len(own)} names, {times} "
            "permutations. Give one set and one name for each noise, and at least 1 permutation."
        )
    second = _environment(environment, len(z)).to(z)
    orders = permutation(len(z), seed=seed, times=times).to(z.device)
    results = [_test(column, p, second, orders) for column, p in zip(z.unbind(1), parents, strict=True)]
    p_value, information = (torch.stack(values) for values in zip(*results, strict=True))
    return MechanismShift(own, p_value, information)


def _test(z: Tensor, parents: Tensor, second: Tensor, orders: Tensor) -> tuple[Tensor, Tensor]:
    """p-value and information of one mechanism."""
    known = _powers(parents, len(z)).to(z)
    weight = second - known @ torch.linalg.lstsq(known, second[:, None], driver="gelsd").solution[:, 0]
    tested = weight[:, None] * known
    scale, vectors = torch.linalg.eigh(tested.mT @ tested / len(z))
    kept = scale > 1e-8 * scale[-1]
    tested = tested @ (vectors[:, kept] / scale[kept].sqrt()) / len(z) ** 0.5
    phi = legendre(cdf(z), _ORDER)[:, 1:]
    observed = _statistic(phi[None], tested)
    size = max(1, _ROWS // phi.numel())
    drawn = torch.cat([_statistic(phi[part], tested) for part in orders.split(size)])
    p_value = (1 + (drawn >= observed * (1 - 1e-12)).sum()) / (1 + len(drawn))
    freedom = phi.shape[1] * tested.shape[1]
    return p_value.to(z), ((observed[0] - freedom) / (2 * len(z))).clamp(min=0)


def _statistic(phi: Tensor, tested: Tensor) -> Tensor:
    """Squared covariances, summed ``(B,)``: chi-squared where nothing changed; phi ``(B, N, j)``."""
    return (phi.mT @ tested).square().sum((-2, -1))


def _powers(parents: Tensor, rows: int) -> Tensor:
    """Polynomials ``(N, q)`` of the parents' ranks: up to the third of each, and products of two."""
    if parents.ndim != 2 or len(parents) != rows:
        raise ValueError(f"Invalid parents of shape {tuple(parents.shape)}. Give one row for each of the {rows} rows.")
    if parents.shape[1] == 0:
        return parents.new_ones(rows, 1)
    table = sample_table("parents", parents)
    ranks = (table.argsort(0).argsort(0).to(table) + 0.5) / rows
    each = torch.stack([legendre(column, 3)[:, 1:] for column in ranks.unbind(1)], 1)
    i, j = torch.triu_indices(table.shape[1], table.shape[1], 1)
    return torch.cat([table.new_ones(rows, 1), each.flatten(1), each[:, i, 0] * each[:, j, 0]], 1)


def legendre(u: Tensor, order: int) -> Tensor:
    """Legendre polynomials of degrees 0 to `order`, orthonormal on (0, 1): ``(N, order + 1)`` of u ``(N,)``."""
    t = 2 * u - 1
    p = [torch.ones_like(t), t]
    for k in range(1, order):
        p.append(((2 * k + 1) * t * p[k] - k * p[k - 1]) / (k + 1))
    return torch.stack([(2 * k + 1) ** 0.5 * p[k] for k in range(order + 1)], 1)


def _environment(environment: Tensor, rows: int) -> Tensor:
    table, _ = paired_rows(environment.reshape(-1).to(torch.float64), torch.zeros(rows), ("environments", "noises"))
    second = table[:, 0]
    if not bool(((second == 0) | (second == 1)).all()):
        raise ValueError("Invalid environments. Each must be 0 or 1.")
    fewest = int(min(second.sum(), (1 - second).sum()))
    if fewest < _FEWEST:
        raise ValueError(f"Too few rows of one environment: {fewest}. Give at least {_FEWEST} of each.")
    return second
