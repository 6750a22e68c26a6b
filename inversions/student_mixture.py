"""Mixtures of multivariate Student-t densities, one for each observation: the proposals of importance sampling."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from physgen.problem import log_normal
from physgen.small_matrices import cholesky, principal_axis, product, triangular_inverse

DF = 6  # of the Student components


@dataclass(frozen=True, eq=False)
class StudentMixture:
    """Mixture of C Student-t components and one standard normal (the prior, as a defence against missed mass).

    Attributes
    ----------
    weight : Tensor (B, C)
        Of the components; what they lack to 1 is the share of the prior.
    mean : Tensor (B, C, k)
    factor : Tensor (B, C, k, k)
        Lower Cholesky factors of the scale matrices.
    df : tuple of C int
        Degrees of freedom, even (so that a chi-square is a sum of logarithms of uniforms); 0 for a Gaussian.
    """

    weight: Tensor
    mean: Tensor
    factor: Tensor
    df: tuple[int, ...]

    @cached_property
    def _inverse(self) -> Tensor:
        return triangular_inverse(self.factor)

    def select(self, rows: Tensor) -> StudentMixture:
        """Some of the observations."""
        return StudentMixture(self.weight[rows], self.mean[rows], self.factor[rows], self.df)

    def sample(self, normals: Tensor, uniforms: Tensor) -> Tensor:
        """Draws from given random numbers.

        Parameters
        ----------
        normals : Tensor (B, S, k)
        uniforms : Tensor (B, S, max(df) / 2)
            Those of the chi-square.

        Returns
        -------
        Tensor (B, S, k)
            Draw s belongs to the component that stratum s of [0, 1] falls into.
        """
        s = normals.shape[1]
        strata = (torch.arange(s, dtype=normals.dtype, device=normals.device) + 0.5) / s
        which = (strata > self.weight.cumsum(-1)[..., None]).sum(1)  # (B, S); C stands for the prior
        z = normals
        for c, df in enumerate(self.df):
            heavy = normals
            if df:
                heavy = normals * torch.sqrt(-0.5 * df / torch.log(uniforms[..., : df // 2]).sum(-1, keepdim=True))
            draw = self.mean[:, c, None] + product(heavy, self.factor[:, c].mT)
            z = torch.where((which == c)[..., None], draw, z)
        return z

    def log_prob(self, z: Tensor) -> Tensor:
        """Log density (B, S) of z (B, S, k)."""
        parts = [self.component_log_prob(z, c) for c in range(len(self.df))]
        defence = torch.log(1 - self.weight.sum(-1, keepdim=True))
        parts.append(defence + log_normal(z))
        return torch.logsumexp(torch.stack(parts), dim=0)

    def component_log_prob(self, z: Tensor, c: int) -> Tensor:
        """Log of weight times density (B, S) of component c."""
        k, df = z.shape[-1], self.df[c]
        distance = self.mahalanobis(z, c)
        log_det = self.factor[:, c].diagonal(dim1=-2, dim2=-1).log().sum(-1)
        scale = (torch.log(self.weight[:, c]) - log_det)[:, None]
        if not df:
            return scale - 0.5 * distance - 0.5 * k * math.log(2 * math.pi)
        constant = math.lgamma((df + k) / 2) - math.lgamma(df / 2) - 0.5 * k * math.log(df * math.pi)
        return scale + constant - 0.5 * (df + k) * torch.log1p(distance / df)

    def mahalanobis(self, z: Tensor, c: int) -> Tensor:
        """Squared distance (B, S) of z from the centre of component c."""
        white = product(z - self.mean[:, c, None], self._inverse[:, c].mT)
        return (white * white).sum(-1)


def around(mean: Tensor, covariance: Tensor, defence: float) -> StudentMixture:
    """A Gaussian of given mean (B, k) and covariance (B, k, k), a heavier-tailed one, and a share of the prior.

    Where the posterior is Gaussian the first dominates and the weights are nearly equal; the Student component sees
    to it that a tail which is heavier shows in them.
    """
    factor = cholesky(covariance)[:, None].expand(-1, 2, -1, -1)
    weight = mean.new_tensor([0.8, 0.2]).mul(1 - defence).expand(len(mean), 2)
    return StudentMixture(weight, mean[:, None].expand(-1, 2, -1), factor, (0, DF))


def fit(z: Tensor, weight: Tensor, components: int, defence: float, sweeps: int = 4) -> StudentMixture:
    """Fit a mixture to weighted draws by expectation-maximisation (Peel & McLachlan 2000; Cappé et al. 2008).

    Components start side by side along the draws' principal axis. Scale matrices are shrunk towards the draws' own
    covariance by as much as ten draws would weigh, so that a starved component stays wide.

    Parameters
    ----------
    z : Tensor (B, S, k)
    weight : Tensor (B, S)
        Normalised.
    components : int
    defence : float
        Share of the prior in the result.
    sweeps : int
        Of expectation and maximisation.
    """
    mean = (weight[..., None] * z).sum(1)
    centred = z - mean[:, None]
    ridge = 1e-6 * torch.eye(z.shape[-1], dtype=z.dtype, device=z.device)
    covariance = product(centred.mT, weight[..., None] * centred) + ridge
    value, axis = principal_axis(covariance)
    axis = axis * value.sqrt()[..., None]
    offset = torch.linspace(-1, 1, components, dtype=z.dtype, device=z.device) if components > 1 else z.new_zeros(1)
    within = covariance - (0.6 if components > 1 else 0) * axis[..., None] * axis[:, None]
    factor = cholesky(within)[:, None].expand(-1, components, -1, -1)
    share = z.new_full((len(z), components), (1 - defence) / components)
    mixture = StudentMixture(share, mean[:, None] + offset[:, None] * axis[:, None], factor, (DF,) * components)
    for _ in range(sweeps):
        mixture = _sweep(mixture, z, weight, covariance, 10 / effective(weight), defence)
    return mixture


def _sweep(
    mixture: StudentMixture, z: Tensor, weight: Tensor, covariance: Tensor, shrinkage: Tensor, defence: float
) -> StudentMixture:
    components, k = len(mixture.df), z.shape[-1]
    joint = torch.stack([mixture.component_log_prob(z, c) for c in range(components)])
    member = torch.softmax(joint, dim=0) * weight  # (C, B, S)
    shares, means, factors = [], [], []
    for c, df in enumerate(mixture.df):
        pull = member[c] * (df + k) / (df + mixture.mahalanobis(z, c))
        total = member[c].sum(-1, keepdim=True)
        mean = (pull[..., None] * z).sum(1) / pull.sum(-1, keepdim=True).clamp(min=1e-30)
        centred = z - mean[:, None]
        scatter = product(centred.mT, pull[..., None] * centred) + shrinkage[:, None, None] * covariance
        factors.append(cholesky(scatter / (total + shrinkage[:, None])[..., None]))
        means.append(mean)
        shares.append(total + 0.05)  # no component dies
    share = torch.cat(shares, dim=-1)
    share = (1 - defence) * share / share.sum(-1, keepdim=True)
    return StudentMixture(share, torch.stack(means, 1), torch.stack(factors, 1), mixture.df)


def effective(weight: Tensor) -> Tensor:
    """Effective number of draws (B,) of normalised weights (B, S)."""
    return 1 / (weight * weight).sum(-1)
