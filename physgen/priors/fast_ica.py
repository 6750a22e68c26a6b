"""FastICA: the rotation of whitened samples after which the elements are least normal."""

from __future__ import annotations

import torch
from torch import Tensor

from ..random import normal, single_stream

_ROUNDS, _TOLERANCE = 1000, 1e-10
_STAGE = 1 << 37  # of the rotation that the iteration starts from


def whiten(x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Mean ``(n,)``, W ``(n, n)`` and its inverse, with W (x - mean) of covariance I, along principal axes.

    Raises
    ------
    ValueError
        If a combination of the columns is constant.
    """
    mean = x.mean(0)
    variance, axes = torch.linalg.eigh((x - mean).mT @ (x - mean) / len(x))
    if not bool(variance[0] > 1e-12 * variance[-1]):
        raise ValueError("One cause is a linear combination of others. Leave one of them out.")
    return mean, (axes / variance.sqrt()).mT, axes * variance.sqrt()


def rotation(white: Tensor, *, seed: int = 0) -> Tensor:
    """Orthogonal B ``(n, n)``: the rows of B are the directions of the sources in whitened samples ``(N, n)``.

    The symmetric fixed point of Hyvarinen (1999), eqs 20 and 21, with g = tanh.

    Raises
    ------
    RuntimeError
        If it does not converge, as where more than one source is normal.
    """
    n = white.shape[1]
    b = _orthogonal(normal((n, n), single_stream(), seed=seed, stage=_STAGE).to(white))
    for _ in range(_ROUNDS):
        g = torch.tanh(white @ b.mT)
        new = _orthogonal(g.mT @ white / len(white) - (1 - g * g).mean(0)[:, None] * b)
        if bool((((new * b).sum(1)).abs() - 1).abs().max() < _TOLERANCE):
            return new
        b = new
    raise RuntimeError(f"FastICA has not converged in {_ROUNDS} rounds. At most one source may be normal.")


def _orthogonal(b: Tensor) -> Tensor:
    """(B B^T)^(-1/2) B."""
    u, _, v = torch.linalg.svd(b)
    return u @ v
