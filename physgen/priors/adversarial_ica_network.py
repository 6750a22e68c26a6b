"""What adversarial independent component analysis learns: a rotation, and increasing functions before it."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from ..random import normal, single_stream
from .fast_ica import _STAGE, _orthogonal
from .flow_spline import parameter_count, spline

_BINS = 8
_ALONE = 1000  # steps of the rotation before the functions move: a wrong rotation would bend them the wrong way
_PACE = 0.2  # of the functions against the rotation


class Unmixing(nn.Module):
    """s = B L^-1 (y - mean) with y_i = g_i(u_i), where mean and L L^T are those of y, and B is a rotation.

    So s has mean 0 and covariance I whatever the parameters, which leaves no way to be independent by vanishing; Brakel
    & Bengio (2017) have an autoencoder's reconstruction for that. B = exp(K - K^T) B_0 from a random B_0.

    Parameters
    ----------
    size : int
        Number n of sources.
    bend : bool
        Whether the g_i are learned, or the identity.
    seed : int
        Of B_0.
    """

    start: Tensor

    def __init__(self, size: int, *, bend: bool, seed: int = 0) -> None:
        super().__init__()
        drawn = normal((size, size), single_stream(), seed=seed, stage=_STAGE)
        self.register_buffer("start", _orthogonal(drawn).float())
        self.turn = nn.Parameter(torch.zeros(size, size, dtype=torch.float32))
        first = torch.zeros(parameter_count(_BINS), size, dtype=torch.float32)
        self.bends = nn.Parameter(first) if bend else None

    def bent(self, u: Tensor, share: float = 1.0) -> Tensor:
        """y ``(n, R)`` of u ``(n, R)``; so far only by a share of the bend."""
        if self.bends is None:
            return u
        return spline(u, (share * _PACE * self.bends)[..., None].expand(*self.bends.shape, u.shape[1]), slope=False)[0]

    def rotation(self) -> Tensor:
        """B ``(n, n)``."""
        return torch.linalg.matrix_exp(self.turn - self.turn.mT) @ self.start

    def forward(self, u: Tensor, step: int) -> Tensor:
        """s ``(n, R)``, with the mean and covariance of these R, as of a step of the fit."""
        y = self.bent(u, 0.0 if step < _ALONE else 1.0)
        centred = y - y.mean(1, keepdim=True)
        return self.rotation() @ torch.linalg.solve_triangular(root(centred), centred, upper=False)


def root(centred: Tensor) -> Tensor:
    """L ``(n, n)``, lower triangular, with L L^T the covariance of columns ``(n, R)`` of mean 0."""
    return torch.linalg.cholesky(centred @ centred.mT / centred.shape[1])
