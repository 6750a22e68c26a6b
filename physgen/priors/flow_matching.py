"""Flow matching: causes carried from normal noise along straight lines, on average, by a learned velocity."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ..progress import Progress
from ..space import Block, Space
from .columns import total
from .fitting import FitReport, Training, train
from .frame import Frame
from .ode import Velocity, check_method
from .ode_learning import Network, NetworkShape, learned_network, network_of, noise_of_step
from .ode_prior import OdePrior
from .storage import storable


@storable("flow-matching")
class FlowMatching(OdePrior):
    """dw/dt = v(w, t; conditions) from w(0) = z to x = frame(w(1)), made by `FlowMatching.fit`.

    v is the mean of w_1 - z over the pairs of noise and value whose straight line w_t = (1 - t) z + t w_1 passes w at t
    (the conditional optimal-transport path of Lipman et al. 2023, eqs 20 and 23, with sigma_min = 0). The paths that it
    makes are curved, and cannot cross.

    Parameters
    ----------
    network : ScoreNetwork or UNet
    frame : Frame
    steps : int
        Of the solver, evenly spaced.
    method : {"rk4", "heun"}
    report : FitReport, optional

    Attributes
    ----------
    report : FitReport or None
        Its losses are mean squared errors of the velocity for each element. They do not fall to 0: the pairs scatter.

    References
    ----------
    Lipman, Chen, Ben-Hamu, Nickel & Le (2023), Flow matching for generative modeling, *ICLR*.
    """

    def __init__(
        self,
        network: Network,
        frame: Frame,
        *,
        steps: int = 12,
        method: str = "rk4",
        report: FitReport | None = None,
    ) -> None:
        check_method(method, steps)
        self.network = network
        super().__init__(network, frame, [i / steps for i in range(steps + 1)], method, report)

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
    ) -> FlowMatching:
        """Learn a velocity from samples. Parameters and errors are those of `Diffusion.fit`.

        Returns
        -------
        FlowMatching
            With its `report`.
        """
        check_method("rk4", steps)
        shape = NetworkShape(tuple(hidden), channels, periodic)
        w, context, frame, network = learned_network(table, causes, conditions, shape, seed=seed)

        def loss(rows: Sequence[Tensor], stage: int) -> Tensor:
            t, noise = noise_of_step(w.shape[1], len(rows[0]), seed=seed, stage=stage)
            return flow_matching(network, rows[0].mT, rows[1].mT, t, noise)

        report = train(
            network, loss, [w, context], training=training, seed=seed, progress=progress, checkpoint=checkpoint
        )
        return cls(network, frame, steps=steps, report=report)

    def state(self) -> tuple[dict[str, Tensor], dict[str, Any]]:
        """Tensors and plain values that `from_state` makes the same prior of."""
        tensors, settings = self.frame.state()
        own = {"kind": self.network.kind, "network": self.network.settings()}
        report = self.report.to_json() if self.report else None
        solver = {"steps": self.steps, "method": self.method}
        return tensors | self.network.state_dict(), settings | own | solver | {"report": report}

    @classmethod
    def from_state(cls, tensors: Mapping[str, Tensor], settings: Mapping[str, Any]) -> FlowMatching:
        """The prior of `state`."""
        frame = Frame.from_state(tensors, settings)
        network = network_of(settings["kind"], frame, settings["network"])
        network.load_state_dict({n: t for n, t in tensors.items() if not n.startswith("frame.")})
        report = settings["report"]
        return cls(
            network,
            frame,
            steps=settings["steps"],
            method=settings["method"],
            report=FitReport.from_json(report) if report else None,
        )

    def _velocity(self, module: Any, context: Tensor) -> Velocity:
        def f(w: Tensor, t: float) -> Tensor:
            return module(w, torch.as_tensor(_phase(t), dtype=w.dtype, device=w.device), context)

        return f


def flow_matching(network: Network, values: Tensor, context: Tensor, t: Tensor, noise: Tensor) -> Tensor:
    """The loss ``(R,)``: squared error of the velocity at w_t, a mean over the elements (Lipman et al. 2023, eq. 23).

    Parameters
    ----------
    values, noise : Tensor (n, R)
        w_1, and the standard normal w_0.
    context : Tensor (c, R)
    t : Tensor (R,)
        In 0 to 1.
    """
    found = network((1 - t) * noise + t * values, _phase(t), context)
    return total((found - (values - noise)) ** 2) / len(values)


def _phase(t: Any) -> Any:
    return math.pi * (t - 0.5)
