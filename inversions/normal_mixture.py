"""Mixtures fitted to draws of many observations at once."""

from __future__ import annotations

import torch
from torch import Tensor

from physgen.small_matrices import cholesky, product, triangular_inverse

from .markov import mean_and_covariance
from .student_mixture import DF, INFLATION, StudentMixture

_ITERATIONS = 30
_OWN = 20  # draws for each latent of a component, at least
_PSEUDO, _WITHIN = 10.0, 0.3  # draws that a component is given besides its own, and their variance; all have 1
_WIDE = 0.1  # share of a component that watches the tails of all draws


def components(draws: int, k: int) -> int:
    """How many components so many draws of k latents teach."""
    return draws // (_OWN * k)


def fitted(z: Tensor, most: int, defence: float) -> StudentMixture | None:
    """Student-t components at those of a normal mixture fitted to draws, a wider one of all, and a share of the prior.

    By expectation and maximisation (Dempster, Laird & Rubin 1977), with covariances held off zero by a few draws that
    nobody made (Fraley & Raftery 2007). Each component begins at a draw of another chain. Normal ones would leave the
    tails of a posterior far behind, and a chain that is there would hardly be offered a place that it takes.

    Parameters
    ----------
    z : Tensor (B, C, S, k)
        Draws of C chains.
    most : int
        Components, at most; fewer where there are fewer than 20 draws for each latent of one.
    defence : float
        Share of the prior.

    Returns
    -------
    StudentMixture or None
        None where there are not enough draws for one component.
    """
    chains, k = z.shape[1], z.shape[3]
    count = min(most, components(z[0].numel() // k, k))
    if not count:
        return None
    centre, covariance = mean_and_covariance(z.flatten(1, 2))
    root = cholesky(covariance)
    white = product(z - centre[:, None, None], triangular_inverse(root).mT[:, None])
    first = torch.arange(count, device=z.device) * chains // count
    share, mean, own = _expected(white.flatten(1, 2), white[:, first, -1])
    weight = torch.cat([(1 - _WIDE - defence) * share, torch.full_like(share[:, :1], _WIDE)], 1)
    means = torch.cat([centre[:, None] + product(mean, root.mT), centre[:, None]], 1)
    factors = torch.cat([product(root[:, None].expand_as(own), own), INFLATION**0.5 * root[:, None]], 1)
    return StudentMixture(weight, means, factors, (DF,) * (count + 1))


def _expected(z: Tensor, mean: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Shares (B, C), means (B, C, k) and factors (B, C, k, k) of components that begin at `mean`; z (B, S, k)."""
    (batch, count, k), size = mean.shape, z.shape[1]
    eye = torch.eye(k, dtype=z.dtype, device=z.device)
    share, factor = mean.new_full((batch, count), 1 / count), eye.expand(batch, count, k, k)
    for _ in range(_ITERATIONS):
        parts = StudentMixture(share, mean, factor, (0,) * count).log_parts(z)
        belongs = torch.softmax(torch.stack(parts[1:], 1), 1)  # (B, C, S)
        number = product(belongs, torch.ones_like(z[..., :1])) + 1e-6  # (B, C, 1)
        share, mean = (number / (size + 1e-6 * count))[..., 0], product(belongs, z) / number
        scatter = torch.stack([_scatter(z - mean[:, c, None], belongs[:, c, :, None]) for c in range(count)], 1)
        factor = cholesky((scatter + _PSEUDO * _WITHIN * eye) / (number + _PSEUDO)[..., None])
    return share, mean, factor


def _scatter(off: Tensor, share: Tensor) -> Tensor:
    """Sums (B, k, k) of products of deviations (B, S, k), of which each has a share (B, S, 1)."""
    return product((share * off).mT, off)
