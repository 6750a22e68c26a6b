"""Gaussian noise with a discrepancy that is correlated along a coordinate."""

from __future__ import annotations

import math
from collections.abc import Hashable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import torch
from torch import Tensor

from ..rare import some
from .gaussian import (
    Setting,
    absent,
    align,
    as_measured,
    bands,
    check_bands,
    check_counts,
    check_some,
    setting,
    standard_normal,
    total,
    white_variance,
)
from .noise import Noise, Whitener

# Matern kernels of smoothness nu = 1/2, 3/2, 5/2 in tau = sqrt(2 nu) distance / length, as Markov processes: the drift
# of the state (value and its first derivatives by tau) and the covariance of that state
_KERNELS: dict[str, tuple[float, list[list[float]], list[list[float]]]] = {
    "exponential": (1.0, [[-1]], [[1]]),
    "matern32": (math.sqrt(3), [[0, 1], [-1, -2]], [[1, 0], [0, 1]]),
    "matern52": (
        math.sqrt(5),
        [[0, 1, 0], [0, 0, 1], [-1, -3, -3]],
        [[1, 0, -1 / 3], [0, 1 / 3, 0], [-1 / 3, 0, 1]],
    ),
}


@dataclass(frozen=True, eq=False)
class CorrelatedGaussianNoise(Noise):
    r"""Independent Gaussian noise plus a discrepancy of the model, correlated along a coordinate of the bands.

    .. math::
        y \sim N(f, S_e), \qquad
        S_{e,ij} = \delta_{ij} [absolute_i^2 + (relative_i f_i)^2] + d_i d_j \, g_{ij} \, \rho(|t_i - t_j| / length),

        d_i^2 = discrepancy_i^2 + (relative\_discrepancy_i f_i)^2

    with f the prediction ``(*, m)``, finite even where y is NaN. g is 1 within a group of bands and `between` across
    groups. What a model of a spectrum does wrong, it does wrong over many neighbouring bands: taken for independent
    noise, many bands would seem to average it out.

    Exact, in a time and memory that grow with m and not with its square or cube: the kernels are those of Markov
    processes, and the factor of S_e is applied as a recursion over the bands. If the covariance depends on the
    prediction (a relative part) or on which bands are missing, a row holds about (q + 6) m numbers, where q is the
    number of groups times 1, 2 or 3 (by kernel) and the time grows with q^2; otherwise one factor serves all rows.

    Parameters
    ----------
    absolute, relative : float or Tensor (m,)
        The independent part, as in `GaussianNoise`.
    discrepancy : float or Tensor (m,)
        Standard deviation of the correlated part, in the units of y.
    relative_discrepancy : float or Tensor (m,)
        The same as a fraction of the prediction.
    length : float
        Correlation length, in the units of the coordinate.
    coordinate : sequence of float (m,)
        Where each band lies (wavelength, time, depth), in any order; equal values are allowed.
    kernel : str
        ``exponential`` exp(-u), ``matern32`` (1 + a) exp(-a) with a = sqrt(3) u, or ``matern52``
        (1 + b + b^2 / 3) exp(-b) with b = sqrt(5) u, of u = distance / length.
    groups : sequence of m labels, optional
        Which kind of measurement each band is (reflectance, transmittance). One group unless given.
    between : float
        Correlation across groups at the same coordinate.

    Raises
    ------
    ValueError, TypeError
        If a setting is negative, not finite or not a number; if absolute and relative are both 0 in a band; if
        coordinate, groups and settings differ in their number of bands; if `between` is no correlation.

    Examples
    --------
    >>> noise = CorrelatedGaussianNoise(0.002, discrepancy=0.01, length=50.0, coordinate=range(400, 2500, 10))

    References
    ----------
    Kennedy & O'Hagan (2001), *Bayesian calibration of computer models*, JRSS B 63:425, section 4: the discrepancy.
    Hartikainen & Sarkka (2010), *Kalman filtering and smoothing solutions to temporal Gaussian process regression
    models*: Matern kernels as Markov processes. Foreman-Mackey et al. (2017), *Fast and scalable Gaussian process
    modeling*, AJ 154:220: the factor in one pass. de Jong (1989), *Smoothing and interpolation with the state
    space model*, JASA 84:1085: the diagonal of the inverse.
    """

    absolute: float | Tensor = 0.01
    relative: float | Tensor = 0.0
    discrepancy: float | Tensor = field(kw_only=True)
    relative_discrepancy: float | Tensor = field(default=0.0, kw_only=True)
    length: float | Tensor = field(kw_only=True)
    coordinate: Tensor | Sequence[float] = field(kw_only=True)
    kernel: str = field(default="exponential", kw_only=True)
    groups: Sequence[Hashable] | None = field(default=None, kw_only=True)
    between: float | Tensor = field(default=0.0, kw_only=True)

    def __post_init__(self) -> None:
        for name in ("absolute", "relative", "discrepancy", "relative_discrepancy"):
            object.__setattr__(self, name, setting(name, getattr(self, name)))
        object.__setattr__(self, "length", setting("length", self.length, low_included=False))
        object.__setattr__(self, "coordinate", _coordinate(self.coordinate))
        check_some("absolute", self.absolute, "relative", self.relative)
        check_counts(**self._settings())
        if isinstance(self.length, Tensor) and self.length.ndim:
            raise ValueError(f"Invalid length of shape {tuple(self.length.shape)}. Give one number for all bands.")
        if self.kernel not in _KERNELS:
            raise ValueError(f"Unknown kernel {self.kernel!r}. Choose from {', '.join(_KERNELS)}.")
        if self.groups is not None:
            object.__setattr__(self, "groups", tuple(self.groups))
        _check_groups(self.groups, self.between, len(self.coordinate))

    def log_prob(self, y: Tensor, prediction: Tensor) -> Tensor:  # type: ignore[override]
        """Log density ``(*)`` of the measured elements of y ``(*, m)``; draws may lead in the prediction."""
        mask, e = self._residual(y, prediction)
        K, _, _ = self._factor(mask, prediction, e.ndim - 1)
        w = K.solve(e[..., None])[..., 0]
        return -0.5 * (total(w.square()) + math.log(2 * math.pi) * total(mask)) - K.log_det()

    def sample(self, prediction: Tensor, *, seed: int = 0, like: Tensor | None = None) -> Tensor:  # type: ignore[override]
        """A measurement ``(*, m)`` for each prediction; NaN where `like` has NaN, the rest as without `like`."""
        check_bands(prediction, **self._settings())
        z = standard_normal(prediction, like, seed)
        K, _, _ = self._factor(prediction.new_ones(prediction.shape[-1]), prediction, z.ndim - 1)
        return as_measured(prediction + K.dot(z[..., None])[..., 0], like)

    def whiten(self, y: Tensor, prediction: Tensor) -> RecursiveWhitener:  # type: ignore[override]
        """Exact score; as information S_e^-1 at the prediction.

        What the relative parts add to the Fisher information (the spread of the residuals also tells about f) is left
        out of L L^T, but not of the score: a step that solves with it has the right fixed point.
        """
        mask, e = self._residual(y, prediction)
        K, variance, d = self._factor(mask, prediction, e.ndim - 1)
        w = K.solve(e[..., None])
        if self._fixed:
            return RecursiveWhitener(w[..., 0], K, mask)
        alpha, q = K.solve_transposed(w)[..., 0], K.inverse_diagonal()
        # d log p = alpha^T dS alpha / 2 - tr(S^-1 dS) / 2 of the variances and of the discrepancies
        white = bands(self.relative, prediction).square() * mask * prediction
        known = torch.where(d > 0, d, 1)
        slope = bands(self.relative_discrepancy, prediction).square() * (d > 0) * prediction / known.square()
        score = alpha + white * (alpha.square() - q) + slope * (alpha * (e - variance * alpha) - 1 + variance * q)
        return RecursiveWhitener(K.dot_transposed((score * mask)[..., None])[..., 0], K, mask)

    def standardise(self, y: Tensor, prediction: Tensor) -> Tensor:  # type: ignore[override]
        """Cholesky-whitened residuals ``(*, m)``: of each band what those of lower coordinate do not explain."""
        mask, e = self._residual(y, prediction)
        K, _, _ = self._factor(mask, prediction, e.ndim - 1)
        return K.solve(e[..., None])[..., 0]

    def _settings(self) -> dict[str, Any]:
        names = ("absolute", "relative", "discrepancy", "relative_discrepancy", "coordinate")
        return {name: getattr(self, name) for name in names}

    def _residual(self, y: Tensor, prediction: Tensor) -> tuple[Tensor, Tensor]:
        mask, y = align(y, prediction, **self._settings())
        e = (y - prediction) * mask
        # where every band was measured, one mask (m,) and so one factor of a fixed covariance serves all rows
        shared = self._fixed and not some(mask == 0)
        return mask.new_ones(mask.shape[-1]) if shared else mask, e

    @cached_property
    def _order(self) -> list[int]:
        """The bands by coordinate."""
        t = torch.as_tensor(self.coordinate).tolist()
        return sorted(range(len(t)), key=t.__getitem__)

    @property
    def _fixed(self) -> bool:
        """Whether the covariance does not depend on the prediction."""
        return absent(self.relative) and absent(self.relative_discrepancy)

    def _factor(self, mask: Tensor, prediction: Tensor, rows: int) -> tuple[_Factor, Tensor, Tensor]:
        """The factor for residuals with `rows` leading axes, the independent variances, the discrepancies d."""
        variance = white_variance(self.absolute, self.relative, mask, prediction)
        d = bands(self.discrepancy, prediction) * mask
        if not absent(self.relative_discrepancy):
            square = d.square() + (bands(self.relative_discrepancy, prediction) * mask * prediction).square()
            # the square root has no gradient at 0
            positive = square > 0
            d = torch.where(positive, square, 1).sqrt() * positive
        order, steps = self._steps(prediction)
        covariance, group = self._state(prediction)
        return _Factor.of(order, steps, group, covariance, _rows(variance, rows), _rows(d, rows)), variance, d

    def _steps(self, like: Tensor) -> tuple[list[int], list[Tensor]]:
        """The bands by coordinate, and the transition of the state to each from the one before."""
        rate, drift, _ = _KERNELS[self.kernel]
        F = torch.tensor(drift, dtype=torch.float64, device=like.device)
        t = torch.as_tensor(self.coordinate, dtype=torch.float64, device=like.device)[self._order]
        tau = rate * torch.diff(t, prepend=t[:1]) / bands(self.length, t)
        if len(drift) == 1:
            return self._order, list(torch.exp(-tau).to(like).unbind())
        transitions = torch.linalg.matrix_exp(tau[:, None, None] * F)
        return self._order, list(transitions.to(like).unbind())

    def _state(self, like: Tensor) -> tuple[Tensor, list[int]]:
        """Covariance of the state of all groups, and the group of each band."""
        labels = self.groups if self.groups is not None else (None,) * len(self.coordinate)
        names = list(dict.fromkeys(labels))
        eye = torch.eye(len(names)).to(like)
        g = eye + bands(self.between, like) * (1 - eye)
        stationary = torch.tensor(_KERNELS[self.kernel][2], dtype=like.dtype, device=like.device)
        return torch.kron(stationary, g), [names.index(k) for k in labels]


