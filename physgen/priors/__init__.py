"""Priors: maps from standard normal latents to causes."""

from .adversarial_ica import AdversarialICA
from .adversarial_training import AdversarialReport, AdversarialTraining
from .base_conditional import ConditionalBase
from .base_factored import FactoredBase
from .causal_discovery import graph_from_labels
from .causal_flow import CausalFlow
from .causal_presets import causal_gan, causal_vae, scm_vae
from .chain import Chain
from .composed import Composed
from .conditional import Conditional
from .decoder import Decoder
from .diffusion import Diffusion
from .discrepancy import Discrepancy
from .distribution import Distribution
from .empirical import Empirical
from .fitting import FitReport, Training
from .flow import Flow
from .flow_matching import FlowMatching
from .gamma_beta import Beta, Gamma
from .gan import GAN
from .gan_game import GameRules
from .gaussian import Gaussian
from .half_lines import Exponential, HalfCauchy
from .ica import ICA
from .independent import Independent
from .infogan import InfoGAN
from .joint import Joint
from .normals import LogNormal, Normal
from .objectives import Objective
from .physics import Physics
from .ppca import PPCA
from .prior import Prior
from .smooth_field import SmoothField
from .sparse_mask import SpikeSlab
from .sparse_path import sparsest_path
from .storage import load_prior, prior_card, save_prior, shipped_priors, storable
from .stretched import Stretched
from .student_t import StudentT
from .truncated_normal import HalfNormal, TruncatedNormal
from .uniforms import LogUniform, Uniform
from .wrappers import counterfactual, do, given, shift, where

__all__ = [
    "GAN",
    "ICA",
    "PPCA",
    "AdversarialICA",
    "AdversarialReport",
    "AdversarialTraining",
    "Beta",
    "CausalFlow",
    "Chain",
    "Composed",
    "Conditional",
    "ConditionalBase",
    "Decoder",
    "Diffusion",
    "Discrepancy",
    "Distribution",
    "Empirical",
    "Exponential",
    "FactoredBase",
    "FitReport",
    "Flow",
    "FlowMatching",
    "GameRules",
    "Gamma",
    "Gaussian",
    "HalfCauchy",
    "HalfNormal",
    "Independent",
    "InfoGAN",
    "Joint",
    "LogNormal",
    "LogUniform",
    "Normal",
    "Objective",
    "Physics",
    "Prior",
    "SmoothField",
    "SpikeSlab",
    "Stretched",
    "StudentT",
    "Training",
    "TruncatedNormal",
    "Uniform",
    "causal_gan",
    "causal_vae",
    "counterfactual",
    "do",
    "given",
    "graph_from_labels",
    "load_prior",
    "prior_card",
    "save_prior",
    "scm_vae",
    "shift",
    "shipped_priors",
    "sparsest_path",
    "storable",
    "where",
]
