"""Evaluation over rows: in blocks that stay in the cache, and Jacobians row by row."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch
from torch import Tensor

# glibc gives memory back to the system after every operation on blocks of this size, and takes it again for the next,
# which is several times slower than the arithmetic; it stops doing so once a large block has been freed.
torch.empty(31 * 2**20, dtype=torch.uint8)


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

    All outputs are pulled back at once; one by one where an operation cannot be batched.
    """
    with torch.enable_grad():
        leaf = rows.detach().requires_grad_(True)
        value = function(leaf)
        each = torch.eye(value.shape[-1], dtype=value.dtype, device=value.device)
        cotangents = each[:, None].expand(-1, *value.shape)
        if not value.requires_grad:  # a constant
            return value, value.new_zeros(*value.shape, rows.shape[-1])
        try:
            (slopes,) = torch.autograd.grad(value, leaf, cotangents, is_grads_batched=True, retain_graph=True)
        except RuntimeError:  # a custom function without a vmap rule
            parts = [torch.autograd.grad(value, leaf, c, retain_graph=True)[0] for c in cotangents]
            slopes = torch.stack(parts)
    return value.detach(), slopes.transpose(0, 1)
