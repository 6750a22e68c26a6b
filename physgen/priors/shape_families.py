"""Standard gamma, beta and Student's t variables: quantiles by inverse incomplete gamma and beta functions.

torch has no such inverses: SciPy computes them in float64 on the CPU and the implicit function theorem gives the slope
in z. The slope in a shape parameter is not known; asking for it is an error, never a silent zero.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, NoReturn

import numpy as np
import torch
from scipy import special
from torch import Tensor

from .elementwise import elementwise
from .standard_normal import log_density


@dataclass(frozen=True)
class ShapeFamily:
    """A standard variable with shape parameters, by three functions.

    Parameters
    ----------
    quantile : callable
        ``quantile(z, *shapes)`` on NumPy arrays: the value whose cumulative probability is Phi(z).
    score : callable
        ``score(x, *shapes)`` on NumPy arrays: its inverse.
    log_density : callable
        ``log_density(x, *shapes)`` on tensors, differentiable.
    """

    quantile: Callable[..., Any]
    score: Callable[..., Any]
    log_density: Callable[..., Tensor]

    def decode(self, z: Tensor, *shapes: Tensor | float) -> Tensor:
        """Values of latents, in float64."""

        def slopes(x: Tensor, z: Tensor, *shapes: Tensor | float) -> Sequence[Callable[[], Tensor]]:
            return lambda: torch.exp(log_density(z) - self._density(x, *shapes)), *(_unknown for _ in shapes)

        return elementwise(_outside_torch(self.quantile), slopes, z, *shapes)

    def encode(self, x: Tensor, *shapes: Tensor | float) -> Tensor:
        """Latents of values, in float64."""

        def slopes(z: Tensor, x: Tensor, *shapes: Tensor | float) -> Sequence[Callable[[], Tensor]]:
            return lambda: torch.exp(self._density(x, *shapes) - log_density(z)), *(_unknown for _ in shapes)

        return elementwise(_outside_torch(self.score), slopes, x, *shapes)

    def _density(self, x: Tensor, *shapes: Tensor | float) -> Tensor:
        return self.log_density(x, *(torch.as_tensor(s, dtype=x.dtype, device=x.device) for s in shapes))


def _unknown() -> NoReturn:
    raise TypeError(
        "Gamma, Beta and StudentT have no derivative of the value in a shape parameter (shape, a, b, df). "
        "Let their scale or bounds depend on the other causes instead, or use another distribution."
    )


def _outside_torch(function: Callable[..., Any]) -> Callable[..., Tensor]:
    def call(*inputs: Tensor | float) -> Tensor:
        first = inputs[0]
        arrays = [v.detach().cpu().numpy() if isinstance(v, Tensor) else v for v in inputs]
        return torch.as_tensor(np.asarray(function(*arrays)), dtype=torch.float64).to(first.device)  # type: ignore[union-attr]

    return call


def _either_tail(z: Any, lower: Callable[[Any], Any], upper: Callable[[Any], Any]) -> Any:
    """``lower(Phi(z))`` below the median and ``upper(Phi(-z))`` above."""
    tail = special.ndtr(-np.abs(z))
    return np.where(z < 0, lower(tail), upper(tail))


def _score(p: Any, q: Any) -> Any:
    return np.where(p < q, special.ndtri(p), -special.ndtri(q))


def _gamma_quantile(z: Any, shape: Any) -> Any:
    return _either_tail(z, lambda p: special.gammaincinv(shape, p), lambda q: special.gammainccinv(shape, q))


def _gamma_score(x: Any, shape: Any) -> Any:
    return _score(special.gammainc(shape, x), special.gammaincc(shape, x))


def _gamma_log_density(x: Tensor, shape: Tensor) -> Tensor:
    return (shape - 1) * torch.log(x) - x - torch.lgamma(shape)


def _beta_quantile(z: Any, a: Any, b: Any) -> Any:
    return _either_tail(z, lambda p: special.betaincinv(a, b, p), lambda q: special.betainccinv(a, b, q))


def _beta_score(x: Any, a: Any, b: Any) -> Any:
    return _score(special.betainc(a, b, x), special.betaincc(a, b, x))


def _beta_log_density(x: Tensor, a: Tensor, b: Tensor) -> Tensor:
    log_beta = torch.lgamma(a) + torch.lgamma(b) - torch.lgamma(a + b)
    return (a - 1) * torch.log(x) + (b - 1) * torch.log1p(-x) - log_beta


def _student_quantile(z: Any, df: Any) -> Any:
    """Through w = t**2 / (df + t**2), which is beta(1/2, df/2), or 1 - w in the tails, whichever is smaller."""
    centre, tails = special.erf(np.abs(z) * math.sqrt(0.5)), 2 * special.ndtr(-np.abs(z))
    w = special.betaincinv(0.5, 0.5 * df, centre)
    v = special.betaincinv(0.5 * df, 0.5, tails)
    with np.errstate(divide="ignore", over="ignore"):
        square = np.where(w < 0.5, w / (1 - w), (1 - v) / v)
    return np.sign(z) * np.sqrt(df * square)


def _student_score(t: Any, df: Any) -> Any:
    ratio = np.abs(t) / np.sqrt(df)
    w, v = (ratio / np.hypot(1, ratio)) ** 2, 1 / np.hypot(1, ratio) ** 2
    centre, tails = special.betainc(0.5, 0.5 * df, w), special.betainc(0.5 * df, 0.5, v)
    z = np.where(centre < 0.5, special.erfinv(centre) * math.sqrt(2), -special.ndtri(0.5 * tails))
    return np.sign(t) * z


def _student_log_density(t: Tensor, df: Tensor) -> Tensor:
    log_constant = torch.lgamma(0.5 * (df + 1)) - torch.lgamma(0.5 * df) - 0.5 * torch.log(df * math.pi)
    ratio = t / torch.sqrt(df)
    # log hypot: the square itself would overflow
    return log_constant - (df + 1) * torch.log(torch.hypot(torch.ones_like(ratio), ratio))


GAMMA = ShapeFamily(_gamma_quantile, _gamma_score, _gamma_log_density)
BETA = ShapeFamily(_beta_quantile, _beta_score, _beta_log_density)
STUDENT_T = ShapeFamily(_student_quantile, _student_score, _student_log_density)
