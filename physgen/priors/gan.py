"""A generative adversarial network: a generator whose samples a critic cannot tell from the real ones."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from torch import Tensor

from ..progress import Progress
from ..space import Block, Space
from .adversarial_training import AdversarialReport, AdversarialTraining, train_players
from .columns import Casts, in_column_blocks
from .flow import standardise
from .frame import Frame
from .gan_game import Game, GameRules
from .gan_network import Critic, Generator, Recogniser
from .prior import Prior
from .samples import read_samples
from .storage import storable


@storable("gan")
class GAN(Prior):
    """x = frame(f(code) + sd noise) with the latents z = (code, noise), learned against a critic: made by `GAN.fit`.

    There is no density and no z of an x, so that there are no capabilities; and nothing in the game says how probable
    a sample is, so that a good-looking prior may have lost some of the causes: see
    `physgen.diagnostics.mode_collapse`. Without the noise and with a code shorter than x, all causes lie on a surface,
    on which no measured one lies; the noise takes them off it, but its deviation is learned from the critic too and may
    be too small: intervals of inversions are then too narrow. Prefer `Flow` or `Decoder` where a density is wanted.

    Parameters
    ----------
    network : Generator
    frame : Frame
    report : AdversarialReport, optional

    Attributes
    ----------
    report : AdversarialReport or None
        The losses of both players, epoch by epoch.
    takes : Takes
        The conditions, all required.

    References
    ----------
    Goodfellow et al. (2014), Generative adversarial nets, *NeurIPS* 27.
    Huang, Gokaslan, Kuleshov & Tompkin (2024), The GAN is dead; long live the GAN!, *NeurIPS* 37: the rules by default.
    """

    capabilities = frozenset()

    def __init__(self, network: Generator, frame: Frame, report: AdversarialReport | None = None) -> None:
        self.network, self.frame, self.report = network.requires_grad_(False), frame, report
        self.causes, self.takes = frame.causes, frame.takes
        self.code_dim, self.latent_dim = network.code, network.latents
        self._casts = Casts(network)

    def __repr__(self) -> str:
        by = f", conditions={list(self.frame.conditions)}" if self.frame.conditions else ""
        return f"GAN(code_dim={self.code_dim}, causes={list(self.causes.names)}{by})"

    @classmethod
    def fit(cls, table: Any, code: int, **settings: Any) -> GAN:
        """Learn a generator from samples.

        Parameters
        ----------
        table : array_like (N, n)
            One row a sample, in the units of the causes.
        code : int
            Length of the code, at least 1.
        **settings
            Those of `fit_generator`.

        Returns
        -------
        GAN
            With its `report`.

        Raises
        ------
        ValueError
            As `fit_generator`.
        """
        return fit_generator(table, code, **settings)[0]

    def decode(self, z: Tensor, /, **conditions: Any) -> Tensor:
        if z.ndim == 0 or z.shape[-1] != self.latent_dim:
            raise ValueError(
                f"Invalid shape {tuple(z.shape)}. The last axis must hold the {self.latent_dim} latents: "
                f"{self.code_dim} of the code and {self.latent_dim - self.code_dim} of the noise."
            )
        columns, context, lead = self.frame.spread(z, conditions)
        network = self._casts(z)

        def block(columns: Tensor, context: Tensor) -> Tensor:
            return self.frame.decode(network(columns, context), context)

        return self.frame.gather(in_column_blocks(block, columns, context), lead)

    def state(self) -> tuple[dict[str, Tensor], dict[str, Any]]:
        """Tensors and plain values that `from_state` makes the same prior of."""
        tensors, settings = self.frame.state()
        report = self.report.to_json() if self.report else None
        network = {f"generator.{n}": t for n, t in self.network.state_dict().items()}
        return tensors | network, settings | {"generator": self.network.shape, "report": report}

    @classmethod
    def from_state(cls, tensors: Mapping[str, Tensor], settings: Mapping[str, Any]) -> GAN:
        """The prior of `state`."""
        frame = Frame.from_state(tensors, settings)
        network = Generator(frame.causes.size, context=len(frame.conditions), **settings["generator"])
        own = {n.removeprefix("generator."): t for n, t in tensors.items() if n.startswith("generator.")}
        network.load_state_dict(own)
        report = settings["report"]
        return cls(network, frame, AdversarialReport.from_json(report) if report else None)


def fit_generator(
    table: Any,
    code: int,
    *,
    codes: int = 0,
    weight: float = 0.0,
    causes: Space | Sequence[Block | str] | None = None,
    conditions: Mapping[str, Any] | None = None,
    hidden: Sequence[int] = (64, 64),
    frequencies: tuple[float, float] = (0.0, 3.0),
    residual: bool = True,
    rules: GameRules | None = None,
    training: AdversarialTraining | None = None,
    seed: int = 0,
    progress: Progress = False,
    checkpoint: str | Path | None = None,
) -> tuple[GAN, Recogniser | None]:
    """Learn a generator from samples, and what recognises some of its latents.

    Parameters
    ----------
    table : array_like (N, n)
        One row a sample, in the units of the causes.
    code : int
        Length of the code, at least 1.
    codes : int
        How many of its elements, the first ones, are recognised.
    weight : float
        Of the bound of the mutual information between those and the samples.
    causes, conditions, seed, progress
        See `Flow.fit`.
    hidden : sequence of int
        Widths of the hidden layers of every network.
    frequencies : (float, float)
        Of the waves that generator and critic see, in radians a standard deviation, see `Waves`; 0 for none. Narrow
        modes need a critic with more than pi over their distance, and a generator with some.
    residual : bool
        Whether the latents have a noise for each cause.
    rules : GameRules, optional
    training : AdversarialTraining, optional
    checkpoint : path, optional
        See `train_players`.

    Returns
    -------
    GAN, Recogniser or None

    Raises
    ------
    ValueError
        As `Flow.fit`; and if a length, a weight or a frequency is out of range.
    """
    _check(code, codes, weight, frequencies)
    w, context, _, frame = standardise(*read_samples(table, causes, conditions), whiten=False)
    sizes = (frame.causes.size, len(frame.conditions))
    waves, seen = frequencies
    generator = Generator(sizes[0], code, sizes[1], hidden=hidden, frequency=waves, residual=residual, seed=seed)
    critic = Critic(*sizes, hidden=hidden, frequency=seen, seed=seed)
    recogniser = Recogniser(sizes[0], codes, sizes[1], hidden=hidden, seed=seed) if codes else None
    game = Game(generator, critic, rules or GameRules(), recogniser, weight, seed)
    report = train_players(
        *game.players(),
        [w, context],
        figures=lambda: game.information(context),
        training=training,
        seed=seed,
        progress=progress,
        checkpoint=checkpoint,
    )
    return GAN(generator, frame, report), recogniser


def _check(code: int, codes: int, weight: float, frequencies: tuple[float, float]) -> None:
    if isinstance(code, bool) or not isinstance(code, int) or code < 1:
        raise ValueError(f"Invalid code length {code!r}. It must be a whole number, at least 1.")
    if not 0 <= codes <= code:
        raise ValueError(f"Invalid number of codes {codes}. Must lie within 0 to {code}, the length of the whole code.")
    if not 0 <= weight < float("inf"):
        raise ValueError(f"Invalid weight {weight:g}. It must not be negative.")
    if len(frequencies) != 2 or not all(0 <= f < float("inf") for f in frequencies):
        raise ValueError(f"Invalid frequencies {frequencies}. Give two that are not negative: generator and critic.")
