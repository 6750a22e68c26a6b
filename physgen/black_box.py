"""Black boxes: a function that is not torch (NumPy, a subprocess, a Fortran library) as a forward model."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import torch
from torch import Tensor

from .conditions import Takes, check_names, takes
from .space import Space

_NO_GRADIENT = (
    "The black box {!r} has no gradient. "
    "Use an inversion of physgen.inversions that only evaluates the model: SliceSampler, TemperedSMC, Ensemble, "
    "LookupTable, Amortised, or Grid for up to three latents."
)


def blackbox(
    function: Callable[..., Any],
    *,
    causes: Space | None = None,
    observables: Space | None = None,
    conditions: Space | None = None,
    batched: bool = True,
    workers: int = 1,
    name: str | None = None,
) -> BlackBox:
    """Wrap a function of NumPy arrays as a forward model without gradients.

    Parameters
    ----------
    function : callable
        ``function(x, **conditions)``: x is a float64 array ``(rows, n)`` and every condition one of ``(rows, ...)``;
        it returns ``(rows, m)``. With ``batched=False`` it sees one row, ``(n,)`` and numbers, and returns ``(m,)``.
        The arrays are its own: it may overwrite them. It takes the conditions that it names after x.
    causes, observables, conditions : Space, optional
        Names, units and supports of what goes in and comes out.
    batched : bool
        Whether the function takes many rows at once.
    workers : int
        Threads that share the rows of an unbatched function. They help where it waits for a subprocess or for a
        library that releases the interpreter's lock.
    name : str, optional
        For the record of a result; the function's own by default.

    Returns
    -------
    BlackBox
        Follows dtype and device of x. Its output raises `TypeError` on backward and in forward mode, since a gradient
        method would otherwise silently follow the prior alone.

    Raises
    ------
    TypeError, ValueError
        If `function` is not callable, takes none of the declared conditions, or the settings do not fit together.

    Examples
    --------
    >>> import numpy as np
    >>> model = blackbox(lambda x, height: x * np.exp(-height)[:, None])
    >>> model(torch.ones(2, 3), height=torch.tensor([0.0, 1.0]))[:, 0]
    tensor([1.0000, 0.3679])
    """
    if not callable(function):
        raise TypeError(f"Invalid black box of type {type(function).__name__}. It must be callable.")
    if workers < 1 or (batched and workers > 1):
        raise ValueError(f"Invalid workers {workers}. Only a function with batched=False shares its rows over threads.")
    return BlackBox(function, causes, observables, conditions, batched, workers, name or _name(function))


@dataclass(frozen=True, eq=False)
class BlackBox:
    """A forward model without gradients, made by `blackbox`.

    Attributes
    ----------
    function : callable
    causes, observables, conditions : Space or None
    batched : bool
    workers : int
    name : str
    """

    function: Callable[..., Any]
    causes: Space | None
    observables: Space | None
    conditions: Space | None
    batched: bool
    workers: int
    name: str

    differentiable = False

    def __post_init__(self) -> None:
        if self.conditions is None or not _has_signature(self.function):
            return
        found = takes(self.function)
        unknown = [] if found.everything else sorted(set(self.conditions.names) - found.names)
        if unknown:
            raise ValueError(
                f"Invalid conditions {unknown} of the black box {self.name!r}. "
                f"The function takes {sorted(found.names) or 'no condition'}."
            )

    @cached_property
    def takes(self) -> Takes:
        """The conditions that the function takes: those it names, or the declared ones where it does not say."""
        found = takes(self.function)
        if self.conditions is not None and (found.everything or not _has_signature(self.function)):
            return Takes(frozenset(self.conditions.names))
        return found

    def __call__(self, x: Tensor, /, **conditions: Any) -> Tensor:
        """Predictions ``(*, m)`` of causes ``(*, n)``.

        Raises
        ------
        ValueError, TypeError
            If a shape does not fit, a condition is unknown or missing, or the function returned something else than
            numbers ``(rows, m)``.
        """
        if self.causes is not None:
            self.causes.check(x)
        check_names(conditions, self.takes)
        values = [torch.as_tensor(value) for value in conditions.values()]
        return _Opaque.apply(self, tuple(conditions), x, *values)

    def evaluate(self, x: Tensor, conditions: Mapping[str, Tensor]) -> Tensor:
        """What `__call__` does, on tensors that carry no gradient."""
        batch = tuple(x.shape[:-1])
        rows = _array(x).reshape(-1, x.shape[-1])
        own = {k: self._rows(k, v, batch) for k, v in conditions.items()}
        out = self._checked(self.function(rows, **own) if self.batched else self._loop(rows, own), len(rows))
        return torch.from_numpy(out).to(dtype=x.dtype, device=x.device).reshape(*batch, out.shape[-1])

    def _rows(self, name: str, value: Tensor, batch: tuple[int, ...]) -> np.ndarray:
        """A condition as an array (rows, *own)."""
        space = self.conditions or Space()
        own = space.block(name).shape if name in space else ()
        try:
            return _array(value.expand((*batch, *own))).reshape(-1, *own)
        except RuntimeError as error:
            raise ValueError(
                f"Invalid shape {tuple(value.shape)} of condition {name!r}. It must broadcast to {batch + own}."
            ) from error

    def _loop(self, rows: np.ndarray, conditions: Mapping[str, np.ndarray]) -> Any:
        def one(i: int) -> Any:
            return self.function(rows[i], **{k: v[i] for k, v in conditions.items()})

        if self.workers == 1:
            made = [one(i) for i in range(len(rows))]
        else:
            with ThreadPoolExecutor(self.workers) as pool:
                made = list(pool.map(one, range(len(rows))))
        if not made and self.observables is not None:
            return np.empty((0, self.observables.size))
        lengths = {np.size(row) for row in made}
        if len(lengths) > 1:
            raise ValueError(
                f"The black box {self.name!r} returned rows of the lengths {sorted(lengths)}. "
                "Every row must have the same."
            )
        return np.stack([np.atleast_1d(_numbers(row, self.name)) for row in made]) if made else np.empty((0, 0))

    def _checked(self, out: Any, rows: int) -> np.ndarray:
        """The function's answer as a float64 array (rows, m) of its own memory."""
        array = _numbers(out, self.name)
        m = self.observables.size if self.observables is not None else None
        if array.ndim != 2 or len(array) != rows or (m is not None and array.shape[1] != m):
            advice = "Pass batched=False if it takes one row." if self.batched else "It sees one row and returns (m,)."
            raise ValueError(
                f"The black box {self.name!r} returned the shape {array.shape} for {rows} rows, "
                f"not ({rows}, {'m' if m is None else m}). {advice}"
            )
        return array


