"""Faster forward models: code that `torch.compile` makes, where the machine has a C++ compiler."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from types import FunctionType
from typing import Any, cast

import torch
from torch import Tensor

from .conditions import Takes, takes
from .problem import JACOBIAN_ROWS, VALUE_ROWS, cache_rows

_ROWS = 256  # of one call, at most

Code = Callable[..., tuple[Tensor, ...]]
Kind = Callable[[Any, tuple[str, ...]], Code]


def compiled(forward: Any) -> Compiled:
    """A forward model whose values, and whose own `jacobian`, are computed by compiled code.

    Operations that torch runs one after the other, each through the memory, become one loop. It pays for models of
    many cheap operations and jobs of many rows: `Canopy` is two to four times as fast, once its code is made (about
    a minute and a half, some seconds where torch still has it from an earlier process). Gradients by automatic
    differentiation are those of the model. Where no code can be made, or where it does not give the model's values, a
    warning says so once and the model is called as it is.

    Parameters
    ----------
    forward : ForwardModel
        In torch, each row of its prediction depending on the same row of causes and conditions. It must not be changed
        afterwards.

    Returns
    -------
    Compiled
        With the causes, conditions and observables of `forward`. Values differ by rounding.

    Raises
    ------
    TypeError
        If `forward` is not callable, or a black box.

    Examples
    --------
    >>> from physgen.forward_models import Canopy
    >>> compiled(Canopy()).causes.names[:3]
    ('n', 'cab', 'car')
    """
    if not callable(forward):
        raise TypeError(f"Invalid forward model of type {type(forward).__name__}. It must be callable.")
    if not getattr(forward, "differentiable", True):
        raise TypeError("A black box cannot be compiled. Write the model in torch, or use it as it is.")
    return Compiled(forward)


@dataclass(frozen=True, eq=False)
class Compiled:
    """A forward model made by `compiled`; what is not computed is that of `forward`."""

    forward: Any

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__") or name == "forward":  # not there yet while a copy is made
            raise AttributeError(name)
        own = getattr(self.forward, name)
        return self._jacobian if name == "jacobian" else own

    def __getstate__(self) -> dict[str, Any]:
        return {"forward": self.forward}  # code is made again where it is needed

    @cached_property
    def takes(self) -> Takes:
        """The conditions that the forward model takes."""
        return takes(self.forward)

    @property
    def name(self) -> str:
        """For the record of a result."""
        return str(
            getattr(self.forward, "name", None) or getattr(self.forward, "__name__", type(self.forward).__name__)
        )

    def __call__(self, x: Tensor, /, **conditions: Tensor) -> Tensor:
        """Predictions ``(*, m)`` of causes ``(*, n)``, each condition ``(*, ...)``."""
        lead = x.shape[:-1]
        aligned = all(isinstance(v, Tensor) and v.shape[: len(lead)] == lead for v in conditions.values())
        if not x.numel() or not aligned or self._followed(x, conditions):
            return self.forward(x, **conditions)
        rows = {k: v.reshape(-1, *v.shape[len(lead) :]) for k, v in conditions.items()}
        (prediction,) = self._run(_values, x.reshape(-1, x.shape[-1]), rows)
        return prediction.reshape(*lead, -1)

    def _jacobian(self, x: Tensor, /, **conditions: Tensor) -> tuple[Tensor, ...]:
        """Predictions ``(R, m)`` of causes ``(R, n)`` and their derivatives ``(R, m, n)``."""
        return self._run(_slopes, x, conditions) if x.numel() else self.forward.jacobian(x, **conditions)

    def _followed(self, x: Tensor, conditions: dict[str, Tensor]) -> bool:
        """Whether somebody may ask for a gradient."""
        own = self.forward.parameters() if isinstance(self.forward, torch.nn.Module) else ()
        return torch.is_grad_enabled() and any(t.requires_grad for t in (x, *conditions.values(), *own))

    @cached_property
    def _codes(self) -> dict[tuple[object, ...], Code | None]:
        """By what they return, dtype, device and conditions; None where there can be none."""
        return {}

    def _run(self, kind: Kind, rows: Tensor, conditions: dict[str, Tensor]) -> tuple[Tensor, ...]:
        """What the model returns for rows (R, n), block by block."""
        key = (kind, rows.dtype, rows.device, *conditions)
        inputs = rows, *conditions.values()
        plain = kind(self.forward, tuple(conditions))
        # always as many, so that there is one code, and the bits of a row do not depend on its neighbours
        size = min(_ROWS, cache_rows(VALUE_ROWS if kind is _values else JACOBIAN_ROWS, self.forward))
        with torch.no_grad():
            if key not in self._codes:
                self._codes[key] = self._made(kind, plain, tuple(_filled(t[:size], size) for t in inputs))
            code = self._codes[key]
            if code is None:
                return plain(*inputs)
            parts = []
            for start in range(0, len(rows), size):
                block = tuple(t[start : start + size] for t in inputs)
                parts.append([out[: len(block[0])] for out in code(*(_filled(t, size) for t in block))])
        return tuple(torch.cat(part) for part in zip(*parts, strict=True))

    def _made(self, kind: Kind, plain: Code, block: tuple[Tensor, ...]) -> Code | None:
        """The code, which must return for a first block what the model does; None, with a warning, if there is none."""
        slow = plain(*block)  # before, so that an error of the model is the model's
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # what torch says of its own ways
                if kind is _slopes:  # torch.compile does not look into derivatives: they are written out for it
                    from torch.fx.experimental.proxy_tensor import make_fx  # slow to import, seldom needed

                    plain = make_fx(plain, tracing_mode="fake", _allow_non_fake_inputs=True)(*block)
                code: Code = torch.compile(plain, backend=_inductor, dynamic=False, fullgraph=True)
                fast = code(*block)
            if not all(map(_same, fast, slow)):
                raise ArithmeticError("the values are not those of the model")
        except Exception as error:  # a compiler can fail in any way
            reason = (str(error).strip().splitlines() or [""])[0]
            warnings.warn(
                f"{self.name} cannot be compiled here ({type(error).__name__}: {reason}). It is called as it is, which "
                "is slower.",
                RuntimeWarning,
                stacklevel=4,
            )
            return None
        return code


def _values(forward: Any, names: tuple[str, ...]) -> Code:
    def values(x: Tensor, *conditions: Tensor) -> tuple[Tensor, ...]:
        return (forward(x, **dict(zip(names, conditions, strict=True))),)

    # torch keeps what it makes with a code object, eight times at most: each model has one of its own
    return FunctionType(values.__code__.replace(), values.__globals__, closure=values.__closure__)


def _slopes(forward: Any, names: tuple[str, ...]) -> Code:
    def slopes(x: Tensor, *conditions: Tensor) -> tuple[Tensor, ...]:
        return tuple(forward.jacobian(x, **dict(zip(names, conditions, strict=True))))

    return slopes


def _inductor(graph: torch.fx.GraphModule, inputs: list[Tensor]) -> Callable[..., Any]:
    """torch's own compiler, which takes ``exp(x) - 1`` for `torch.expm1`: nothing is left of it near 0."""
    from torch._inductor.compile_fx import compile_fx  # slow to import
    from torch._inductor.decomposition import select_decomp_table

    parts = {**select_decomp_table(), torch.ops.aten.expm1.default: _expm1}
    return cast(Callable[..., Any], compile_fx(graph, inputs, decompositions=parts))


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
