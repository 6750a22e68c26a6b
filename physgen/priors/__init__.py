"""Priors: maps from standard normal latents to causes."""

from .causal_flow import CausalFlow
from .chain import Chain
from .conditional import Conditional
from .decoder import Decoder
from .distribution import Distribution
from .empirical import Empirical
from .fitting import FitReport, Training
from .flow import Flow
from .gamma_beta import Beta, Gamma
from .gaussian import Gaussian
from .half_lines import Exponential, HalfCauchy
from .ica import ICA
from .independent import Independent
from .normals import LogNormal, Normal
from .objectives import Objective
from .ppca import PPCA
from .prior import Prior
from .smooth_field import SmoothField
from .storage import load_prior, prior_card, save_prior, shipped_priors, storable
from .stretched import Stretched
from .student_t import StudentT
from .truncated_normal import HalfNormal, TruncatedNormal
from .uniforms import LogUniform, Uniform
from .wrappers import counterfactual, do, given, shift, where

__all__ = [
    "ICA",
    "PPCA",
    "Beta",
    "CausalFlow",
    "Chain",
    "Conditional",
    "Decoder",
    "Distribution",
    "Empirical",
    "Exponential",
    "FitReport",
    "Flow",
    "Gamma",
    "Gaussian",
    "HalfCauchy",
    "HalfNormal",
    "Independent",
    "LogNormal",
    "LogUniform",
    "Normal",
    "Objective",
    "Prior",
    "SmoothField",
    "Stretched",
    "StudentT",
    "Training",
    "TruncatedNormal",
    "Uniform",
    "counterfactual",
    "do",
    "given",
    "load_prior",
    "prior_card",
    "save_prior",
    "shift",
    "shipped_priors",
    "storable",
    "where",
]
