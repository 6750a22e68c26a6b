"""Evaluation over rows: in blocks that stay in the cache, and Jacobians row by row."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch
from torch import Tensor


def in_blocks(
    function: Callable[[Tensor, Mapping[str, Tensor]], tuple[Tensor, ...]],
    rows: Tensor,
    conditions: Mapping[str, Tensor],
    size: int,
) -> tuple[Tensor, ...]:
    """Apply a function of rows ``(R, k)`` and conditions ``(R, ...)`` block by block, and join what it returns."""
    if len(rows) <= size:
        return function(rows, conditions)
    parts = []
    for start in range(0, len(rows), size):
        cut = slice(start, start + size)
        parts.append(function(rows[cut], {k: v[cut] for k, v in conditions.items()}))
    return tuple(torch.cat(part) for part in zip(*parts, strict=True))


def jacobian(function: Callable[[Tensor], Tensor], rows: Tensor) -> tuple[Tensor, Tensor]:
    """Values ``(R, m)`` and Jacobians ``(R, m, k)`` of a function that maps each row of ``(R, k)`` by itself.

    Forward mode where every operation has it; otherwise reverse mode, one pass for each output.
    """
    rows = rows.detach()
    try:
        return _forward_mode(function, rows)
    except RuntimeError:  # NotImplementedError is one of them
        return _reverse_mode(function, rows)


def _forward_mode(function: Callable[[Tensor], Tensor], rows: Tensor) -> tuple[Tensor, Tensor]:
    def push(direction: Tensor) -> tuple[Tensor, Tensor]:
        return torch.func.jvp(function, (rows,), (direction.expand_as(rows),))

    basis = torch.eye(rows.shape[-1], dtype=rows.dtype, device=rows.device)
    # the value does not depend on the direction: out_dims None keeps one copy
    value, tangents = torch.func.vmap(push, out_dims=(None, -1))(basis)
    return value, tangents


def _reverse_mode(function: Callable[[Tensor], Tensor], rows: Tensor) -> tuple[Tensor, Tensor]:
    with torch.enable_grad():
        leaf = rows.clone().requires_grad_(True)
        value = function(leaf)
        gradients = [
            torch.autograd.grad(value[:, j].sum(), leaf, retain_graph=True, materialize_grads=True)[0]
            for j in range(value.shape[-1])
        ]
    return value.detach(), torch.stack(gradients, dim=-2)
