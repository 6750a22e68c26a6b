"""Independent Gaussian noise, and how every noise reads its settings."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from ..random import NOISE_STAGE, normal, single_stream
from .noise import DiagonalWhitener, Noise, measured

Setting = float | Tensor | Sequence[float]


def setting(name: str, value: Setting, *, low: float = 0.0, low_included: bool = True) -> float | Tensor:
    """One setting of a noise: a number, or one for each band.

    A tensor is kept as it is, so that a setting can be fitted by its gradient.

    Raises
    ------
    ValueError, TypeError
        If it is not a number or a list of numbers, not finite, or below `low`.
    """
    try:
        tensor = value if isinstance(value, Tensor) else torch.as_tensor(value, dtype=torch.float64)
    except (TypeError, ValueError, RuntimeError) as error:
        raise TypeError(f"Invalid {name} {value!r}. Give a number, or one for each band.") from error
    if tensor.ndim > 1 or not tensor.numel():
        raise ValueError(f"Invalid {name} of shape {tuple(tensor.shape)}. Give a number, or one for each band.")
    known = tensor.detach().reshape(-1)
    good = torch.isfinite(known) & ((known >= low) if low_included else (known > low))
    if not bool(good.all()):
        bound = "at least" if low_included else "greater than"
        raise ValueError(f"Invalid {name} {known[~good][0].item():g}. Must be finite and {bound} {low:g}.")
    return tensor if isinstance(value, Tensor) or tensor.ndim else float(tensor)


def absent(value: Setting) -> bool:
    """Whether a setting is the number 0. A tensor never is: it may be about to be fitted."""
    return not isinstance(value, Tensor) and value == 0


def bands(value: Setting, like: Tensor) -> Tensor:
    """A setting as a tensor, 0-d or ``(m,)``, with the dtype and device of `like`."""
    return torch.as_tensor(value, dtype=like.dtype, device=like.device)


def check_some(first: str, a: Setting, second: str, b: Setting) -> None:
    """Raise `ValueError` if two settings are both zero in some band: the noise there would have no width."""
    check_counts(**{first: a, second: b})
    some = [torch.as_tensor(x, dtype=torch.float64, device="cpu").detach() > 0 for x in (a, b)]
    if not bool((some[0] | some[1]).all()):
        raise ValueError(f"Invalid {first} and {second}, both 0. At least one must be positive in every band.")


def check_counts(**settings: Setting) -> None:
    """Raise `ValueError` if settings that hold one number for each band hold different numbers of bands."""
    counts = {name: len(value) for name, value in settings.items() if isinstance(value, Tensor) and value.ndim}
    if len(set(counts.values())) > 1:
        found = ", ".join(f"{name} {count}" for name, count in counts.items())
        raise ValueError(f"Invalid numbers of bands: {found}. Give each setting one number, or one for each band.")


def align(y: Tensor, prediction: Tensor, **settings: Setting) -> tuple[Tensor, Tensor]:
    """The mask of measured elements (1 or 0), and y with zeros elsewhere, with the dtype and device of `prediction`.

    Raises
    ------
    ValueError
        If y, the prediction and the settings differ in their number of bands.
    """
    m = check_bands(prediction, **settings)
    if y.ndim == 0 or y.shape[-1] != m:
        raise ValueError(f"Invalid shape {tuple(y.shape)} of y. The prediction has {m} bands on its last axis.")
    mask, y = measured(y.to(dtype=prediction.dtype, device=prediction.device))
    return mask.to(prediction.dtype), y


def check_bands(prediction: Tensor, **settings: Setting) -> int:
    """The number of bands; `ValueError` if a setting has another."""
    if prediction.ndim == 0:
        raise ValueError("Invalid prediction without an axis. Its last axis must hold the bands.")
    m = prediction.shape[-1]
    for name, value in settings.items():
        if isinstance(value, Tensor) and value.ndim and len(value) != m:
            raise ValueError(f"Invalid prediction with {m} bands. {name} holds {len(value)}.")
    return m


def total(terms: Tensor) -> Tensor:
    """Sum over the bands, in an order that depends neither on the batch nor on the layout in memory."""
    return terms.contiguous().sum(-1)


def standard_normal(prediction: Tensor, like: Tensor | None, seed: int) -> Tensor:
    """Standard normal numbers with the shape of `prediction` and `like` broadcast together."""
    shape = prediction.shape if like is None else torch.broadcast_shapes(prediction.shape, like.shape)
    return normal(tuple(shape), single_stream(), seed=seed, stage=NOISE_STAGE).to(prediction)


def as_measured(y: Tensor, like: Tensor | None) -> Tensor:
    """`y` with NaN wherever `like` has NaN."""
    return y if like is None else torch.where(torch.isnan(like).to(y.device), torch.nan, y)


def white_variance(absolute: Setting, relative: Setting, mask: Tensor, prediction: Tensor) -> Tensor:
    """``absolute^2 + (relative * prediction)^2``, and 1 where nothing was measured: its logarithm adds nothing."""
    fixed = bands(absolute, prediction).square() * mask + (1 - mask)
    return fixed if absent(relative) else fixed + (bands(relative, prediction) * mask * prediction).square()


@dataclass(frozen=True, eq=False)
class GaussianNoise(Noise):
    r"""Independent Gaussian noise with an absolute and a relative part.

    .. math:: y_i \sim N(f_i, \sigma_i^2), \qquad \sigma_i^2 = absolute_i^2 + (relative_i f_i)^2

    with f the prediction ``(*, m)``. f must be finite even where y is NaN, or its gradient is lost, and not 0 in a
    band without an absolute part.

    Parameters
    ----------
    absolute : float or Tensor (m,)
        Standard deviation in the units of y.
    relative : float or Tensor (m,)
        Standard deviation as a fraction of the prediction.

    Raises
    ------
    ValueError, TypeError
        If a setting is negative, not finite or not a number, or both are 0 in a band.

    Examples
    --------
    >>> noise = GaussianNoise(0.01, relative=0.02)

    References
    ----------
    Rodgers (2000), *Inverse methods for atmospheric sounding*, eq. 2.21; the Fisher information of a variance that
    depends on the prediction: Kay (1993), *Estimation theory*, eq. 3.31.
    """

    absolute: float | Tensor = 0.01
    relative: float | Tensor = 0.0

    def __post_init__(self) -> None:
        for name in ("absolute", "relative"):
            object.__setattr__(self, name, setting(name, getattr(self, name)))
        check_some("absolute", self.absolute, "relative", self.relative)

    def log_prob(self, y: Tensor, prediction: Tensor) -> Tensor:  # type: ignore[override]
        """Log density ``(*)`` of the measured elements of y ``(*, m)``; draws may lead in the prediction."""
        mask, e, variance = self._parts(y, prediction)
        return -0.5 * (total(e.square() / variance) + total(variance.log()) + math.log(2 * math.pi) * total(mask))

    def sample(self, prediction: Tensor, *, seed: int = 0, like: Tensor | None = None) -> Tensor:  # type: ignore[override]
        """A measurement ``(*, m)`` for each prediction; NaN where `like` has NaN, the rest as without `like`."""
        check_bands(prediction, absolute=self.absolute, relative=self.relative)
        z = standard_normal(prediction, like, seed)
        sd = white_variance(self.absolute, self.relative, torch.ones_like(prediction), prediction).sqrt()
        return as_measured(prediction + sd * z, like)

    def whiten(self, y: Tensor, prediction: Tensor) -> DiagonalWhitener:  # type: ignore[override]
        """Exact score and Fisher information, ``1 / sd^2 + 2 (sd' / sd)^2`` with sd' the derivative by f."""
        mask, e, variance = self._parts(y, prediction)
        if absent(self.relative):
            scale = mask / variance.sqrt()
            return DiagonalWhitener(e * scale, scale.expand_as(e))
        slope = bands(self.relative, prediction).square() * mask * prediction / variance
        score = e / variance + slope * (e.square() / variance - 1)
        scale = (mask / variance + 2 * slope.square()).sqrt()
        return DiagonalWhitener(score / (scale + (1 - mask)), scale.expand_as(e))

    def standardise(self, y: Tensor, prediction: Tensor) -> Tensor:  # type: ignore[override]
        """``(y - f) / sd``, ``(*, m)``; 0 where not measured."""
        _, e, variance = self._parts(y, prediction)
        return e / variance.sqrt()

    def _parts(self, y: Tensor, prediction: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        mask, y = align(y, prediction, absolute=self.absolute, relative=self.relative)
        return mask, (y - prediction) * mask, white_variance(self.absolute, self.relative, mask, prediction)
