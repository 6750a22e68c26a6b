"""Elementwise functions whose derivatives are stated, for values that only a numerical solver gives.

A quantile x(z, theta) solves F(x; theta) = Phi(z), so the implicit function theorem gives its slopes from the solution
alone: dx/dz = phi(z) / f(x). How x was found (a library outside torch, Newton steps) then does not matter to autograd.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from physgen.known_signature import known_signature

Slopes = Callable[..., Sequence[Callable[[], Tensor]]]


def elementwise(value: Callable[..., Tensor], slopes: Slopes, *inputs: Tensor | float) -> Tensor:
    """Apply ``value`` with the derivatives that ``slopes`` states: reverse mode, forward mode, `vmap`, higher orders.

    Parameters
    ----------
    value : callable
        ``value(*inputs)`` acts element by element on plain tensors and is not differentiated.
    slopes : callable
        ``slopes(output, *inputs)`` returns one function without arguments for each input: the derivative with respect
        to it, made of differentiable torch operations (only those needed are called).
    *inputs : Tensor or float
        Tensors broadcast; numbers stay numbers.

    Returns
    -------
    Tensor
        In float64, whatever the dtype of the inputs: cast it back.
    """
    tensors = [torch.is_tensor(v) for v in inputs]
    wide = iter(torch.broadcast_tensors(*(v.double() for v in inputs if isinstance(v, Tensor))))
    return _Elementwise.apply(value, slopes, *(next(wide) if t else v for t, v in zip(tensors, inputs, strict=True)))


@known_signature
class _Elementwise(torch.autograd.Function):
    @staticmethod
    def forward(value: Callable[..., Tensor], slopes: Slopes, *inputs: Any) -> Tensor:
        return value(*inputs)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
        ctx.slopes, ctx.numbers = inputs[1], [None if torch.is_tensor(v) else v for v in inputs[2:]]
        saved = [v if torch.is_tensor(v) else None for v in inputs[2:]]
        ctx.save_for_backward(output, *saved)
        ctx.save_for_forward(output, *saved)
        ctx.set_materialize_grads(False)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor | None) -> tuple[Tensor | None, ...]:  # type: ignore[override]
        if gradient is None:
            return (None,) * (len(ctx.numbers) + 2)
        slopes = _slopes(ctx)
        needed = ctx.needs_input_grad[2:]
        return (None, None, *(gradient * s() if n else None for s, n in zip(slopes, needed, strict=True)))

    @staticmethod
    def jvp(ctx: Any, _value: None, _slopes_tangent: None, *tangents: Tensor | None) -> Tensor | None:  # type: ignore[override]
        parts = [t * s() for s, t in zip(_slopes(ctx), tangents, strict=True) if t is not None]
        return torch.stack(parts).sum(0) if len(parts) > 1 else parts[0]

    @staticmethod
    def vmap(info: Any, in_dims: tuple[int | None, ...], *inputs: Any) -> tuple[Tensor, int]:
        rank = max(v.ndim - (d is not None) for v, d in zip(inputs, in_dims, strict=True) if torch.is_tensor(v))
        aligned = []
        for v, d in zip(inputs, in_dims, strict=True):
            if torch.is_tensor(v):
                v = v[None] if d is None else v.movedim(d, 0)
                v = v.reshape(len(v), *(1,) * (rank + 1 - v.ndim), *v.shape[1:])
            aligned.append(v)
        return elementwise(*aligned), 0


def _slopes(ctx: Any) -> Sequence[Callable[[], Tensor]]:
    output, *tensors = ctx.saved_tensors
    inputs = [v if n is None else n for v, n in zip(tensors, ctx.numbers, strict=True)]
    return ctx.slopes(output, *inputs)
