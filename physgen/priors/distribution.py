"""A distribution of one cause: a monotone map from a standard normal latent, with its inverse and its density."""

from __future__ import annotations

import abc
import functools
import math
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

Parameter = float | Tensor


@dataclass(frozen=True, eq=False)
class Distribution(abc.ABC):
    """The distribution of a scalar cause x, as the increasing map x = Q(Phi(z)) of z ~ N(0, 1).

    A parameter is a number, or a tensor that broadcasts against z and x from the right: that is how a `Chain` makes it
    depend on other causes. Numbers are checked when the distribution is made; a tensor that is invalid somewhere (a
    negative scale) gives NaN there, because tensors may be traced.

    A subclass gives `support`, ``_decode``, ``_encode`` and ``_log_density``; the last two see values inside the
    support only.

    Parameters
    ----------
    units : str
        CF units of the cause (keyword).
    long_name : str
        What the cause is, in words (keyword).
    """

    units: str = field(default="1", kw_only=True)
    long_name: str = field(default="", kw_only=True)

    @property
    @abc.abstractmethod
    def support(self) -> tuple[Parameter, Parameter]:
        """The open interval of values."""

    @abc.abstractmethod
    def _decode(self, z: Tensor) -> Tensor: ...

    @abc.abstractmethod
    def _encode(self, x: Tensor) -> Tensor: ...

    @abc.abstractmethod
    def _log_density(self, x: Tensor) -> Tensor: ...

    def decode(self, z: Tensor) -> Tensor:
        """Values of latents, element by element, strictly inside the support."""
        x = self._decode(z)
        for bound, inwards in zip(self.support, (1, -1), strict=True):
            x = _keep_inside(x, bound, inwards)
        return x

    def encode(self, x: Tensor) -> Tensor:
        """Latents of values: the inverse of `decode`; NaN outside the support."""
        inside, safe = self._inside(x)
        return torch.where(inside, self._encode(safe), math.nan)

    def log_prob(self, x: Tensor) -> Tensor:
        """Log density of values, in 1 over the units of x; -inf outside the (open) support."""
        inside, safe = self._inside(x)
        return torch.where(inside, self._log_density(safe), -math.inf)

    def _inside(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Which values lie in the support, and the values with those outside replaced (for finite gradients)."""
        low, high = (torch.as_tensor(b, dtype=x.dtype, device=x.device) for b in self.support)
        inside = (x > low) & (x < high)
        return inside, torch.where(inside, x, _middle(low.detach(), high.detach()))


def like(x: Tensor, *parameters: Parameter) -> list[Any]:
    """Parameters with the dtype and device of `x`; numbers stay numbers."""
    return [p.to(dtype=x.dtype, device=x.device) if isinstance(p, Tensor) else p for p in parameters]


def real(owner: object, name: str, value: Any) -> Parameter:
    """A parameter, checked to be a tensor or a number.

    Raises
    ------
    TypeError, ValueError
        If it is neither, or not a number (NaN).
    """
    if isinstance(value, Tensor):
        return value
    kind = type(owner).__name__
    try:
        number = float(value)
    except (TypeError, ValueError) as error:
        raise TypeError(f"Invalid {name} {value!r} of {kind}. Give a number or a tensor.") from error
    if math.isnan(number):
        raise ValueError(f"Invalid {name} {number} of {kind}. Give a number.")
    return number


def finite(owner: object, name: str, value: Any) -> Parameter:
    """As `real`, and a number must be finite."""
    value = real(owner, name, value)
    if isinstance(value, float) and math.isinf(value):
        raise ValueError(f"Invalid {name} {value} of {type(owner).__name__}. It must be finite.")
    return value


def positive(owner: object, name: str, value: Any) -> Parameter:
    """As `finite`, and greater than 0; elements of a tensor that are not become NaN."""
    value = finite(owner, name, value)
    if isinstance(value, Tensor):
        return torch.where(value > 0, value, math.nan)
    if value <= 0:
        raise ValueError(f"Invalid {name} {value:g} of {type(owner).__name__}. It must be greater than 0.")
    return value


def ordered(owner: object, low: Any, high: Any) -> tuple[Parameter, Parameter]:
    """Two bounds, the lower one smaller; elements of tensors where it is not become NaN."""
    low, high = real(owner, "low", low), real(owner, "high", high)
    if isinstance(low, Tensor) or isinstance(high, Tensor):
        wrong = torch.as_tensor(low >= high)
        low, high = (torch.where(wrong, math.nan, b) if isinstance(b, Tensor) else b for b in (low, high))
    elif low >= high:
        kind = type(owner).__name__
        raise ValueError(f"Invalid bounds {low:g} and {high:g} of {kind}. The lower one must be smaller.")
    return low, high


def assign(owner: object, **parameters: Any) -> None:
    """Set fields of a frozen dataclass while it is made."""
    for name, value in parameters.items():
        object.__setattr__(owner, name, value)


def _keep_inside(x: Tensor, bound: Parameter, inwards: int) -> Tensor:
    """Move values that rounding has put on or beyond a bound to the nearest number inside."""
    if isinstance(bound, Tensor):
        bound, info = bound.to(dtype=x.dtype, device=x.device), torch.finfo(x.dtype)
        step = (info.eps * bound.abs()).clamp(info.tiny, info.max)  # one or two units in the last place
        return torch.maximum(x, bound + step) if inwards > 0 else torch.minimum(x, bound - step)
    if math.isinf(bound):
        return x
    number = _neighbour(bound, inwards, x.dtype)
    return x.clamp(min=number) if inwards > 0 else x.clamp(max=number)


@functools.lru_cache(maxsize=1024)
def _neighbour(bound: float, inwards: int, dtype: torch.dtype) -> float:
    if bound == 0:
        return inwards * torch.finfo(dtype).tiny
    start = torch.tensor(bound, dtype=dtype)
    return float(torch.nextafter(start, torch.tensor(inwards * math.inf, dtype=dtype)))


def _middle(low: Tensor, high: Tensor) -> Tensor:
    """Some value well inside the interval."""
    low_ok, high_ok = torch.isfinite(low), torch.isfinite(high)
    low, high = torch.where(low_ok, low, 0), torch.where(high_ok, high, 0)
    one_sided = torch.where(low_ok, low + 1 + low.abs(), torch.where(high_ok, high - 1 - high.abs(), 0))
    return torch.where(low_ok & high_ok, low + 0.5 * (high - low), one_sided)
