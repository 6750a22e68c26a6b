"""Noise: p(y | prediction), with NaN in y for "not measured"."""

from .correlated import CorrelatedGaussianNoise, RecursiveWhitener
from .gaussian import GaussianNoise
from .noise import DiagonalWhitener, Noise, Whitener
from .poisson import PoissonNoise
from .student import StudentTNoise

__all__ = [
    "CorrelatedGaussianNoise",
    "DiagonalWhitener",
    "GaussianNoise",
    "Noise",
    "PoissonNoise",
    "RecursiveWhitener",
    "StudentTNoise",
    "Whitener",
]