@dataclass(frozen=True, eq=False)
class _Factor:
    """K with S_e = K K^T, triangular in the order of the coordinate; the methods take and give ``(*, m, c)``.

    The state x (q, *, c) is what the bands so far say about the process: a Kalman filter that runs along the
    coordinate. Its innovations, over their standard deviations, are K^-1 e. Everything is elementwise, so that a row
    does not depend on the others to the last bit. Only as many rows are held as the covariance has.
    """

    order: list[int]
    steps: list[Tensor]
    group: list[int]  # which element of the state each band sees
    units: tuple[Tensor, ...]  # the unit vectors of the state
    d: tuple[Tensor, ...]
    gain: tuple[Tensor, ...]
    sd: tuple[Tensor, ...]

    @classmethod
    def of(
        cls,
        order: list[int],
        steps: list[Tensor],
        group: list[int],
        covariance: Tensor,
        variance: tuple[Tensor, ...],
        d: tuple[Tensor, ...],
    ) -> _Factor:
        """Factor from the variances and discrepancies, one ``(*, 1)`` for each band."""
        ones = (1,) * d[0].ndim
        known = torch.zeros_like(covariance).reshape(*covariance.shape, *ones)  # how much P is below the stationary one
        gain, sd = list(d), list(d)
        for i, A in zip(order, steps, strict=True):
            known = _move(A, _move(A, known).transpose(0, 1))
            a = d[i] * (covariance[:, group[i]].reshape(-1, *ones) - known[:, group[i]])
            s = variance[i] + d[i] * a[group[i]]
            gain[i], sd[i] = a / s, s.sqrt()
            known = known + gain[i][:, None] * a
        units = torch.eye(len(covariance)).to(covariance).reshape(*covariance.shape, *ones)
        return cls(order, steps, group, units.unbind(), d, tuple(gain), tuple(sd))

    def solve(self, e: Tensor) -> Tensor:
        """K^-1 e."""
        source, out, x = e.unbind(-2), list(e.unbind(-2)), torch.zeros_like(self.units[0])
        for i, A in zip(self.order, self.steps, strict=True):
            x = _move(A, x)
            v = source[i] - self.d[i] * x[self.group[i]]
            x = x + self.gain[i] * v
            out[i] = v / self.sd[i]
        return torch.stack(out, dim=-2)

    def dot(self, w: Tensor) -> Tensor:
        """K w."""
        source, out, x = w.unbind(-2), list(w.unbind(-2)), torch.zeros_like(self.units[0])
        for i, A in zip(self.order, self.steps, strict=True):
            x = _move(A, x)
            v = source[i] * self.sd[i]
            out[i] = v + self.d[i] * x[self.group[i]]
            x = x + self.gain[i] * v
        return torch.stack(out, dim=-2)

    def solve_transposed(self, w: Tensor) -> Tensor:
        """K^-T w, by the adjoint of `solve`."""
        source, out, r = w.unbind(-2), list(w.unbind(-2)), torch.zeros_like(self.units[0])
        for i, A in self._backwards():
            out[i] = source[i] / self.sd[i] + _inner(self.gain[i], r)
            r = _move(A, r - self.units[self.group[i]] * (self.d[i] * out[i]))
        return torch.stack(out, dim=-2)

    def dot_transposed(self, u: Tensor) -> Tensor:
        """K^T u, by the adjoint of `dot`."""
        source, out, r = u.unbind(-2), list(u.unbind(-2)), torch.zeros_like(self.units[0])
        for i, A in self._backwards():
            out[i] = self.sd[i] * (source[i] + _inner(self.gain[i], r))
            r = _move(A, r + self.units[self.group[i]] * (self.d[i] * source[i]))
        return torch.stack(out, dim=-2)

    def inverse_diagonal(self) -> Tensor:
        """The diagonal ``(*, m)`` of S_e^-1: the variance of K^-T w for white w."""
        out, N = list(self.sd), torch.zeros_like(torch.stack(self.units))
        for i, A in self._backwards():
            c = _inner(self.gain[i][:, None], N)
            out[i] = 1 / self.sd[i].square() + _inner(self.gain[i], c)
            e = self.units[self.group[i]] * self.d[i]
            N = N - e[:, None] * c - c[:, None] * e + e[:, None] * e * out[i]
            N = _move(A, _move(A, N).transpose(0, 1))
        return torch.cat(out, dim=-1)

    def log_det(self) -> Tensor:
        """log det K."""
        return total(torch.cat(self.sd, dim=-1).log())

    def _backwards(self) -> Iterator[tuple[int, Tensor]]:
        return zip(reversed(self.order), (A.mT if A.ndim else A for A in reversed(self.steps)), strict=True)


