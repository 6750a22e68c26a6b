"""Student's t distribution."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from .distribution import Distribution, Parameter, assign, finite, like, positive
from .shape_families import STUDENT_T


@dataclass(frozen=True, eq=False)
class StudentT(Distribution):
    """Student's t distribution: a normal distribution with heavy tails.

    Parameters
    ----------
    df : float or Tensor
        Degrees of freedom, greater than 0. `decode` and `encode` are not differentiable with respect to it; `log_prob`
        is.
    mean : float or Tensor
        The centre of symmetry (the mean where df > 1), in the units of x.
    scale : float or Tensor
        In the units of x; the standard deviation is scale times sqrt(df / (df - 2)) where df > 2.
    """

    df: Parameter
    mean: Parameter
    scale: Parameter

    def __post_init__(self) -> None:
        df, scale = positive(self, "df", self.df), positive(self, "scale", self.scale)
        assign(self, df=df, mean=finite(self, "mean", self.mean), scale=scale)

    @property
    def support(self) -> tuple[Parameter, Parameter]:
        return -math.inf, math.inf

    def _decode(self, z: Tensor) -> Tensor:
        mean, scale = like(z, self.mean, self.scale)
        return mean + scale * STUDENT_T.decode(z, self.df).to(z.dtype)

    def _encode(self, x: Tensor) -> Tensor:
        mean, scale = like(x, self.mean, self.scale)
        return STUDENT_T.encode((x - mean) / scale, self.df).to(x.dtype)

    def _log_density(self, x: Tensor) -> Tensor:
        df, mean, scale = (torch.as_tensor(p, dtype=x.dtype, device=x.device) for p in (self.df, self.mean, self.scale))
        return STUDENT_T.log_density((x - mean) / scale, df) - torch.log(scale)
