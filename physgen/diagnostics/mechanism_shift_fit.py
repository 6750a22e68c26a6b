"""Localise a change between two environments to the mechanism that changed, from samples and the causal graph."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from ..priors.causal_flow import CausalFlow
from ..priors.fitting import Training
from ..priors.samples import read_samples
from ..random import single_stream, uniform
from ..space import Block, Space
from .mechanism_shift import MechanismShift, mechanism_shift

FOLDS_STAGE = (1 << 41) + 1  # of which half a row belongs to


def localise_shift(
    table: Any,
    environment: Any,
    graph: Mapping[str, Iterable[str]],
    *,
    causes: Space | Sequence[Block | str] | None = None,
    conditions: Mapping[str, Any] | None = None,
    hidden: Sequence[int] = (16,),
    training: Training | None = None,
    times: int = 500,
    seed: int = 0,
) -> MechanismShift:
    """Which mechanisms differ between two environments.

    One causal flow is fitted to half of the rows of both, and gives the noises of the other half, and the other way
    round; `mechanism_shift` then tests each mechanism on noises that it was not fitted to.

    Parameters
    ----------
    table : array_like (N, n)
        Rows of both environments, in the units of the causes.
    environment : array_like (N,)
        0 or 1: which each row comes from.
    graph, causes, conditions, hidden, training
        See `CausalFlow.fit`. Conditions among the parents count as parents.
    times : int
        Permutations of each test.
    seed : int

    Returns
    -------
    MechanismShift
        ``.changed(level)`` names the mechanisms.

    Raises
    ------
    ValueError, TypeError
        As `CausalFlow.fit` and `mechanism_shift`.
    """
    x, c, space, names = read_samples(table, causes, conditions)
    known = dict(zip(names, c.unbind(1), strict=True))
    second = torch.as_tensor(environment)
    order = uniform((len(x),), single_stream(), seed=seed, stage=FOLDS_STAGE).argsort()
    noises = torch.empty_like(x)
    halves = order.tensor_split(2)
    for fitted, tested in (halves, halves[::-1]):
        own = {n: v[fitted] for n, v in known.items()}
        settings: dict[str, Any] = {"hidden": hidden, "training": training, "seed": seed}
        flow = CausalFlow.fit(x[fitted], graph, causes=space, conditions=own, **settings)
        noises[tested] = flow.encode(x[tested], **{n: v[tested] for n, v in known.items()})
    parents = _parents(flow, x, known)
    return mechanism_shift(noises, parents, second, names=space.names, times=times, seed=seed)


def _parents(flow: CausalFlow, x: Tensor, known: Mapping[str, Tensor]) -> list[Tensor]:
    """Values ``(N, p_i)`` of the parents of every cause."""
    columns = {**dict(zip(flow.causes.names, x.unbind(1), strict=True)), **known}
    graph = {child: flow.graph.get(child, ()) for child in flow.causes.names}
    return [torch.stack([x[:, 0] * 0, *(columns[p] for p in ps)], 1)[:, 1:] for ps in graph.values()]
