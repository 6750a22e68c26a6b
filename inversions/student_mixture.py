"""Mixtures of multivariate Student-t densities, one for each observation: the proposals of importance sampling."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from physgen.problem import log_normal
from physgen.small_matrices import cholesky, inverse, product, triangular_inverse

DF = 6  # of the Student components
WATCH = 0.2  # share of those that watch the tails of Laplace approximations
WIDE = 0.3  # share of the one that watches the tails of draws
INFLATION = 2.0  # of its covariance
_HELD = 1 << 18  # numbers at once: what stays in the cache


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

    def select(self, rows: Tensor) -> StudentMixture:
        """Some of the observations."""
        return StudentMixture(self.weight[rows], self.mean[rows], self.factor[rows], self.df)

    def sample(self, normals: Tensor, uniforms: Tensor, strata: Tensor | None = None) -> Tensor:
        """Draws from given random numbers.

        Parameters
        ----------
        normals : Tensor (B, S, k)
        uniforms : Tensor (B, S, max(df) / 2)
            Those of the chi-square.
        strata : Tensor (B, S), optional
            On (0, 1): which component each draw belongs to. Uniform ones make independent draws.

        Returns
        -------
        Tensor (B, S, k)
            Without strata, draw s belongs to the component that stratum s of [0, 1] falls into.
        """
        s = normals.shape[1]
        # where the components are mixed, what they have in common is made once
        wide = {} if strata is None else {df: _widened(normals, uniforms, df) for df in set(self.df)}
        if strata is None:
            strata = ((torch.arange(s, dtype=normals.dtype, device=normals.device) + 0.5) / s)[None]
        which = (strata[:, None] > self.weight.cumsum(-1)[..., None]).sum(1)  # (B, S); C stands for the prior
        z = normals.clone()  # those of the prior
        for c, df in enumerate(self.df):
            places = torch.nonzero((which == c).any(0)).squeeze(-1)  # a run of strata, nearly the same for all
            if not places.numel():
                continue
            # in float64 a product of other rows could round differently, and answers are the same to the bit
            run = slice(int(places[0]), int(places[-1]) + 1) if z.dtype == torch.float32 else slice(None)
            here = (which[:, run] == c)[..., None]
            heavy = wide[df][:, run] if wide else _widened(normals[:, run], uniforms[:, run], df)
            draw = self.mean[:, c, None] + product(heavy, self.factor[:, c].mT)
            z[:, run] = torch.where(here, draw, z[:, run])
        return z

    def log_prob(self, z: Tensor) -> Tensor:
        """Log density (B, S) of z (B, S, k)."""
        return log_sum_exp(self.log_parts(z))

    def log_parts(self, z: Tensor) -> list[Tensor]:
        """Logarithms (B, S) of the shares that the prior, and then each component, have in the density."""
        distance, k = self._distances(z), z.shape[-1]
        log_det = self.factor.diagonal(dim1=-2, dim2=-1).log().sum(-1)
        scale = torch.log(self.weight) - log_det - 0.5 * k * math.log(2 * math.pi)
        parts = [torch.log(1 - self.weight.sum(-1, keepdim=True)) + log_normal(z)]
        for c, df in enumerate(self.df):
            if not df:
                parts.append(scale[:, c, None] - 0.5 * distance[..., c])
                continue
            constant = math.lgamma((df + k) / 2) - math.lgamma(df / 2) - 0.5 * k * math.log(df / 2)
            heavy = 0.5 * (df + k) * torch.log1p(distance[..., c] / df)
            parts.append(scale[:, c, None] + constant - heavy)
        return parts

    def _distances(self, z: Tensor) -> Tensor:
        """Squared distance (B, S, C) of z (B, S, k) from the centre of every component."""
        inverse = triangular_inverse(self.factor).flatten(1, 2).mT  # (B, k, C k): all components in one product
        batch, count, k = self.mean.shape
        own = inverse.reshape(batch, k, count, k).transpose(1, 2)
        centre = product(self.mean[:, :, None], own).reshape(batch, 1, -1)
        each = torch.eye(count, dtype=z.dtype, device=z.device).repeat_interleave(k, 0)  # sums over the k of each
        rows = max(1, _HELD // max(1, z.shape[1] * count * k))
        parts = zip(z.split(rows), inverse.split(rows), centre.split(rows), strict=True)
        white = (product(z_rows, factor) - middle for z_rows, factor, middle in parts)
        return torch.cat([product(w * w, each.expand(len(w), -1, -1)) for w in white])


def _widened(normals: Tensor, uniforms: Tensor, df: int) -> Tensor:
    """Student-t draws (B, S, k) from normal ones and uniform numbers; normal ones where df is 0."""
    if not df:
        return normals
    return normals * torch.sqrt(-0.5 * df / torch.log(uniforms[..., : df // 2]).sum(-1, keepdim=True))


def log_sum_exp(parts: list[Tensor]) -> Tensor:
    """Logarithm of the sum of exponentials, element by element, in an order that no shape changes."""
    largest = parts[0]
    for part in parts[1:]:
        largest = torch.maximum(largest, part)
    finite = torch.where(torch.isneginf(largest), 0, largest)
    total = torch.exp(parts[0] - finite)
    for part in parts[1:]:
        total = total + torch.exp(part - finite)
    return finite + torch.log(total)


def around(mean: Tensor, covariance: Tensor, share: Tensor, defence: float) -> StudentMixture:
    """Gaussians of given means, covariances and shares, a wider Student-t for each, and a share of the prior.

    Where the posterior is Gaussian, the Gaussian dominates and the weights are nearly equal; the wider one (the same
    with a quarter of the measurement's information) sees to it that a heavier tail shows in them.

    Parameters
    ----------
    mean, covariance, share : Tensor (B, J, k), (B, J, k, k), (B, J)
        Of Laplace approximations; a share of 0 is none.
    defence : float
        Share of the prior.
    """
    if mean.dtype == torch.float32:  # in float64 products of other shapes could differ in the last bit
        used = torch.nonzero((share > 0).any(0)).squeeze(-1)
        mean, covariance, share = mean[:, used], covariance[:, used], share[:, used]
    identity = torch.eye(mean.shape[-1], dtype=mean.dtype, device=mean.device)
    precision = inverse(cholesky(covariance))
    wide = inverse(cholesky(identity + 0.25 * (precision - identity)))
    factor = torch.cat([cholesky(covariance), cholesky(wide)], 1)
    weight = torch.cat([(1 - WATCH - defence) * share, WATCH * share], 1)
    count = mean.shape[1]
    return StudentMixture(weight, torch.cat([mean, mean], 1), factor, (0,) * count + (DF,) * count)


def mixture(means: Tensor, factors: Tensor, z: Tensor, weight: Tensor, defence: float) -> StudentMixture:
    """Gaussian components of equal weight, a Student-t wider than the weighted draws, and a share of the prior.

    Parameters
    ----------
    means, factors : Tensor (B, C, k), (B, C, k, k)
        Of the components.
    z, weight : Tensor (B, S, k), (B, S)
        Draws with normalised weights.
    defence : float
        Share of the prior.
    """
    components = means.shape[1]
    mean = (weight[..., None] * z).sum(1, keepdim=True)
    ridge = 1e-6 * torch.eye(z.shape[-1], dtype=z.dtype, device=z.device)
    covariance = product((z - mean).mT, weight[..., None] * (z - mean)) + ridge
    shares = [(1 - WIDE - defence) / components] * components + [WIDE]
    return StudentMixture(
        z.new_tensor(shares).expand(len(z), -1),
        torch.cat([means, mean], 1),
        torch.cat([factors, cholesky(INFLATION * covariance)[:, None]], 1),
        (0,) * components + (DF,),
    )


def searched(k: int) -> float:
    """Share of the prior in the proposals that follow a first one that did not suffice, for k latents.

    A mixture creeps along a bent posterior, and weights cannot tell of what it has not reached: of a ring, half was
    missing from answers that looked well. So few latents are searched; of more, the prior hits nothing.
    """
    return 0.5 ** max(k - 1, 1)


def effective(weight: Tensor) -> Tensor:
    """Effective number of draws (B,) of normalised weights (B, S)."""
    return 1 / (weight * weight).sum(-1)
