"""Priors: maps from standard normal latents to causes."""

from .chain import Chain
from .conditional import Conditional
from .distribution import Distribution
from .empirical import Empirical
from .gamma_beta import Beta, Gamma
from .gaussian import Gaussian
from .half_lines import Exponential, HalfCauchy
from .independent import Independent
from .normals import LogNormal, Normal
from .ppca import PPCA
from .prior import Prior
from .smooth_field import SmoothField
from .storage import load_prior, prior_card, save_prior, shipped_priors, storable
from .stretched import Stretched
from .student_t import StudentT
from .truncated_normal import HalfNormal, TruncatedNormal
from .uniforms import LogUniform, Uniform

__all__ = [
    "PPCA",
    "Beta",
    "Chain",
    "Conditional",
    "Distribution",
    "Empirical",
    "Exponential",
    "Gamma",
    "Gaussian",
    "HalfCauchy",
    "HalfNormal",
    "Independent",
    "LogNormal",
    "LogUniform",
    "Normal",
    "Prior",
    "SmoothField",
    "Stretched",
    "StudentT",
    "TruncatedNormal",
    "Uniform",
    "load_prior",
    "prior_card",
    "save_prior",
    "shipped_priors",
    "storable",
]
