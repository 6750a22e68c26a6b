"""How two players learn against each other: steps by turns, averaged weights, checkpoints that resume to the bit."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from ..progress import Progress, advancing
from ..random import normal, single_stream, uniform
from .checkpoint import read_checkpoint, write_checkpoint
from .fitting import ORDER_STAGE, Loss, _copy, _fingerprint, _part

DRAW_STAGE = 1 << 38  # of the latents and permutations of the steps
CRITIC_STAGE = 10_000  # of a critic's first weights, beside those of the generator
_STRIDE = 8  # stages of a step
_ADAM = ("step", "exp_avg", "exp_avg_sq")

Figures = Callable[[], Mapping[str, float]]


@dataclass(frozen=True)
class AdversarialTraining:
    """Settings of a game between a generator and a critic.

    There is no early stopping: the loss of a player says how good it is against the other, and not how good it is.

    Parameters
    ----------
    epochs : int, optional
        Passes over the rows; by default as many as make 4,000 steps.
    batch : int, optional
        Rows of a step; by default a sixteenth of them, from 64 to 512.
    learning_rate, critic_rate : float
        Of the generator's and the critic's Adam (Kingma & Ba 2015) at the start; they fall to 0 by a half cosine.
        Different rates: Heusel et al. (2017).
    critic_steps : int
        Steps of the critic for one of the generator.
    averaging : float
        Share of the old in the running mean of the generator's parameters, which is what is kept (Yazici et al.
        2019); 0 keeps the last ones.

    Raises
    ------
    ValueError
        If a number is out of range.
    """

    epochs: int | None = None
    batch: int | None = None
    learning_rate: float = 1e-3
    critic_rate: float = 2e-3
    critic_steps: int = 1
    averaging: float = 0.99

    def __post_init__(self) -> None:
        for name in ("epochs", "batch", "critic_steps"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise ValueError(f"Invalid {name} {value}. It must be at least 1.")
        for name in ("learning_rate", "critic_rate"):
            if not 0 < getattr(self, name) < math.inf:
                raise ValueError(f"Invalid {name} {getattr(self, name):g}. It must be greater than 0.")
        if not 0 <= self.averaging < 1:
            raise ValueError(f"Invalid averaging {self.averaging:g}. It must be at least 0 and less than 1.")


@dataclass(frozen=True)
class AdversarialReport:
    """What a game came to.

    Attributes
    ----------
    generator, critic : tuple of float
        Mean loss of each player in each epoch. At a standstill with a generator that has won, the critic's is 2 ln 2.
    figures : mapping of str to tuple of float
        What was measured before the first epoch and after each.
    samples : int
        Rows learned from.
    seconds : float
        Time of the fit, over all resumptions.
    """

    generator: tuple[float, ...]
    critic: tuple[float, ...]
    figures: Mapping[str, tuple[float, ...]]
    samples: int
    seconds: float

    @property
    def epochs(self) -> int:
        """How many were run."""
        return len(self.generator)

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        return asdict(self)

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> AdversarialReport:
        """The report of `to_json`."""
        curves = {n: tuple(values[n]) for n in ("generator", "critic")}
        figures = {n: tuple(curve) for n, curve in values["figures"].items()}
        return cls(**{**values, **curves, "figures": figures})


@dataclass(frozen=True)
class Player:
    """A module, and what it makes small: ``loss(rows, step)``, 0-d or of each row.

    `step` counts the player's own steps; random numbers of the loss are a function of it.
    """

    module: nn.Module
    loss: Loss


@dataclass
class _State:
    """All but the tensors that decides how a game goes on."""

    epoch: int = 0
    generator: list[float] = field(default_factory=list)
    critic: list[float] = field(default_factory=list)
    figures: dict[str, list[float]] = field(default_factory=dict)
    seconds: float = 0.0


def train_players(
    generator: Player,
    critic: Player,
    rows: Sequence[Tensor],
    *,
    figures: Figures | None = None,
    training: AdversarialTraining | None = None,
    seed: int = 0,
    progress: Progress = False,
    checkpoint: str | Path | None = None,
) -> AdversarialReport:
    """Play; the generator's module ends with the running mean of its parameters, and both are frozen.

    Parameters
    ----------
    generator, critic : Player
        The critic moves first. Gradients of a loss that reach the other player's parameters are thrown away.
    rows : sequence of Tensor (N, ...)
        What is learned from, side by side.
    figures : callable, optional
        Numbers by name, measured before the first epoch and after each.
    training : AdversarialTraining, optional
    seed : int
        Decides the order of the rows.
    progress : bool or callable
    checkpoint : path, optional
        As of `fitting.train`: the result of a resumed game has the bits of one that was never interrupted.

    Raises
    ------
    ValueError
        If the checkpoint is of another fit.
    RuntimeError
        If a loss is not finite.
    """
    settings = training or AdversarialTraining()
    game = _Game((generator, critic), rows, settings, seed)
    path = Path(checkpoint) if checkpoint is not None else None
    mark = _fingerprint(game.both, rows, settings, seed) if path is not None else ""
    state = game.restore(path, mark)
    if not state.epoch:
        _measure(figures, state)
    with advancing(progress, game.epochs, "epochs") as advance:
        advance(state.epoch)
        while state.epoch < game.epochs:
            start = time.perf_counter()
            game.one_epoch(state)
            _measure(figures, state)
            state.seconds += time.perf_counter() - start
            if path is not None:
                game.store(path, state, mark)
            advance(1)
    generator.module.load_state_dict(game.averaged)
    game.both.requires_grad_(False)
    curves = {n: tuple(c) for n, c in state.figures.items()}
    return AdversarialReport(tuple(state.generator), tuple(state.critic), curves, len(rows[0]), state.seconds)


def step_normals(shape: tuple[int, ...], *, seed: int, step: int, which: int = 0) -> Tensor:
    """Standard normal numbers of a step, float32; `which` of up to 8 sets."""
    return normal(shape, single_stream(), seed=seed, stage=DRAW_STAGE + _STRIDE * step + which, dtype=torch.float32)


def step_orders(count: int, rows: int, *, seed: int, step: int, which: int = 0) -> Tensor:
    """Random orders of the rows of a step, ``(count, rows)``."""
    stage = DRAW_STAGE + _STRIDE * step + which
    return uniform((count, rows), single_stream(), seed=seed, stage=stage).argsort(1)


def _measure(figures: Figures | None, state: _State) -> None:
    for name, value in (figures() if figures else {}).items():
        state.figures.setdefault(name, []).append(float(value))


class _Game:
    """Two players, their optimisers and their rows."""

    def __init__(
        self, players: tuple[Player, Player], rows: Sequence[Tensor], settings: AdversarialTraining, seed: int
    ) -> None:
        self.players, self.rows, self.settings, self.seed = players, rows, settings, seed
        self.count = len(rows[0])
        self.batch = min(settings.batch or min(max(self.count // 16, 64), 512), self.count)
        self.steps = max(1, self.count // self.batch)  # rows left over sit this epoch out
        self.epochs = settings.epochs or math.ceil(4000 / self.steps)
        self.both = nn.ModuleList([p.module for p in players])
        self.rates = (settings.learning_rate, settings.critic_rate)
        self.optimisers = [
            torch.optim.Adam(p.module.parameters(), lr=rate, betas=(0.0, 0.99))
            for p, rate in zip(players, self.rates, strict=True)
        ]
        self.averaged = _copy(players[0].module.state_dict())

    def one_epoch(self, state: _State) -> None:
        """Every row once, in a random order."""
        draws = uniform((self.count,), torch.tensor(state.epoch), seed=self.seed, stage=ORDER_STAGE + 1)
        order, total = draws.argsort(), [0.0, 0.0]
        for i in range(self.steps):
            step = state.epoch * self.steps + i
            index = order[i * self.batch : (i + 1) * self.batch]
            rows, turns = [r[index] for r in self.rows], self.settings.critic_steps
            for turn in range(turns):
                total[1] += self._step(1, rows, step, turns * step + turn) / turns
            total[0] += self._step(0, rows, step, step)
            self._average(step)
        state.epoch += 1
        state.generator.append(total[0] / self.steps)
        state.critic.append(total[1] / self.steps)

    def _step(self, who: int, rows: Sequence[Tensor], step: int, own: int) -> float:
        optimiser = self.optimisers[who]
        share = step / (self.epochs * self.steps)
        optimiser.param_groups[0]["lr"] = self.rates[who] * 0.5 * (1 + math.cos(math.pi * share))
        self.both.zero_grad()
        value = self.players[who].loss(rows, own).mean()
        if not bool(torch.isfinite(value)):
            raise RuntimeError(f"A loss of step {step} is not finite. Lower the learning rates, or check the samples.")
        value.backward()
        optimiser.step()
        return value.item()

    def _average(self, step: int) -> None:
        # a mean over few steps at first, so that the untrained network is soon forgotten
        share = min(self.settings.averaging, step / (step + 10))
        for name, value in self.players[0].module.state_dict().items():
            self.averaged[name].lerp_(value, 1 - share)

    def store(self, path: Path, state: _State, mark: str) -> None:
        tensors = {f"averaged.{n}": t for n, t in self.averaged.items()}
        tensors |= {f"module.{n}": t for n, t in self.both.state_dict().items()}
        for who, optimiser in enumerate(self.optimisers):
            for name, p in self.players[who].module.named_parameters():
                tensors |= {f"adam.{who}.{key}.{name}": optimiser.state[p][key] for key in _ADAM}
        write_checkpoint(path, tensors, {"mark": mark, **asdict(state)})

    def restore(self, path: Path | None, mark: str) -> _State:
        if path is None or not path.exists():
            return _State()
        tensors, values = read_checkpoint(path)
        if values.pop("mark", None) != mark:
            raise ValueError(f"The checkpoint {path} is of another fit. Give another path, or remove the file.")
        self.both.load_state_dict(_part(tensors, "module."))
        self.averaged = _part(tensors, "averaged.")
        for who, optimiser in enumerate(self.optimisers):
            for name, p in self.players[who].module.named_parameters():
                optimiser.state[p] = {key: tensors[f"adam.{who}.{key}.{name}"] for key in _ADAM}
        return _State(**values)
