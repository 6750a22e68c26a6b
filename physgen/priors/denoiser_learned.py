"""A denoiser that is learned, preconditioned so that the network sees and gives values of unit variance."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor, nn

from .columns import total
from .denoiser import Denoiser, Level, as_rows


class LearnedDenoiser(Denoiser):
    """D = c_skip w + c_out F(c_in w, ln sigma): F = 0 is the denoiser of N(0, I).

    c_skip = 1 / (1 + sigma^2), c_out = sigma / sqrt(1 + sigma^2) and c_in = 1 / sqrt(1 + sigma^2) (Karras et al. 2022,
    table 1, with sigma_data = 1).

    Parameters
    ----------
    network : torch.nn.Module
        ``network(values (n, R), phase () or (R,), context (c, R))``, with `kind` and `settings`.
    """

    network: Any

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network
        self.kind = str(network.kind)

    def forward(self, w: Tensor, sigma: Level, context: Tensor) -> Tensor:
        sigma = as_rows(sigma, w)
        c_in = (1 + sigma**2).rsqrt()
        return c_in * (c_in * w + sigma * self.network(c_in * w, _phase(sigma), context))

    def velocity(self, v: Tensor, angle: float, context: Tensor) -> Tensor:
        """-F: what `Denoiser.velocity` comes to, without the difference of near numbers."""
        phase = torch.as_tensor(0.5 * math.log(math.tan(angle)), dtype=v.dtype, device=v.device)
        return -self.network(v, phase, context)

    def settings(self) -> dict[str, Any]:
        return dict(self.network.settings())


def denoising_score(denoiser: LearnedDenoiser, clean: Tensor, context: Tensor, sigma: Tensor, noise: Tensor) -> Tensor:
    """The loss ``(R,)`` of denoising score matching, a mean over the elements.

    (1 + sigma^2) / sigma^2 times the squared error of D, which is that of F (Karras et al. 2022, eqs 2 and 8; Vincent
    2011): of 1 for F = 0 where the values are standard normal.

    Parameters
    ----------
    clean, noise : Tensor (n, R)
        Values, and standard normal numbers.
    context : Tensor (c, R)
    sigma : Tensor (R,)
    """
    c_in = (1 + sigma**2).rsqrt()
    target = c_in * (clean * sigma - noise)  # (clean - c_skip w) / c_out
    found = denoiser.network(c_in * (clean + sigma * noise), _phase(sigma), context)
    return total((found - target) ** 2) / len(clean)


def _phase(sigma: Tensor) -> Tensor:
    return 0.5 * sigma.log()
