"""Denoisers: the mean of clean values given noisy ones, all that a diffusion needs to know of a distribution."""

from __future__ import annotations

import abc
import math
from typing import Any

import torch
from torch import Tensor, nn

Level = Tensor | float
"""A noise level sigma: one number, or ``(R,)``, one for each row."""


class Denoiser(nn.Module, abc.ABC):
    """D(w, sigma) = E[w_0 | w = w_0 + sigma n], n ~ N(0, I). Axes are (elements, rows).

    w are standardised values, of about unit variance, and sigma is in their units.

    References
    ----------
    Karras, Aittala, Aila & Laine (2022), Elucidating the design space of diffusion-based generative models, *NeurIPS*.
    """

    kind: str

    @abc.abstractmethod
    def forward(self, w: Tensor, sigma: Level, context: Tensor) -> Tensor:
        """Clean values ``(n, R)`` of noisy ones ``(n, R)``, given standardised conditions ``(c, R)``."""

    def score(self, w: Tensor, sigma: Level, context: Tensor) -> Tensor:
        """Gradient ``(n, R)`` of the log density of noisy values: (D - w) / sigma^2 (Tweedie; Karras eq. 3)."""
        return (self(w, sigma, context) - w) / sigma**2

    def velocity(self, v: Tensor, angle: float, context: Tensor) -> Tensor:
        """dv / d angle ``(n, R)`` along the probability flow, in the variables of `Diffusion`.

        With sigma = tan(angle) and v = w cos(angle), Karras eq. 1, dw / d sigma = (w - D) / sigma, becomes
        (v cos(angle) - D) / sin(angle) (their eq. 4 with the scale cos(angle)): 0 where the values are standard normal.
        """
        clean = self(v / math.cos(angle), math.tan(angle), context)
        return (v * math.cos(angle) - clean) / math.sin(angle)

    @abc.abstractmethod
    def settings(self) -> dict[str, Any]:
        """Plain values that, with the tensors of `state_dict`, make the same denoiser."""


def fixed(tensor: Tensor) -> nn.Parameter:
    """A tensor that belongs to a module and is not learned."""
    return nn.Parameter(tensor.detach().clone(), requires_grad=False)


def as_rows(sigma: Level, like: Tensor) -> Tensor:
    """A noise level as a tensor of the dtype and device of `like`, 0-d or ``(R,)``."""
    return torch.as_tensor(sigma, dtype=like.dtype, device=like.device)
