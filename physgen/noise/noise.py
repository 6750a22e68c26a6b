"""The noise: p(y | prediction), and how it weighs residuals and Jacobians."""

from __future__ import annotations

import abc
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True, eq=False)
class Whitener:
    """A noise's local quadratic model around a prediction f: score s = d log p / df and Fisher information L L^T.

    A Gauss-Newton or Fisher-scoring step needs no more: with A = L^T J it solves
    ``(I + A^T A) dz = A^T residual - z``, because A^T residual = J^T s. For Gaussian noise of fixed covariance S_e,
    L L^T = S_e^-1 and `residual` is the whitened y - f. Elements that were not measured have zero rows.

    Attributes
    ----------
    residual : Tensor (*, r)
        L^-1 s.
    """

    residual: Tensor

    def __call__(self, jacobian: Tensor) -> Tensor:
        """L^T J, ``(*, r, k)``, of a Jacobian ``(*, m', k)`` of the prediction."""
        raise NotImplementedError


@dataclass(frozen=True, eq=False)
class DiagonalWhitener(Whitener):
    """A whitener whose information is diagonal.

    Attributes
    ----------
    scale : Tensor (*, m)
        The diagonal of L; 0 where nothing was measured.
    """

    scale: Tensor

    def __call__(self, jacobian: Tensor) -> Tensor:
        return self.scale[..., None] * jacobian


class Noise(abc.ABC):
    """p(y | prediction), with NaN in y for "not measured".

    A noise takes the conditions that its `log_prob` names after (y, prediction). What the forward model returns as
    the prediction ``(*, m')`` may hold noise parameters besides the m observables.

    An element that is NaN in y adds nothing, in every method: the answer equals that of the problem without it.
    """

    @abc.abstractmethod
    def log_prob(self, y: Tensor, prediction: Tensor, **conditions: Tensor) -> Tensor:
        """Log density ``(*)`` of the measured elements of y ``(*, m)``."""

    @abc.abstractmethod
    def sample(self, prediction: Tensor, *, seed: int = 0, like: Tensor | None = None, **conditions: Tensor) -> Tensor:
        """A measurement ``(*, m)`` for each prediction ``(*, m')``.

        Parameters
        ----------
        seed : int
            The draws are a function of it.
        like : Tensor (*, m), optional
            NaN where it has NaN.
        """

    def whiten(self, y: Tensor, prediction: Tensor, **conditions: Tensor) -> Whitener:
        """The local quadratic model of `log_prob` around `prediction`; gradient inversions need it."""
        raise TypeError(
            f"{type(self).__name__} has no whiten. Use an inversion that does without: Pathfinder, Hamiltonian, "
            'NUTS, Microcanonical or Variational(family="full-rank"), which need a gradient, or SliceSampler, '
            "TemperedSMC, Ensemble, Grid, LookupTable or Amortised, which only evaluate."
        )

    def standardise(self, y: Tensor, prediction: Tensor, **conditions: Tensor) -> Tensor:
        """Residuals ``(*, m)`` of unit variance and no correlation under the noise; 0 where not measured.

        Their sum of squares is the chi2 of the fit.
        """
        raise TypeError(f"{type(self).__name__} has no standardise. Its chi2 cannot be computed.")


def measured(y: Tensor) -> tuple[Tensor, Tensor]:
    """The mask of measured elements, and y with zeros elsewhere (so that no NaN reaches a gradient)."""
    mask = ~torch.isnan(y)
    return mask, torch.where(mask, y, 0)
