"""Checks for a plug-in's own tests: what is wrong with a forward model, a prior or a noise, in plain words.

>>> import torch
>>> from physgen.testing import check_forward_model
>>> print(check_forward_model(lambda x: torch.exp(-x), x=torch.rand(5, 2)).subject)
<lambda>
"""

from .forward_model import check_forward_model
from .noise import check_noise
from .prior import check_prior
from .report import CheckError, Report

__all__ = ["CheckError", "Report", "check_forward_model", "check_noise", "check_prior"]
