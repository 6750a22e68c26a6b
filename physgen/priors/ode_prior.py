"""A prior whose map is a differential equation, solved in fixed steps."""

from __future__ import annotations

import abc
import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from ..random import normal, single_stream
from .columns import Casts, in_column_blocks, total
from .fitting import FitReport
from .frame import Frame
from .ode import Velocity, check_method, halved, integrate
from .ode_divergence import integrated_divergence, rademacher
from .ode_inverse import invert
from .prior import Prior
from .standard_normal import log_density

EXACT = 32
"""Causes up to which Jacobians are computed whole, and with them the density."""


class OdePrior(Prior):
    """x = frame(w(end)), dw/dt = f(w, t; conditions), w(start) = z: what `Diffusion` and `FlowMatching` share.

    decode is the map of the steps taken, not of the equation: the steps are part of the prior, and `step_error` says
    how far they are from the equation. encode inverts the steps, and log_prob is the density of what they give, by
    their exact Jacobians: both to rounding, whatever the steps. As these grow in number it becomes the instantaneous
    change of variables (Chen et al. 2018, theorem 1; Song et al. 2021, eq. 39). Of more than 32 causes Jacobians are
    too large, and there is no "log_prob" but `estimate_log_prob`.

    Parameters
    ----------
    module : torch.nn.Module
        What f is made of.
    frame : Frame
    nodes : sequence of float
        Times from start to end.
    method : {"heun", "rk4"}
    report : FitReport, optional
    """

    def __init__(
        self, module: nn.Module, frame: Frame, nodes: Sequence[float], method: str, report: FitReport | None
    ) -> None:
        check_method(method, len(nodes) - 1)
        module.requires_grad_(False)
        self.frame, self.nodes, self.method, self.report = frame, tuple(nodes), method, report
        self.causes, self.takes, self.latent_dim = frame.causes, frame.takes, frame.causes.size
        self.capabilities = frozenset({"encode", "log_prob"} if self._exact else {"encode"})
        self._casts = Casts(module)

    @abc.abstractmethod
    def _velocity(self, module: Any, context: Tensor) -> Velocity:
        """f(w, t) under standardised conditions."""

    @property
    def steps(self) -> int:
        """Steps of the solver."""
        return len(self.nodes) - 1

    @property
    def _exact(self) -> bool:
        return self.causes.size <= EXACT

    def __repr__(self) -> str:
        by = f", conditions={list(self.frame.conditions)}" if self.frame.conditions else ""
        return f"{type(self).__name__}(causes={list(self.causes.names)}{by}, steps={self.steps}, {self.method!r})"

    def decode(self, z: Tensor, /, **conditions: Any) -> Tensor:
        self.causes.check(z)
        columns, context, lead = self.frame.spread(z, conditions)
        return self.frame.gather(self._decode(columns, context, self.nodes), lead)

    def encode(self, x: Tensor, /, **conditions: Any) -> Tensor:
        """Latents ``(*, n)`` of causes ``(*, n)``; NaN where a cause lies outside its support.

        NaN too where a step cannot be inverted, which happens far from where the prior has mass. Of more than 32
        causes by an iteration without derivatives.

        Raises
        ------
        ValueError
            If a gradient through it is wanted of more than 32 causes.
        """
        columns, context, lead = self._laid_out(x, conditions)

        def block(columns: Tensor, context: Tensor) -> Tensor:
            w = self.frame.encode(columns, context)[0]
            return invert(self.method, self._at(w, context), w, self.nodes, newton=self._exact)[0]

        return self.frame.gather(in_column_blocks(block, columns, context), lead)

    def log_prob(self, x: Tensor, /, **conditions: Any) -> Tensor:
        """Log density ``(*)`` of causes ``(*, n)``: that of what decode draws. -inf outside the support.

        NaN where a step cannot be inverted. Up to 32 causes.
        """
        if not self._exact:
            raise self._lacks("log_prob")
        columns, context, lead = self._laid_out(x, conditions)

        def block(columns: Tensor, context: Tensor) -> Tensor:
            w, log_factor = self.frame.encode(columns, context)
            inside = torch.isfinite(w).all(0)
            w, f = torch.where(inside, w, 0.0), self._at(w, context)
            z, log_slope = invert(self.method, f, w, self.nodes, newton=True, slope=True)
            value = total(log_density(z)) - log_slope - torch.where(inside, log_factor, 0.0)
            return torch.where(inside, value, -torch.inf)[None]

        return self.frame.gather(in_column_blocks(block, columns, context), lead)[..., 0]

    def estimate_log_prob(
        self, x: Tensor, /, *, probes: int = 16, seed: int = 0, **conditions: Any
    ) -> tuple[Tensor, Tensor]:
        """Log density by the instantaneous change of variables, with its trace estimated; for many causes.

        What is stochastic is the trace; what is not exact besides is the error of the steps, which `log_prob` does not
        have. The path itself is the exact inverse of decode.

        Parameters
        ----------
        x : Tensor (*, n)
        probes : int
            Random signs for each row, at least 2, the same all along its path.
        seed : int
            Of the probes.

        Returns
        -------
        estimate, standard_error : Tensor (*)
            The error is that of the probes alone.

        Raises
        ------
        ValueError
            If there are fewer than two probes.
        """
        if probes < 2:
            raise ValueError(f"Invalid number of probes {probes}. It must be at least 2.")
        columns, context, lead = self._laid_out(x, conditions)
        w, log_factor = self.frame.encode(columns, context)
        f = self._at(w, context)
        z, _ = invert(self.method, f, w, self.nodes, newton=self._exact)
        e = rademacher(probes, len(w), w.shape[1], seed=seed, like=w)
        each = integrated_divergence(self.method, f, z, self.nodes, e)
        value = total(log_density(z)) - each.mean(0) - log_factor
        value = torch.where(torch.isfinite(w).all(0), value, -torch.inf)
        both = self.frame.gather(torch.stack([value, each.std(0) / math.sqrt(probes)]), lead)
        return both[..., 0], both[..., 1]

    def step_error(self, *, rows: int = 256, seed: int = 0, **conditions: Any) -> float:
        """How far the steps are from the equation: the change in decode when every step is halved.

        Root mean square over `rows` draws and all causes, in standard deviations of the causes (on whole lines). That
        of a method of order p is about 1 + 1 / (2^p - 1) times as large in all.
        """
        z = normal((rows, self.latent_dim), single_stream(), seed=seed, dtype=torch.float64)
        columns, context, _ = self.frame.spread(z, conditions)
        difference = self._solved(columns, context, self.nodes) - self._solved(columns, context, halved(self.nodes))
        sd = self.frame.factor.square().sum(1).sqrt()
        return float(((self.frame.factor @ difference[:, :rows]) / sd[:, None]).square().mean().sqrt())

    def _decode(self, columns: Tensor, context: Tensor, nodes: Sequence[float]) -> Tensor:
        def block(columns: Tensor, context: Tensor) -> Tensor:
            return self.frame.decode(self._solved(columns, context, nodes), context)

        return in_column_blocks(block, columns, context)

    def _solved(self, z: Tensor, context: Tensor, nodes: Sequence[float]) -> Tensor:
        return integrate(self.method, self._at(z, context), z, nodes)

    def _at(self, like: Tensor, context: Tensor) -> Velocity:
        return self._velocity(self._casts(like), context)

    def _laid_out(self, x: Tensor, conditions: Any) -> tuple[Tensor, Tensor, tuple[int, ...]]:
        self.causes.check(x)
        if not self._exact and torch.is_grad_enabled() and x.requires_grad:
            raise ValueError(f"No gradient through encode of {self.causes.size} causes. Detach the causes first.")
        return self.frame.spread(x, conditions)
