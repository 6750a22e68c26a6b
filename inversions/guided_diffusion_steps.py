"""How a measurement bends the steps of a diffusion: the guidance of one observation's draws at one noise level."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from physgen.problem import Posterior

from .conjugate_gradients import conjugate_gradients


@dataclass(frozen=True, eq=False)
class Guide:
    """One observation, seen from R draws in the frame of a diffusion prior.

    Parameters
    ----------
    posterior : Posterior
        Of one observation, batch ``(1,)``, whose prior has `denoise`, `frame_causes` and `sigmas`.
    """

    posterior: Posterior

    @property
    def prior(self) -> Any:
        """The diffusion."""
        return self.posterior.problem.prior

    def denoise(self, w: Tensor, sigma: float) -> Tensor:
        """D (R, n) of noisy values w (R, n)."""
        return self.prior.denoise(w, sigma, **self._rows(self.posterior.problem.prior_takes, len(w)))

    def causes(self, w: Tensor) -> Tensor:
        """Causes (R, n) of clean values (R, n)."""
        return self.prior.frame_causes(w, **self._rows(self.posterior.problem.prior_takes, len(w)))

    def predict(self, w: Tensor) -> Tensor:
        """Predictions (R, m') of clean values."""
        problem = self.posterior.problem
        return problem.forward(self.causes(w), **self._rows(problem.forward_takes, len(w)))

    def residual(self, w: Tensor) -> Tensor:
        """Standardised residuals (R, m) of clean values."""
        problem = self.posterior.problem
        own = self._rows(problem.noise_takes, len(w))
        return problem.noise.standardise(self.posterior.y, self.predict(w), **own)

    def moment_matching(self, w: Tensor, sigma: float, products: int) -> tuple[Tensor, Tensor]:
        """E[w_0 | w, y] (R, n) for a Gaussian w_0 | w of the mean D and the covariance V = sigma^2 dD/dw.

        Rozet et al. (2024), eqs 13 to 17, for a noise of any kind: with B the Jacobian of the whitened predictions in
        w_0 and r the whitened score, the score of y is dD/dw B^T (I + B V B^T)^-1 r, by conjugate gradients.

        Returns
        -------
        mean (R, n), good (R,)
            The latter is whether the prediction is finite.
        """
        problem = self.posterior.problem
        with torch.enable_grad():
            leaf = w.detach().requires_grad_(True)
            D = self.denoise(leaf, sigma)
            clean = D.detach().requires_grad_(True)
            prediction = self.predict(clean)
            good = torch.isfinite(prediction.detach()).all(-1)
            own = self._rows(problem.noise_takes, len(w))
            whitener = problem.noise.whiten(self.posterior.y, prediction.detach(), **own)
            white = whitener(prediction[..., None]).squeeze(-1)
            if not white.requires_grad:  # the model is a constant
                return D.detach(), good
            u = torch.zeros_like(white, requires_grad=True)
            pulled = _vjp(white, clean, u, create_graph=True)

        def product(v: Tensor) -> Tensor:
            # dD/dw is the Hessian of a density's logarithm, but for scale and shift: symmetric
            through = sigma**2 * _vjp(D, leaf, _vjp(white, clean, v))
            return v + (_vjp(pulled, u, through) if pulled.requires_grad else torch.zeros_like(v))

        r = torch.where(good[:, None], whitener.residual.detach(), 0.0)
        h, _, _ = conjugate_gradients(product, r, tolerance=1e-3, relative=1e-2, most=products)
        score = _vjp(D, leaf, _vjp(white, clean, h))
        return D.detach() + sigma**2 * torch.nan_to_num(score), good

    def distance_slope(self, w: Tensor, sigma: float, scale: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """D (R, n), the gradient (R, n) by w of the length of the residual at D over `scale`, and whether it is finite.

        Chung et al. (2023), eq. 16 and algorithm 1, whose step is this gradient times twice their zeta.
        """
        with torch.enable_grad():
            leaf = w.detach().requires_grad_(True)
            D = self.denoise(leaf, sigma)
            length = (self.residual(D) / scale).square().sum(-1).clamp(min=1e-20).sqrt()
            slope = _vjp(length, leaf, torch.ones_like(length)) if length.requires_grad else torch.zeros_like(w)
        good = torch.isfinite(length.detach())
        return D.detach(), torch.nan_to_num(slope, posinf=0.0, neginf=0.0), good

    def _rows(self, takes: Any, rows: int) -> Mapping[str, Tensor]:
        own = takes.pick(self.posterior.conditions)
        return {name: value.expand(rows, *value.shape[1:]) for name, value in own.items()}


def _vjp(value: Tensor, by: Tensor, cotangent: Tensor, *, create_graph: bool = False) -> Tensor:
    (out,) = torch.autograd.grad(
        value, by, cotangent, retain_graph=True, create_graph=create_graph, materialize_grads=True
    )
    return out
