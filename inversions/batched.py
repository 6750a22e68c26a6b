"""The frame of an inversion: observations in chunks, what is refused left blank, interruptions kept."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import torch
from torch import Tensor

from physgen.problem import Posterior, Problem
from physgen.progress import Progress, advancing
from physgen.result import Result
from physgen.status import Status

from .inversion import conclude, prepare

Answer = Callable[[Posterior, Tensor, Callable[[int], None]], dict[str, Tensor]]


@dataclass(frozen=True)
class Layout:
    """What an inversion returns for one observation.

    Attributes
    ----------
    chains, draws : int
        Of the samples.
    statistics : mapping of str to tuple of int
        Own shape of each real statistic; k stands for "k".
    counts : sequence of str
        Statistics that are whole numbers.
    """

    chains: int
    draws: int
    statistics: Mapping[str, tuple[int | str, ...]]
    counts: Sequence[str] = ()

    def blank(self, posterior: Posterior, screen: Tensor) -> dict[str, Tensor]:
        """NaN for everything, for B observations; whole numbers are 0."""
        k, n = posterior.problem.prior.latent_dim, posterior.problem.prior.causes.size
        shapes: dict[str, tuple[int, ...]] = {"samples": (self.chains, self.draws, n)}
        for name, own in self.statistics.items():
            shapes[name] = tuple(k if length == "k" else int(length) for length in own)
        out = {name: posterior.y.new_full((len(screen), *shape), torch.nan) for name, shape in shapes.items()}
        return out | {name: torch.zeros_like(screen) for name in self.counts} | {"status": screen.clone()}


def invert(
    method: Any,
    problem: Problem,
    y: Any,
    answer: Answer,
    layout: Layout,
    *,
    conditions: Mapping[str, Any] | None,
    seed: int,
    index: Any,
    progress: Progress,
    chunk: int,
) -> Result:
    """Answer every observation that can be answered, a chunk at a time.

    Parameters
    ----------
    method : Inversion
        The frozen dataclass of settings.
    problem, y, conditions, seed, index, progress
        Of its call.
    answer : callable
        ``answer(posterior, index, advance)`` for the b observations of a chunk (on one axis): everything that `layout`
        names, ``(b, *own)``, samples ``(b, chains, draws, n)`` and status ``(b,)``; it calls ``advance(b)`` in all.
    layout : Layout
    chunk : int
        Observations of a chunk.

    Returns
    -------
    Result
        After Ctrl-C, that of the chunks that were done; the others have the status INTERRUPTED. A caller that cuts
        observations itself (it gives `index`) gets the KeyboardInterrupt instead.

    Raises
    ------
    ValueError, TypeError
        See `Problem.condition`.
    """
    started, asked = datetime.now(UTC), index
    whole, screen, index = prepare(problem, y, conditions, index)
    flat, out = whole.flatten(), layout.blank(whole, screen)
    good = torch.nonzero(screen == Status.TRUSTED).squeeze(-1)
    out["status"][good] = Status.INTERRUPTED
    with torch.no_grad(), advancing(progress, len(screen)) as advance:
        advance(len(screen) - len(good))
        try:
            for rows in good.split(chunk) if len(good) else ():
                for name, value in answer(flat.select(rows), index[rows], advance).items():
                    out[name][rows] = value.to(out[name].dtype)
        except KeyboardInterrupt:
            left = int((out["status"] == Status.INTERRUPTED).sum())
            if asked is not None or left == len(good):
                raise
            warnings.warn(f"Interrupted: {left} of {len(screen)} observations are not inverted.", stacklevel=3)
    out = {name: value.reshape((*whole.batch, *value.shape[1:])) for name, value in out.items()}
    samples = out.pop("samples").movedim((len(whole.batch), len(whole.batch) + 1), (0, 1))
    return conclude(method, whole, samples, out, seed=seed, started=started)
