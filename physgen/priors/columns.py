"""Evaluation of networks with rows along memory: in the dtype of the input, block by block, to the same bits."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

_TILE = 48  # columns: a multiple of what BLAS takes at once on any processor (8, 12, 16, 24)
_ROWS = 85 * _TILE  # of a block: what a layer holds for so many stays in the cache
_T = TypeVar("_T", Tensor, tuple[Tensor, ...])


class Casts:
    """Copies of a frozen module, one for each dtype and device that is asked for.

    Parameters
    ----------
    module : torch.nn.Module
    """

    def __init__(self, module: nn.Module) -> None:
        self._module = module
        self._made: dict[tuple[torch.dtype, torch.device], Any] = {}
        # made here, as a module cannot be cast inside a transform of torch.func
        for dtype in (torch.float32, torch.float64):
            self(torch.empty(0, dtype=dtype, device=next(module.parameters()).device))

    def __call__(self, like: Tensor) -> Any:
        """The module with the dtype and device of a tensor."""
        key = (like.dtype, like.device)
        if key not in self._made:
            with torch.inference_mode(False):  # what is kept may serve automatic differentiation later
                self._made[key] = copy.deepcopy(self._module).to(*key[::-1]).requires_grad_(False)
        return self._made[key]


def total(columns: Tensor) -> Tensor:
    """Sum ``(R,)`` over the first axis of ``(n, R)``, in an order that does not depend on the number of rows.

    That of `torch.sum` does.
    """
    return columns.cumsum(0)[-1]


def in_column_blocks(function: Callable[..., Tensor], *columns: Tensor) -> Tensor:
    """Apply a function of tensors ``(n, R)`` to some thousand rows at a time, unless a gradient is wanted."""
    count = columns[0].shape[-1]
    followed = torch.is_grad_enabled() and any(c.requires_grad for c in columns)
    size = count if followed else _ROWS
    if count <= size:
        return in_tiles(function, *columns)
    starts = range(0, count, size)
    return torch.cat([in_tiles(function, *(c[:, a : a + size].contiguous() for c in columns)) for a in starts], 1)


def in_tiles(function: Callable[..., _T], *columns: Tensor) -> _T:
    """Apply a function of tensors ``(n, R)`` to whole tiles, the last column repeated, and return what is asked for.

    Products of matrices, and functions that are vectorised, round what is left beside whole tiles in other ways: a
    row's bits would depend on how many others there are. In float32 they may.
    """
    count = columns[0].shape[-1]
    short = -count % _TILE if columns[0].dtype == torch.float64 else 0
    if not short:
        return function(*columns)
    made = function(*(torch.cat([c, c[:, -1:].expand(-1, short)], 1) for c in columns))
    if isinstance(made, Tensor):
        return made[..., :count]
    return type(made)(part[..., :count] for part in made)
