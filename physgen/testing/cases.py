"""The rows of causes and the conditions on which a part is checked."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from ..conditions import Takes, align, check_names
from ..random import normal, single_stream, uniform
from ..space import Space

ROW_COUNTS = (7, 11, 13)


def row_count(*sizes: int | None) -> int:
    """A number of rows that is none of the sizes, so that a confusion of axes shows as an error."""
    return next(count for count in (*ROW_COUNTS, max(s or 0 for s in sizes) + 1) if count not in sizes)


def at_dtype(part: Any, dtype: torch.dtype) -> Any:
    """The part, or for a module a copy of that dtype."""
    return copy.deepcopy(part).to(dtype) if isinstance(part, torch.nn.Module) else part


def bounds(space: Space, like: Tensor) -> tuple[Tensor, Tensor]:
    """Lower and upper ends of the supports, ``(n,)`` each."""
    ends = [b.support for b in space for _ in range(b.size)]
    return like.new_tensor([e[0] for e in ends]), like.new_tensor([e[1] for e in ends])


def inside(space: Space, rows: int, seed: int) -> Tensor:
    """Values ``(rows, n)`` inside the supports, float64."""
    u = 0.1 + 0.8 * uniform((rows, space.size), single_stream(), seed=seed, stage=0)
    free = normal((rows, space.size), single_stream(), seed=seed, stage=1)
    low, high = bounds(space, u)
    below, above = torch.isfinite(low), torch.isfinite(high)
    out = torch.where(below, low + free.exp(), torch.where(above, high - free.exp(), free))
    return torch.where(below & above, low + (high - low) * u, out)


def condition_rows(
    given: Mapping[str, Any] | None, taken: Takes, space: Space | None, index: Tensor, like: Tensor
) -> dict[str, Tensor]:
    """Every condition with one value for each row, ``(R, *own)``.

    A value for each row that was given stays; a single one is spread over the rows by up to 1 %, so that a part that
    reads one row's condition for all is found out. A required one that was not given lies inside its support.
    """
    space = space or Space()
    values = dict(given or {})
    rows, trailing = len(index), {b.name: b.shape for b in space}
    for b in space:
        if b.name in taken.required and b.name not in values:
            values[b.name] = inside(Space(b), rows, seed=1).reshape(rows, *b.shape).to(like)
    check_names(values, taken)
    out = {}
    for name, value in values.items():
        tensor = torch.as_tensor(value).to(like)
        if tensor.numel() == 1 or tuple(tensor.shape) == trailing.get(name):
            tensor = align({name: tensor}, (rows,), like, trailing)[name]
            fraction = torch.arange(rows, device=like.device, dtype=like.dtype) / rows
            tensor = tensor * (1 - 0.01 * fraction.reshape(-1, *[1] * (tensor.ndim - 1)))
            tensor = _clamp(tensor, space, name)
        elif len(tensor) != rows:
            tensor = tensor[index % len(tensor)]
        out.update(align({name: tensor}, (rows,), like, trailing))
    return out


def _clamp(value: Tensor, space: Space, name: str) -> Tensor:
    return value.clamp(*space.block(name).support) if name in space else value


def names_of(space: Space | None, count: int, what: str) -> tuple[str, ...]:
    """What to call each element in a finding."""
    if space is not None and space.size == count:
        return space.element_names
    return tuple(f"{what} {i}" for i in range(count))
