"""Evaluation over rows: in blocks that stay in the cache, and Jacobians row by row."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch
from torch import Tensor

# glibc gives memory back to the system after every operation on blocks of this size, and takes it again for the next,
# which is several times slower than the arithmetic; it stops doing so once a large block has been freed.
torch.empty(31 * 2**20, dtype=torch.uint8)

_MANY = 4  # outputs for each input, from which on the Jacobian is computed by columns


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

    All outputs are pulled back at once; one by one where an operation cannot be batched. Where they are many more than
    the inputs, all inputs are pushed forward instead.
    """
    with torch.enable_grad():
        leaf = rows.detach().requires_grad_(True)
        value = function(leaf)
        each = torch.eye(value.shape[-1], dtype=value.dtype, device=value.device)
        cotangents = each[:, None].expand(-1, *value.shape)
        if not value.requires_grad:  # a constant
            return value, value.new_zeros(*value.shape, rows.shape[-1])
        if value.shape[-1] > _MANY * rows.shape[-1]:
            columns = _pushed(value, leaf)
            if columns is not None:
                return value.detach(), columns
        try:
            (slopes,) = torch.autograd.grad(value, leaf, cotangents, is_grads_batched=True, retain_graph=True)
        except RuntimeError:  # a custom function without a vmap rule
            parts = [torch.autograd.grad(value, leaf, c, retain_graph=True)[0] for c in cotangents]
            slopes = torch.stack(parts)
    return value.detach(), slopes.transpose(0, 1)


def _pushed(value: Tensor, leaf: Tensor) -> Tensor | None:
    """Jacobian (R, m, k) by columns, or None where an operation cannot be differentiated twice or batched.

    J^T u is linear in u, and its derivative along u, pulled back by e_j, is J e_j: forward mode by two reverse ones. A
    derivative written by hand may not be differentiable itself, and torch leaves it out without a word: one product
    J^T a by reverse mode tells.
    """
    u = torch.zeros_like(value, requires_grad=True)
    each = torch.eye(leaf.shape[-1], dtype=leaf.dtype, device=leaf.device)
    try:
        a = torch.linspace(0.5, 1.5, value.shape[-1], dtype=value.dtype, device=value.device)
        (wanted,) = torch.autograd.grad(value, leaf, a.expand_as(value), retain_graph=True)
        (pulled,) = torch.autograd.grad(value, leaf, u, create_graph=True)
        (columns,) = torch.autograd.grad(pulled, u, each[:, None].expand(-1, *leaf.shape), is_grads_batched=True)
    except RuntimeError:
        return None
    found, scale = (columns * a).sum(-1).mT, (columns * a).abs().sum(-1).mT
    close = (found - wanted).abs() <= torch.finfo(value.dtype).eps ** 0.5 * (scale + wanted.abs())
    # where it is not finite, neither way says anything
    return columns.permute(1, 2, 0) if bool((close | ~torch.isfinite(wanted)).all()) else None


def spread(count: int, most: int = 4096) -> Tensor:
    """At most `most` of the places 0 to count - 1, evenly spread; all of them if there are no more."""
    return torch.arange(min(count, most)) * count // max(min(count, most), 1)
