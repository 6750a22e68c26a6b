"""Diffusion: causes whose distribution is known by its denoiser, drawn along the probability flow."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ..progress import Progress
from ..space import Block, Space
from .denoiser import Denoiser
from .denoiser_empirical import EmpiricalDenoiser
from .denoiser_learned import LearnedDenoiser, denoising_score
from .denoiser_mixture import MixtureDenoiser, standardised_mixture
from .diffusion_levels import draw_levels, karras_levels
from .fitting import FitReport, Training, train
from .frame import Frame
from .ode import Velocity, check_method
from .ode_learning import NetworkShape, learned_network, learning_frame, network_of, noise_of_step
from .ode_prior import OdePrior
from .samples import read_samples
from .storage import storable

SIGMA_MIN = 0.005
_SPAN = 20.0  # sigma_max over the largest standard deviation: what is drawn has 1 / 400 less of that variance
_ANALYTIC = {"mixture": MixtureDenoiser, "empirical": EmpiricalDenoiser}


@storable("diffusion")
class Diffusion(OdePrior):
    """The probability flow of a denoiser as a map: made by `Diffusion.fit`, `.mixture` or `.empirical`.

    In the frame, values w of unit variance are diffused to w + sigma n, n ~ N(0, I), and go back along
    dw / d sigma = (w - D(w, sigma)) / sigma (Song et al. 2021, eq. 13; Karras et al. 2022, eq. 1), from sigma_max to
    sigma_min, at the levels of Karras eq. 5. The variables are v = w / sqrt(1 + sigma^2) and angle = arctan(sigma):
    v is standard normal at the start, and does not move at all if the causes are normal. At the end v is taken for
    the value: what is drawn still has the noise sigma_min, scaled so that the variance is that of the causes.

    Parameters
    ----------
    denoiser : Denoiser
        In the frame: of values of about unit variance, noise levels in their units. Inversions that guide by the
        denoiser read it through `denoise` and `score`.
    frame : Frame
    sigma_max, sigma_min : float
        Levels of noise at the start and at the end.
    steps : int
        Of the solver.
    rho : float
        How closely the levels crowd at sigma_min.
    method : {"rk4", "heun"}
        The default takes 4 evaluations of the denoiser a step, Heun's method (which Karras et al. chose for images) 2.
        At equal cost the former has been measured to be 4 times as near to the equation, and to keep the variance of
        the smoothest component of a field to 0.4 % where the latter loses 2 %.
    report : FitReport, optional

    Attributes
    ----------
    report : FitReport or None
        Its losses are those of denoising score matching: 1 for the denoiser of a normal distribution.
    sigmas : tuple of float
        Levels of noise, falling.

    Raises
    ------
    ValueError
        If a setting is out of range.

    References
    ----------
    Song, Sohl-Dickstein, Kingma, Kumar, Ermon & Poole (2021), Score-based generative modeling through stochastic
    differential equations, *ICLR*.
    Karras, Aittala, Aila & Laine (2022), Elucidating the design space of diffusion-based generative models, *NeurIPS*.
    """

    def __init__(
        self,
        denoiser: Denoiser,
        frame: Frame,
        *,
        sigma_max: float = _SPAN,
        sigma_min: float = SIGMA_MIN,
        steps: int = 12,
        rho: float = 7.0,
        method: str = "rk4",
        report: FitReport | None = None,
    ) -> None:
        check_method(method, steps)
        self.sigmas, self.rho = karras_levels(sigma_max, sigma_min, steps, rho), float(rho)
        self.denoiser = denoiser
        super().__init__(denoiser, frame, [math.atan(s) for s in self.sigmas], method, report)

    @classmethod
    def fit(
        cls,
        table: Any,
        *,
        causes: Space | Sequence[Block | str] | None = None,
        conditions: Mapping[str, Any] | None = None,
        hidden: Sequence[int] = (64, 64, 64),
        channels: int = 16,
        periodic: bool = False,
        steps: int = 12,
        training: Training | None = None,
        seed: int = 0,
        progress: Progress = False,
        checkpoint: str | Path | None = None,
    ) -> Diffusion:
        """Learn a denoiser from samples, by denoising score matching.

        Parameters
        ----------
        table : array_like (N, n)
            One row a sample, in the units of the causes.
        causes, conditions, training, seed, progress, checkpoint
            See `Flow.fit`. If the causes are one block with two dimensions, a field or an image, the network is a
            U-Net; at least 100 samples are then enough.
        hidden : sequence of int
            Widths of the hidden layers of the network of a vector.
        channels : int
            Of the U-Net, a multiple of 4; 16 make about 94,000 weights.
        periodic : bool
            Whether the field goes on at its other edge.
        steps : int
            Of the solver.

        Returns
        -------
        Diffusion
            With its `report`.

        Raises
        ------
        ValueError
            As `Flow.fit`; and if a field's sides are not multiples of 4.
        """
        check_method("rk4", steps)
        shape = NetworkShape(tuple(hidden), channels, periodic)
        w, context, frame, network = learned_network(table, causes, conditions, shape, seed=seed)
        denoiser, largest = LearnedDenoiser(network), _largest_sd(w)

        def loss(rows: Sequence[Tensor], stage: int) -> Tensor:
            quantile, noise = noise_of_step(w.shape[1], len(rows[0]), seed=seed, stage=stage)
            sigma = draw_levels(quantile, largest, SIGMA_MIN, _SPAN * largest)
            return denoising_score(denoiser, rows[0].mT, rows[1].mT, sigma, noise)

        report = train(
            denoiser, loss, [w, context], training=training, seed=seed, progress=progress, checkpoint=checkpoint
        )
        return cls(denoiser, frame, sigma_max=_SPAN * largest, steps=steps, report=report)

    @classmethod
    def mixture(
        cls,
        weights: Any,
        means: Any,
        covariances: Any,
        *,
        causes: Space | Sequence[Block | str] | None = None,
        **settings: Any,
    ) -> Diffusion:
        """The diffusion of a mixture of normal distributions, whose denoiser is known.

        Parameters
        ----------
        weights : array_like (K,)
            Positive; scaled to the sum 1.
        means : array_like (K, n)
        covariances : array_like (K, n, n)
        causes : Space or sequence of Block or str, optional
            Supports are dropped.
        **settings
            Those of `Diffusion`.

        Raises
        ------
        ValueError
            If shapes disagree, or a covariance is not positive definite.
        """
        denoiser, mean, factor = standardised_mixture(weights, means, covariances)
        blocks = causes if causes is not None else [f"x{i}" for i in range(len(mean))]
        space = Space(*(replace(b, support=(-math.inf, math.inf)) for b in Space(*blocks)))
        if space.size != len(mean):
            raise ValueError(f"Invalid causes with {space.size} elements. The means have {len(mean)}.")
        none = mean.new_zeros(0)
        return cls(denoiser, Frame(space, mean, mean.new_zeros(len(mean), 0), factor, (), none, none), **settings)

    @classmethod
    def empirical(
        cls, table: Any, *, causes: Space | Sequence[Block | str] | None = None, **settings: Any
    ) -> Diffusion:
        """The diffusion of a finite sample, which draws that sample again: the reference for memorisation.

        Parameters
        ----------
        table : array_like (N, n)
        causes
            See `Flow.fit`.
        **settings
            Those of `Diffusion`.

        Raises
        ------
        ValueError
            As `Flow.fit`.
        """
        x, c, space, names = read_samples(table, causes, None, constant="keep", fewest=2)
        w, _, frame = learning_frame(x, c, space, names)
        return cls(EmpiricalDenoiser(w.double()), frame, **{"sigma_max": _SPAN * _largest_sd(w)} | settings)

    def denoise(self, w: Tensor, sigma: Tensor | float, **conditions: Any) -> Tensor:
        """D ``(*, n)``: clean values of noisy ones ``(*, n)``, both in the frame; sigma 0-d or ``(*)``.

        `frame_values` and `frame_causes` go between the frame and the causes.
        """
        columns, level, context, lead = self._noisy(w, sigma, conditions)
        return self.frame.gather(self._casts(w)(columns, level, context), lead)

    def score(self, w: Tensor, sigma: Tensor | float, **conditions: Any) -> Tensor:
        """Gradient ``(*, n)`` of the log density of values in the frame with noise sigma; parameters of `denoise`."""
        columns, level, context, lead = self._noisy(w, sigma, conditions)
        return self.frame.gather(self._casts(w).score(columns, level, context), lead)

    def frame_causes(self, w: Tensor, **conditions: Any) -> Tensor:
        """Causes ``(*, n)`` of values in the frame ``(*, n)``."""
        columns, context, lead = self.frame.spread(w, conditions)
        return self.frame.gather(self.frame.decode(columns, context), lead)

    def frame_values(self, x: Tensor, **conditions: Any) -> Tensor:
        """Values in the frame ``(*, n)`` of causes ``(*, n)``; NaN outside a support."""
        columns, context, lead = self.frame.spread(x, conditions)
        return self.frame.gather(self.frame.encode(columns, context)[0], lead)

    def state(self) -> tuple[dict[str, Tensor], dict[str, Any]]:
        """Tensors and plain values that `from_state` makes the same prior of."""
        tensors, settings = self.frame.state()
        own = {"kind": self.denoiser.kind, "network": self.denoiser.settings()}
        ends = {"sigma_max": self.sigmas[0], "sigma_min": self.sigmas[-1]}
        solver = {"steps": self.steps, "rho": self.rho, "method": self.method}
        report = self.report.to_json() if self.report else None
        return tensors | self.denoiser.state_dict(), settings | own | ends | solver | {"report": report}

    @classmethod
    def from_state(cls, tensors: Mapping[str, Tensor], settings: Mapping[str, Any]) -> Diffusion:
        """The prior of `state`."""
        frame = Frame.from_state(tensors, settings)
        own = {n: t for n, t in tensors.items() if not n.startswith("frame.")}
        denoiser: Denoiser
        if settings["kind"] in _ANALYTIC:
            denoiser = _ANALYTIC[settings["kind"]](**own)
        else:
            denoiser = LearnedDenoiser(network_of(settings["kind"], frame, settings["network"]))
            denoiser.load_state_dict(own)
        solver = {n: settings[n] for n in ("sigma_max", "sigma_min", "steps", "rho", "method")}
        report = settings["report"]
        return cls(denoiser, frame, report=FitReport.from_json(report) if report else None, **solver)

    def _velocity(self, module: Any, context: Tensor) -> Velocity:
        return lambda v, angle: module.velocity(v, angle, context)

    def _noisy(
        self, w: Tensor, sigma: Tensor | float, conditions: Mapping[str, Any]
    ) -> tuple[Tensor, Tensor, Tensor, tuple[int, ...]]:
        """Values ``(n, R)``, levels ``(R,)`` and conditions ``(c, R)``, laid out."""
        self.causes.check(w)
        sigma = torch.as_tensor(sigma, dtype=w.dtype, device=w.device)
        if not bool((sigma > 0).all()):
            raise ValueError("Invalid noise level. It must be greater than 0.")
        lead = torch.broadcast_shapes(w.shape[:-1], sigma.shape)
        both = torch.cat([w.expand(*lead, -1), sigma.expand(lead)[..., None]], -1)
        columns, context, lead = self.frame.spread(both, conditions)
        level = columns[-1]
        return columns[:-1], torch.where(level > 0, level, 1.0), context, lead  # rows that fill up have the level 0


def _largest_sd(w: Tensor) -> float:
    """Standard deviation of values ``(N, n)`` along their first principal axis."""
    centred = (w - w.mean(0)).double()
    return float(torch.linalg.eigvalsh(centred.mT @ centred / len(w))[-1].sqrt())
