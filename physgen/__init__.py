"""Physgen infers causes from effects: forward models, generative priors, and posteriors that have been checked.

The nouns are exported here: ``import physgen as pg``. They load on first use, so that the command line starts at once.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .black_box import blackbox as blackbox
    from .compilation import compiled as compiled
    from .noise import CorrelatedGaussianNoise as CorrelatedGaussianNoise
    from .noise import GaussianNoise as GaussianNoise
    from .noise import NegativeBinomialNoise as NegativeBinomialNoise
    from .noise import Noise as Noise
    from .noise import PoissonNoise as PoissonNoise
    from .noise import ShotNoise as ShotNoise
    from .noise import StudentTNoise as StudentTNoise
    from .priors import GAN as GAN
    from .priors import ICA as ICA
    from .priors import PPCA as PPCA
    from .priors import AdversarialICA as AdversarialICA
    from .priors import Beta as Beta
    from .priors import CausalFlow as CausalFlow
    from .priors import Chain as Chain
    from .priors import Conditional as Conditional
    from .priors import Decoder as Decoder
    from .priors import Diffusion as Diffusion
    from .priors import Distribution as Distribution
    from .priors import Empirical as Empirical
    from .priors import Exponential as Exponential
    from .priors import Flow as Flow
    from .priors import FlowMatching as FlowMatching
    from .priors import Gamma as Gamma
    from .priors import Gaussian as Gaussian
    from .priors import HalfCauchy as HalfCauchy
    from .priors import HalfNormal as HalfNormal
    from .priors import Independent as Independent
    from .priors import InfoGAN as InfoGAN
    from .priors import Joint as Joint
    from .priors import LogNormal as LogNormal
    from .priors import LogUniform as LogUniform
    from .priors import Normal as Normal
    from .priors import Prior as Prior
    from .priors import SmoothField as SmoothField
    from .priors import Stretched as Stretched
    from .priors import StudentT as StudentT
    from .priors import TruncatedNormal as TruncatedNormal
    from .priors import Uniform as Uniform
    from .priors import load_prior as load_prior
    from .priors import save_prior as save_prior
    from .problem import ForwardModel as ForwardModel
    from .problem import Posterior as Posterior
    from .problem import Problem as Problem
    from .result import Result as Result
    from .space import Block as Block
    from .space import Coordinate as Coordinate
    from .space import Space as Space
    from .status import Status as Status

__version__ = "0.1.0"

_HOME = {
    "black_box": ("blackbox",),
    "compilation": ("compiled",),
    "noise": (
        "CorrelatedGaussianNoise",
        "GaussianNoise",
        "NegativeBinomialNoise",
        "Noise",
        "PoissonNoise",
        "ShotNoise",
        "StudentTNoise",
    ),
    "priors": (
        *("AdversarialICA", "GAN", "InfoGAN"),
        *("Beta", "CausalFlow", "Chain", "Conditional", "Decoder", "Diffusion", "Distribution", "Empirical"),
        *("Exponential", "Flow", "FlowMatching", "Gamma", "Gaussian", "ICA"),
        *("HalfCauchy", "HalfNormal", "Independent", "Joint", "LogNormal", "LogUniform", "Normal", "PPCA", "Prior"),
        *("SmoothField", "Stretched", "StudentT", "TruncatedNormal", "Uniform", "load_prior", "save_prior"),
    ),
    "problem": ("ForwardModel", "Posterior", "Problem"),
    "result": ("Result",),
    "space": ("Block", "Coordinate", "Space"),
    "status": ("Status",),
}
_MODULE = {name: module for module, names in _HOME.items() for name in names}
__all__ = sorted(_MODULE)


def __getattr__(name: str) -> Any:
    if name not in _MODULE:
        raise AttributeError(f"module 'physgen' has no attribute {name!r}")
    value = getattr(import_module(f".{_MODULE[name]}", __name__), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return [*globals(), *__all__]
