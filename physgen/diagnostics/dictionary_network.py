"""The network of a dictionary: a sparse autoencoder that keeps the k largest codes, and revives dead atoms."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from ..random import normal, single_stream

_WEIGHT = 1 / 32  # of what dead atoms leave
WEIGHTS_STAGE = (1 << 41) + 2  # of the first atoms


class SparseAutoencoder(nn.Module):
    """codes = largest k of relu(E (w - b)), w' = b + codes D with the rows of D of length 1 (Gao et al. 2024, eq. 1).

    Parameters
    ----------
    features, atoms, active, revived, dead_after : int
        See `fit_dictionary`.
    seed : int
        Of the first atoms; the encoder begins as their transpose.
    """

    idle: Tensor

    def __init__(self, features: int, atoms: int, active: int, revived: int, dead_after: int, *, seed: int) -> None:
        super().__init__()
        self.active, self.revived, self.dead_after = active, revived, dead_after
        first = normal((atoms, features), single_stream(), seed=seed, stage=WEIGHTS_STAGE, dtype=torch.float32)
        first = first / first.norm(dim=1, keepdim=True)
        self.atoms, self.encoder = nn.Parameter(first.clone()), nn.Parameter(first.clone())
        self.bias = nn.Parameter(torch.zeros(features, dtype=torch.float32))
        self.register_buffer("idle", torch.zeros(atoms, dtype=torch.float32))

    def unit_atoms(self) -> Tensor:
        """D ``(m, n)``."""
        return self.atoms / self.atoms.norm(dim=1, keepdim=True)

    def encode(self, w: Tensor) -> Tensor:
        """Codes ``(B, m)`` of samples ``(B, n)``."""
        return _largest((w - self.bias) @ self.encoder.mT, self.active)

    def decode(self, codes: Tensor) -> Tensor:
        """Samples ``(B, n)`` of codes ``(B, m)``."""
        return self.bias + codes @ self.unit_atoms()

    def loss(self, w: Tensor, *, learning: bool) -> Tensor:
        """Squared error of each sample ``(B,)``; while learning, also that of the dead atoms' attempt at the error."""
        raw = (w - self.bias) @ self.encoder.mT
        codes = _largest(raw, self.active)
        atoms = self.unit_atoms()
        error = w - self.bias - codes @ atoms
        value = error.square().sum(1)
        if not learning:
            return value
        with torch.no_grad():
            self.idle += 1
            self.idle[(codes > 0).any(0)] = 0
        dead = self.idle >= self.dead_after
        if not self.revived or not bool(dead.any()):
            return value
        attempt = _largest(raw.masked_fill(~dead, -torch.inf), self.revived) @ atoms
        return value + _WEIGHT * (error.detach() - attempt).square().sum(1)


def _largest(raw: Tensor, k: int) -> Tensor:
    """The k largest numbers of each row where they are positive, 0 elsewhere."""
    top = raw.topk(k, dim=1)
    return torch.zeros_like(raw).scatter(1, top.indices, top.values.relu())
