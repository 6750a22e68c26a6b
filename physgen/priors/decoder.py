"""A network decoder with a short code and a residual: causes near a curved surface, with their scatter about it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ..progress import Progress
from ..random import normal, single_stream
from ..space import Block, Space
from .autoencoder_loss import autoencoder_loss, critic_of, objective_of, read_labels
from .base_normal import Base, NormalBase
from .bases import base_from_json
from .columns import Casts, in_column_blocks
from .fitting import FitReport, Training, train
from .frame import Frame
from .ivae_start import begin_with_segments
from .objectives import Objective
from .prior import Prior
from .samples import read_samples
from .sparse_mask import MaskedNetwork, SpikeSlab
from .storage import storable
from .support_map import SupportMap
from .vae_network import NOISES, AutoencoderNetwork, log_mean


@storable("decoder")
class Decoder(Prior):
    """x = frame(f(code) + sd(code) noise), code = b(z_code), with z = (z_code, noise): made by `Decoder.fit`.

    The noise is part of z because the mean alone, f(code), is a surface on which no measured cause lies: inversions on
    it are too sure. The base b is the identity, or gives the code another distribution, which may depend on the
    conditions. The density p(x) is an integral over codes, and no z is the one of an x: so there is neither
    "log_prob" nor "encode", but `bound` (a lower bound of the log density) and `code` (an approximate posterior).

    Parameters
    ----------
    network : AutoencoderNetwork
    frame : Frame
    report : FitReport, optional
    base : Base, optional
        The settings that the network's base was made of.

    Attributes
    ----------
    code_dim : int
        How many of the latents, the first ones, make the code; the others are the noise of each cause.
    report : FitReport or None
        Its losses are minus the evidence lower bound (or the objective given), in nats a sample, of the causes in their
        units.

    References
    ----------
    Kingma & Welling (2014), Auto-encoding variational Bayes, *ICLR*, eq. 3.
    """

    capabilities = frozenset()

    def __init__(
        self,
        network: AutoencoderNetwork,
        frame: Frame,
        report: FitReport | None = None,
        base: Base | None = None,
    ) -> None:
        self.base = base or NormalBase()
        self.network, self.frame, self.report = network.requires_grad_(False), frame, report
        self.causes, self.takes = frame.causes, frame.takes
        self.code_dim = network.code
        self.latent_dim = network.code + frame.causes.size
        self._casts = Casts(network)

    def __repr__(self) -> str:
        by = f", conditions={list(self.frame.conditions)}" if self.frame.conditions else ""
        return f"Decoder(code_dim={self.code_dim}, causes={list(self.causes.names)}{by})"

    @classmethod
    def fit(
        cls,
        table: Any,
        code: int,
        *,
        causes: Space | Sequence[Block | str] | None = None,
        conditions: Mapping[str, Any] | None = None,
        hidden: Sequence[int] = (64, 64),
        noise: str = "each",
        scale: str = "each",
        base: Base | None = None,
        sparse: SpikeSlab | None = None,
        labels: Any = None,
        objective: Objective | None = None,
        training: Training | None = None,
        seed: int = 0,
        progress: Progress = False,
        checkpoint: str | Path | None = None,
    ) -> Decoder:
        """Learn a decoder from samples, by the evidence lower bound.

        Parameters
        ----------
        table : array_like (N, n)
            One row a sample, in the units of the causes.
        code : int
            Length of the code, at least 1.
        causes, conditions, training, seed, progress, checkpoint
            See `Flow.fit`.
        hidden : sequence of int
            Widths of the hidden layers of decoder and encoder; none makes them linear.
        noise : {"each", "common", "network"}
            Whether the residual's deviation is one number for each cause, one for all, or a function of the code.
        scale : {"each", "common"}
            Whether each cause is divided by its own deviation, or all by one. With ``hidden=()``, "common" noise and
            "common" scale this is the linear autoencoder whose optimum is PPCA (Lucas et al. 2019); constant columns
            are then kept.
        base : Base, optional
            Distribution of the code: `NormalBase` (the default), `FactoredBase` or `ConditionalBase`. Its parameters
            are learned with the networks.
        sparse : SpikeSlab, optional
            Give each cause a mask over the code, with this prior; what belongs to its spike in the end is set to 0.
        labels : array_like (N, l), optional
            Known values of the first l elements of the code, in any units; NaN where there is none.
        objective : Objective, optional
            What is made small; minus the evidence lower bound by default, with the terms "spike_slab" and "label" of a
            sparse decoder and of labels.

        Returns
        -------
        Decoder
            With its `report`.

        Raises
        ------
        ValueError
            As `Flow.fit`; and if a setting is none of those named.
        """
        if isinstance(code, bool) or not isinstance(code, int) or code < 1:
            raise ValueError(f"Invalid code length {code!r}. It must be a whole number, at least 1.")
        for what, value, known in (("noise", noise, NOISES), ("scale", scale, ("each", "common"))):
            if value not in known:
                raise ValueError(f"Unknown {what} {value!r}. Must be one of {', '.join(known)}.")
        x, c, space, names = read_samples(table, causes, conditions, constant="keep" if scale == "common" else "refuse")
        frame = Frame.of(SupportMap(space).encode(x.mT).mT, c, space, names, whiten=False, common=scale == "common")
        base, settings = base or NormalBase(), {"hidden": tuple(hidden), "noise": noise, "sparse": sparse}
        base.check(dict(zip(names, c.unbind(1), strict=True)))
        marks = None if labels is None else read_labels(labels, len(x), code)
        goal = objective_of(objective, sparse, marks)
        network = _network(frame, code, base, settings, seed)
        context = ((c - frame.condition_mean) / frame.condition_sd).float()
        w, offset = frame.encode(x.mT, context.mT.double())
        rows = [w.mT.float().contiguous(), context, offset.float(), *([] if marks is None else [marks])]
        critic = critic_of(goal, code, seed)
        begin_with_segments(network, rows[0], context, seed=seed)
        loss = autoencoder_loss(network, goal, len(x), seed, critic)
        learners = network if critic is None else torch.nn.ModuleList([network, critic])
        report = train(learners, loss, rows, training=training, seed=seed, progress=progress, checkpoint=checkpoint)
        network.prune()
        return cls(network, frame, report, base)

    def decode(self, z: Tensor, /, **conditions: Any) -> Tensor:
        self._check(z)
        self.base.check(conditions)
        columns, context, lead = self.frame.spread(z, conditions)
        network = self._casts(z)

        def block(columns: Tensor, context: Tensor) -> Tensor:
            code = network.base(columns[: self.code_dim].contiguous(), context)
            mean, log_sd = network.decode(code, context)
            return self.frame.decode(mean + log_sd.exp() * columns[self.code_dim :], context)

        return self.frame.gather(in_column_blocks(block, columns, context), lead)

    @property
    def mask(self) -> Tensor | None:
        """Of a sparse decoder ``(n, code_dim)``: how strongly each cause sees each element of the code, or 0."""
        return self.network.mean.mask if isinstance(self.network.mean, MaskedNetwork) else None

    def code(self, x: Tensor, /, **conditions: Any) -> tuple[Tensor, Tensor]:
        """Mean and standard deviation, each ``(*, k)``, of the approximate posterior of the code given causes."""
        self.causes.check(x)
        self.base.check(conditions)
        columns, context, lead = self.frame.spread(x, conditions)
        mean, log_sd = self._casts(x).encode(self.frame.encode(columns, context)[0], context)
        return self.frame.gather(mean, lead), self.frame.gather(log_sd.exp(), lead)

    def reconstruct(self, x: Tensor, /, **conditions: Any) -> Tensor:
        """The causes ``(*, n)`` that the code alone gives back."""
        mean, _ = self.code(x, **conditions)
        columns, context, lead = self.frame.spread(mean, conditions)
        made = self.frame.decode(self._casts(mean).decode(columns, context)[0], context)
        return self.frame.gather(made, lead)

    def bound(self, x: Tensor, /, *, draws: int = 1, seed: int = 0, **conditions: Any) -> Tensor:
        """A lower bound of the log density ``(*)`` of causes, in expectation; the tighter, the more draws.

        One draw gives the evidence lower bound, more the importance-weighted one (Burda et al. 2016, eq. 8).
        """
        self.causes.check(x)
        self.base.check(conditions)
        columns, context, lead = self.frame.spread(x, conditions)
        w, offset = self.frame.encode(columns, context)
        network, each = self._casts(x), []
        for i in range(draws):
            eps = normal((self.code_dim, columns.shape[1]), single_stream(), seed=seed, stage=i, dtype=x.dtype)
            seen, prior, posterior = network.terms(w, context, eps.to(x))
            each.append(seen + prior - posterior - offset)
        value = log_mean(torch.stack(each))
        return self.frame.gather(torch.where(torch.isnan(value), -torch.inf, value)[None], lead)[..., 0]

    def state(self) -> tuple[dict[str, Tensor], dict[str, Any]]:
        """Tensors and plain values that `from_state` makes the same prior of."""
        tensors, settings = self.frame.state()
        shape = {"code": self.code_dim, "hidden": list(self.network.hidden), "noise": self.network.noise}
        sparse = self.network.mean.prior.to_json() if isinstance(self.network.mean, MaskedNetwork) else None
        report = self.report.to_json() if self.report else None
        own = {"base": self.base.to_json(), "sparse": sparse, "report": report}
        return tensors | self.network.state_dict(), settings | shape | own

    @classmethod
    def from_state(cls, tensors: Mapping[str, Tensor], settings: Mapping[str, Any]) -> Decoder:
        """The prior of `state`."""
        frame, base = Frame.from_state(tensors, settings), base_from_json(settings.get("base"))
        sparse = SpikeSlab(**settings["sparse"]) if settings.get("sparse") else None
        shape = {"hidden": settings["hidden"], "noise": settings["noise"], "sparse": sparse}
        network = _network(frame, settings["code"], base, shape, 0)
        network.load_state_dict({n: t for n, t in tensors.items() if not n.startswith("frame.")})
        report = settings["report"]
        return cls(network, frame, FitReport.from_json(report) if report else None, base)

    def _check(self, z: Tensor) -> None:
        if z.ndim == 0 or z.shape[-1] != self.latent_dim:
            raise ValueError(
                f"Invalid shape {tuple(z.shape)}. The last axis must hold the {self.latent_dim} latents: "
                f"{self.code_dim} of the code and {self.causes.size} of the noise."
            )


def _network(frame: Frame, code: int, base: Base, settings: Mapping[str, Any], seed: int) -> AutoencoderNetwork:
    """The networks, with their first weights."""
    made = base.made(code, frame, seed=seed)
    return AutoencoderNetwork(frame.causes.size, code, len(frame.conditions), base=made, seed=seed, **settings)
