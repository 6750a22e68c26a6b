"""A known map as part of a decoder: causes that a physical model almost explains, with a learned correction."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ..conditions import check_names, takes
from ..progress import Progress
from ..random import normal, single_stream
from ..space import Block, Space
from .columns import Casts, in_column_blocks, total
from .discrepancy import Discrepancy
from .fitting import FitReport, Training, train
from .frame import Frame
from .objectives import Objective
from .physics_map import KnownMap, PhysicsMap, known_map_takes, raw_columns
from .physics_network import PhysicsNetwork
from .physics_terms import PhysicsStep
from .prior import Prior
from .samples import read_samples
from .standard_normal import log_density
from .storage import nested_prior, nested_state, storable
from .storage_parts import known_parts
from .support_map import SupportMap
from .vae_network import draw_codes

NOISES = ("common", "each")
_FOREIGN = ("frame.", "parameters.", "probe.")  # tensors that are not the network's
BY_ITSELF = {"reconstruction": 1.0, "kl": 1.0, "physics_augment": 1.0}
REGULARISED = {**BY_ITSELF, "physics_switch": 0.1, "physics_cleanse": 0.1}
"""The objective of Takeishi & Kalousis (2021), section 3.3.

With weights of 1, a correction as large as the causes vary has been measured never to begin: the residual's deviation
starts at 1, where a square of correction costs 1 and saves 1/2. With weights of 0.1 it begins, and once the residual is
small the weights only choose between corrections that serve alike.
"""


@storable("physics")
class Physics(Prior):
    """x = physics(theta, f_A(.; z_A)) + sd noise, theta = parameters(z_P), z = (z_P, z_A, noise): see `Physics.fit`.

    A known map of a few parameters, a network f_A for what it leaves out, and the residual as latents of its own (see
    `Decoder`, also for why there is neither "log_prob" nor "encode"). The map calls the network where it wants to:
    inside a differential equation, or at its end.

    Parameters
    ----------
    network : PhysicsNetwork
    map : PhysicsMap
    report : FitReport, optional

    Attributes
    ----------
    parameters : Prior
        Of theta: `theta` gives the parameters of some causes in their own units.
    takes : Takes
        The conditions, all required.
    report : FitReport or None
        Its losses are the objective, with the standardised causes' change of volume, in nats a sample.

    References
    ----------
    Takeishi & Kalousis (2021), Physics-integrated variational autoencoders for robust and interpretable generative
    modeling, *NeurIPS* 34.
    """

    capabilities = frozenset()

    def __init__(self, network: PhysicsNetwork, map: PhysicsMap, report: FitReport | None = None) -> None:
        self.network, self.map, self.report = network.requires_grad_(False), map, report
        self.frame, self.parameters = map.frame, map.parameters
        self.causes, self.takes = self.frame.causes, self.frame.takes
        self.code_dim = network.physical + network.code
        self.latent_dim = self.code_dim + self.causes.size
        self._casts = Casts(network)

    def __repr__(self) -> str:
        by = f", conditions={list(self.frame.conditions)}" if self.frame.conditions else ""
        return f"Physics(parameters={list(self.parameters.causes.names)}, causes={list(self.causes.names)}{by})"

    @classmethod
    def fit(
        cls,
        table: Any,
        physics: KnownMap,
        parameters: Prior,
        discrepancy: Discrepancy | None,
        *,
        causes: Space | Sequence[Block | str] | None = None,
        conditions: Mapping[str, Any] | None = None,
        hidden: Sequence[int] = (64, 64),
        noise: str = "each",
        scale: str = "each",
        objective: Objective | None = None,
        training: Training | None = None,
        seed: int = 0,
        progress: Progress = False,
        checkpoint: str | Path | None = None,
    ) -> Physics:
        """Learn the correction, and how to infer parameters and codes.

        Parameters
        ----------
        table : array_like (N, n)
            One row a sample, in the units of the causes.
        physics : callable
            ``physics(theta, correction, **conditions)``: causes ``(R, n)`` of parameters ``(R, p)``, row by row, by
            operations that PyTorch differentiates. It calls ``correction(inputs)``, inputs ``(R, *, i)``, for what it
            does not know ``(R, *, o)``: 0 where the known map is meant by itself.
        parameters : Prior
            Of theta. What it takes of conditions, it gets.
        discrepancy : Discrepancy or None
            None for the known map alone.
        causes, conditions, training, seed, progress, checkpoint
            See `Flow.fit`.
        hidden : sequence of int
            Widths of the hidden layers of the encoders.
        noise, scale : {"each", "common"}
            As in `Decoder.fit`.
        objective : Objective, optional
            What is made small: `REGULARISED` by default, or `BY_ITSELF` without a discrepancy.

        Returns
        -------
        Physics
            With its `report`.

        Raises
        ------
        ValueError
            As `Flow.fit`; if a setting is unknown, a condition is taken by no part, or the known map returns another
            shape.
        TypeError
            If `parameters` is no prior, or one with a `log_factor`.
        """
        _check(parameters, noise, scale)
        x, c, space, names = read_samples(table, causes, conditions, constant="keep" if scale == "common" else "refuse")
        check_names(names, known_map_takes(physics) | takes(parameters, "decode"))
        frame = Frame.of(SupportMap(space).encode(x.mT).mT, c, space, names, whiten=False, common=scale == "common")
        known = PhysicsMap(physics, parameters, frame)
        shape = (space.size, parameters.latent_dim, len(names), discrepancy)
        network = PhysicsNetwork(*shape, hidden=hidden, noise=noise, seed=seed)
        goal = objective or Objective(REGULARISED if discrepancy else BY_ITSELF)
        context = (c - frame.condition_mean) / frame.condition_sd
        w, offset = frame.encode(x.mT, context.mT)

        def loss(rows: Sequence[Tensor], stage: int) -> Tensor:
            eps = draw_codes(2 * network.physical + network.code, len(rows[0]), seed=seed, stage=stage)
            made = _step(network, known, rows[0].mT, rows[1].mT, rows[2].mT, eps, len(x))
            return (rows[3].mean() + goal(made)).expand(len(rows[0]))

        rows = [v.float().contiguous() for v in (w.mT, context, c, offset)]
        report = train(network, loss, rows, training=training, seed=seed, progress=progress, checkpoint=checkpoint)
        return cls(network, known, report)

    def decode(self, z: Tensor, /, **conditions: Any) -> Tensor:
        self._check_latents(z, self.latent_dim)
        columns, context, lead = self.frame.spread(z, conditions)
        raw, network = raw_columns(conditions, self.frame.conditions, lead, columns), self._casts(z)

        def block(columns: Tensor, context: Tensor, raw: Tensor) -> Tensor:
            w = self._mean(network, columns, raw) + log_sd.exp() * columns[self.code_dim :]
            return self.frame.decode(w, context)

        log_sd = network.residual_log_sd()
        return self.frame.gather(in_column_blocks(block, columns, context, raw), lead)

    def code(self, x: Tensor, /, **conditions: Any) -> tuple[Tensor, Tensor]:
        """Mean and standard deviation, each ``(*, p + k)``, of the approximate posterior of (z_P, z_A) given causes."""
        self.causes.check(x)
        columns, context, lead = self.frame.spread(x, conditions)
        eps = columns.new_zeros(self.network.code, columns.shape[1])
        mean, log_sd, _ = self._casts(x).infer(self.frame.encode_parts(columns)[0], context, eps)
        return self.frame.gather(mean, lead), self.frame.gather(log_sd.exp(), lead)

    def theta(self, x: Tensor, /, **conditions: Any) -> Tensor:
        """The physical parameters ``(*, p)``, in their units, at the mean of the posterior of their latents."""
        mean, _ = self.code(x, **conditions)
        own = takes(self.parameters, "decode").pick(conditions)
        return self.parameters.decode(mean[..., : self.network.physical], **own)

    def predict(
        self, code: Tensor, /, *, physics: KnownMap | None = None, corrected: bool = True, **conditions: Any
    ) -> Tensor:
        """What the known map gives for codes, without noise ``(*, n)``.

        Parameters
        ----------
        code : Tensor (*, p + k)
            (z_P, z_A), as `code` infers them.
        physics : callable, optional
            Another map of the same parameters and the same correction, to any length of the last axis: one of later
            times, say.
        corrected : bool
            Whether with what was learned, or the known map by itself.
        """
        self._check_latents(code, self.code_dim)
        columns, _, lead = self.frame.spread(code, conditions)
        raw, network = raw_columns(conditions, self.frame.conditions, lead, columns), self._casts(code)
        z_p, z_a = columns[: network.physical], columns[network.physical :]
        correction = network.correction(z_a) if corrected else network.no_correction()
        return self.frame.gather(self.map.causes(z_p, correction, raw, physics=physics).mT, lead)

    def _mean(self, network: PhysicsNetwork, columns: Tensor, raw: Tensor) -> Tensor:
        z_p, z_a = columns[: network.physical], columns[network.physical : self.code_dim]
        return self.map(z_p, network.correction(z_a), raw)

    def state(self) -> tuple[dict[str, Tensor], dict[str, Any]]:
        """Tensors and plain values that `from_state` makes the same prior of, but for the known map."""
        tensors, settings = self.frame.state()
        own = self.network.settings
        shape = {
            "physical": self.network.physical,
            "discrepancy": vars(own) | {"hidden": list(own.hidden)} if own else None,
            "hidden": list(self.network.hidden),
            "noise": self.network.noise,
            "report": self.report.to_json() if self.report else None,
        }
        inner, nested, parts = nested_state(self.parameters, "parameters")
        parts |= known_parts({"physics": self.map.physics})
        tensors = tensors | self.network.state_dict() | inner | self._probe()
        return tensors, settings | shape | nested | {"parts": parts}

    @classmethod
    def from_state(cls, tensors: Mapping[str, Tensor], settings: Mapping[str, Any], **parts: Any) -> Physics:
        """The prior of `state`, with the parts that no file holds.

        Raises
        ------
        ValueError
            If they are not those that it was learned with: some causes that they make are stored, and compared.
        """
        frame = Frame.from_state(tensors, settings)
        own = Discrepancy(**settings["discrepancy"]) if settings["discrepancy"] else None
        shape = (frame.causes.size, settings["physical"], len(frame.conditions), own)
        network = PhysicsNetwork(*shape, hidden=settings["hidden"], noise=settings["noise"])
        network.load_state_dict({n: t for n, t in tensors.items() if not n.startswith(_FOREIGN)})
        known = PhysicsMap(parts["physics"], nested_prior(tensors, settings, parts, "parameters"), frame)
        prior = cls(network, known, FitReport.from_json(settings["report"]) if settings["report"] else None)
        made, stored = prior._probe()["probe.x"], tensors["probe.x"]
        if made.shape != stored.shape or not torch.allclose(made, stored, rtol=1e-6, atol=1e-6 * float(stored.std())):
            raise ValueError(
                f"The parts given make other causes than {', '.join(settings['parts'].values())} did. "
                "Give those that the prior was learned with."
            )
        return prior

    def _probe(self) -> dict[str, Tensor]:
        """A few causes, which tell one known map from another."""
        z = normal((4, self.latent_dim), single_stream(), seed=0, dtype=torch.float64)
        middle = dict(zip(self.frame.conditions, self.frame.condition_mean.double(), strict=True))
        return {"probe.x": self.decode(z, **middle)}

    def _check_latents(self, z: Tensor, length: int) -> None:
        if z.ndim == 0 or z.shape[-1] != length:
            n, k = self.network.physical, self.network.code
            noise = f" and {self.causes.size} of the noise" if length == self.latent_dim else ""
            raise ValueError(
                f"Invalid shape {tuple(z.shape)}. The last axis must hold the {length} latents: "
                f"{n} of the parameters, {k} of the correction{noise}."
            )


def _step(
    network: PhysicsNetwork, known: PhysicsMap, w: Tensor, context: Tensor, raw: Tensor, eps: Tensor, samples: int
) -> PhysicsStep:
    """What the terms of the objective are made of; eps holds the draws of z_P, of z_A, and of the augmentation."""
    p, k = network.physical, network.code
    mean, log_sd, cleansed = network.infer(w, context, eps[p : p + k])
    code, drawn = mean + log_sd.exp() * eps[: p + k], eps[p + k :]
    full = known(code[:p], network.correction(code[p:]), raw)
    residual = network.residual_log_sd()
    seen = total(log_density((w - full) * (-residual).exp()) - residual)
    both = known(torch.cat([code[:p], drawn], 1), network.no_correction(), raw.repeat(1, 2))
    reduced, made = both.chunk(2, 1)
    return PhysicsStep(
        seen,
        mean,
        log_sd,
        code,
        samples,
        full=full,
        reduced=reduced,
        cleansed=cleansed,
        drawn=drawn,
        inferred=network.infer_physical(made, context)[0],
    )


def _check(parameters: Prior, noise: str, scale: str) -> None:
    if not isinstance(parameters, Prior):
        raise TypeError(f"Invalid parameters of type {type(parameters).__name__}. Give the prior of theta.")
    if "log_factor" in parameters.capabilities:
        raise TypeError("Invalid parameters with a log_factor. Weight the prior that this makes instead.")
    for what, value in (("noise", noise), ("scale", scale)):
        if value not in NOISES:
            raise ValueError(f"Unknown {what} {value!r}. Must be one of {', '.join(NOISES)}.")
