"""Batches of small matrices, with float64 results that do not depend on where in memory a matrix lies.

BLAS and LAPACK choose their instructions by the alignment of each matrix, so that the last bits of a product may
change when the same matrix stands elsewhere in a batch. Padding every axis to a multiple of eight doubles (64 bytes)
aligns all matrices of a batch alike. In float32, answers agree to rounding only, and nothing is padded.
"""

from __future__ import annotations

import torch
from torch import Tensor

_ALIGNED = 8
_LIFTS = (64, 64_000)  # ulps of the mean of the diagonal, where rounding has made a matrix indefinite


def _pad(a: Tensor) -> Tensor:
    """Zeros appended to the last two axes, up to multiples of eight."""
    if a.dtype != torch.float64:
        return a
    rows, columns = (-a.shape[-2]) % _ALIGNED, (-a.shape[-1]) % _ALIGNED
    # without a copy a view could still start at an address that is not aligned
    return torch.nn.functional.pad(a, (0, columns, 0, rows)) if rows or columns else a.clone()


def _pad_definite(a: Tensor) -> Tensor:
    """The same, with ones on the new part of the diagonal, so that a definite matrix stays definite."""
    out, k = _pad(a), a.shape[-1]
    if out.shape[-1] > k:
        out.diagonal(dim1=-2, dim2=-1)[..., k:] = 1
    return out


def product(a: Tensor, b: Tensor) -> Tensor:
    """Matrix product ``(*, n, m)`` of ``(*, n, k)`` and ``(*, k, m)``."""
    left, right = _pad(a), _pad(b)
    if left.dtype == torch.float64 and left.shape[:-2].numel() == 1:
        # one pair of matrices would go another way through BLAS than the same pair in a batch
        twice = torch.cat([left, left]) @ torch.cat([right, right]) if left.ndim > 2 else left @ right
        return twice[:1, ..., : a.shape[-2], : b.shape[-1]] if left.ndim > 2 else twice[: a.shape[-2], : b.shape[-1]]
    return (left @ right)[..., : a.shape[-2], : b.shape[-1]]


def cholesky(a: Tensor) -> Tensor:
    """Lower Cholesky factor ``(*, k, k)`` of a positive definite matrix; a semi-definite one is lifted by rounding.

    NaN where that does not help: the others of a batch do not fail with it.
    """
    k = a.shape[-1]
    padded = _pad_definite(a)
    factor, info = torch.linalg.cholesky_ex(padded)
    eye = torch.eye(padded.shape[-1], dtype=a.dtype, device=a.device)
    for ulps in _LIFTS:
        bad = (info != 0)[..., None, None]
        if not bool(bad.any()):
            break
        lift = ulps * torch.finfo(a.dtype).eps * padded.diagonal(dim1=-2, dim2=-1).mean(-1)
        lifted, info = torch.linalg.cholesky_ex(torch.where(bad, padded + lift[..., None, None] * eye, eye))
        factor = torch.where(bad, lifted, factor)
    return torch.where((info != 0)[..., None, None], torch.nan, factor)[..., :k, :k]


def solve(factor: Tensor, b: Tensor) -> Tensor:
    """Solution ``(*, k, m)`` of L L^T x = b, from the factor L ``(*, k, k)``."""
    return torch.cholesky_solve(_pad(b), _pad_definite(factor))[..., : b.shape[-2], : b.shape[-1]]


def inverse(factor: Tensor) -> Tensor:
    """(L L^T)^-1 ``(*, k, k)`` from the factor L."""
    k = factor.shape[-1]
    out = torch.cholesky_inverse(_pad_definite(factor))[..., :k, :k]
    return 0.5 * (out + out.mT)


def triangular_inverse(factor: Tensor) -> Tensor:
    """L^-1 ``(*, k, k)`` of a lower triangular matrix."""
    k, padded = factor.shape[-1], _pad_definite(factor)
    eye = torch.eye(padded.shape[-1], dtype=factor.dtype, device=factor.device).expand_as(padded)
    return torch.linalg.solve_triangular(padded, eye.contiguous(), upper=False)[..., :k, :k]


def eigenvalues(a: Tensor) -> Tensor:
    """Eigenvalues ``(*, k)``, ascending, of a symmetric positive semi-definite matrix."""
    k = a.shape[-1]
    padded = _pad(a)
    if padded.shape[-1] > k:  # what is appended comes last
        largest = a.diagonal(dim1=-2, dim2=-1).sum(-1, keepdim=True)
        padded.diagonal(dim1=-2, dim2=-1)[..., k:] = 2 * largest + 1
    return torch.linalg.eigvalsh(padded)[..., :k]
