"""One step of elliptical slice sampling, of many chains of many observations."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from physgen.random import normal, uniform
from physgen.small_matrices import cholesky, product, triangular_inverse

from .gradient import Target
from .markov import mean_of

_FORGET = 10  # steps between draws that count as independent where an ellipse is learned
_ENOUGH = 10  # draws for each latent from which a covariance is taken as it is
_GOOD = 2.0  # evaluations of a step, up to which an ellipse fits
_TINY = 1e-4  # of the covariance before, added to that of the draws
_LEAST = 1e-6  # squared chord, of a turn of a thousandth
_SHRINKS = 40  # of a bracket, at most: by then it is a billionth of a turn, and the chain stays where it is


@dataclass(frozen=True, eq=False)
class Ellipse:
    """The pseudo-prior, of which the ellipses are drawn: a multivariate Student-t for each of B observations.

    Attributes
    ----------
    mean : Tensor (B, k)
    factor : Tensor (B, k, k)
        Lower triangular L; the scale matrix is L L^T.
    df : float
        Degrees of freedom; infinite: a normal distribution.
    """

    mean: Tensor
    factor: Tensor
    df: float

    def log_density(self, square: Tensor, k: int) -> Tensor:
        """Log density, but for a constant, at squared distances |L^-1 (z - mean)|^2."""
        if math.isinf(self.df):
            return -0.5 * square
        return -0.5 * (self.df + k) * torch.log1p(square / self.df)


@dataclass(frozen=True, eq=False)
class Moved:
    """Where the chains are: z (B, C, k), log density (B, C); evaluations (B,) that it took; and how far they turned.

    For a turn by t, log_chord (B, C) is the log of its squared chord 2 (1 - cos t).
    """

    z: Tensor
    value: Tensor
    evaluations: Tensor
    log_chord: Tensor


def prior_ellipse(z: Tensor) -> Ellipse:
    """The prior N(0, I) itself, for latents (B, C, k)."""
    batch, _, k = z.shape
    eye = torch.eye(k, dtype=z.dtype, device=z.device).expand(batch, k, k)
    return Ellipse(z.new_zeros(batch, k), eye.clone(), math.inf)


def learned(ellipse: Ellipse, z: Tensor, *, steps: int, cost: Tensor, df: float) -> Ellipse:
    """The Student-t with mean and covariance of draws.

    Few draws overstate how much the covariance differs from direction to direction. So that of n draws of k latents is
    mixed, in coordinates in which the ellipse before is a circle, with its diagonal, which has the share k / (k + n);
    and an ellipse that fits is kept. From 10 k draws on neither is done.

    Parameters
    ----------
    ellipse : Ellipse
        On which the draws were made.
    z : Tensor (B, C, S, k)
    steps : int
        Of each chain in which they were made.
    cost : Tensor (B,)
        Evaluations that a step of a chain took.
    df : float
    """
    chains, k = z.shape[1], z.shape[-1]
    n = chains * (1 + steps / _FORGET)
    w = product(z.flatten(1, 2) - ellipse.mean[:, None], triangular_inverse(ellipse.factor).mT)
    centre = mean_of(w)
    w = w - centre[:, None]
    covariance = product(w.mT, w) / w.shape[1]
    diagonal = torch.diag_embed(covariance.diagonal(dim1=-2, dim2=-1))
    share = 0.0 if n >= _ENOUGH * k else k / (k + n)
    covariance = (1 - share) * covariance + share * diagonal
    covariance = covariance + _TINY * torch.eye(k, dtype=z.dtype, device=z.device)
    mean = ellipse.mean + product(centre[:, None], ellipse.factor.mT)[:, 0]
    factor = product(ellipse.factor, cholesky(covariance)).tril()
    if share:
        good = cost <= _GOOD
        mean = torch.where(good[:, None], ellipse.mean, mean)
        factor = torch.where(good[:, None, None], ellipse.factor, factor)
    return Ellipse(mean, factor, df)


def move(target: Target, ellipse: Ellipse, z: Tensor, value: Tensor, *, seed: int, index: Tensor, stage: int) -> Moved:
    """One step of every chain (Nishihara, Murray & Adams 2014, algorithm 2; Murray et al. 2010, figure 2).

    With w = L^-1 (z - mean), the scale s of the Student-t given w is inverse gamma, and w' = w cos t + nu sin t with
    nu ~ N(0, s I) leaves N(0, s I) as it is. Everything else is likelihood: R(z) = p(z, y) / T(z). That a bracket is
    given up after so many shrinks is symmetric in start and end, so that the posterior stays invariant.

    Parameters
    ----------
    target : Target
    ellipse : Ellipse
    z, value : Tensor (B, C, k), (B, C)
        Where the chains are, and the log density there.
    seed, index, stage
        Decide the random numbers; two stages are used.
    """
    chains, k = z.shape[1:]
    mean, factor = ellipse.mean[:, None], ellipse.factor
    offset = z - mean
    w = product(offset, triangular_inverse(factor).mT)
    nu = _direction(ellipse, w, seed=seed, index=index, stage=stage)
    across = product(nu, factor.mT)
    squares = (w * w).sum(-1), (w * nu).sum(-1), (nu * nu).sum(-1)
    u = uniform((_SHRINKS + 1, chains), index, seed=seed, stage=stage + 1, dtype=z.dtype).to(z.device)
    level = value - ellipse.log_density(squares[0], k) + torch.log(u[:, 0])
    angle = 2 * math.pi * u[:, 1]
    low, high = angle - 2 * math.pi, angle.clone()
    new_z, new_value = z.clone(), value.clone()
    evaluations, turn = torch.zeros_like(index), torch.zeros_like(value)
    b, c = torch.ones_like(value, dtype=torch.bool).nonzero(as_tuple=True)
    for shrink in range(2, _SHRINKS + 2):
        t = angle[b, c]
        cos, sin = torch.cos(t), torch.sin(t)
        proposal = ellipse.mean[b] + offset[b, c] * cos[:, None] + across[b, c] * sin[:, None]
        found = target.value(proposal, b)
        evaluations.index_add_(0, b, torch.ones_like(b))
        ww, wn, nn = (s[b, c] for s in squares)
        square = (ww * cos * cos + 2 * wn * sin * cos + nn * sin * sin).clamp(min=0)
        good = found - ellipse.log_density(square, k) > level[b, c]
        new_z[b[good], c[good]], new_value[b[good], c[good]] = proposal[good], found[good]
        turn[b[good], c[good]] = 2 * (1 - cos[good])
        b, c, t = b[~good], c[~good], t[~good]
        if not len(b) or shrink > _SHRINKS:
            break
        low[b, c] = torch.where(t < 0, t, low[b, c])
        high[b, c] = torch.where(t < 0, high[b, c], t)
        angle[b, c] = low[b, c] + u[b, shrink, c] * (high[b, c] - low[b, c])
    return Moved(new_z, new_value, evaluations, turn.clamp(min=_LEAST).log())


def _direction(ellipse: Ellipse, w: Tensor, *, seed: int, index: Tensor, stage: int) -> Tensor:
    """nu (B, C, k): normal, of the scale that the Student-t has given w (B, C, k)."""
    chains, k = w.shape[1:]
    if math.isinf(ellipse.df):
        return normal((chains, k), index, seed=seed, stage=stage, dtype=w.dtype)
    eps = normal((chains, 2 * k + int(ellipse.df)), index, seed=seed, stage=stage, dtype=w.dtype)
    chi2 = (eps[..., k:] * eps[..., k:]).cumsum(-1)[..., -1]  # of df + k degrees of freedom
    scale = (ellipse.df + (w * w).sum(-1)) / chi2
    return eps[..., :k] * scale.sqrt()[..., None]
