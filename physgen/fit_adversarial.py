"""Fits of adversarial priors as a recipe names them: every setting a plain value, in one flat list."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from .priors.adversarial_training import AdversarialTraining
from .priors.gan import GAN
from .priors.gan_game import GameRules
from .priors.infogan import InfoGAN
from .progress import Progress
from .space import Block, Space


def fit_gan(
    table: Any,
    code: int,
    *,
    causes: Space | Sequence[Block | str] | None = None,
    conditions: Mapping[str, Any] | None = None,
    hidden: Sequence[int] = (64, 64),
    frequencies: Sequence[float] = (0.0, 3.0),
    residual: bool = True,
    game: str = "relativistic",
    penalty: float = 0.05,
    training: AdversarialTraining | None = None,
    seed: int = 0,
    progress: Progress = False,
    checkpoint: str | Path | None = None,
) -> GAN:
    """`GAN.fit`, with the rules of the game beside the other settings.

    Parameters
    ----------
    table, code, causes, conditions, hidden, frequencies, residual, training, seed, progress, checkpoint
        See `physgen.priors.gan.fit_generator`.
    game, penalty
        See `physgen.priors.gan_game.GameRules`.

    Raises
    ------
    ValueError
        As `GAN.fit`; and if a rule is unknown or out of range.
    """
    rules = GameRules(game=game, penalty=penalty)
    shape: dict[str, Any] = {"hidden": tuple(hidden), "frequencies": _pair(frequencies), "residual": residual}
    learning = {"training": training, "seed": seed, "progress": progress, "checkpoint": checkpoint}
    return GAN.fit(table, code, causes=causes, conditions=conditions, rules=rules, **shape, **learning)


def fit_infogan(
    table: Any,
    codes: int,
    *,
    code: int | None = None,
    weight: float = 0.02,
    causes: Space | Sequence[Block | str] | None = None,
    conditions: Mapping[str, Any] | None = None,
    hidden: Sequence[int] = (64, 64),
    frequencies: Sequence[float] = (0.0, 3.0),
    residual: bool = True,
    game: str = "relativistic",
    penalty: float = 0.05,
    training: AdversarialTraining | None = None,
    seed: int = 0,
    progress: Progress = False,
    checkpoint: str | Path | None = None,
) -> InfoGAN:
    """`InfoGAN.fit`, with the rules of the game beside the other settings.

    Parameters
    ----------
    table, codes, code, weight
        See `InfoGAN.fit`.
    causes, conditions, hidden, frequencies, residual, game, penalty, training, seed, progress, checkpoint
        See `fit_gan`.

    Raises
    ------
    ValueError
        As `InfoGAN.fit`; and if a rule is unknown or out of range.
    """
    rules = GameRules(game=game, penalty=penalty)
    shape: dict[str, Any] = {"hidden": tuple(hidden), "frequencies": _pair(frequencies), "residual": residual}
    learning = {"training": training, "seed": seed, "progress": progress, "checkpoint": checkpoint}
    own: dict[str, Any] = {"causes": causes, "conditions": conditions, "rules": rules}
    return InfoGAN.fit(table, codes, code=code, weight=weight, **own, **shape, **learning)


def _pair(frequencies: Sequence[float]) -> tuple[float, float]:
    if len(frequencies) != 2:
        raise ValueError(f"Invalid frequencies {list(frequencies)}. Give two: the generator's and the critic's.")
    return float(frequencies[0]), float(frequencies[1])
