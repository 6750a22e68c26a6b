"""Products with the Jacobian of the whitened predictions, which is never formed."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from physgen.problem import Posterior

Pull = Callable[[Tensor], Tensor]


class Linearised:
    """A = L^T J at S points of one observation: J the Jacobian in the latents, L L^T the noise's Fisher information.

    One evaluation of the model with its graph is held; a product costs a pass through it. A v is the derivative by u
    of A^T u, which is linear in u: so the model must be differentiable twice, in reverse.

    Parameters
    ----------
    posterior : Posterior
        Of one observation, batch ``(1,)``.
    z : Tensor (S, k)

    Attributes
    ----------
    residual : Tensor (S, r)
        L^-1 times the score: A^T residual is the gradient of the log likelihood.
    """

    def __init__(self, posterior: Posterior, z: Tensor) -> None:
        problem = posterior.problem
        own = problem.noise_takes.pick(posterior.conditions)
        with torch.enable_grad():
            leaf = z.detach()[:, None].requires_grad_(True)
            _, prediction = posterior.predict(leaf)
            whitener = problem.noise.whiten(posterior.y, prediction.detach(), **own)
            self.residual = whitener.residual.detach()[:, 0]
            white = whitener(prediction[..., None]).squeeze(-1)  # L^T f, whose L is held
            self._zero = not white.requires_grad
            self._leaf, self._white, self._k = leaf, white, z.shape[-1]
            if not self._zero:
                self._u = torch.zeros_like(white, requires_grad=True)
                self._pulled = _vjp(white, leaf, self._u, create_graph=True)

    def pull(self, u: Tensor) -> Tensor:
        """A^T u ``(S, k)`` of u ``(S, r)``."""
        if self._zero:
            return u.new_zeros(len(u), self._k)
        return _vjp(self._white, self._leaf, u[:, None])[:, 0]

    def push(self, v: Tensor) -> Tensor:
        """A v ``(S, r)`` of v ``(S, k)``."""
        if self._zero or not self._pulled.requires_grad:
            return torch.zeros_like(self.residual)
        return _vjp(self._pulled, self._u, v[:, None])[:, 0]

    def precision(self, v: Tensor) -> Tensor:
        """(I + A^T A) v ``(S, k)``."""
        return v + self.pull(self.push(v))


def _vjp(value: Tensor, by: Tensor, cotangent: Tensor, *, create_graph: bool = False) -> Tensor:
    (out,) = torch.autograd.grad(
        value, by, cotangent, retain_graph=True, create_graph=create_graph, materialize_grads=True
    )
    return out


def blocks(rows: int, posterior: Posterior) -> int:
    """Rows whose graph is held at once: about 2^20 numbers in each tensor."""
    prior = posterior.problem.prior
    widest = max(prior.latent_dim, prior.causes.size, posterior.y.shape[-1])
    return max(1, min(rows, (1 << 20) // widest))
