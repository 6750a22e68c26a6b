"""How a network learns: seeded minibatches, rows held out, early stopping, and checkpoints that resume to the bit."""

from __future__ import annotations

import hashlib
import json
import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from ..progress import Progress, advancing
from ..random import uniform
from .checkpoint import read_checkpoint, write_checkpoint

ORDER_STAGE = 1 << 34  # of the random order of rows
Loss = Callable[[Sequence[Tensor], int], Tensor]


@dataclass(frozen=True)
class Training:
    """Settings of a fit.

    Parameters
    ----------
    epochs : int, optional
        Passes over the rows, at most; by default 30, or as many as make 2,000 steps.
    batch : int, optional
        Rows of a step; by default a sixteenth of them, from 64 to 1,024.
    learning_rate : float
        Of Adam (Kingma & Ba 2015) at the start; it falls to 0 by a half cosine.
    weight_decay : float
        Pull of the weights towards 0 (Loshchilov & Hutter 2019): smoother networks, which go on more smoothly where
        there are no samples.
    held_out : float
        Share of the rows that decides when to stop; 0 for none, where the rows themselves are judged by.
    patience : int, optional
        Epochs without improvement after which to stop; by default a fifth of `epochs`, at least 10.

    Raises
    ------
    ValueError
        If a number is out of range.
    """

    epochs: int | None = None
    batch: int | None = None
    learning_rate: float = 3e-3
    weight_decay: float = 0.0
    held_out: float = 0.1
    patience: int | None = None

    def __post_init__(self) -> None:
        for name in ("epochs", "batch", "patience"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise ValueError(f"Invalid {name} {value}. It must be at least 1.")
        if not 0 <= self.held_out <= 0.5:
            raise ValueError(f"Invalid held_out {self.held_out:g}. Must lie within 0 to 0.5.")
        if not 0 <= self.weight_decay < math.inf:
            raise ValueError(f"Invalid weight_decay {self.weight_decay:g}. It must not be negative.")
        if not 0 < self.learning_rate < math.inf:
            raise ValueError(f"Invalid learning_rate {self.learning_rate:g}. It must be greater than 0.")


@dataclass(frozen=True)
class FitReport:
    """What a fit came to.

    Attributes
    ----------
    training, held_out : tuple of float
        The learning curve: mean loss of the epoch's steps, and after it of the rows held out. For a flow, the negative
        log-likelihood a sample, in nats, of the causes in their units.
    best_epoch : int
        The epoch, from 1, whose network was kept.
    samples, held_out_samples : int
        Rows learned from, and rows held out.
    seconds : float
        Time of the fit, over all resumptions.
    baseline : float
        Held-out loss before the first step: that of the normal distribution which the frame makes.
    stopped_early : bool
        Whether patience ended the fit.
    """

    training: tuple[float, ...]
    held_out: tuple[float, ...]
    best_epoch: int
    samples: int
    held_out_samples: int
    seconds: float
    baseline: float
    stopped_early: bool

    @property
    def best(self) -> float:
        """Loss of the rows held out, of the network that was kept."""
        return self.held_out[self.best_epoch - 1] if self.best_epoch else self.baseline

    @property
    def epochs(self) -> int:
        """How many were run."""
        return len(self.held_out)

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        return asdict(self)

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> FitReport:
        """The report of `to_json`."""
        curves = {n: tuple(values[n]) for n in ("training", "held_out")}
        return cls(**{**values, **curves})


@dataclass
class _State:
    """All that decides how a fit goes on."""

    epoch: int = 0
    training: list[float] = field(default_factory=list)
    held_out: list[float] = field(default_factory=list)
    best_epoch: int = 0
    baseline: float = math.nan
    seconds: float = 0.0


def train(
    module: nn.Module,
    loss: Loss,
    rows: Sequence[Tensor],
    *,
    training: Training | None = None,
    seed: int = 0,
    progress: Progress = False,
    checkpoint: str | Path | None = None,
) -> FitReport:
    """Fit a module; it ends with the parameters of the best epoch, frozen.

    Parameters
    ----------
    module : torch.nn.Module
    loss : callable
        ``loss(rows, stage)``: the loss of each row ``(B,)``; random numbers that it needs are a function of `stage`.
    rows : sequence of Tensor (N, ...)
        What is learned from, side by side.
    training : Training, optional
    seed : int
        Decides which rows are held out and the order of the others.
    progress : bool or callable
    checkpoint : path, optional
        Where to write the state after every epoch, and to resume from if it is there. The result of a resumed fit has
        the bits of one that was never interrupted (on the same machine, with as many threads).

    Raises
    ------
    ValueError
        If the checkpoint is of another fit.
    RuntimeError
        If the loss is not finite.
    """
    settings = training or Training()
    kept, held = _split(rows, settings.held_out, seed)
    run = _Run(module, loss, kept, held, settings, seed)
    path = Path(checkpoint) if checkpoint is not None else None
    mark = _fingerprint(module, rows, settings, seed) if path is not None else ""
    state = run.restore(path, mark)
    with advancing(progress, run.epochs, "epochs") as advance:
        advance(state.epoch)
        while state.epoch < run.epochs and not run.exhausted(state):
            start = time.perf_counter()
            run.one_epoch(state)
            state.seconds += time.perf_counter() - start
            if path is not None:
                run.store(path, state, mark)
            advance(1)
    module.load_state_dict(run.best)
    module.requires_grad_(False)
    return FitReport(
        tuple(state.training),
        tuple(state.held_out),
        state.best_epoch,
        len(kept[0]),
        len(held[0]),
        state.seconds,
        state.baseline,
        state.epoch < run.epochs,
    )


class _Run:
    """A module, its optimiser and its rows."""

    def __init__(
        self,
        module: nn.Module,
        loss: Loss,
        kept: Sequence[Tensor],
        held: Sequence[Tensor],
        settings: Training,
        seed: int,
    ) -> None:
        self.module, self.loss, self.kept, self.held = module, loss, kept, held
        self.settings, self.seed, self.count = settings, seed, len(kept[0])
        self.batch = settings.batch or min(max(self.count // 16, 64), 1024)
        self.steps = max(1, self.count // self.batch)  # the last one takes what is left over
        self.epochs = settings.epochs or max(30, math.ceil(2000 / self.steps))
        self.patience = settings.patience or max(10, self.epochs // 5)
        self.parameters = dict(module.named_parameters())
        self.optimiser = torch.optim.AdamW(
            self.parameters.values(),
            lr=settings.learning_rate,
            betas=(0.9, 0.98),
            weight_decay=settings.weight_decay,
        )
        self.best = _copy(module.state_dict())

    def exhausted(self, state: _State) -> bool:
        return state.epoch - state.best_epoch >= self.patience

    def one_epoch(self, state: _State) -> None:
        """Every row once, in a random order, and the rows held out."""
        draws = uniform((self.count,), torch.tensor(state.epoch), seed=self.seed, stage=ORDER_STAGE + 1)
        order, total = draws.argsort(), 0.0
        for i in range(self.steps):
            step = state.epoch * self.steps + i
            index = order[i * self.batch : (i + 1) * self.batch if i + 1 < self.steps else None]
            total += self._step([r[index] for r in self.kept], step) * len(index)
        state.epoch += 1
        state.training.append(total / self.count)
        state.held_out.append(self.evaluate())
        lowest = min([state.baseline, *state.held_out[:-1]])
        if state.held_out[-1] < lowest:
            state.best_epoch, self.best = state.epoch, _copy(self.module.state_dict())

    def evaluate(self) -> float:
        """Mean loss of the rows held out."""
        with torch.no_grad():
            parts = zip(*(r.tensor_split(math.ceil(len(r) / 1024)) for r in self.held), strict=True)
            return float(torch.cat([self.loss(part, -1 - i) for i, part in enumerate(parts)]).double().mean())

    def _step(self, rows: Sequence[Tensor], step: int) -> float:
        share = step / (self.epochs * self.steps)
        self.optimiser.param_groups[0]["lr"] = self.settings.learning_rate * 0.5 * (1 + math.cos(math.pi * share))
        self.optimiser.zero_grad()
        value = self.loss(rows, step).mean()
        if not bool(torch.isfinite(value)):
            raise RuntimeError(f"The loss of step {step} is not finite. Lower the learning rate, or check the samples.")
        value.backward()
        nn.utils.clip_grad_norm_(self.parameters.values(), 10.0)
        self.optimiser.step()
        return value.item()

    def store(self, path: Path, state: _State, mark: str) -> None:
        tensors = {f"best.{n}": t for n, t in self.best.items()}
        tensors |= {f"module.{n}": t for n, t in self.module.state_dict().items()}
        for name, p in self.parameters.items():
            tensors |= {f"adam.{key}.{name}": t for key, t in self.optimiser.state[p].items()}
        write_checkpoint(path, tensors, {"mark": mark, **asdict(state)})

    def restore(self, path: Path | None, mark: str) -> _State:
        if path is None or not path.exists():
            return _State(baseline=self.evaluate())
        tensors, values = read_checkpoint(path)
        if values.pop("mark", None) != mark:
            raise ValueError(f"The checkpoint {path} is of another fit. Give another path, or remove the file.")
        self.module.load_state_dict(_part(tensors, "module."))
        self.best = _part(tensors, "best.")
        for name, p in self.parameters.items():
            keys = ("step", "exp_avg", "exp_avg_sq")
            self.optimiser.state[p] = {k: tensors[f"adam.{k}.{name}"] for k in keys}
        return _State(**values)


def _split(rows: Sequence[Tensor], share: float, seed: int) -> tuple[list[Tensor], list[Tensor]]:
    """Rows to learn from, and rows held out."""
    count = len(rows[0])
    order = uniform((count,), torch.tensor(0), seed=seed, stage=ORDER_STAGE).argsort()
    if share == 0:
        return list(rows), list(rows)
    cut = max(1, round(share * count))
    return [r[order[cut:]] for r in rows], [r[order[:cut]] for r in rows]


def _copy(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {n: t.detach().clone() for n, t in tensors.items()}


def _part(tensors: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {n.removeprefix(prefix): t for n, t in tensors.items() if n.startswith(prefix)}


def _fingerprint(module: nn.Module, rows: Sequence[Tensor], settings: Any, seed: int) -> str:
    """What identifies a fit: its rows, settings, seed and first parameters."""
    digest = hashlib.sha256(json.dumps([asdict(settings), seed], sort_keys=True).encode())
    for name, tensor in [*((str(i), r) for i, r in enumerate(rows)), *module.state_dict().items()]:
        digest.update(f"{name}{tuple(tensor.shape)}{tensor.dtype}".encode())
        digest.update(tensor.detach().cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()
