"""What draws of the prior tell of one noise level: how far clean values scatter about the denoised ones."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from physgen.problem import Posterior
from physgen.random import normal
from physgen.small_matrices import cholesky, product, triangular_inverse

from .guided_diffusion_steps import Guide
from .twisted_rows import rowwise

PILOTS = 256  # draws of the prior for each observation
_DENSE = 512  # elements up to which a covariance is held whole
_SURE = PILOTS // 4  # elements up to which so many draws determine it


@dataclass(frozen=True, eq=False)
class Level:
    """Covariances at one noise level, (B, d, d), or diagonals (B, d) where there are many elements.

    Attributes
    ----------
    V : Tensor
        Of clean values about D.
    V_y : Tensor
        The same with the measurement known: V - K S^-1 K^T, K the covariance with the standardised residuals.
    bias : Tensor (B, m)
        Mean of the standardised residuals of clean values, less those of D.
    whiten : Tensor
        L^-1 with S = L L^T the covariance of those about this mean, with the noise's own added.
    """

    V: Tensor
    V_y: Tensor
    bias: Tensor
    whiten: Tensor


def level(values: Tensor, seen: Tensor) -> Level:
    """From errors of values (B, P, n) and of standardised residuals (B, P, m)."""
    n, m = values.shape[-1], seen.shape[-1]
    mean, joint = _covariance(torch.cat([values, seen], -1))
    bias = mean[:, n:]
    if joint.ndim == 2:
        return Level(joint[:, :n], joint[:, :n], bias, (1 + joint[:, n:]).rsqrt())
    V, K, eye = joint[:, :n, :n], joint[:, :n, n:], torch.eye(m, dtype=joint.dtype, device=joint.device)
    whiten = triangular_inverse(cholesky(joint[:, n:, n:] + eye))
    G = product(K, whiten.mT)
    return Level(V, V - product(G, G.mT), bias, whiten)


def roots(covariance: Tensor, added: float, times: float) -> tuple[Tensor, Tensor, Tensor]:
    """R, R^-1 and ln det R (B,), with R R^T = ``added`` I + ``times`` the covariance (B, d, d) or (B, d)."""
    if covariance.ndim == 2:
        R = (added + times * covariance).sqrt()
        return R, 1 / R, R.log().cumsum(-1)[:, -1]
    eye = torch.eye(covariance.shape[-1], dtype=covariance.dtype, device=covariance.device)
    R = cholesky(times * covariance + added * eye)
    return R, triangular_inverse(R), R.diagonal(dim1=-2, dim2=-1).log().cumsum(-1)[:, -1]


def apply(root: Tensor, e: Tensor) -> Tensor:
    """R e of vectors e (B, P, d) and a root (B, d, d) or (B, d)."""
    return product(e, root.mT) if root.ndim == 3 else e * root[:, None]


class Pilots:
    """Clean values (B, P, n) drawn from the prior of each observation, and the measurements that they lead to.

    Attributes
    ----------
    undefined : integer Tensor (B,)
        How many of these are not finite.
    """

    def __init__(self, posterior: Posterior, *, seed: int, index: Tensor, stage: int) -> None:
        prior, dtype = posterior.problem.prior, posterior.y.dtype
        k, n = prior.latent_dim, prior.causes.size
        e = _without_chance(normal((PILOTS, k + n), index, seed=seed, stage=stage, dtype=dtype))
        z, self.noise = e[..., :k], e[..., k:]
        self.posterior = posterior
        self.clean, self.seen = rowwise(posterior, _drawn, z)
        self.undefined = (~torch.isfinite(self.seen)).any(-1).sum(-1)

    def at(self, sigma: float) -> Level:
        """The scatter at one noise level."""

        def errors(guide: Guide, _: Tensor, clean: Tensor, seen: Tensor, noise: Tensor) -> tuple[Tensor, Tensor]:
            D = guide.denoise((clean + sigma * noise).flatten(0, 1), sigma)
            residual = guide.residual(D).reshape(seen.shape)
            return clean - D.reshape(clean.shape), torch.nan_to_num(seen - residual, nan=0.0, posinf=0.0, neginf=0.0)

        return level(*rowwise(self.posterior, errors, self.clean, self.seen, self.noise))


def _covariance(errors: Tensor) -> tuple[Tensor, Tensor]:
    """Mean (B, d) and covariance (B, d, d) of errors (B, P, d).

    Of more elements than P draws determine, it is led towards its diagonal, as noise of the estimate would otherwise
    make some directions too narrow; of more than 512 the diagonal alone is kept.
    """
    count, d = errors.shape[1:]
    mean = errors.cumsum(1)[:, -1] / count
    off = errors - mean[:, None]
    variance = (off * off).cumsum(1)[:, -1] / count
    if d > _DENSE:
        return mean, variance
    keep = count / (count + max(0, d - _SURE))
    return mean, keep * product(off.mT, off) / count + torch.diag_embed((1 - keep) * variance)


def _without_chance(e: Tensor) -> Tensor:
    """Normal numbers e (B, P, d) with the mean 0 and the covariance I to rounding, if P determines it.

    What is linear in them then has its exact covariance (moment matching: Barraquand 1995, Management Science 41).
    """
    count, d = e.shape[1:]
    if d > _SURE:
        return e
    e = e - e.cumsum(1)[:, -1:] / count
    factor = cholesky(product(e.mT, e) / count)
    return product(e, triangular_inverse(factor).mT)


def _drawn(guide: Guide, _: Tensor, z: Tensor) -> tuple[Tensor, Tensor]:
    """Values in the frame and standardised residuals of latents (b, p, k)."""
    posterior = guide.posterior
    own = posterior.problem.prior_takes.pick(posterior.conditions)
    w = guide.prior.frame_values(posterior.decode(z.flatten(0, 1)), **own)
    return w.reshape(*z.shape[:2], -1), guide.residual(w).reshape(*z.shape[:2], -1)
