"""What came from the measurement and what from the prior, in the causes themselves."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from ..noise import Noise
from ..problem import Posterior
from ..rows import in_blocks, jacobian
from ..small_matrices import cholesky, inverse, product, solve

_ROWS = 2048


@dataclass(frozen=True, eq=False)
class Information:
    """Of b observations, linearised at a point each; NaN where the model is undefined there.

    Attributes
    ----------
    averaging_kernel : Tensor (b, n, n)
        Derivative of the estimate of each cause by the truth of each: G A G^+, with A = (I + K^T K)^-1 K^T K in the
        latents (K the whitened Jacobian) and G = dx / dz.
    dofs : Tensor (b,)
        Degrees of freedom for signal, the trace of A.
    information_content : Tensor (b,)
        1/2 ln |I + K^T K|, in nats.
    contraction : Tensor (b, n)
        1 minus posterior over prior variance of each cause, both linearised: how much of what the prior left open the
        measurement has closed, 0 to 1.
    """

    averaging_kernel: Tensor
    dofs: Tensor
    information_content: Tensor
    contraction: Tensor

    @property
    def from_data(self) -> Tensor:
        """Share of each cause's estimate that is its own truth (b, n): the diagonal of the averaging kernel."""
        return self.averaging_kernel.diagonal(dim1=-2, dim2=-1)


def information(posterior: Posterior, z: Tensor) -> Information:
    """Averaging kernel in the causes, for a prior of any map g, by its Jacobian at z (Rodgers 2000, eqs 2.78, 2.80).

    For a Gaussian prior and a linear model this is S_a K^T (K S_a K^T + S_e)^-1 K wherever it is taken.

    Parameters
    ----------
    posterior : Posterior
        Of b observations on one axis.
    z : Tensor (b, k)
        Where to linearise: the mode.

    Raises
    ------
    TypeError
        If the forward model has no gradient, or the noise no `whiten`.
    """
    problem = posterior.problem
    if not problem.differentiable or type(problem.noise).whiten is Noise.whiten:
        raise TypeError(
            "The averaging kernel needs the gradient of the forward model and a noise with whiten. "
            "Compare contraction and overlap, which need draws only."
        )
    prediction, slopes = posterior.linearise(z)
    whitener = problem.noise.whiten(posterior.y, prediction, **problem.noise_takes.pick(posterior.conditions))
    k = whitener(slopes)
    gained, bad = product(k.mT, k), ~torch.isfinite(k).all(-1).all(-1)
    gained = torch.where(bad[:, None, None], 0.0, gained)
    factor = cholesky(torch.eye(z.shape[-1], dtype=z.dtype, device=z.device) + gained)
    kernel = solve(factor, gained)
    g = _causes_by_latents(posterior, z)
    prior, left = (g * g).sum(-1), (product(g, inverse(factor)) * g).sum(-1)
    in_causes = product(product(g, kernel), torch.linalg.pinv(g))
    found = (
        in_causes,
        kernel.diagonal(dim1=-2, dim2=-1).sum(-1),
        factor.diagonal(dim1=-2, dim2=-1).log().sum(-1),
        1 - left / prior,
    )
    return Information(*(torch.where(bad.reshape(-1, *[1] * (v.ndim - 1)), torch.nan, v) for v in found))


def _causes_by_latents(posterior: Posterior, z: Tensor) -> Tensor:
    """dx / dz (b, n, k)."""
    prior, takes = posterior.problem.prior, posterior.problem.prior_takes

    def one(rows: Tensor, conditions: Mapping[str, Tensor]) -> tuple[Tensor, Tensor]:
        return jacobian(lambda r: prior.decode(r, **conditions), rows)

    return in_blocks(one, z, takes.pick(posterior.conditions), _ROWS)[1]
