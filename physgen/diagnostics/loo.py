"""Leave-one-out cross-validation: how well a posterior predicts what it has not seen, without a second inversion."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from .psis import pareto_smooth


@dataclass(frozen=True, eq=False)
class Loo:
    """Expected log pointwise predictive density of N data, each predicted from all others.

    Attributes
    ----------
    pointwise : Tensor (N,)
        Log density of each datum under the posterior given all others.
    k_hat : Tensor (N,)
        Shape of the tail of the weights that take the datum out: from 0.7 on its value cannot be relied on.
    p_loo : float
        How much better the data are predicted if they are seen: the effective number of parameters.
    """

    pointwise: Tensor
    k_hat: Tensor
    p_loo: float

    @property
    def elpd(self) -> float:
        """The sum over the data; higher is better."""
        return float(self.pointwise.sum())

    @property
    def se(self) -> float:
        """Standard error of `elpd`, the data being a sample (Vehtari, Gelman & Gabry 2017, eq. 23)."""
        return _standard_error(self.pointwise)

    @property
    def unreliable(self) -> int:
        """Number of data with k_hat of 0.7 or more."""
        return int((~(self.k_hat < 0.7)).sum())


def loo(log_likelihood: Tensor) -> Loo:
    """Pareto-smoothed importance sampling leave-one-out (Vehtari, Gelman & Gabry 2017, section 2.1).

    The data must be independent given the causes, as the profiles of a section are.

    Parameters
    ----------
    log_likelihood : Tensor (S, N)
        Log density of each of N data at S equally weighted posterior draws; NaN nowhere.

    Raises
    ------
    ValueError
        If it has another number of axes, fewer than six draws, or values that are not finite.

    References
    ----------
    Vehtari, Gelman & Gabry (2017), *Practical Bayesian model evaluation using leave-one-out cross-validation and WAIC*,
    Statistics and Computing 27:1413.
    """
    if log_likelihood.ndim != 2 or not log_likelihood.shape[-1]:
        raise ValueError(f"Invalid shape {tuple(log_likelihood.shape)} of log densities. Give (draws, data).")
    if not bool(torch.isfinite(log_likelihood).all()):
        raise ValueError("Invalid log density that is not finite. Leave out data that are missing or impossible.")
    log_weight, k_hat = pareto_smooth(-log_likelihood)
    pointwise = torch.logsumexp(log_weight + log_likelihood, 0)
    seen = torch.logsumexp(log_likelihood, 0) - math.log(len(log_likelihood))
    return Loo(pointwise, k_hat, float((seen - pointwise).sum()))


def compare(first: Loo, second: Loo) -> tuple[float, float]:
    """By how much the first predicts the same data better, and the standard error of that difference.

    Of two models that differ by fewer than four the simpler will do (Sivula, Magnusson & Vehtari 2020, section 3).

    Raises
    ------
    ValueError
        If they are not of equally many data.
    """
    if first.pointwise.shape != second.pointwise.shape:
        raise ValueError(
            f"Invalid comparison of {len(first.pointwise)} with {len(second.pointwise)} data. Take the same data."
        )
    difference = first.pointwise - second.pointwise
    return float(difference.sum()), _standard_error(difference)


def _standard_error(terms: Tensor) -> float:
    return math.sqrt(len(terms)) * float(terms.std(correction=0))