@dataclass(frozen=True, eq=False)
class RecursiveWhitener(Whitener):
    """A whitener whose factor is applied as a recursion over the bands: m k operations a row, no m x m matrix.

    Attributes
    ----------
    factor : object
        K with S_e = K K^T and L^T = K^-1.
    mask : Tensor (*, m)
        1 where measured, else 0.
    """

    factor: _Factor
    mask: Tensor

    def __call__(self, jacobian: Tensor) -> Tensor:
        if jacobian.ndim != self.residual.ndim + 1:
            raise ValueError(
                f"Invalid shape {tuple(jacobian.shape)} of the Jacobian. "
                f"It needs one axis more than the residual, {tuple(self.residual.shape)}."
            )
        return self.factor.solve(jacobian * self.mask[..., None])


def _move(A: Tensor, x: Tensor) -> Tensor:
    """A x over the leading axis of x; A (p, p) acts on every group alike. Elementwise: see `_Factor`."""
    if A.ndim == 0:
        return A * x
    columns = A.reshape(*A.shape, *(1,) * x.ndim).unbind(1)
    parts = x.unflatten(0, (len(A), -1)).unbind(0)
    return sum(c * p for c, p in zip(columns[1:], parts[1:], strict=True)).add(columns[0] * parts[0]).flatten(0, 1)


