"""Faster forward models: code that torch's compiler makes, where the machine has a C++ compiler."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch
from torch import Tensor

from .conditions import Takes, takes
from .problem import JACOBIAN_ROWS, VALUE_ROWS, cache_rows
from .rare import is_unseen
from .row_code import RowCode, RowFunction


def compiled(forward: Any) -> Compiled:
    """A forward model whose values, and whose own `jacobian`, are computed by compiled code.

    Operations that torch runs one after the other, each through the memory, become one loop. Of a `Problem` with such
    a model the posterior density and its gradient are compiled as a whole, with the prior and the noise, where these
    can be. It pays for models of many cheap operations and jobs of many rows: `Canopy` is two to four times as fast,
    once its code is made (one to four minutes, a quarter of that where torch still has it from an earlier process).
    Where no code can be made, or where it does not give the model's values, a warning says so once and the model is
    called as it is.

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
    def compiles_densities(self) -> bool:
        """That the densities of problems with this model may be compiled, too."""
        return True

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
        if not x.numel() or not aligned or is_unseen() or self._followed(x, conditions):
            return self.forward(x, **conditions)
        rows = {k: v.reshape(-1, *v.shape[len(lead) :]) for k, v in conditions.items()}

        def values(x: Tensor, *own: Tensor) -> tuple[Tensor, ...]:
            return (self.forward(x, **dict(zip(rows, own, strict=True))),)

        (prediction,) = self._run("values", values, x.reshape(-1, x.shape[-1]), rows, VALUE_ROWS)
        return prediction.reshape(*lead, -1)

    def _jacobian(self, x: Tensor, /, **conditions: Tensor) -> tuple[Tensor, ...]:
        """Predictions ``(R, m)`` of causes ``(R, n)`` and their derivatives ``(R, m, n)``."""

        def slopes(x: Tensor, *own: Tensor) -> tuple[Tensor, ...]:
            return tuple(self.forward.jacobian(x, **dict(zip(conditions, own, strict=True))))

        if not x.numel() or is_unseen():
            return slopes(x, *conditions.values())
        return self._run("slopes", slopes, x, conditions, JACOBIAN_ROWS)

    def _followed(self, x: Tensor, conditions: dict[str, Tensor]) -> bool:
        """Whether somebody may ask for a gradient."""
        own = self.forward.parameters() if isinstance(self.forward, torch.nn.Module) else ()
        return torch.is_grad_enabled() and any(t.requires_grad for t in (x, *conditions.values(), *own))

    @cached_property
    def _code(self) -> RowCode:
        return RowCode()

    def _run(
        self, what: str, function: RowFunction, x: Tensor, conditions: dict[str, Tensor], most: int
    ) -> tuple[Tensor, ...]:
        """What a function of causes (R, n) and conditions returns, from code if there can be one."""
        size = cache_rows(most, self.forward)
        made = self._code(" ".join((what, *conditions)), function, x, *conditions.values(), size=size, of=self.name)
        return function(x, *conditions.values()) if made is None else made
