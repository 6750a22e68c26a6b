"""Noise: p(y | prediction), with NaN in y for "not measured"."""

from .correlated import CorrelatedGaussianNoise, RecursiveWhitener
from .gaussian import GaussianNoise
from .negative_binomial import NegativeBinomialNoise
from .noise import DiagonalWhitener, Noise, Whitener
from .poisson import PoissonNoise
from .shot import ShotNoise
from .student import StudentTNoise

__all__ = [
    "CorrelatedGaussianNoise",
    "DiagonalWhitener",
    "GaussianNoise",
    "NegativeBinomialNoise",
    "Noise",
    "PoissonNoise",
    "RecursiveWhitener",
    "ShotNoise",
    "StudentTNoise",
    "Whitener",
]
