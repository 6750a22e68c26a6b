"""Code that torch's compiler makes of functions of rows."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Hashable
from typing import cast

import torch
from torch import Tensor

from .rare import unseen

ROWS = 256  # of one call, at most
SLOPE_ROWS = 64  # with derivatives: of more, a row costs a fifth less, but chains of one observation fill an eighth

RowFunction = Callable[..., tuple[Tensor, ...]]


class RowCode:
    """Code of functions ``(rows, ...) -> (outputs, ...)``: a row of an output depends on that row of the inputs alone.

    It is made when it is first needed, and made again by a copy that another process receives.
    """

    def __init__(self) -> None:
        self._made: dict[tuple[Hashable, ...], RowFunction | None] = {}

    def __reduce__(self) -> tuple[type[RowCode], tuple[()]]:
        return RowCode, ()

    def __call__(
        self, name: str, function: RowFunction, *inputs: Tensor, size: int = ROWS, of: str | None = None
    ) -> tuple[Tensor, ...] | None:
        """What a function returns for inputs (R, ...), block by block.

        Parameters
        ----------
        name : str
            Of the function and the meaning of its inputs: it is always the same one under this name.
        function : callable
            Free of branches on its arguments' numbers, but those that `physgen.rare.some` decides.
        *inputs : Tensor (R, ...)
        size : int
            Rows of a block, where `ROWS` are too many. The last one is filled up, so that there is one code, and the
            bits of a row do not depend on its neighbours.
        of : str, optional
            The name of what is called as it is if there can be no code: a warning says so.

        Returns
        -------
        tuple of Tensor (R, ...), or None
            Without a history; None if there can be no code, or it does not do what the function does.
        """
        size = min(size, ROWS)
        key = (name, *((t.dtype, t.device, t.shape[1:]) for t in inputs))
        with torch.no_grad():
            if key not in self._made:
                self._made[key] = _made(function, tuple(_filled(t[:size], size) for t in inputs), of)
            code = self._made[key]
            if code is None:
                return None
            parts = []
            for start in range(0, len(inputs[0]), size):
                block = tuple(t[start : start + size] for t in inputs)
                parts.append([out[: len(block[0])] for out in code(*(_filled(t, size) for t in block))])
        return tuple(torch.cat(part) for part in zip(*parts, strict=True))


def _made(function: RowFunction, block: tuple[Tensor, ...], of: str | None) -> RowFunction | None:
    """The code, which must return for a first block what the function does."""
    with unseen():
        slow = function(*block)  # before, so that an error of the function is the function's
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # what torch says of its own ways
                code = _compiled(function, block)
                fast = code(*block)
            if not all(map(_same, fast, slow)):
                raise ArithmeticError("the values are not those of the model")
        except Exception as error:  # a compiler can fail in any way
            if of is not None:
                reason = (str(error).strip().splitlines() or [""])[0]
                warnings.warn(
                    f"{of} cannot be compiled here ({type(error).__name__}: {reason}). It is called as it is, which is "
                    "slower.",
                    RuntimeWarning,
                    stacklevel=5,
                )
            return None
    return code


def _compiled(function: RowFunction, block: tuple[Tensor, ...]) -> RowFunction:
    """A function written out operation by operation, derivatives too, and handed to torch's own compiler.

    `torch.compile` would not look into derivatives, it forgets what Python has worked out once for all (and computes it
    for every row), and it asks at each call whether anything has changed.
    """
    from torch._guards import TracingContext, tracing  # slow to import, seldom needed
    from torch._inductor.compile_fx import compile_fx
    from torch._inductor.decomposition import select_decomp_table
    from torch._subclasses import FakeTensorMode
    from torch.fx.experimental.proxy_tensor import make_fx
    from torch.fx.experimental.symbolic_shapes import ShapeEnv

    # torch takes ``exp(x) - 1`` for expm1: nothing is left of it near 0
    own = {torch.ops.aten.expm1.default: _expm1, torch.ops.aten.expm1_.default: lambda x: x.copy_(_expm1(x))}
    parts = {**select_decomp_table(), **own}
    graph = make_fx(function, decomposition_table=parts, tracing_mode="fake", _allow_non_fake_inputs=True)(*block)
    with tracing(TracingContext(FakeTensorMode(shape_env=ShapeEnv()))):  # without it torch keeps nothing on disk
        code = cast(RowFunction, compile_fx(graph, list(block)))
    return lambda *inputs: tuple(code(*inputs))


def _expm1(x: Tensor) -> Tensor:
    """``exp(x) - 1``: what rounding does to y = exp(x) cancels between y - 1 and log y (Kahan; Higham 2002, 1.14.1)."""
    y = torch.exp(x)
    small = (y - 1) * (x / torch.log(y))
    return torch.where(y == 1, x, torch.where(x.abs() < 1, small, y - 1))


def _filled(block: Tensor, size: int) -> Tensor:
    """A block of the full number of rows, without a history; the last one is repeated."""
    missing = size - len(block)
    block = block.detach()
    return torch.cat([block, block[-1:].expand(missing, *block.shape[1:])]) if missing else block.contiguous()


def _same(fast: Tensor, slow: Tensor) -> bool:
    """Whether two outcomes of a block differ by rounding only."""
    near = torch.finfo(slow.dtype).eps ** 0.5
    scale = torch.nan_to_num(slow, nan=0.0, posinf=0.0, neginf=0.0).abs().amax(0)
    return bool((torch.isclose(fast, slow, near, 0.0, equal_nan=True) | ((fast - slow).abs() <= near * scale)).all())
