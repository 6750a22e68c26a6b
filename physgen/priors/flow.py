"""A normalising flow: causes of any joint distribution, learned from samples, as fast to decode as to encode."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ..progress import Progress
from ..space import Block, Space
from .columns import Casts, in_column_blocks, total
from .fitting import FitReport, Training, train
from .flow_network import CouplingFlow
from .frame import Frame
from .prior import Prior
from .samples import read_samples
from .standard_normal import log_density
from .storage import storable
from .support_map import SupportMap


@storable("flow")
class Flow(Prior):
    """x = frame(splines(z; conditions)): a neural spline flow in coupling layers, made by `Flow.fit`.

    The causes are first brought onto whole lines (a support is kept exactly), their mean and covariance taken out; what
    the network learns is the difference from a normal distribution. A coupling layer costs the same in both directions:
    an autoregressive one of the same size has its slow direction in `decode`, which inversions call most, or in
    `log_prob`, which fitting calls most. In float64 a row's bits do not depend on the other rows.

    Parameters
    ----------
    network : CouplingFlow
    frame : Frame
    report : FitReport, optional

    Attributes
    ----------
    report : FitReport or None
        The learning curve, and how well the flow fits rows that were held out.
    takes : Takes
        The conditions, all required.

    References
    ----------
    Durkan, Bekasov, Murray & Papamakarios (2019), Neural spline flows, *NeurIPS* 32.
    Dinh, Sohl-Dickstein & Bengio (2017), Density estimation using Real NVP, *ICLR*.
    """

    capabilities = frozenset({"log_prob", "encode"})

    def __init__(self, network: CouplingFlow, frame: Frame, report: FitReport | None = None) -> None:
        self.network, self.frame, self.report = network.requires_grad_(False), frame, report
        self.causes, self.takes = frame.causes, frame.takes
        self.latent_dim = frame.causes.size
        self._casts = Casts(network)

    def __repr__(self) -> str:
        by = f", conditions={list(self.frame.conditions)}" if self.frame.conditions else ""
        return f"Flow(causes={list(self.causes.names)}{by})"

    @classmethod
    def fit(
        cls,
        table: Any,
        *,
        causes: Space | Sequence[Block | str] | None = None,
        conditions: Mapping[str, Any] | None = None,
        transforms: int = 6,
        bins: int = 8,
        hidden: Sequence[int] = (48, 48),
        training: Training | None = None,
        seed: int = 0,
        progress: Progress = False,
        checkpoint: str | Path | None = None,
    ) -> Flow:
        """Learn a flow from samples, by maximum likelihood.

        Parameters
        ----------
        table : array_like (N, n)
            One row a sample, in the units of the causes.
        causes : Space or sequence of Block or str, optional
            What the columns are; supports are kept. ``x0, x1, ...`` on the whole line by default.
        conditions : mapping of str to array_like (N,), optional
            Under which each sample was found; the prior then takes them by keyword.
        transforms : int
            Number of coupling layers.
        bins : int
            Of each spline.
        hidden : sequence of int
            Widths of the hidden layers of each layer's network.
        training : Training, optional
            Length, steps and stopping.
        seed : int
            The fit is a function of it.
        progress : bool or callable
        checkpoint : path, optional
            See `train`.

        Returns
        -------
        Flow
            With its `report`.

        Raises
        ------
        ValueError
            If there are too few samples, a column is constant or has missing values (it is named), a cause lies outside
            its support or is a linear combination of others, or the checkpoint is of another fit.
        """
        x, c, space, names = read_samples(table, causes, conditions)
        w, context, offset, frame = standardise(x, c, space, names, whiten=True)
        network = CouplingFlow(
            space.size, len(names), transforms=transforms, bins=bins, hidden=tuple(hidden), seed=seed
        )

        def loss(rows: Sequence[Tensor], stage: int) -> Tensor:
            z, log_slope = network(rows[0].mT.contiguous(), rows[1].mT.contiguous(), inverse=True)
            return rows[2] - total(log_density(z)) - log_slope

        report = train(
            network, loss, [w, context, offset], training=training, seed=seed, progress=progress, checkpoint=checkpoint
        )
        return cls(network, frame, report)

    def decode(self, z: Tensor, /, **conditions: Any) -> Tensor:
        self.causes.check(z)
        columns, context, lead = self.frame.spread(z, conditions)
        network = self._casts(z)

        def block(columns: Tensor, context: Tensor) -> Tensor:
            return self.frame.decode(network(columns, context, slope=False)[0], context)

        return self.frame.gather(in_column_blocks(block, columns, context), lead)

    def encode(self, x: Tensor, /, **conditions: Any) -> Tensor:
        """Latents ``(*, n)`` of causes ``(*, n)``; NaN where a cause lies outside its support."""
        self.causes.check(x)
        columns, context, lead = self.frame.spread(x, conditions)
        network = self._casts(x)

        def block(columns: Tensor, context: Tensor) -> Tensor:
            return network(self.frame.encode(columns, context)[0], context, inverse=True, slope=False)[0]

        return self.frame.gather(in_column_blocks(block, columns, context), lead)

    def log_prob(self, x: Tensor, /, **conditions: Any) -> Tensor:
        """Log density ``(*)`` of causes ``(*, n)``; -inf outside the support."""
        self.causes.check(x)
        columns, context, lead = self.frame.spread(x, conditions)
        network = self._casts(x)

        def block(columns: Tensor, context: Tensor) -> Tensor:
            w, log_factor = self.frame.encode(columns, context)
            inside = torch.isfinite(w).all(0)
            z, log_slope = network(torch.where(inside, w, 0.0), context, inverse=True)
            value = total(log_density(z)) + log_slope - torch.where(inside, log_factor, 0.0)
            return torch.where(inside, value, -torch.inf)[None]

        return self.frame.gather(in_column_blocks(block, columns, context), lead)[..., 0]

    def state(self) -> tuple[dict[str, Tensor], dict[str, Any]]:
        """Tensors and plain values that `from_state` makes the same prior of."""
        tensors, settings = self.frame.state()
        shape = {"transforms": self.network.transforms, "bins": self.network.bins, "hidden": list(self.network.hidden)}
        report = self.report.to_json() if self.report else None
        return tensors | self.network.state_dict(), settings | shape | {"report": report}

    @classmethod
    def from_state(cls, tensors: Mapping[str, Tensor], settings: Mapping[str, Any]) -> Flow:
        """The prior of `state`."""
        frame = Frame.from_state(tensors, settings)
        shape = {k: settings[k] for k in ("transforms", "bins", "hidden")}
        network = CouplingFlow(frame.causes.size, len(frame.conditions), **shape)
        network.load_state_dict({n: t for n, t in tensors.items() if not n.startswith("frame.")})
        report = settings["report"]
        return cls(network, frame, FitReport.from_json(report) if report else None)


def standardise(
    x: Tensor, c: Tensor, space: Space, names: Sequence[str], *, whiten: bool
) -> tuple[Tensor, Tensor, Tensor, Frame]:
    """What a network learns from: standardised causes ``(N, n)`` and conditions ``(N, c)``, log |dx / dw| ``(N,)``.

    They are float32, as the network's weights are; the last of what is returned is the frame, in float64.
    """
    frame = Frame.of(SupportMap(space).encode(x.mT).mT, c, space, names, whiten=whiten)
    context = (c - frame.condition_mean) / frame.condition_sd
    w, offset = frame.encode(x.mT, context.mT)
    return w.mT.float().contiguous(), context.float(), offset.float(), frame
