"""The denoiser of a mixture of normal distributions, in closed form."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from .columns import total
from .denoiser import Denoiser, Level, as_rows, fixed
from .standard_normal import LOG_SQRT_2_PI


class MixtureDenoiser(Denoiser):
    """D of sum_k weight_k N(mean_k, C_k): each component's linear estimate, by its share in the noisy density.

    With C_k = V diag(l) V^T a component's is mean + V l / (l + sigma^2) V^T (w - mean).

    Parameters
    ----------
    log_weight : Tensor (K,)
    mean : Tensor (K, n)
    axes : Tensor (K, n, n)
        V: orthonormal, in columns.
    variance : Tensor (K, n)
        l, not negative.
    """

    kind = "mixture"

    def __init__(self, log_weight: Tensor, mean: Tensor, axes: Tensor, variance: Tensor) -> None:
        super().__init__()
        self.log_weight, self.mean = fixed(log_weight), fixed(mean)
        self.axes, self.variance = fixed(axes), fixed(variance)

    @classmethod
    def of(cls, weight: Tensor, mean: Tensor, covariance: Tensor) -> MixtureDenoiser:
        """The denoiser of weights ``(K,)``, means ``(K, n)`` and covariances ``(K, n, n)``."""
        variance, axes = torch.linalg.eigh(covariance)
        return cls(weight.log(), mean, axes, variance.clamp(min=0))

    def forward(self, w: Tensor, sigma: Level, context: Tensor) -> Tensor:
        s2 = as_rows(sigma, w) ** 2
        y, log_share = self._components(w, s2)
        share = torch.softmax(log_share, 0)
        shrunk = y * (self.variance[:, :, None] / (self.variance[:, :, None] + s2))
        each = self.mean[:, :, None] + self.axes @ shrunk
        return (share[:, None, :] * each).cumsum(0)[-1]

    def log_density(self, w: Tensor, sigma: Level) -> Tensor:
        """log p ``(R,)`` of noisy values ``(n, R)``."""
        _, log_share = self._components(w, as_rows(sigma, w) ** 2)
        return torch.logsumexp(log_share, 0)

    def settings(self) -> dict[str, Any]:
        return {}

    def _components(self, w: Tensor, s2: Tensor) -> tuple[Tensor, Tensor]:
        """V^T (w - mean) ``(K, n, R)``, and log weight times density ``(K, R)``."""
        y = self.axes.mT @ (w[None] - self.mean[:, :, None])
        spread = self.variance[:, :, None] + s2
        each = -0.5 * (y * y / spread + spread.log()) - LOG_SQRT_2_PI
        return y, self.log_weight[:, None] + total(each.transpose(0, 1))


def standardised_mixture(weights: Any, means: Any, covariances: Any) -> tuple[MixtureDenoiser, Tensor, Tensor]:
    """The denoiser of a mixture of mean 0 and covariance I, and the mean ``(n,)`` and factor ``(n, n)`` taken out.

    Parameters
    ----------
    weights : array_like (K,)
        Positive; scaled to the sum 1.
    means : array_like (K, n)
    covariances : array_like (K, n, n)

    Raises
    ------
    ValueError
        If shapes disagree, a weight is not positive, or a covariance is not symmetric and positive definite.
    """
    weight, mean, covariance = (torch.as_tensor(t, dtype=torch.float64) for t in (weights, means, covariances))
    _check(weight, mean, covariance)
    weight = weight / weight.sum()
    centre = weight @ mean
    off = mean - centre
    whole = (weight[:, None, None] * (covariance + off[:, :, None] * off[:, None, :])).sum(0)
    factor = torch.linalg.cholesky(whole).contiguous()
    inverse = torch.linalg.inv(factor)
    return MixtureDenoiser.of(weight, off @ inverse.mT, inverse @ covariance @ inverse.mT), centre, factor


def _check(weight: Tensor, mean: Tensor, covariance: Tensor) -> None:
    k = len(weight) if weight.ndim == 1 else 0
    n = mean.shape[1] if mean.ndim == 2 else 0
    if not k or not n or mean.shape != (k, n) or covariance.shape != (k, n, n):
        raise ValueError(
            f"Invalid mixture of weights {tuple(weight.shape)}, means {tuple(mean.shape)} and covariances "
            f"{tuple(covariance.shape)}. Give (K,), (K, n) and (K, n, n)."
        )
    if not bool(torch.isfinite(weight).all() and (weight > 0).all() and torch.isfinite(mean).all()):
        raise ValueError("Invalid weights or means of a mixture. Weights must be positive, and means finite.")
    symmetric = bool((covariance - covariance.mT).abs().amax() <= 1e-9 * covariance.abs().amax())
    if not symmetric or not bool((torch.linalg.eigvalsh(covariance) > 0).all()):
        raise ValueError("Invalid covariance of a mixture. Each must be symmetric and positive definite.")
