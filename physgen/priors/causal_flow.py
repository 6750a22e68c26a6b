"""A causal flow: a structural causal model whose graph is given and whose mechanisms are learned."""

from __future__ import annotations

import copy
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ..progress import Progress
from ..space import Block, Space
from .causal_flow_network import CausalNetwork
from .causal_graph import causal_graph
from .chain import _within
from .columns import Casts, in_column_blocks, total
from .fitting import FitReport, Training, train
from .flow import standardise
from .frame import Frame
from .prior import Prior
from .samples import read_samples
from .standard_normal import log_density
from .storage import storable


@storable("causal-flow")
class CausalFlow(Prior):
    """x_i = mechanism_i(z_i; parents of i): made by `CausalFlow.fit` of samples and a graph.

    The latents z are the exogenous noises. So `do` edits mechanisms, and a counterfactual is encode, edit, decode
    (`counterfactual`). What is learned is the distribution; that an intervention is answered rightly rests on the graph
    being right, and on no unmeasured cause acting on two of the others.

    Parameters
    ----------
    network : CausalNetwork
    frame : Frame
        Its factor is diagonal.
    graph : mapping of str to sequence of str
        Parents of each cause.
    report : FitReport, optional

    Attributes
    ----------
    report : FitReport or None
    graph : dict
    takes : Takes

    References
    ----------
    Javaloy, Sanchez-Martin & Valera (2023), Causal normalizing flows, *NeurIPS* 36.
    Pearl (2009), *Causality*, sections 3.2 and 7.1.
    """

    capabilities = frozenset({"log_prob", "encode", "do"})

    def __init__(
        self,
        network: CausalNetwork,
        frame: Frame,
        graph: Mapping[str, Iterable[str]],
        report: FitReport | None = None,
    ) -> None:
        self.network, self.frame, self.report = network.requires_grad_(False), frame, report
        self.graph = {child: tuple(parents) for child, parents in graph.items()}
        self.causes, self.takes = frame.causes, frame.takes
        self.latent_dim = frame.causes.size
        self._casts = Casts(network)
        self._fixed: dict[int, tuple[float, float]] = {}

    def __repr__(self) -> str:
        set_to = f", do={ {self.causes.names[i]: v for i, (v, _) in self._fixed.items()} }" if self._fixed else ""
        return f"CausalFlow(causes={list(self.causes.names)}, graph={self.graph}{set_to})"

    @classmethod
    def fit(
        cls,
        table: Any,
        graph: Mapping[str, Iterable[str]],
        *,
        causes: Space | Sequence[Block | str] | None = None,
        conditions: Mapping[str, Any] | None = None,
        bins: int = 8,
        hidden: Sequence[int] = (32, 32),
        training: Training | None = None,
        seed: int = 0,
        progress: Progress = False,
        checkpoint: str | Path | None = None,
    ) -> CausalFlow:
        """Learn every mechanism from samples, by maximum likelihood.

        Parameters
        ----------
        table : array_like (N, n)
            One row a sample, in the units of the causes.
        graph : mapping of str to iterable of str
            The parents of each cause, among causes and conditions. A cause that is left out has none.
        causes, conditions, bins, training, seed, progress, checkpoint
            See `Flow.fit`.
        hidden : sequence of int
            Widths of the hidden layers of each mechanism.

        Returns
        -------
        CausalFlow
            With its `report`.

        Raises
        ------
        ValueError
            As `Flow.fit`; and if the graph has a cycle or an unknown name, or a condition acts on no cause.
        """
        x, c, space, names = read_samples(table, causes, conditions)
        made = causal_graph(graph, space, names)
        w, context, offset, frame = standardise(x, c, space, names, whiten=False)
        network = CausalNetwork(made, bins=bins, hidden=tuple(hidden), seed=seed)

        def loss(rows: Sequence[Tensor], stage: int) -> Tensor:
            z, slopes = network.inverse(rows[0].mT.contiguous(), rows[1].mT.contiguous())
            return rows[2] - total(log_density(z) + slopes)

        report = train(
            network, loss, [w, context, offset], training=training, seed=seed, progress=progress, checkpoint=checkpoint
        )
        return cls(network, frame, graph, report)

    def decode(self, z: Tensor, /, **conditions: Any) -> Tensor:
        self.causes.check(z)
        columns, context, lead = self.frame.spread(z, conditions)
        network, inner = self._casts(z), {i: w for i, (_, w) in self._fixed.items()}

        def block(columns: Tensor, context: Tensor) -> Tensor:
            x = self.frame.decode(network(columns, context, inner)[0], context)
            if not self._fixed:
                return x
            rows = enumerate(x.unbind(0))
            return torch.stack([torch.full_like(r, self._fixed[i][0]) if i in self._fixed else r for i, r in rows])

        return self.frame.gather(in_column_blocks(block, columns, context), lead)

    def encode(self, x: Tensor, /, **conditions: Any) -> Tensor:
        """Latents ``(*, n)`` of causes ``(*, n)``; NaN where a cause lies outside its support."""
        self._need("encode")
        self.causes.check(x)
        columns, context, lead = self.frame.spread(x, conditions)
        network = self._casts(x)

        def block(columns: Tensor, context: Tensor) -> Tensor:
            return network.inverse(self.frame.encode_parts(columns)[0], context)[0]

        return self.frame.gather(in_column_blocks(block, columns, context), lead)

    def log_prob(self, x: Tensor, /, **conditions: Any) -> Tensor:
        """Log density ``(*)`` of causes ``(*, n)``; -inf outside the support."""
        parts = self.log_mechanisms(x, **conditions)
        return total(parts.reshape(-1, parts.shape[-1]).mT).reshape(parts.shape[:-1])

    def log_mechanisms(self, x: Tensor, /, **conditions: Any) -> Tensor:
        """log p(x_i | parents of i) of each cause, ``(*, n)``, which add up to `log_prob`.

        Where the fall of likelihood from one data set to another sits in one of them, that mechanism has changed.
        """
        self._need("log_prob")
        self.causes.check(x)
        columns, context, lead = self.frame.spread(x, conditions)
        network = self._casts(x)

        def block(columns: Tensor, context: Tensor) -> Tensor:
            w, log_factor = self.frame.encode_parts(columns)
            inside = torch.isfinite(w).all(0)
            z, slopes = network.inverse(torch.where(inside, w, 0.0), context)
            value = log_density(z) + slopes - torch.where(inside, log_factor, 0.0)
            return torch.where(inside, value, -torch.inf)

        return self.frame.gather(in_column_blocks(block, columns, context), lead)

    def do(self, **values: float) -> CausalFlow:
        """The prior after an intervention: the named causes are set, later ones follow.

        The layout of the latents stays; "log_prob" and "encode" are lost.

        Parameters
        ----------
        **values : float
            By cause, in its units and within its support.

        Raises
        ------
        ValueError, TypeError
            If a name is unknown, or a value is not a number or not within the support.
        """
        given = {name: _within(self.causes.block(name), value) for name, value in values.items()}
        x = torch.full((self.latent_dim, 1), torch.nan, dtype=torch.float64)
        for name, value in given.items():
            x[self.causes.names.index(name)] = value
        w = self.frame.encode_parts(x)[0]
        prior = copy.copy(self)
        index = {self.causes.names.index(name): value for name, value in given.items()}
        prior._fixed = {**self._fixed, **{i: (value, float(w[i, 0])) for i, value in index.items()}}
        prior.intervened = self.intervened | given.keys()
        prior.capabilities = self.capabilities - {"log_prob", "encode"} if prior._fixed else self.capabilities
        return prior

    def state(self) -> tuple[dict[str, Tensor], dict[str, Any]]:
        """Tensors and plain values that `from_state` makes the same prior of."""
        tensors, settings = self.frame.state()
        shape = {"bins": self.network.bins, "hidden": list(self.network.hidden)}
        more = {
            "graph": {child: list(parents) for child, parents in self.graph.items()},
            "do": {self.causes.names[i]: value for i, (value, _) in self._fixed.items()},
            "report": self.report.to_json() if self.report else None,
        }
        return tensors | self.network.state_dict(), settings | shape | more

    @classmethod
    def from_state(cls, tensors: Mapping[str, Tensor], settings: Mapping[str, Any]) -> CausalFlow:
        """The prior of `state`."""
        frame, graph = Frame.from_state(tensors, settings), settings["graph"]
        made = causal_graph(graph, frame.causes, frame.conditions)
        network = CausalNetwork(made, bins=settings["bins"], hidden=settings["hidden"])
        network.load_state_dict({n: t for n, t in tensors.items() if not n.startswith("frame.")})
        report = settings["report"]
        return cls(network, frame, graph, FitReport.from_json(report) if report else None).do(**settings["do"])

    def _need(self, capability: str) -> None:
        if capability not in self.capabilities:
            raise self._lacks(capability)
