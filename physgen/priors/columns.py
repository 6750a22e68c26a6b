"""Evaluation of networks with rows along memory: in the dtype of the input, block by block, to the same bits."""

from __future__ import annotations

import copy
from collections.abc import Callable
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor, nn

_ROWS = 4096  # of a block: what a layer holds for so many stays in the cache


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
    if count <= _ROWS or (torch.is_grad_enabled() and any(c.requires_grad for c in columns)):
        return function(*columns)
    # a short last block would take another path through the products, and round differently
    edges = [*range(0, count - _ROWS // 2, _ROWS), count]
    pairs = pairwise(edges)
    return torch.cat([function(*(c[:, a:b].contiguous() for c in columns)) for a, b in pairs], 1)
