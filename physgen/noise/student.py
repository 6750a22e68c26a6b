"""Independent Student-t noise: Gaussian in the middle, with tails that forgive an outlier."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from ..random import NOISE_STAGE, single_stream, uniform
from .gaussian import (
    absent,
    align,
    as_measured,
    bands,
    check_bands,
    check_counts,
    check_some,
    setting,
    total,
    white_variance,
)
from .noise import DiagonalWhitener, Noise


@dataclass(frozen=True, eq=False)
class StudentTNoise(Noise):
    r"""Independent Student-t noise with an absolute and a relative scale.

    .. math:: (y_i - f_i) / \sigma_i \sim t_{df}, \qquad \sigma_i^2 = scale_i^2 + (relative_i f_i)^2

    with f the prediction ``(*, m)``, finite even where y is NaN. The standard deviation is
    :math:`\sigma \sqrt{df / (df - 2)}` for df > 2, else infinite.

    Parameters
    ----------
    df : float or Tensor (m,)
        Degrees of freedom, positive.
    scale : float or Tensor (m,)
        In the units of y.
    relative : float or Tensor (m,)
        Scale as a fraction of the prediction.

    Raises
    ------
    ValueError, TypeError
        If a setting is not finite or not a number, df is not positive, a scale is negative, or both are 0 in a band.

    References
    ----------
    Lange, Little & Taylor (1989), *Robust statistical modeling using the t distribution*, JASA 84:881: score and
    Fisher information. Bailey (1994), *Polar generation of random variates with the t-distribution*, Math. Comp.
    62:779: the sampling.
    """

    df: float | Tensor
    scale: float | Tensor = 0.01
    relative: float | Tensor = 0.0

    def __post_init__(self) -> None:
        object.__setattr__(self, "df", setting("df", self.df, low_included=False))
        for name in ("scale", "relative"):
            object.__setattr__(self, name, setting(name, getattr(self, name)))
        check_some("scale", self.scale, "relative", self.relative)
        check_counts(**self._settings())

    def log_prob(self, y: Tensor, prediction: Tensor) -> Tensor:  # type: ignore[override]
        """Log density ``(*)`` of the measured elements of y ``(*, m)``; draws may lead in the prediction."""
        mask, e, square = self._parts(y, prediction)
        df = bands(self.df, prediction)
        kernel = 0.5 * (df + 1) * torch.log1p(e.square() / (df * square))
        return total(self._log_height(prediction) * mask) - total(kernel) - 0.5 * total(square.log())

    def sample(self, prediction: Tensor, *, seed: int = 0, like: Tensor | None = None) -> Tensor:  # type: ignore[override]
        """A measurement ``(*, m)`` for each prediction; NaN where `like` has NaN, the rest as without `like`."""
        check_bands(prediction, **self._settings())
        shape = prediction.shape if like is None else torch.broadcast_shapes(prediction.shape, like.shape)
        pairs = uniform((*shape, 2), single_stream(), seed=seed, stage=NOISE_STAGE).to(prediction.device)
        u, v = pairs.unbind(-1)
        df = bands(self.df, u)
        t = torch.sqrt(df * torch.expm1(-2 / df * u.log())) * torch.cos(2 * math.pi * v)
        square = white_variance(self.scale, self.relative, torch.ones_like(prediction), prediction)
        return as_measured(prediction + square.sqrt() * t.to(prediction.dtype), like)

    def whiten(self, y: Tensor, prediction: Tensor) -> DiagonalWhitener:  # type: ignore[override]
        """Exact score and Fisher information.

        The information is ``(df + 1) / (df + 3) / sigma^2 + 2 df / (df + 3) (sigma' / sigma)^2``.
        """
        mask, e, square = self._parts(y, prediction)
        df = bands(self.df, prediction)
        weight = (df + 1) / (df * square + e.square())
        score, information = weight * e, (df + 1) / (df + 3) * mask / square
        if not absent(self.relative):
            slope = bands(self.relative, prediction).square() * mask * prediction / square
            score = score + slope * (weight * e.square() - 1)
            information = information + 2 * df / (df + 3) * slope.square()
        scale = information.sqrt()
        return DiagonalWhitener(score / (scale + (1 - mask)), scale.expand_as(e))

    def standardise(self, y: Tensor, prediction: Tensor) -> Tensor:  # type: ignore[override]
        """``(y - f) / sd``, ``(*, m)``; 0 where not measured.

        Raises
        ------
        TypeError
            If df <= 2: the noise has no standard deviation.
        """
        df = bands(self.df, prediction)
        if not bool((df > 2).all()):
            raise TypeError("Student-t noise with df <= 2 has no standard deviation. Its chi2 cannot be computed.")
        _, e, square = self._parts(y, prediction)
        return e / (square * df / (df - 2)).sqrt()

    def _settings(self) -> dict[str, float | Tensor]:
        return {"df": self.df, "scale": self.scale, "relative": self.relative}

    def _parts(self, y: Tensor, prediction: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        mask, y = align(y, prediction, **self._settings())
        return mask, (y - prediction) * mask, white_variance(self.scale, self.relative, mask, prediction)

    def _log_height(self, like: Tensor) -> Tensor:
        # in float64: the two lgamma nearly cancel where df is large
        df = torch.as_tensor(self.df, dtype=torch.float64, device=like.device)
        height = torch.lgamma((df + 1) / 2) - torch.lgamma(df / 2) - 0.5 * torch.log(math.pi * df)
        return height.to(like.dtype)
