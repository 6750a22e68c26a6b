"""The networks of a physics-integrated autoencoder, rows along memory: the correction, and the inference of codes."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from .discrepancy import Correction, Discrepancy, no_correction
from .flow_network import Perceptron
from .flow_spline import bent


class PhysicsNetwork(nn.Module):
    """Correction f_A, residual sd, and encoders q(z_A | w) and q(z_P | w, z_A).

    The physical latents z_P are inferred in two steps (Takeishi & Kalousis 2021, section 3.2): one network takes the
    effect of the correction out of w, another reads z_P from what is left, as it would from the known map's own values.

    Parameters
    ----------
    features, physical, context : int
        Lengths of w, of z_P and of the conditions.
    discrepancy : Discrepancy or None
        None for the known map alone.
    hidden : sequence of int
        Widths of the hidden layers of each encoder.
    noise : {"common", "each"}
        Whether the residual's sd is one number, or one for each feature.
    seed : int
        Of the weights.
    """

    def __init__(
        self,
        features: int,
        physical: int,
        context: int,
        discrepancy: Discrepancy | None,
        *,
        hidden: Sequence[int],
        noise: str,
        seed: int = 0,
    ) -> None:
        super().__init__()
        self.physical, self.hidden, self.noise, self.settings = physical, tuple(hidden), noise, discrepancy
        self.code = discrepancy.code if discrepancy else 0
        self.discrepancy = discrepancy.network(seed) if discrepancy else None
        self.log_sd = nn.Parameter(torch.zeros(features if noise == "each" else 1, 1, dtype=torch.float32))
        self.to_physical = Perceptron([features + context, *hidden, 2 * physical], seed=seed, stage=0, last=0.1)
        if discrepancy:
            inputs = features + self.code + context
            self.cleanse = Perceptron([inputs, *hidden, features], seed=seed, stage=2000)
        if self.code:
            self.to_code = Perceptron([features + context, *hidden, 2 * self.code], seed=seed, stage=1000, last=0.1)

    def correction(self, code: Tensor) -> Correction:
        """f_A of samples with the codes ``(k, R)``; 0 where there is none."""
        return self.discrepancy.bound(code) if self.discrepancy is not None else no_correction(1)

    def no_correction(self) -> Correction:
        """What stands for f_A in the known map by itself."""
        return no_correction(self.settings.outputs if self.settings else 1)

    def residual_log_sd(self) -> Tensor:
        """Log sd ``(n or 1, 1)`` of the residual."""
        return bent(self.log_sd, 1)

    def infer_physical(self, cleansed: Tensor, context: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and log sd, each ``(p, R)``, of z_P."""
        made = self.to_physical(torch.cat([cleansed, context]))
        return made[: self.physical], bent(made[self.physical :], 1)

    def infer(self, w: Tensor, context: Tensor, eps: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Mean and log sd, each ``(p + k, R)``, of (z_P, z_A), and w cleansed; z_A = mean + sd eps, eps ``(k, R)``."""
        if self.discrepancy is None:
            return *self.infer_physical(w, context), w
        mean, log_sd = w[:0], w[:0]
        if self.code:
            made = self.to_code(torch.cat([w, context]))
            mean, log_sd = made[: self.code], bent(made[self.code :], 1)
        z_a = mean + log_sd.exp() * eps
        cleansed = w + self.cleanse(torch.cat([w, z_a, context]))
        m, log_s = self.infer_physical(cleansed, context)
        return torch.cat([m, mean]), torch.cat([log_s, log_sd]), cleansed
