"""Smooth fields along a line: Gaussian and log-Gaussian processes whose amplitude and length scale are latents."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from functools import cached_property
from typing import Any

import numpy as np
import torch
from scipy.interpolate import CubicSpline
from torch import Tensor

from ..conditions import Takes
from ..space import Block, Coordinate, Space
from .distribution import Distribution
from .matern import KERNELS
from .normals import LogNormal
from .prior import Prior
from .standard_normal import LOG_SQRT_2_PI
from .storage import space_from_json, space_to_json, storable
from .storage_distributions import distribution_from_json, distribution_to_json
from .storage_parts import known_parts

Hyper = float | Distribution

_JITTER = 1e-10  # of the variance; keeps the covariance of a fine grid positive definite, far below any measurement
_ELEMENTS = 1 << 22  # of the covariances that are held at once


@storable("smooth-field")
class SmoothField(Prior):
    r"""A Gaussian process on a grid, or its exponential, with the strength of its smoothness inferred.

    .. math:: g = m + L(a, \ell)\, w, \quad L L^T = s^2 1 1^T + a^2 \rho(|t - t'| / \ell), \qquad
        x = g \ \text{or}\ x = e^g

    with w standard normal, one for each point of the grid, and the amplitude a and the length scale :math:`\ell` maps
    of one further standard normal latent each, after those of w. They are what a regularisation strength is
    elsewhere, and are inferred with the rest; `NestedLaplace` integrates over them, which matters: at a joint mode of
    field and scale the field is far too sure of itself.

    Which of the two to take: the process itself (``log=False``) for what may be negative, or falls to zero over much
    of the grid: it is linear, so that with Gaussian noise and a linear forward model the posterior is exact, and its
    bands are honest where there is nothing (they then reach below zero). Its exponential (``log=True``) for what is
    positive by nature, spans orders of magnitude, or is counted (`PoissonNoise` needs a rate that is not negative):
    relative errors are what it knows, and it is too sure of itself where the field is empty and the data say only
    "less than".

    Parameters
    ----------
    grid : array_like (n,), optional
        Where the field is, strictly increasing, of any spacing.
    forward : ForwardModel, optional
        Instead of the grid: a model with one cause of one dimension, whose coordinate is the grid. Its name, units
        and labels become those of the field.
    name, units, long_name : str
        Of the field, where `forward` is not given.
    log : bool
        Whether x is the exponential of the process.
    centre : float
        The prior mean m of the field; if `log`, its prior median (positive, m is its logarithm).
    level_sd : float
        s: standard deviation of a level common to all points; if `log`, of the logarithm.
    amplitude : float or Distribution
        a: standard deviation of the departures from the level, in the units of g. A number fixes it.
    length : float or Distribution, optional
        Length scale, in the units of the grid; by default log-normal around a fifth of the grid's extent.
    kernel : {"matern-5/2", "matern-1/2", "matern-3/2", "matern-7/2"}
        Correlation rho, by the number of derivatives that the field has.
    knots : int, optional
        Points, spread like those of the grid, at which the process itself is, with a cubic spline in between; all of
        the grid by default. Enough are some four to the shortest length scale. Fewer latents are much faster.
    even : bool
        Whether the field is even about 0, as the profile of something round is; the grid then must not be negative.

    Attributes
    ----------
    hyper_names : tuple of str
        Those of "amplitude" and "length" that are not fixed.
    hyper_latents : tuple of int
        Their places among the latents.

    Raises
    ------
    ValueError, TypeError
        If a setting is of the wrong kind or range, or there is neither grid nor forward model.

    Notes
    -----
    "encode" and "log_prob" need a fixed amplitude and length: a field does not tell its hyper-parameters.

    Nothing is learned. ``load_prior("smooth-field")`` is the exponential on a grid from 0 to 1, and
    ``prior_card("smooth-field")`` says what it is for, what not, and how often its bands hold.

    References
    ----------
    Rasmussen & Williams (2006), *Gaussian Processes for Machine Learning*, eqs 2.29 and 4.16; in latent coordinates:
    Murray & Adams (2010), *Slice sampling covariance hyperparameters*, NIPS 23.

    Examples
    --------
    >>> prior = SmoothField(torch.linspace(0, 1, 50), name="profile", log=True)
    >>> prior.latent_dim, prior.sample(3).shape
    (52, torch.Size([3, 50]))
    """

    takes = Takes()

    def __init__(
        self,
        grid: Any = None,
        *,
        forward: Any = None,
        name: str = "field",
        units: str = "1",
        long_name: str = "",
        log: bool = False,
        centre: float | None = None,
        level_sd: float = 0.0,
        amplitude: Hyper | None = None,
        length: Hyper | None = None,
        kernel: str = "matern-5/2",
        knots: int | None = None,
        even: bool = False,
    ) -> None:
        block = _block(grid, name, units, long_name) if grid is not None or forward is None else _cause(forward)
        self.grid = _numbers(next(iter(block.coordinates.values())).values)
        self.log, self.even, self.kernel, self.knots = bool(log), bool(even), kernel, knots
        self.centre = (1.0 if log else 0.0) if centre is None else float(centre)
        self.level_sd = float(level_sd)
        extent = float(self.grid[-1] - self.grid[0])
        self.amplitude = _hyper("amplitude", LogNormal(1.0, 1.0) if amplitude is None else amplitude)
        self.length = _hyper("length", LogNormal(extent / 5, 0.7) if length is None else length)
        self._check()
        support = (0.0, math.inf) if log else (-math.inf, math.inf)
        self.causes = Space(
            Block(block.name, block.units, support, block.long_name, block.shape, block.dims, block.coordinates)
        )
        n = len(self.grid) if knots is None else knots
        named = {"amplitude": self.amplitude, "length": self.length}
        self.hyper_names = tuple(k for k, v in named.items() if isinstance(v, Distribution))
        self.hyper_latents = tuple(range(n, n + len(self.hyper_names)))
        self.latent_dim = n + len(self.hyper_names)
        self.capabilities = frozenset({"log_prob", "encode"}) if self._invertible else frozenset()

    def __repr__(self) -> str:
        own = f"amplitude={self.amplitude!r}, length={self.length!r}, kernel={self.kernel!r}, even={self.even}"
        field = f"centre={self.centre!r}, level_sd={self.level_sd!r}, log={self.log}"
        return f"SmoothField({self.causes.names[0]!r} at {len(self.grid)} points, {field}, {own})"

    def state(self) -> tuple[dict[str, Tensor], dict[str, Any]]:
        """Tensors and plain values that `from_state` makes the same prior of, but for a learned distribution."""
        plain = {n: getattr(self, n) for n in ("log", "centre", "level_sd", "kernel", "knots", "even")}
        hyper = {n: getattr(self, n) for n in ("amplitude", "length")}
        stored = {n: distribution_to_json(v) for n, v in hyper.items()}
        parts = known_parts({n: hyper[n] for n, v in stored.items() if v is None})
        return {"grid": self.grid}, {"causes": space_to_json(self.causes), **plain, **stored, "parts": parts}

    @classmethod
    def from_state(cls, tensors: Mapping[str, Tensor], settings: Mapping[str, Any], **parts: Any) -> SmoothField:
        """The prior of `state`, with the distributions that no file holds.

        Raises
        ------
        ValueError
            If the grid of the card is not that of the tensors.
        """
        causes = space_from_json(settings["causes"])
        own: dict[str, Any] = {n: settings[n] for n in ("log", "centre", "level_sd", "kernel", "knots", "even")}
        own |= {n: distribution_from_json(settings[n]) for n in ("amplitude", "length") if n not in parts}
        made = cls(tensors["grid"], **own, **parts)
        if not torch.equal(_numbers(next(iter(_cause_of(causes).coordinates.values())).values), made.grid):
            raise ValueError("The grid of the card is not that of the tensors. Fetch both files again.")
        made.causes = causes
        return made

    def decode(self, z: Tensor, /, **conditions: Any) -> Tensor:
        """Fields ``(*, n)`` of latents ``(*, n + hyper)``."""
        if z.ndim == 0 or z.shape[-1] != self.latent_dim:
            raise ValueError(
                f"Invalid shape {tuple(z.shape)} of latents. The last axis must hold {self.latent_dim} of them."
            )
        w = z[..., : self.latent_dim - len(self.hyper_latents)]
        g = self._mean + (self._varied(z, w) if self.hyper_names else w @ self._factor.to(z).mT)
        return g.exp() if self.log else g

    def hyper(self, latents: Tensor) -> dict[str, Tensor]:
        """Those of amplitude and length that are not fixed, each ``(*)``, of their latents ``(*, hyper)``."""
        return {name: getattr(self, name).decode(latents[..., i]) for i, name in enumerate(self.hyper_names)}

    def given_hyper(self, latents: Tensor) -> SmoothField:
        """The prior of the field alone, with amplitude and length fixed by their latents ``(hyper,)``."""
        fixed = {name: float(value) for name, value in self.hyper(latents.to(torch.float64)).items()}
        made = SmoothField(
            self.grid,
            log=self.log,
            centre=self.centre,
            level_sd=self.level_sd,
            kernel=self.kernel,
            knots=self.knots,
            even=self.even,
            amplitude=fixed.get("amplitude", self.amplitude),
            length=fixed.get("length", self.length),
        )
        made.causes = self.causes
        return made

    def encode(self, x: Tensor, /, **conditions: Any) -> Tensor:
        """Latents ``(*, n)`` of fields ``(*, n)``; NaN where a field has no logarithm."""
        if not self._invertible:
            raise self._lacks("encode")
        self.causes.check(x)
        g = (x.log() if self.log else x).to(torch.float64) - self._mean
        factor = self._factor.to(g)
        return torch.linalg.solve_triangular(factor, g[..., None], upper=False)[..., 0].to(x.dtype)

    def log_prob(self, x: Tensor, /, **conditions: Any) -> Tensor:
        """Log density ``(*)`` of fields ``(*, n)``; -inf where a field that has to be positive is not."""
        if not self._invertible:
            raise self._lacks("log_prob")
        inside = (x > 0).all(-1) if self.log else torch.ones_like(x[..., 0], dtype=torch.bool)
        safe = torch.where(inside[..., None], x, 1)
        z = self.encode(safe)
        out = -0.5 * (z * z).sum(-1) - self.latent_dim * LOG_SQRT_2_PI
        out = out - float(self._factor.diagonal().log().sum()) - (safe.log().sum(-1) if self.log else 0)
        return torch.where(inside, out, -torch.inf)

    @property
    def _invertible(self) -> bool:
        return not self.hyper_names and self.knots is None

    @cached_property
    def _points(self) -> Tensor:
        """Where the process itself is: the grid, or the knots ``(k,)``."""
        if self.knots is None:
            return self.grid
        places = np.linspace(0, len(self.grid) - 1, self.knots)
        return torch.as_tensor(np.interp(places, np.arange(len(self.grid)), self.grid.numpy()))

    @cached_property
    def _spline(self) -> Tensor:
        """From the process at the knots to the grid, ``(n, k)``."""
        slope = (1, np.zeros(len(self._points))) if self.even and self._points[0] == 0 else "not-a-knot"
        spline = CubicSpline(self._points.numpy(), np.eye(len(self._points)), bc_type=(slope, "not-a-knot"))
        return torch.as_tensor(spline(self.grid.numpy()))

    @property
    def _mean(self) -> float:
        return math.log(self.centre) if self.log else self.centre

    @cached_property
    def _factor(self) -> Tensor:
        """L, for fixed amplitude and length."""
        with torch.inference_mode(False), torch.no_grad():
            fixed = (self.grid.new_full((1,), float(v)) for v in (self.amplitude, self.length))  # type: ignore[arg-type]
            factor = self._factors(*fixed)[0]
            return factor if self.knots is None else self._spline @ factor

    def _varied(self, z: Tensor, w: Tensor) -> Tensor:
        """L w ``(*, n)`` with amplitude and length of each row, block by block."""
        k = w.shape[-1]
        own = {"amplitude": self.amplitude, "length": self.length, **self.hyper(z[..., k:].to(torch.float64))}
        hyper = torch.stack([torch.as_tensor(v).to(z.device).expand(z.shape[:-1]) for v in own.values()], -1)
        rows, hyper = w.reshape(-1, k), hyper.reshape(-1, 2)
        size = max(1, _ELEMENTS // k**2)
        parts = [rows[:0]]
        for start in range(0, len(rows), size):
            factors = self._factors(*hyper[start : start + size].unbind(-1)).to(z.dtype)
            parts.append((factors @ rows[start : start + size, :, None]).squeeze(-1))
        process = torch.cat(parts).reshape(w.shape)
        return process if self.knots is None else process @ self._spline.to(z).mT

    def _factors(self, amplitude: Tensor, length: Tensor) -> Tensor:
        """L ``(R, k, k)`` of amplitudes and lengths ``(R,)``, in float64."""
        t, rho = self._points.to(amplitude.device), KERNELS[self.kernel]
        reach = 1 / length[:, None, None]
        correlation = rho((t[:, None] - t).abs() * reach)
        if self.even:
            scale = (1 + rho(2 * t * reach[:, 0])).rsqrt()
            correlation = (correlation + rho((t[:, None] + t) * reach)) * scale[:, :, None] * scale[:, None, :]
        eye = torch.eye(len(t), dtype=t.dtype, device=t.device)
        square = amplitude.square()[:, None, None]
        return torch.linalg.cholesky(square * (correlation + _JITTER * eye) + self.level_sd**2)

    def _check(self) -> None:
        if self.kernel not in KERNELS:
            raise ValueError(f"Unknown kernel {self.kernel!r}. Must be one of {', '.join(KERNELS)}.")
        if not math.isfinite(self.centre) or (self.log and self.centre <= 0):
            raise ValueError(f"Invalid centre {self.centre:g}. Must be finite, and above 0 if the field is positive.")
        if not (math.isfinite(self.level_sd) and self.level_sd >= 0):
            raise ValueError(f"Invalid level_sd {self.level_sd:g}. Must be finite and at least 0.")
        if self.even and float(self.grid[0]) < 0:
            raise ValueError(f"Invalid grid from {float(self.grid[0]):g} for an even field. It must not be negative.")
        if self.knots is not None and not 4 <= self.knots <= len(self.grid):
            raise ValueError(
                f"Invalid knots {self.knots} for {len(self.grid)} points. Must lie within 4 to that number."
            )


def _numbers(values: Any) -> Tensor:
    try:
        grid = torch.as_tensor(np.asarray(values, dtype=np.float64))
    except (TypeError, ValueError) as error:
        raise TypeError(f"Invalid grid of type {type(values).__name__}. Give numbers.") from error
    if grid.ndim != 1 or len(grid) < 2:
        raise ValueError(f"Invalid grid of shape {tuple(grid.shape)}. Give at least two points on one axis.")
    if not bool(torch.isfinite(grid).all()) or not bool((grid.diff() > 0).all()):
        raise ValueError(
            f"Invalid grid from {float(grid[0]):g} to {float(grid[-1]):g}. It must be finite and increase."
        )
    return grid


def _hyper(name: str, value: Hyper) -> Hyper:
    """A hyper-parameter that is positive: a number, or a distribution of positive numbers."""
    if isinstance(value, Distribution):
        if isinstance(value.support[0], Tensor) or value.support[0] < 0:
            raise ValueError(f"Invalid {name} {value!r}. Its distribution must lie above 0.")
        return value
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise TypeError(f"Invalid {name} {value!r}. Give a number, or a distribution such as LogNormal(1, 1).")
    if not (math.isfinite(value) and value > 0):
        raise ValueError(f"Invalid {name} {value:g}. Must be finite and above 0.")
    return float(value)


def _block(grid: Any, name: str, units: str, long_name: str) -> Block:
    if grid is None:
        raise ValueError("Invalid smooth field without a grid. Give grid, or a forward model that has one.")
    values = tuple(_numbers(grid).tolist())
    dim = f"{name}_grid"
    coordinate = Coordinate(dim, values, "1", f"where {name} is")
    return Block(name, units, long_name=long_name, shape=(len(values),), dims=(dim,), coordinates={dim: coordinate})


def _cause(forward: Any) -> Block:
    return _cause_of(getattr(forward, "causes", None) or ())


def _cause_of(causes: Iterable[Block]) -> Block:
    blocks = tuple(causes)
    if len(blocks) != 1 or len(blocks[0].shape) != 1 or not blocks[0].coordinates:
        raise ValueError(
            "Invalid forward model for a smooth field. It must have one cause, of one dimension with a coordinate."
        )
    return blocks[0]
