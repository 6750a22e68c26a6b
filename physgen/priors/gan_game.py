"""The game that a generative adversarial network is learned by."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from .adversarial_terms import GAMES, adversarial, critic_loss, gradient_penalty, info
from .adversarial_training import Player, step_normals
from .gan_network import Critic, Generator, Recogniser

_MEASURED = 2000  # latents by which a figure is measured
_EVERY = 4  # steps of the critic for one with a penalty (Karras et al. 2020, appendix B)


@dataclass(frozen=True)
class GameRules:
    """What generator and critic play for.

    Parameters
    ----------
    game : {"relativistic", "plain"}
        See `critic_loss`.
    penalty : float
        Weight of the critic's squared gradient: at real samples, and in the relativistic game at generated ones too.
        The smaller, the narrower are the modes that the critic can see; with 0 the game may not settle.

    Raises
    ------
    ValueError
        If the game is unknown or the penalty negative.
    """

    game: str = "relativistic"
    penalty: float = 0.05

    def __post_init__(self) -> None:
        if self.game not in GAMES:
            raise ValueError(f"Unknown game {self.game!r}. Must be one of {', '.join(GAMES)}.")
        if not 0 <= self.penalty < float("inf"):
            raise ValueError(f"Invalid penalty {self.penalty:g}. It must not be negative.")


@dataclass(frozen=True, eq=False)
class Game:
    """Rows are ``[w (B, n), context (B, c)]``.

    Parameters
    ----------
    generator : Generator
    critic : Critic
    rules : GameRules
    recogniser : Recogniser, optional
        Guesses the first latents of what the generator made.
    weight : float
        Of the mutual information that generator and recogniser make large.
    seed : int
        Of the latents.
    """

    generator: Generator
    critic: Critic
    rules: GameRules
    recogniser: Recogniser | None = None
    weight: float = 0.0
    seed: int = 0

    def players(self) -> tuple[Player, Player]:
        """Generator, with the recogniser, and critic."""
        return Player(self.kept(), self.generator_loss), Player(self.critic, self.critic_loss)

    def kept(self) -> nn.Module:
        """The networks that remain."""
        return self.generator if self.recogniser is None else nn.ModuleList([self.generator, self.recogniser])

    def critic_loss(self, rows: Sequence[Tensor], step: int) -> Tensor:
        """Loss of the critic in a step, 0-d."""
        w, context = rows[0].mT.contiguous(), rows[1].mT.contiguous()
        with torch.no_grad():
            made = self.generator(self._latents(w.shape[1], step, 0), context)
        loss = critic_loss(self.critic(w, context), self.critic(made, context), self.rules.game).mean()
        if not self.rules.penalty or step % _EVERY:
            return loss
        at = [w, made] if self.rules.game == "relativistic" else [w]
        slopes = [gradient_penalty(lambda u: self.critic(u, context), columns).mean() for columns in at]
        return loss + _EVERY * self.rules.penalty * torch.stack(slopes).sum()

    def generator_loss(self, rows: Sequence[Tensor], step: int) -> Tensor:
        """Loss of the generator in a step, 0-d."""
        w, context = rows[0].mT.contiguous(), rows[1].mT.contiguous()
        z = self._latents(w.shape[1], step, 1)
        made = self.generator(z, context)
        with torch.no_grad():
            real = self.critic(w, context)
        loss = adversarial(real, self.critic(made, context), self.rules.game).mean()
        if self.recogniser is None:
            return loss
        return loss - self.weight * info(z[: self.recogniser.codes], *self.recogniser(made, context)).mean()

    def information(self, context: Tensor) -> Mapping[str, float]:
        """The bound of the mutual information, at latents that are always the same and contexts ``(R, c)``."""
        if self.recogniser is None:
            return {}
        seen = context[torch.arange(_MEASURED) % len(context)].mT.contiguous()
        with torch.no_grad():
            z = self._latents(_MEASURED, 0, 2)
            guessed = self.recogniser(self.generator(z, seen), seen)
            return {"mutual_information": float(info(z[: self.recogniser.codes], *guessed).mean())}

    def _latents(self, rows: int, step: int, which: int) -> Tensor:
        return step_normals((self.generator.latents, rows), seed=self.seed, step=step, which=which)
