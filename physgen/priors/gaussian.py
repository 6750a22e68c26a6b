"""The multivariate normal prior."""

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
from .samples import read_samples
from .standard_normal import LOG_SQRT_2_PI
from .storage import space_from_json, space_to_json, storable


@storable("gaussian")
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

    @classmethod
    def fit(
        cls, table: Any, *, causes: Space | Sequence[Block | str] | None = None, shrinkage: float | None = None
    ) -> Gaussian:
        """Mean and covariance of samples, the correlations shrunk towards 0 as far as their errors ask for.

        So the covariance is positive definite also where there are fewer samples than causes.

        Parameters
        ----------
        table : array_like (N, n)
            One row a sample, in the units of the causes; at least 3.
        causes : Space or sequence of Block or str, optional
            What the columns are.
        shrinkage : float, optional
            lambda: correlations are multiplied by 1 - lambda, from 0 (none, which needs more samples than causes) to 1
            (independent causes). By default the one of least expected error, lambda = sum_ij Var(r_ij) / sum_ij r_ij^2
            over i != j.

        Raises
        ------
        ValueError
            If there are too few samples, or a column is constant or has missing values (it is named).

        References
        ----------
        Schafer & Strimmer (2005), *Stat. Appl. Genet. Mol. Biol.* 4, 32, table 1 (target D) and eq. 10.
        """
        x, _, space, _ = read_samples(table, causes, None, fewest=3)
        if shrinkage is not None and not 0 <= shrinkage <= 1:
            raise ValueError(f"Invalid shrinkage {shrinkage:g}. Must lie within 0 to 1.")
        if shrinkage == 0 and len(x) <= x.shape[1]:
            raise ValueError(f"Too few samples: {len(x)} for {x.shape[1]} causes. Give more, or leave shrinkage out.")
        sd = x.std(0)
        r, share = _correlation((x - x.mean(0)) / sd, shrinkage)
        return cls(x.mean(0), (1 - share) * torch.outer(sd, sd) * r + share * torch.diag(sd.square()), space)

    def state(self) -> tuple[dict[str, Tensor], dict[str, Any]]:
        """Tensors and plain values that `from_state` makes the same prior of."""
        return {"mean": self.mean, "covariance": self.covariance}, {"causes": space_to_json(self.causes)}

    @classmethod
    def from_state(cls, tensors: Mapping[str, Tensor], settings: Mapping[str, Any]) -> Gaussian:
        """The prior of `state`."""
        return cls(tensors["mean"], tensors["covariance"], space_from_json(settings["causes"]))

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


def _correlation(w: Tensor, shrinkage: float | None) -> tuple[Tensor, float]:
    """Correlations ``(n, n)`` of standardised samples ``(N, n)``, and how far to shrink them."""
    count = len(w)
    mean = w.mT @ w / count  # of w_i w_j
    r = mean * count / (count - 1)
    if shrinkage is not None:
        return r, shrinkage
    square = w.square()
    variance = count / (count - 1) ** 3 * (square.mT @ square - count * mean.square())
    away = ~torch.eye(len(r), dtype=torch.bool)
    total = float(r.square()[away].sum())
    return r, min(1.0, float(variance[away].sum()) / total) if total > 0 else 0.0


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