def _inner(a: Tensor, b: Tensor) -> Tensor:
    """Sum of a b over the leading axis, always in the same order."""
    terms = (a * b).unbind(0)
    return sum(terms[1:], start=terms[0])


def _rows(x: Tensor, rows: int) -> tuple[Tensor, ...]:
    """One ``(*, 1)`` for each band of x ``(*, m)``, with `rows` axes in the star."""
    x = x.reshape((1,) * (rows + 1 - x.ndim) + x.shape)
    return x.movedim(-1, 0).contiguous()[..., None].unbind(0)


def _coordinate(value: Any) -> Tensor:
    try:
        t = torch.as_tensor(value if isinstance(value, Tensor) else list(value), dtype=torch.float64).detach()
    except (TypeError, ValueError, RuntimeError) as error:
        raise TypeError(f"Invalid coordinate {value!r}. Give one number for each band.") from error
    if t.ndim != 1 or not len(t) or not bool(torch.isfinite(t).all()):
        raise ValueError(f"Invalid coordinate of shape {tuple(t.shape)}. Give one finite number for each band.")
    return t


def _check_groups(groups: Sequence[Hashable] | None, between: Setting, m: int) -> None:
    if groups is not None and len(groups) != m:
        raise ValueError(f"Invalid groups with {len(groups)} labels. The coordinate has {m} bands.")
    n = len(set(groups or ("",)))
    low = -1 / (n - 1) if n > 1 else -1.0
    value = torch.as_tensor(between, dtype=torch.float64).detach()
    if value.ndim or not low <= float(value) <= 1:
        raise ValueError(f"Invalid between {value.tolist()}. Give one number within {low:g} to 1.")
