"""The denoiser of a finite sample: what a score network that fits its training data perfectly would be."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from .denoiser import Denoiser, Level, as_rows, fixed


class EmpiricalDenoiser(Denoiser):
    """D of the distribution that has 1 / N at each sample: a mean of the samples, weighted by exp(-d^2 / (2 sigma^2)).

    It copies: as sigma falls to 0 every path ends at a sample. That makes it the reference for memorisation.

    Parameters
    ----------
    samples : Tensor (N, n)

    References
    ----------
    Karras et al. (2022), appendix B.3, eq. 57.
    """

    kind = "empirical"

    def __init__(self, samples: Tensor) -> None:
        super().__init__()
        self.samples = fixed(samples)

    def forward(self, w: Tensor, sigma: Level, context: Tensor) -> Tensor:
        # the squares of distances are differences of large numbers: float64, or small sigma choose the wrong sample
        samples, wide = self.samples.double(), w.double()
        half_square = 0.5 * samples.square().sum(1, keepdim=True) - samples @ wide
        share = torch.softmax(-half_square / as_rows(sigma, wide) ** 2, 0)
        return (samples.mT @ share).to(w)

    def settings(self) -> dict[str, Any]:
        return {}
