"""Counts so many that their scatter is Gaussian: a detector's own noise, and a part that grows with the signal."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from .gaussian import align, as_measured, bands, check_bands, check_counts, setting, standard_normal, total
from .noise import DiagonalWhitener, Noise


@dataclass(frozen=True, eq=False)
class ShotNoise(Noise):
    r"""Independent Gaussian noise whose variance grows with the signal as that of counts does.

    .. math:: y_i \sim N(f_i, \sigma_i^2), \qquad \sigma_i^2 = absolute_i^2 + shot_i \, p_i, \qquad
        p = (f + \sqrt{f^2 + (absolute^2 / shot)^2}) / 2

    with f the prediction ``(*, m)``, finite even where y is NaN. p is f where f is large and 0 where it is negative, so
    that a prior which lets the signal fall below zero (`SmoothField`) can be taken for counts: with such a prior and a
    linear forward model the posterior is nearly Gaussian, which that of `PoissonNoise` and a log-Gaussian process is
    not. From some ten counts on it is good; below, the distribution's skewness is missing.

    Parameters
    ----------
    shot : float or Tensor (m,)
        Variance for one unit of the signal: 1 for counts, their overdispersion where one event is counted as several,
        the gain for a camera's grey levels. Positive.
    absolute : float or Tensor (m,)
        Standard deviation without signal, in the units of y; positive.

    Raises
    ------
    ValueError, TypeError
        If a setting is not positive, not finite or not a number.

    References
    ----------
    Janesick (2001), *Scientific Charge-Coupled Devices*, eq. 2.17 (the variance); Kay (1993), *Estimation theory*,
    eq. 3.31 (the Fisher information).
    """

    shot: float | Tensor = 1.0
    absolute: float | Tensor = 1.0

    def __post_init__(self) -> None:
        for name in ("shot", "absolute"):
            object.__setattr__(self, name, setting(name, getattr(self, name), low_included=False))
        check_counts(**self._settings())

    def log_prob(self, y: Tensor, prediction: Tensor) -> Tensor:  # type: ignore[override]
        """Log density ``(*)`` of the measured elements of y ``(*, m)``; draws may lead in the prediction."""
        mask, e, v, _ = self._parts(y, prediction)
        return -0.5 * (total(e.square() / v) + total(v.log()) + math.log(2 * math.pi) * total(mask))

    def sample(self, prediction: Tensor, *, seed: int = 0, like: Tensor | None = None) -> Tensor:  # type: ignore[override]
        """A measurement ``(*, m)`` for each prediction; NaN where `like` has NaN, the rest as without `like`."""
        check_bands(prediction, **self._settings())
        z = standard_normal(prediction, like, seed)
        return as_measured(prediction + self._variance(prediction)[0].sqrt() * z, like)

    def whiten(self, y: Tensor, prediction: Tensor) -> DiagonalWhitener:  # type: ignore[override]
        """Exact score and Fisher information, ``1 / v + (v' / v)^2 / 2`` with v the variance, v' = dv / df."""
        mask, e, v, slope = self._parts(y, prediction)
        half = 0.5 * slope * mask / v
        score = e / v + half * (e.square() / v - 1)
        scale = (mask / v + 2 * half.square()).sqrt()
        return DiagonalWhitener(score / (scale + (1 - mask)), scale)

    def standardise(self, y: Tensor, prediction: Tensor) -> Tensor:  # type: ignore[override]
        """``(y - f) / sd``, ``(*, m)``; 0 where not measured."""
        _, e, v, _ = self._parts(y, prediction)
        return e / v.sqrt()

    def _settings(self) -> dict[str, float | Tensor]:
        return {"shot": self.shot, "absolute": self.absolute}

    def _variance(self, f: Tensor) -> tuple[Tensor, Tensor]:
        """The variance, and its derivative by f."""
        shot, own = bands(self.shot, f), bands(self.absolute, f).square()
        root = (f.square() + (own / shot).square()).sqrt()
        # where f is negative the sum would cancel
        p = torch.where(f > 0, 0.5 * (f + root), 0.5 * (own / shot).square() / (root - f.clamp(max=0)))
        return own + shot * p, shot * p / root

    def _parts(self, y: Tensor, prediction: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        mask, y = align(y, prediction, **self._settings())
        v, slope = self._variance(prediction)
        return mask, (y - prediction) * mask, torch.where(mask > 0, v, 1), slope