class _Opaque(torch.autograd.Function):
    """Keeps the output in the graph, so that asking for its gradient is an error and not a silent zero."""

    @staticmethod
    def forward(box: BlackBox, names: tuple[str, ...], x: Tensor, *conditions: Tensor) -> Tensor:
        return box.evaluate(x.detach(), {k: v.detach() for k, v in zip(names, conditions, strict=True)})

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
        ctx.name = inputs[0].name

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Any:
        raise TypeError(_NO_GRADIENT.format(ctx.name))

    @staticmethod
    def jvp(ctx: Any, *tangents: Tensor) -> Any:
        raise TypeError(_NO_GRADIENT.format(ctx.name))

    @staticmethod
    def vmap(info: Any, in_dims: tuple[Any, ...], *inputs: Any) -> Any:
        raise TypeError(f"The black box {inputs[0].name!r} cannot be vmapped. Give it the batch on leading axes.")


def _array(x: Tensor) -> np.ndarray:
    """A float64 copy: the function may overwrite what it is given."""
    return np.array(x.detach().cpu().numpy(), dtype=np.float64, order="C")


def _numbers(out: Any, name: str) -> np.ndarray:
    """A float64 copy: the function may return a buffer that it uses again."""
    try:
        array = np.asarray(out)
        if array.dtype.kind not in "biuf":
            raise TypeError(f"it holds {array.dtype}")
    except (TypeError, ValueError) as error:
        raise TypeError(
            f"The black box {name!r} returned {type(out).__name__}, not an array of real numbers ({error}). "
            "Return a NumPy array of floats."
        ) from error
    return np.array(array, dtype=np.float64)


def _has_signature(function: Callable[..., Any]) -> bool:
    try:
        inspect.signature(function)
    except (TypeError, ValueError):  # a compiled library often shows none
        return False
    return True


def _name(function: Callable[..., Any]) -> str:
    return getattr(function, "__name__", type(function).__name__)
