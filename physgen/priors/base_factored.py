"""The base of independent elements that are not normal: Laplace, mixtures of normals, splines."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from ..random import single_stream, uniform
from .base_normal import Base, CodeMap, NormalMap
from .elementwise import elementwise
from .flow_network import WEIGHTS_STAGE
from .flow_spline import parameter_count, spline
from .frame import Frame
from .standard_normal import cdf, log_density

_STAGE = 4000  # of the first parameters, beside those of the networks of an autoencoder
_HALVINGS = 60
_SMALLEST_LOG_SD = 3  # of a component of a mixture: sd from exp(-3) to exp(3)


@dataclass(frozen=True)
class FactoredBase(Base):
    """Independent elements s_j = b_j(z_j), each of a kind of its own.

    Parameters
    ----------
    kinds : str or sequence of str
        For every element, or one for all: "normal"; "laplace", of variance 1; "mixture", of normal distributions whose
        weights, means and deviations are learned; "spline", a rational-quadratic spline of z whose knots are learned.
    components : int
        Of each mixture, at least 2.
    bins : int
        Of each spline, at least 2.

    Raises
    ------
    ValueError
        If a kind is unknown or a number too small.
    """

    kinds: str | Sequence[str] = "laplace"
    components: int = 3
    bins: int = 8
    kind = "factored"

    def __post_init__(self) -> None:
        kinds = [self.kinds] if isinstance(self.kinds, str) else list(self.kinds)
        unknown = sorted(set(kinds) - _MAPS.keys())
        if unknown or not kinds:
            what = ", ".join(map(repr, unknown)) or "none"
            raise ValueError(f"Unknown kind of element {what}. Must be one of {', '.join(_MAPS)}.")
        for name in ("components", "bins"):
            if getattr(self, name) < 2:
                raise ValueError(f"Invalid {name} {getattr(self, name)}. It must be at least 2.")

    def made(self, code: int, frame: Frame, *, seed: int) -> CodeMap:
        kinds = [self.kinds] * code if isinstance(self.kinds, str) else list(self.kinds)
        if len(kinds) != code:
            raise ValueError(f"Invalid base of {len(kinds)} elements. The code has {code}.")
        return FactoredMap(kinds, self.components, self.bins, seed=seed)

    def to_json(self) -> dict[str, Any]:
        kinds = self.kinds if isinstance(self.kinds, str) else list(self.kinds)
        return {"kind": self.kind, "kinds": kinds, "components": self.components, "bins": self.bins}


class FactoredMap(CodeMap):
    """The map of a `FactoredBase`: elements of one kind are computed together.

    Parameters
    ----------
    kinds : sequence of str
    components, bins, seed : int
    """

    restore: Tensor

    def __init__(self, kinds: Sequence[str], components: int, bins: int, *, seed: int) -> None:
        super().__init__()
        present = [k for k in _MAPS if k in kinds]
        self._rows = [[j for j, own in enumerate(kinds) if own == k] for k in present]
        size = {"mixture": components, "spline": bins}
        self.maps = nn.ModuleList(
            _MAPS[k](len(rows), size.get(k, 0), seed) for k, rows in zip(present, self._rows, strict=True)
        )
        order = torch.tensor([j for rows in self._rows for j in rows])
        self.register_buffer("restore", order.argsort(), persistent=False)

    def forward(self, z: Tensor, context: Tensor) -> Tensor:
        return self._each(z, context, "forward")

    def log_density(self, code: Tensor, context: Tensor) -> Tensor:
        return self._each(code, context, "log_density")

    def _each(self, values: Tensor, context: Tensor, what: str) -> Tensor:
        pairs = zip(self.maps, self._rows, strict=True)
        return torch.cat([getattr(m, what)(values[rows], context) for m, rows in pairs]).index_select(0, self.restore)


class LaplaceMap(CodeMap):
    """s = F^-1(Phi(z)), F the Laplace distribution function of variance 1; nothing is learned."""

    _B = math.sqrt(0.5)

    def __init__(self, code: int, size: int, seed: int) -> None:
        super().__init__()

    def forward(self, z: Tensor, context: Tensor) -> Tensor:
        # each branch is finite where the other is taken, and their slopes agree at 0
        lower, upper = (torch.special.log_ndtr(v) + math.log(2) for v in (z, -z))
        return self._B * torch.where(z < 0, lower, -upper)

    def log_density(self, code: Tensor, context: Tensor) -> Tensor:
        return -code.abs() / self._B - math.log(2 * self._B)


class MixtureMap(CodeMap):
    """s = F^-1(Phi(z)), F the distribution function of a mixture of normal distributions; their parameters are learned.

    Parameters
    ----------
    code : int
    size : int
        Number of components.
    seed : int
        Of the first means.
    """

    def __init__(self, code: int, size: int, seed: int) -> None:
        super().__init__()
        u = uniform((size, code, 1), single_stream(), seed=seed, stage=WEIGHTS_STAGE + _STAGE)
        spread = torch.linspace(-1.5, 1.5, size, dtype=torch.float64)[:, None, None]
        self.mean = nn.Parameter((spread + 0.2 * (2 * u - 1)).float())
        self.log_sd = nn.Parameter(torch.full((size, code, 1), -0.5, dtype=torch.float32))
        self.log_weight = nn.Parameter(torch.zeros(size, code, 1, dtype=torch.float32))

    def parts(self) -> tuple[Tensor, Tensor, Tensor]:
        """Log weights, means and log deviations, each ``(K, k, 1)``."""
        log_sd = self.log_sd / (1 + (self.log_sd / _SMALLEST_LOG_SD).abs())
        return torch.log_softmax(self.log_weight, 0), self.mean, log_sd

    def forward(self, z: Tensor, context: Tensor) -> Tensor:
        parts = [p.detach().double() for p in self.parts()]

        def slopes(s: Tensor, z: Tensor) -> list[Callable[[], Tensor]]:
            return [lambda: (log_density(z) - _mixture_log_density(s, *_along(parts, z))).exp()]

        return elementwise(lambda v: _quantile(v, *_along(parts, v)), slopes, z).to(z)

    def log_density(self, code: Tensor, context: Tensor) -> Tensor:
        return _mixture_log_density(code, *self.parts())


class SplineMap(CodeMap):
    """s = spline(z), the identity far out; its knots are learned.

    Parameters
    ----------
    code : int
    size : int
        Number of bins.
    seed : int
        Not used: the spline starts as the identity.
    """

    def __init__(self, code: int, size: int, seed: int) -> None:
        super().__init__()
        self.phi = nn.Parameter(torch.zeros(parameter_count(size), code, 1, dtype=torch.float32))

    def forward(self, z: Tensor, context: Tensor) -> Tensor:
        return spline(z, self._phi(z), slope=False)[0]

    def log_density(self, code: Tensor, context: Tensor) -> Tensor:
        z, log_slope = spline(code, self._phi(code), inverse=True)
        return log_density(z) + log_slope

    def _phi(self, like: Tensor) -> Tensor:
        return self.phi.expand(*self.phi.shape[:2], like.shape[-1])


def _plain(code: int, size: int, seed: int) -> CodeMap:
    return NormalMap()


_MAPS = {"normal": _plain, "laplace": LaplaceMap, "mixture": MixtureMap, "spline": SplineMap}


def _mixture_log_density(s: Tensor, log_weight: Tensor, mean: Tensor, log_sd: Tensor) -> Tensor:
    return torch.logsumexp(log_weight + log_density((s - mean) * (-log_sd).exp()) - log_sd, 0)


def _along(parts: list[Tensor], z: Tensor) -> list[Tensor]:
    """Parts ``(K, k, 1)`` as ``(K, ..., k, 1)``, for z ``(..., k, R)``: a transform puts axes before the others."""
    return [p.reshape(len(p), *(1,) * (z.ndim - 2), *p.shape[1:]) for p in parts]


def _quantile(z: Tensor, log_weight: Tensor, mean: Tensor, log_sd: Tensor) -> Tensor:
    """The s with F(s) = Phi(z), by halving the interval between the components' own quantiles."""
    weight, sd = log_weight.exp(), log_sd.exp()
    each = mean + sd * z
    low, high = each.amin(0), each.amax(0)
    tail, sign = cdf(-z.abs()), torch.where(z < 0, 1.0, -1.0)  # in the smaller tail, where digits are kept
    for _ in range(_HALVINGS):
        middle = 0.5 * (low + high)
        share = (weight * cdf(sign * (middle - mean) / sd)).sum(0)
        above = torch.where(z < 0, share > tail, share < tail)
        low, high = torch.where(above, low, middle), torch.where(above, middle, high)
    return 0.5 * (low + high)
