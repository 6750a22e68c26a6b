"""The network of neural posterior estimation: a conditional flow over latents, given what was observed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from physgen.priors.columns import in_tiles, total
from physgen.priors.flow_network import CouplingFlow, Perceptron
from physgen.priors.standard_normal import log_density
from physgen.small_matrices import product, triangular_inverse

_LINEAR, _FAR = 4.0, 12.0  # standardised values are kept as they are, then as logarithms, then cut
_COMPONENTS = 64  # principal components of an observation, at most
_FLOOR = 1e-10  # of a component's variance, relative to the largest: what is less is rounding
_SORTED = 1 << 24  # numbers of which quartiles can be taken at once
_FULL = 64  # latents of which all correlations are learned
_STAGE = 100_000  # of the embedding's weights; those of the flow come before
_COLUMNS = 48  # rows of a block of the embedding: its products do not depend on how many there are


@dataclass(frozen=True, eq=False)
class Embedded:
    """What the network makes of B observations.

    Attributes
    ----------
    mean : Tensor (B, k)
    factor : Tensor (B, k, k)
        Lambda, lower triangular: of the precision Lambda^T Lambda.
    context : Tensor (c, B)
    """

    mean: Tensor
    factor: Tensor
    context: Tensor

    @property
    def log_det(self) -> Tensor:
        """log det Lambda (B,)."""
        return total(self.factor.diagonal(dim1=-2, dim2=-1).log().mT)


class Features(nn.Module):
    """Numbers that a network can learn from: standardised principal components, mask and conditions.

    Parameters
    ----------
    y : Tensor (N, m)
        Simulated observations, nothing missing, of which centre, spread and correlations are taken.
    conditions : Tensor (N, c)
    """

    centre: Tensor
    scale: Tensor
    basis: Tensor
    condition_centre: Tensor
    condition_scale: Tensor

    def __init__(self, y: Tensor, conditions: Tensor) -> None:
        super().__init__()
        some = y[: max(1, _SORTED // y.shape[1])].double()
        low, middle, high = torch.quantile(some, some.new_tensor([0.25, 0.5, 0.75]), dim=0)
        spread = (high - low) / 1.349  # standard deviations of a normal distribution
        self.register_buffer("centre", middle.float())
        self.register_buffer("scale", _inverse(torch.where(spread > 0, spread, _sd(some)), middle))
        w = self._standardised(y).double()
        value, vector = torch.linalg.eigh(w.mT @ w / len(w))
        keep = min(_COMPONENTS, len(value))
        value, vector = value[-keep:], vector[:, -keep:]
        self.register_buffer("basis", (vector * (value + _FLOOR * value[-1]).rsqrt()).mT.float().contiguous())
        centre = conditions.double().mean(0)
        self.register_buffer("condition_centre", centre.float())
        self.register_buffer("condition_scale", _inverse(_sd(conditions.double()), centre))

    @property
    def size(self) -> int:
        """How many there are."""
        return len(self.basis) + len(self.centre) + len(self.condition_centre)

    def forward(self, y: Tensor, conditions: Tensor) -> Tensor:
        """Features ``(f, B)`` of observations ``(B, m)``, NaN where not measured, and conditions ``(B, c)``."""
        measured = ~torch.isnan(y)
        w = torch.where(measured, self._standardised(y), 0.0)
        c = ((conditions - self.condition_centre) * self.condition_scale).clamp(-_FAR, _FAR)
        return torch.cat([(self.basis @ w.mT).clamp(-_FAR, _FAR), measured.mT.to(y.dtype), c.mT])

    def _standardised(self, y: Tensor) -> Tensor:
        w = (y.to(self.centre.dtype) - self.centre) * self.scale
        beyond = (w.abs() - _LINEAR).clamp(min=0)
        return w.clamp(-_LINEAR, _LINEAR) + w.sign() * torch.log1p(beyond)


class PosteriorNetwork(nn.Module):
    """q(z | y, conditions): z = m + Lambda^-1 f(u; h), u ~ N(0, I), where m, Lambda and h are a network's of y.

    f is a coupling flow (Durkan et al. 2019); alone, m and Lambda make a normal distribution, which is all that a
    linear problem needs and costs nothing a draw.

    Parameters
    ----------
    features : Features
    latents : int
        Their number k.
    width, layers : int
        Of the embedding network.
    context : int
        Length of h.
    transforms, bins : int
    hidden : sequence of int
        Of the flow: see `CouplingFlow`.
    seed : int
        Of the weights.
    """

    lower: Tensor

    def __init__(
        self,
        features: Features,
        latents: int,
        *,
        width: int,
        layers: int,
        context: int,
        transforms: int,
        bins: int,
        hidden: Sequence[int],
        seed: int,
    ) -> None:
        super().__init__()
        self.features, self.latents, self.context = features, latents, context
        below = torch.tril_indices(latents, latents, -1) if latents <= _FULL else torch.empty(2, 0, dtype=torch.int64)
        self.register_buffer("lower", below, persistent=False)
        outputs = 2 * latents + below.shape[1] + context
        self.embedding = Perceptron([features.size, *[width] * layers, outputs], seed=seed, stage=_STAGE)
        self.linear = Perceptron([features.size, latents], seed=seed, stage=2 * _STAGE)
        self.flow = CouplingFlow(latents, context, transforms=transforms, bins=bins, hidden=hidden, seed=seed)

    def embed(self, y: Tensor, conditions: Tensor) -> Embedded:
        """What decides q for observations ``(B, m)`` with conditions ``(B, c)``."""
        inputs, k = self.features(y, conditions), self.latents
        out = self.embedding(inputs)
        mean, diagonal, below, context = out.split([k, k, self.lower.shape[1], self.context])
        factor = torch.diag_embed(nn.functional.softplus(diagonal.mT + 0.5413))  # softplus(0.5413) = 1
        factor = factor.index_put((torch.arange(len(y), device=y.device)[:, None], *self.lower), below.mT)
        return Embedded((mean + self.linear(inputs)).mT, factor, context)

    def embed_rows(self, y: Tensor, conditions: Tensor) -> Embedded:
        """The same, block by block of one size, so that a row's bits do not depend on how many there are."""
        parts = []
        for own, c in zip(y.split(_COLUMNS), conditions.split(_COLUMNS), strict=True):
            short = _COLUMNS - len(own)
            part = self.embed(_padded(own, short), _padded(c, short))
            parts.append((part.mean[: len(own)], part.factor[: len(own)], part.context[:, : len(own)]))
        mean, factor, context = zip(*parts, strict=True)
        return Embedded(torch.cat(mean), torch.cat(factor), torch.cat(context, 1))

    def log_prob(self, z: Tensor, given: Embedded) -> Tensor:
        """Log density (B,) of latents (B, k)."""
        return self._density(product(given.factor, (z - given.mean)[..., None]).squeeze(-1).mT, given, 1)

    def log_prob_draws(self, z: Tensor, given: Embedded) -> Tensor:
        """Log density (B, S) of latents (B, S, k)."""
        v = product(z - given.mean[:, None], given.factor.mT)
        return self._density(v.flatten(0, 1).mT, given, z.shape[1]).reshape(z.shape[:2])

    def _density(self, v: Tensor, given: Embedded, times: int) -> Tensor:
        context = _repeated(given.context, times)
        u, log_slope = in_tiles(lambda *c: self.flow(*c, inverse=True), v.contiguous(), context)
        return total(log_density(u)) + log_slope + given.log_det.repeat_interleave(times)

    def sample(self, u: Tensor, given: Embedded, *, density: bool = True) -> tuple[Tensor, Tensor]:
        """Latents (B, S, k) of standard normal numbers u (B, S, k), and their log density (B, S) if wanted."""
        times, columns = u.shape[1], u.flatten(0, 1).mT.contiguous()
        context = _repeated(given.context, times)
        v, log_slope = in_tiles(lambda *c: self.flow(*c, slope=density), columns, context)
        v = v.mT.reshape(u.shape)
        z = given.mean[:, None] + product(v, triangular_inverse(given.factor).mT)
        log_q = (total(log_density(columns)) - log_slope).reshape(u.shape[:2]) + given.log_det[:, None]
        return z, log_q


def _sd(x: Tensor) -> Tensor:
    return (x - x.mean(0)).square().mean(0).sqrt()


def _inverse(scale: Tensor, centre: Tensor) -> Tensor:
    """1 / scale; 0 for what does not vary (but for rounding), which then says nothing."""
    return torch.where(scale > 1e-6 * centre.abs(), 1 / scale, 0.0).float()


def _repeated(context: Tensor, times: int) -> Tensor:
    return context.repeat_interleave(times, 1) if times > 1 else context


def _padded(rows: Tensor, count: int) -> Tensor:
    return torch.cat([rows, rows.new_zeros(count, rows.shape[1])]) if count else rows
