"""The multivariate normal prior."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..conditions import Takes
from ..space import Block, Space
from .prior import Prior
from .standard_normal import LOG_SQRT_2_PI


class Gaussian(Prior):
    """Normally distributed causes: x = mean + L z with L L^T = covariance (L lower triangular).

    Parameters
    ----------
    mean : array_like (n,)
        Prior mean x_a, in the units of the causes.
    covariance : array_like (n, n)
        Prior covariance S_a: symmetric and positive definite.
    causes : Space or sequence of str, optional
        What the elements are; ``x0, x1, ...`` by default. Units and shapes of a space are kept, its supports are not:
        a Gaussian takes every value.

    Raises
    ------
    ValueError
        If shapes disagree, or the covariance is not symmetric and positive definite.

    References
    ----------
    Rodgers (2000), *Inverse Methods for Atmospheric Sounding*, section 2.3.

    Examples
    --------
    >>> prior = Gaussian([0.3, 0.2], [[0.01, 0.002], [0.002, 0.04]], causes=["depth", "albedo"])
    >>> prior.sample(5).shape
    torch.Size([5, 2])
    """

    capabilities = frozenset({"log_prob", "encode"})
    takes = Takes()

    def __init__(self, mean: Any, covariance: Any, causes: Space | Sequence[str] | None = None) -> None:
        self.mean = _float64(mean)
        self.covariance = _float64(covariance)
        n = self.mean.numel()
        if self.mean.ndim != 1 or n == 0 or self.covariance.shape != (n, n):
            raise ValueError(
                f"Invalid mean of shape {tuple(self.mean.shape)} and covariance of shape "
                f"{tuple(self.covariance.shape)}. Give (n,) and (n, n)."
            )
        self.factor = _cholesky(self.covariance)
        if not bool(torch.isfinite(self.mean).all()):
            raise ValueError("Invalid mean with missing or infinite values. Every element must be finite.")
        self.causes = _unbounded(causes if causes is not None else [f"x{i}" for i in range(n)])
        self.latent_dim = n
        if self.causes.size != n:
            raise ValueError(f"Invalid causes with {self.causes.size} elements. The mean has {n}.")

    def __repr__(self) -> str:
        return f"Gaussian({self.mean.tolist()}, {self.covariance.tolist()}, causes={list(self.causes.names)})"

    def decode(self, z: Tensor, /, **conditions: Tensor) -> Tensor:
        mean, factor = self._like(z)
        return mean + z @ factor.mT

    def encode(self, x: Tensor, /, **conditions: Tensor) -> Tensor:
        mean, factor = self._like(x)
        return torch.linalg.solve_triangular(factor, (x - mean)[..., None], upper=False)[..., 0]

    def log_prob(self, x: Tensor, /, **conditions: Tensor) -> Tensor:
        z = self.encode(x)
        constant = self.latent_dim * LOG_SQRT_2_PI + float(self.factor.diagonal().log().sum())
        return -0.5 * (z * z).sum(-1) - constant

    def _like(self, x: Tensor) -> tuple[Tensor, Tensor]:
        self.causes.check(x)
        return self.mean.to(x), self.factor.to(x)


def _float64(values: Any) -> Tensor:
    if isinstance(values, Tensor):
        return values.detach().to("cpu", torch.float64)
    return torch.as_tensor(np.asarray(values, dtype=np.float64))


def _cholesky(covariance: Tensor) -> Tensor:
    scale = covariance.diagonal().abs().max()
    if not bool(torch.isfinite(covariance).all()) or bool((covariance - covariance.mT).abs().max() > 1e-8 * scale):
        raise ValueError("Invalid covariance. It must be symmetric, with finite elements.")
    factor, info = torch.linalg.cholesky_ex(0.5 * (covariance + covariance.mT))
    if bool(info):
        smallest = float(torch.linalg.eigvalsh(covariance).min())
        raise ValueError(f"Invalid covariance with the eigenvalue {smallest:g}. It must be positive definite.")
    return factor


def _unbounded(causes: Space | Sequence[str]) -> Space:
    blocks = causes if isinstance(causes, Space) else [Block(name) for name in causes]
    return Space(*(replace(b, support=(-math.inf, math.inf)) for b in blocks))
