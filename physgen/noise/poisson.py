"""Counting noise."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from scipy import special
from torch import Tensor

from ..random import NOISE_STAGE, single_stream, uniform
from .gaussian import align, as_measured, bands, check_bands, check_counts, setting, total
from .noise import DiagonalWhitener, Noise


@dataclass(frozen=True, eq=False)
class PoissonNoise(Noise):
    r"""Counts with a Poisson distribution.

    .. math:: y_i \sim \mathrm{Poisson}(\lambda_i), \qquad \lambda_i = exposure_i f_i + background_i

    with f the prediction ``(*, m)``, finite even where y is NaN. :math:`\lambda` may be 0 (then only y = 0 is
    possible, with log density 0); where it is negative the answers are NaN.

    Parameters
    ----------
    exposure : float or Tensor (m,)
        Expected counts for one unit of the prediction, positive.
    background : float or Tensor (m,)
        Expected counts that do not come from the prediction.

    Raises
    ------
    ValueError, TypeError
        If a setting is negative, not finite or not a number, or the exposure is 0. The methods raise `ValueError` for
        counts that are negative or not whole.

    References
    ----------
    Cash (1979), *Parameter estimation in astronomy through application of the likelihood ratio*, ApJ 228:939.
    """

    exposure: float | Tensor = 1.0
    background: float | Tensor = 0.0

    def __post_init__(self) -> None:
        object.__setattr__(self, "exposure", setting("exposure", self.exposure, low_included=False))
        object.__setattr__(self, "background", setting("background", self.background))
        check_counts(exposure=self.exposure, background=self.background)

    def log_prob(self, y: Tensor, prediction: Tensor) -> Tensor:  # type: ignore[override]
        """Log probability ``(*)`` of the measured elements of y ``(*, m)``; draws may lead in the prediction."""
        mask, y, rate = self._parts(y, prediction)
        # y log(rate) is 0 with a zero gradient at y = 0, whatever the rate
        counted = y > 0
        log_rate = torch.where(counted, rate, 1).log()
        return total(y * log_rate - rate * mask) - total(torch.lgamma(y + 1))

    def sample(self, prediction: Tensor, *, seed: int = 0, like: Tensor | None = None) -> Tensor:  # type: ignore[override]
        """Counts ``(*, m)`` for each prediction; NaN where `like` has NaN, the rest as without `like`.

        By inversion: the smallest count whose cumulative probability reaches a uniform number.
        """
        check_bands(prediction, exposure=self.exposure, background=self.background)
        shape = prediction.shape if like is None else torch.broadcast_shapes(prediction.shape, like.shape)
        u = uniform(tuple(shape), single_stream(), seed=seed, stage=NOISE_STAGE)
        rate = self._rate(prediction).detach().to("cpu", torch.float64).expand(shape)
        return as_measured(_quantile(u, rate).to(prediction), like)

    def whiten(self, y: Tensor, prediction: Tensor) -> DiagonalWhitener:  # type: ignore[override]
        """Exact score and Fisher information, ``exposure^2 / rate``.

        The information is infinite at rate 0; below the machine's eps it is that of eps.
        """
        mask, y, rate = self._parts(y, prediction)
        exposure = bands(self.exposure, prediction) * mask
        ratio = torch.where(y == 0, 0, y / rate)
        root = rate.clamp(min=torch.finfo(rate.dtype).eps).sqrt()
        return DiagonalWhitener((ratio - 1) * root * mask, (exposure / root).expand_as(rate))

    def standardise(self, y: Tensor, prediction: Tensor) -> Tensor:  # type: ignore[override]
        """``(y - rate) / sqrt(rate)``, ``(*, m)``; 0 where not measured, and where 0 is expected and counted."""
        mask, y, rate = self._parts(y, prediction)
        e = (y - rate) * mask
        return torch.where(e == 0, 0, e / rate.sqrt())

    def _rate(self, prediction: Tensor) -> Tensor:
        rate = bands(self.exposure, prediction) * prediction + bands(self.background, prediction)
        return torch.where(rate < 0, torch.nan, rate)

    def _parts(self, y: Tensor, prediction: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        mask, y = align(y, prediction, exposure=self.exposure, background=self.background)
        bad = (y < 0) | (y != y.round())
        if bool(bad.any()):
            raise ValueError(f"Invalid count {y[bad][0].item():g}. Counts must be whole numbers, 0 or more.")
        # where nothing was measured any rate will do, and a negative one must do no harm
        return mask, y, torch.where(mask > 0, self._rate(prediction), 1)


def _quantile(u: Tensor, rate: Tensor) -> Tensor:
    """The smallest k with P(count <= k) >= u."""
    large = rate > 1e9  # there pdtrik fails, and the Cornish-Fisher expansion errs by less than one count
    z = torch.special.ndtri(u)
    expansion = rate + rate.sqrt() * z + (z.square() - 1) / 6
    small = torch.where(large, 1, rate)
    k = torch.as_tensor(special.pdtrik(u.numpy(), small.numpy())).ceil()
    lower = (k - 1).clamp(min=0)
    reached = torch.as_tensor(special.pdtr(lower.numpy(), small.numpy())) >= u
    return torch.where(large, expansion.round(), torch.where(reached, lower, k))
