"""Probabilistic principal component analysis: a linear code with a residual, learned from a table of causes."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..conditions import Takes
from ..space import Block, Space
from .prior import Prior
from .standard_normal import LOG_SQRT_2_PI
from .storage import space_from_json, space_to_json, storable


@storable("ppca")
class PPCA(Prior):
    """Normally distributed causes with a few strong directions and equal noise in all others.

    x = mean + scale * (U sqrt(variance) z_code + sqrt(noise) U' z_residual), U' the directions at right angles to U.
    So z has as many elements as x: the first k are the code, standardised principal components, the others the
    residual, without which draws would be too narrow; the map is one to one, and the density that of N(mean, C) with
    C = W W^T + noise I, W = U (variance - noise)^(1/2), in units of `scale` (Tipping & Bishop 1999, eq. 7).

    Parameters
    ----------
    mean : array_like (n,)
        In the units of the causes.
    directions : array_like (n, k)
        U: orthonormal columns, 1 <= k < n.
    variance : array_like (k,)
        Along each of them; the noise or more.
    noise : float
        Variance sigma^2 along each direction at right angles, positive.
    scale : array_like (n,), optional
        What the elements are divided by first; 1 by default.
    causes : Space or sequence of str, optional
        What the elements are; one block ``x`` of shape (n,) by default. Supports are dropped: a Gaussian takes every
        value.

    Raises
    ------
    ValueError
        If shapes disagree, the directions are not orthonormal, or a variance is not positive or below the noise.

    References
    ----------
    Tipping & Bishop (1999), Probabilistic principal component analysis, *J. R. Statist. Soc. B* 61, 611-622.
    """

    capabilities = frozenset({"log_prob", "encode", "score"})
    takes = Takes()

    def __init__(
        self,
        mean: Any,
        directions: Any,
        variance: Any,
        noise: float,
        scale: Any = None,
        causes: Space | Sequence[str] | None = None,
    ) -> None:
        self.mean, self.directions, self.variance = _float64(mean), _float64(directions), _float64(variance)
        self.noise = float(noise)
        self.scale = torch.ones_like(self.mean) if scale is None else _float64(scale)
        _check_parts(self.mean, self.directions, self.variance, self.noise, self.scale)
        self.causes = _causes(causes, len(self.mean))
        self.latent_dim = len(self.mean)
        self._v, self._t, self._sign = _reflections(self.directions)
        residual = torch.full_like(self.mean[self.code_dim :], self.noise)
        self._spread = torch.cat([self.variance, residual]).sqrt()

    @property
    def code_dim(self) -> int:
        """k: how many of the latents, the first ones, are the code."""
        return len(self.variance)

    def __repr__(self) -> str:
        return f"PPCA(n={self.latent_dim}, k={self.code_dim}, noise={self.noise:.4g}, causes={list(self.causes.names)})"

    @classmethod
    def fit(
        cls,
        table: Any,
        k: int,
        *,
        scale: Any = None,
        causes: Space | Sequence[str] | None = None,
        constant: str = "refuse",
    ) -> PPCA:
        """The maximum-likelihood prior of a table of causes, in closed form (Tipping & Bishop 1999, eqs 7 and 8).

        `variance` holds the largest k eigenvalues of the sample covariance (divided by N), `noise` is the mean of the
        others.

        Parameters
        ----------
        table : array_like (N, n)
            One row a sample.
        k : int
            Length of the code, 1 <= k < n.
        scale : array_like (n,) or "deviation", optional
            What the columns are divided by first: noise is equal in these units. "deviation": their standard
            deviations.
        causes : Space or sequence of str, optional
            What the columns are.
        constant : {"refuse", "keep"}
            What to do with a column of one value; kept, it takes part in the noise.

        Raises
        ------
        ValueError
            If there are k + 1 rows or fewer, a value is missing or infinite, a column is constant (it is named), or the
            rows leave no noise beside k directions.
        """
        rows = _float64(table)
        if rows.ndim != 2:
            raise ValueError(f"Invalid table of shape {tuple(rows.shape)}. Give (samples, causes).")
        space = _causes(causes, rows.shape[1])
        _check_table(rows, k, space, constant)
        mean, deviation = rows.mean(0), rows.std(0, correction=0)
        if isinstance(scale, str):
            if scale != "deviation" or constant == "keep":
                raise ValueError(f"Invalid scale {scale!r}. Give numbers, or 'deviation' where no column is constant.")
            scale = deviation
        scale = torch.ones_like(mean) if scale is None else _float64(scale)
        directions, variance, noise = _principal((rows - mean) / scale, k)
        return cls(mean, directions, variance, noise, scale, space)

    def decode(self, z: Tensor, /, **conditions: Tensor) -> Tensor:
        self.causes.check(z)
        along = z * self._spread.to(z) * self._sign.to(z)
        v = self._v.to(z)
        turned = along - ((along @ v) @ self._t.to(z).mT) @ v.mT
        return self.mean.to(z) + self.scale.to(z) * turned

    def encode(self, x: Tensor, /, **conditions: Tensor) -> Tensor:
        self.causes.check(x)
        v, y = self._v.to(x), (x - self.mean.to(x)) / self.scale.to(x)
        return (y - ((y @ v) @ self._t.to(x)) @ v.mT) * self._sign.to(x) / self._spread.to(x)

    def log_prob(self, x: Tensor, /, **conditions: Tensor) -> Tensor:
        """Log density ``(*)``; its quadratic form needs the code only, by Woodbury's identity."""
        self.causes.check(x)
        y = (x - self.mean.to(x)) / self.scale.to(x)
        code = y @ self.directions.to(x)
        gain = (1 - self.noise / self.variance).to(x)  # C^-1 = (I - U gain U^T) / noise
        square = ((y * y).sum(-1) - (gain * code * code).sum(-1)) / self.noise
        return -0.5 * square - self._constant

    def score(self, x: Tensor, /, **conditions: Tensor) -> Tensor:
        """Gradient of the log density in x, ``(*, n)``."""
        self.causes.check(x)
        y, u = (x - self.mean.to(x)) / self.scale.to(x), self.directions.to(x)
        gain = (1 - self.noise / self.variance).to(x)
        return -(y - (gain * (y @ u)) @ u.mT) / (self.noise * self.scale.to(x))

    def reconstruct(self, x: Tensor) -> Tensor:
        """The causes ``(*, n)`` that the code alone gives back: x projected on mean and directions."""
        code = self.encode(x)[..., : self.code_dim]
        return self.decode(torch.nn.functional.pad(code, (0, self.latent_dim - self.code_dim)))

    def state(self) -> tuple[dict[str, Tensor], dict[str, Any]]:
        """Tensors and plain values that `from_state` makes the same prior of."""
        tensors = {n: getattr(self, n) for n in ("mean", "directions", "variance", "scale")}
        return tensors | {"noise": torch.tensor(self.noise, dtype=torch.float64)}, {
            "causes": space_to_json(self.causes)
        }

    @classmethod
    def from_state(cls, tensors: Mapping[str, Tensor], settings: Mapping[str, Any]) -> PPCA:
        """The prior of `state`."""
        parts = {n: tensors[n] for n in ("mean", "directions", "variance", "scale")}
        return cls(**parts, noise=float(tensors["noise"]), causes=space_from_json(settings["causes"]))

    @property
    def _constant(self) -> float:
        """Half the log determinant of 2 pi C, in the units of the causes."""
        return self.latent_dim * LOG_SQRT_2_PI + float((self._spread.log() + self.scale.log()).sum())


def _principal(y: Tensor, k: int) -> tuple[Tensor, Tensor, float]:
    """Directions (n, k), variances along them, and the mean variance of the other n - k, of centred rows (N, n)."""
    rows, n = y.shape
    _, singular, right = torch.linalg.svd(y, full_matrices=False)
    eigenvalues = singular**2 / rows
    noise = float(eigenvalues[k:].sum()) / (n - k)
    if not noise > 1e-14 * float(eigenvalues[0]):
        raise ValueError(f"The table leaves no noise beside {k} directions. Lower k, or give more samples.")
    directions = right[:k].mT
    largest = directions.abs().argmax(0)
    return directions * directions[largest, torch.arange(k)].sign(), eigenvalues[:k], noise


def _reflections(u: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """V (n, k), T (k, k), signs (n,) with (I - V T V^T) diag(signs) orthogonal and its first k columns those of u.

    Householder's reflections in the compact form of Schreiber & Van Loan (1989): all n directions at the cost of k.
    """
    n, k = u.shape
    packed, tau = torch.geqrf(u)
    v = torch.tril(packed, -1) + torch.eye(n, k, dtype=u.dtype)
    t = torch.zeros(k, k, dtype=u.dtype)
    for j in range(k):
        t[:j, j] = -tau[j] * (t[:j, :j] @ (v[:, :j].mT @ v[:, j]))
        t[j, j] = tau[j]
    return v, t, torch.cat([packed.diagonal().sign(), torch.ones(n - k, dtype=u.dtype)])


def _check_table(rows: Tensor, k: int, space: Space, constant: str) -> None:
    count, n = rows.shape
    if constant not in ("refuse", "keep"):
        raise ValueError(f"Invalid constant {constant!r}. Must be 'refuse' or 'keep'.")
    if isinstance(k, bool) or not isinstance(k, int) or not 1 <= k < n:
        raise ValueError(f"Invalid code length {k!r}. It must be a whole number from 1 to {n - 1}.")
    if count < k + 2:
        raise ValueError(
            f"Too few samples: {count} for a code of {k}. Give at least {k + 2}, better ten times as many."
        )
    missing = ~torch.isfinite(rows).all(0)
    if bool(missing.any()):
        raise ValueError(f"Missing or infinite values of {_named(missing, space)}. Leave such rows or columns out.")
    flat = (rows == rows[:1]).all(0)
    if constant == "refuse" and bool(flat.any()):
        raise ValueError(f"No variation in {_named(flat, space)}. Leave such columns out, or set constant='keep'.")


def _named(which: Tensor, space: Space) -> str:
    names = [name for name, named in zip(space.element_names, which.tolist(), strict=True) if named]
    return ", ".join(names[:5]) + (f" and {len(names) - 5} more" if len(names) > 5 else "")


def _check_parts(mean: Tensor, directions: Tensor, variance: Tensor, noise: float, scale: Tensor) -> None:
    n, k = mean.numel(), variance.numel()
    if (
        mean.shape != (n,)
        or scale.shape != (n,)
        or variance.shape != (k,)
        or directions.shape != (n, k)
        or not 0 < k < n
    ):
        shapes = ", ".join(str(tuple(t.shape)) for t in (mean, directions, variance, scale))
        raise ValueError(
            f"Invalid mean, directions, variance, scale of shapes {shapes}. Give (n,), (n, k), (k,), (n,)."
        )
    if not all(bool(torch.isfinite(t).all()) for t in (mean, directions, variance, scale)):
        raise ValueError("Invalid parts with missing or infinite values. Every element must be finite.")
    if not (math.isfinite(noise) and noise > 0 and bool((variance >= noise * (1 - 1e-9)).all() and (scale > 0).all())):
        raise ValueError(f"Invalid noise {noise:g} or scale. Both must be positive, and no variance below the noise.")
    if bool((directions.mT @ directions - torch.eye(k, dtype=mean.dtype)).abs().max() > 1e-8):
        raise ValueError("Invalid directions. Their columns must be orthonormal.")


def _causes(causes: Space | Sequence[str] | None, n: int) -> Space:
    blocks = [Block("x", shape=(n,))] if causes is None else causes
    space = Space(*(Block(b) if isinstance(b, str) else replace(b, support=(-math.inf, math.inf)) for b in blocks))
    if space.size != n:
        raise ValueError(f"Invalid causes with {space.size} elements. The table or the mean has {n}.")
    return space


def _float64(values: Any) -> Tensor:
    if isinstance(values, Tensor):
        return values.detach().to("cpu", torch.float64)
    return torch.as_tensor(np.asarray(values, dtype=np.float64))
