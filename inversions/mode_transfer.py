"""A mode under one prior, carried over to another: what the measurement said of the causes is said again."""

from __future__ import annotations

import torch
from torch import Tensor

from physgen.priors import Prior
from physgen.problem import Posterior, Problem
from physgen.rows import jacobian
from physgen.small_matrices import cholesky, product, solve
from physgen.space import Space


class _Causes(Prior):
    """The causes themselves as latents."""

    capabilities = frozenset()

    def __init__(self, causes: Space) -> None:
        self.causes, self.latent_dim = causes, causes.size

    def decode(self, z: Tensor, /, **conditions: Tensor) -> Tensor:
        return z


def transferred(old: Posterior, mode: Tensor, new: Posterior) -> Tensor:
    r"""Where to start the search for the modes of `new`, given those of `old`, which differs in its prior alone.

    The likelihood's quadratic model around the old mode x, with A its whitened Jacobian by the causes and r the
    whitened residual, meets the new prior x' = g(w) linearised at the old latents: one Gauss-Newton step,

    .. math:: (I + B^T B) w' = B^T (r + A (x - g(w)) + B w), \quad B = A \, g'(w)

    exact where measurement and prior are linear and Gaussian. The old latents themselves are no good start: of a field
    twice as smooth, the same latents are another field.

    Parameters
    ----------
    old, new : Posterior
        Of R observations.
    mode : Tensor (R, k)
        Latents of the old mode.

    Returns
    -------
    Tensor (R, k)
        The latents `mode`, where a number on the way was not finite.
    """
    x = old.decode(mode)
    at = Posterior(
        Problem(old.problem.forward, _Causes(old.problem.prior.causes), old.problem.noise), old.y, old.conditions
    )
    prediction, slopes = at.linearise(x)
    whitener = at.problem.noise.whiten(at.y, prediction, **at.problem.noise_takes.pick(at.conditions))
    a, k = whitener(slopes), mode.shape[-1]
    own = new.problem.prior_takes.pick(new.conditions)
    there, by_w = jacobian(lambda w: new.problem.prior.decode(w, **own), mode)
    b = product(a, by_w)
    aim = whitener.residual + (a * (x - there)[:, None]).sum(-1) + (b * mode[:, None]).sum(-1)
    factor = cholesky(torch.nan_to_num(product(b.mT, b), posinf=0.0) + torch.eye(k, dtype=x.dtype, device=x.device))
    start = solve(factor, (b * aim[..., None]).sum(-2)[..., None]).squeeze(-1)
    good = torch.isfinite(start).all(-1) & torch.isfinite(a).flatten(1).all(-1)
    return torch.where(good[:, None], start, mode)
