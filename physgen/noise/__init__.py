"""Noise: p(y | prediction), with NaN in y for "not measured"."""

from .correlated import CorrelatedGaussianNoise, RecursiveWhitener
from .gaussian import GaussianNoise
from .noise import DiagonalWhitener, FactorWhitener, Noise, Whitener
from .poisson import PoissonNoise
from .student import StudentTNoise

__all__ = [
    "CorrelatedGaussianNoise",
    "DiagonalWhitener",
    "FactorWhitener",
    "GaussianNoise",
    "Noise",
    "PoissonNoise",
    "RecursiveWhitener",
    "StudentTNoise",
    "Whitener",
]
