"""The log posterior density and its gradient in latent space, of many chains of many observations."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import torch
from scipy.stats import chi2
from torch import Tensor

from physgen.problem import Posterior, Problem

_NO_MASS = 1e-9  # latents so far out that the prior holds less: a model may be undefined there


@dataclass(frozen=True, eq=False)
class Target:
    """A posterior of B observations, evaluated at rows (R, k), each of which belongs to one observation.

    Where the density is not finite it is -inf and the gradient 0: such latents get no weight.

    Parameters
    ----------
    posterior : Posterior
    """

    posterior: Posterior

    @property
    def k(self) -> int:
        """Number of latents."""
        return self.posterior.problem.prior.latent_dim

    @cached_property
    def undefined(self) -> Tensor:
        """How many evaluations (B,), where the prior has mass, met a prediction that is not finite."""
        return torch.zeros(len(self.posterior.y), dtype=torch.int64, device=self.posterior.y.device)

    @cached_property
    def radius2(self) -> float:
        """Squared distance from the prior's centre beyond which it holds next to no mass."""
        return float(chi2.isf(_NO_MASS, self.k))

    def near(self, z: Tensor) -> Tensor:
        """Where (*) latents (*, k) are such that the prior has mass there."""
        return (z * z).sum(-1) < self.radius2

    def select(self, rows: Tensor) -> Target:
        """That of some of the observations, with their count of undefined evaluations."""
        out = Target(self.posterior.select(rows))
        out.undefined.add_(self.undefined[rows])
        return out

    def value(self, z: Tensor, which: Tensor) -> Tensor:
        """Log density (R,) of rows z (R, k) of the observations `which` (R,)."""
        parts = []
        for cut in torch.arange(len(z), device=z.device).split(self.posterior.problem.value_rows):
            parts.append(self._clean(self.posterior.select(which[cut]).log_prob(z[cut]), z[cut], which[cut]))
        return torch.cat(parts)

    def slope(self, z: Tensor, which: Tensor) -> tuple[Tensor, Tensor]:
        """Log density (R,) and its gradient (R, k)."""
        values, gradients = [], []
        for cut in torch.arange(len(z), device=z.device).split(self.posterior.problem.value_rows):
            value, gradient = self.posterior.select(which[cut]).slope(z[cut])
            value = self._clean(value, z[cut], which[cut])
            good = torch.isfinite(value)[:, None] & torch.isfinite(gradient)
            values.append(value)
            gradients.append(torch.where(good, gradient, 0))
        return torch.cat(values), torch.cat(gradients)

    def _clean(self, value: Tensor, z: Tensor, which: Tensor) -> Tensor:
        bad = torch.isnan(value) | torch.isposinf(value)
        if bool(bad.any()):
            inside = bad & self.near(z)
            self.undefined.index_add_(0, which[inside], torch.ones_like(which[inside]))
            value = torch.where(bad, -torch.inf, value)
        return value


def need_gradient(problem: Problem, what: str, instead: str = "SliceSampler or Ensemble") -> None:
    """Raise `TypeError` if the forward model of a problem has no gradient, which `what` needs."""
    if not problem.differentiable:
        raise TypeError(
            f"{what} the forward model's gradient, and a black box has none. Use {instead}, which only evaluate."
        )
