"""Counts that scatter more than Poisson's."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from scipy import stats
from torch import Tensor

from ..random import NOISE_STAGE, single_stream, uniform
from .gaussian import align, as_measured, bands, check_bands, check_counts, check_some, setting, total
from .noise import DiagonalWhitener, Noise

_LARGEST_SIZE = 1e12  # beyond it the distribution is Poisson's to the precision of lgamma


@dataclass(frozen=True, eq=False)
class NegativeBinomialNoise(Noise):
    r"""Counts with a negative binomial distribution: Poisson's whose rate itself varies.

    .. math:: E\,y_i = \mu_i = t \cdot exposure_i f_i + background_i, \qquad
        \mathrm{Var}\,y_i = \mu_i (1 + excess_i + dispersion_i \mu_i)

    with f the prediction ``(*, m)``, finite even where y is NaN, and t the condition `exposure_factor`, 1 if not given.
    `dispersion` alone is the form of gene counts (NB2: the rate varies by a gamma distribution of squared coefficient
    of variation `dispersion`); `excess` alone makes the variance a multiple of the mean (NB1: each event is counted a
    few times, as by a camera that sees it in several pixels). :math:`\mu` may be 0 (then only y = 0 is possible, with
    log density 0); where it is negative the answers are NaN.

    Conditions: `exposure_factor`, one positive number for each observation, which multiplies what the prediction adds:
    capture efficiency, library size, dwell time.

    Parameters
    ----------
    dispersion, excess : float or Tensor (m,)
        At least one is positive in every band.
    exposure : float or Tensor (m,)
        Expected counts for one unit of the prediction, positive.
    background : float or Tensor (m,)
        Expected counts that do not come from the prediction.

    Raises
    ------
    ValueError, TypeError
        If a setting is negative, not finite or not a number, the exposure is 0, or both dispersion and excess are. The
        methods raise `ValueError` for counts that are negative or not whole, and an `exposure_factor` that is not
        positive.

    References
    ----------
    Cameron & Trivedi (1986), *Econometric models based on count data*, J. Appl. Econometrics 1:29 (NB1 and NB2);
    Lawless (1987), *Negative binomial and mixed Poisson regression*, Can. J. Stat. 15:209, eq. 2.4: the information.
    """

    dispersion: float | Tensor = 0.1
    excess: float | Tensor = 0.0
    exposure: float | Tensor = 1.0
    background: float | Tensor = 0.0

    def __post_init__(self) -> None:
        for name in ("dispersion", "excess", "background"):
            object.__setattr__(self, name, setting(name, getattr(self, name)))
        object.__setattr__(self, "exposure", setting("exposure", self.exposure, low_included=False))
        check_some("dispersion", self.dispersion, "excess", self.excess)
        check_counts(**self._settings())

    def log_prob(  # type: ignore[override]
        self, y: Tensor, prediction: Tensor, *, exposure_factor: Tensor | None = None
    ) -> Tensor:
        """Log probability ``(*)`` of the measured elements of y ``(*, m)``; draws may lead in the prediction."""
        mask, y, mean = self._parts(y, prediction, exposure_factor)
        # in float64: the two lgamma nearly cancel where counts are large
        count, q, r = y.to(torch.float64), *self._shape(mean.to(torch.float64))
        counted = count > 0
        safe, odds = torch.where(counted, r, 1), torch.where(counted, q, 1)
        some = torch.lgamma(count + safe) - torch.lgamma(safe) + count * (odds.log() - torch.log1p(odds))
        terms = torch.where(counted, some, 0) - r * torch.log1p(q) - torch.lgamma(count + 1)
        return total(terms * mask).to(prediction.dtype)

    def sample(  # type: ignore[override]
        self,
        prediction: Tensor,
        *,
        seed: int = 0,
        like: Tensor | None = None,
        exposure_factor: Tensor | None = None,
    ) -> Tensor:
        """Counts ``(*, m)`` for each prediction; NaN where `like` has NaN, the rest as without `like`.

        By inversion: the smallest count whose cumulative probability reaches a uniform number.
        """
        check_bands(prediction, **self._settings())
        shape = prediction.shape if like is None else torch.broadcast_shapes(prediction.shape, like.shape)
        u = uniform(tuple(shape), single_stream(), seed=seed, stage=NOISE_STAGE)
        mean = self._mean(prediction, exposure_factor).detach().to("cpu", torch.float64).expand(shape)
        q, r = self._shape(torch.where(mean > 0, mean, 1))
        counts = torch.as_tensor(stats.nbinom.ppf(u.numpy(), r.numpy(), (1 / (1 + q)).numpy()))
        return as_measured(torch.where(mean == 0, 0, torch.where(mean > 0, counts, torch.nan)).to(prediction), like)

    def whiten(  # type: ignore[override]
        self, y: Tensor, prediction: Tensor, *, exposure_factor: Tensor | None = None
    ) -> DiagonalWhitener:
        """Exact score, and the Fisher information, ``exposure^2 / variance``.

        That is exact for a dispersion alone; with an excess it is what the count tells by its mean, which is a little
        less than all: a part 1 / (2 mean) of it is missing where counts are large.
        """
        mask, y, mean = self._parts(y, prediction, exposure_factor)
        floor = torch.finfo(mean.dtype).eps
        count, q, r = y.to(torch.float64), *self._shape(mean.to(torch.float64))
        a, b = (bands(v, q) for v in (self.excess, self.dispersion))
        by_r = torch.digamma(count + r.clamp(min=floor)) - torch.digamma(r.clamp(min=floor)) - torch.log1p(q)
        by_q = torch.where(count == 0, 0, count / q) - (count + r) / (1 + q)
        score = (torch.where(a == 0, 0, by_r * a / q.square()) + b * by_q).to(mean.dtype)
        root = (mean.clamp(min=floor) * (1 + q.to(mean.dtype))).sqrt()
        by_f = self._by_prediction(prediction, exposure_factor)
        return DiagonalWhitener(score * root * mask, (by_f * mask / root).expand_as(mean))

    def standardise(  # type: ignore[override]
        self, y: Tensor, prediction: Tensor, *, exposure_factor: Tensor | None = None
    ) -> Tensor:
        """``(y - mean) / sd``, ``(*, m)``; 0 where not measured, and where 0 is expected and counted."""
        mask, y, mean = self._parts(y, prediction, exposure_factor)
        e, (q, _) = (y - mean) * mask, self._shape(mean)
        return torch.where(e == 0, 0, e / (mean * (1 + q)).sqrt())

    def _settings(self) -> dict[str, float | Tensor]:
        return {name: getattr(self, name) for name in ("dispersion", "excess", "exposure", "background")}

    def _shape(self, mean: Tensor) -> tuple[Tensor, Tensor]:
        """q = variance / mean - 1, and the size r = mean / q."""
        a, b = (bands(v, mean) for v in (self.excess, self.dispersion))
        q = a + b * mean
        r = torch.where(a == 0, 1 / torch.where(a == 0, b, 1), mean / torch.where(a == 0, 1, q))
        return q.expand_as(mean), r.clamp(max=_LARGEST_SIZE).expand_as(mean)

    def _by_prediction(self, prediction: Tensor, exposure_factor: Tensor | None) -> Tensor:
        """What one unit of the prediction is expected to add, 0-d, ``(m,)`` or ``(*, m or 1)``."""
        exposure = bands(self.exposure, prediction)
        if exposure_factor is None:
            return exposure
        t = torch.as_tensor(exposure_factor).to(prediction)
        bad = ~(t > 0)
        if bool(bad.any()):
            raise ValueError(f"Invalid exposure_factor {t[bad].reshape(-1)[0].item():g}. Must be positive.")
        return exposure * t[..., None]

    def _mean(self, prediction: Tensor, exposure_factor: Tensor | None) -> Tensor:
        by_f = self._by_prediction(prediction, exposure_factor)
        mean = by_f * prediction + bands(self.background, prediction)
        return torch.where(mean < 0, torch.nan, mean)

    def _parts(self, y: Tensor, prediction: Tensor, exposure_factor: Tensor | None) -> tuple[Tensor, Tensor, Tensor]:
        mask, y = align(y, prediction, **self._settings())
        bad = (y < 0) | (y != y.round())
        if bool(bad.any()):
            raise ValueError(f"Invalid count {y[bad][0].item():g}. Counts must be whole numbers, 0 or more.")
        # where nothing was measured any mean will do, and a negative one must do no harm
        return mask, y, torch.where(mask > 0, self._mean(prediction, exposure_factor), 1)
