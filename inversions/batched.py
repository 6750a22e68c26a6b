"""The frame of an inversion: observations in chunks, what is refused left blank, interruptions kept."""

from __future__ import annotations

import math
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
from .memory import Part, fitting_chunk

_MATRICES = 4  # of k x k, that a method holds while it works on an observation whose covariance it reports

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
    states : int
        Sets of latents that are held besides the draws while an observation is worked on: particles, warm-up, ...
    shared : int
        Numbers that are held besides, whatever the observations: a table, a grid.
    """

    chains: int
    draws: int
    statistics: Mapping[str, tuple[int | str, ...]]
    counts: Sequence[str] = ()
    states: int = 0
    shared: int = 0

    def blank(self, posterior: Posterior, screen: Tensor) -> dict[str, Tensor]:
        """NaN for everything, for B observations; whole numbers are 0."""
        k, n = posterior.problem.prior.latent_dim, posterior.problem.prior.causes.size
        shapes = self._shapes(k, n)
        out = {name: posterior.y.new_full((len(screen), *shape), torch.nan) for name, shape in shapes.items()}
        return out | {name: torch.zeros_like(screen) for name in self.counts} | {"status": screen.clone()}

    def _shapes(self, k: int, n: int) -> dict[str, tuple[int, ...]]:
        """Own shape of the samples and of each real statistic, for k latents and n causes."""
        shapes: dict[str, tuple[int, ...]] = {"samples": (self.chains, self.draws, n)}
        for name, own in self.statistics.items():
            shapes[name] = tuple(k if length == "k" else int(length) for length in own)
        return shapes

    def fitting_chunk(self, method: str, posterior: Posterior, count: int, chunk: int) -> int:
        """How many of `count` observations memory allows at once, at most `chunk`; see `memory.fitting_chunk`."""
        k, n = posterior.problem.prior.latent_dim, posterior.problem.prior.causes.size
        kept = self.chains * self.draws
        words = {(self.chains, self.draws, n): f"{kept} draws of {n} causes", (k, k): f"a {k} x {k} covariance"}
        one = [(words.get(shape, name), math.prod(shape)) for name, shape in self._shapes(k, n).items()]
        whole = [Part(f"{what} for each of {count} observations", count * numbers) for what, numbers in one]
        whole.append(Part(f"{self.shared} numbers of a table", self.shared))
        each = [Part(what, numbers) for what, numbers in one]
        each.append(Part(f"{kept + self.states} sets of {k} latents", (kept + self.states) * k))
        if (k, k) in self._shapes(k, n).values():
            each.append(Part(f"{_MATRICES} matrices of {k} x {k}", _MATRICES * k * k))
        y = posterior.y
        return fitting_chunk(method, whole, each, chunk, itemsize=y.element_size(), device=y.device)


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
        Observations of a chunk; fewer where memory does not hold so many.

    Returns
    -------
    Result
        After Ctrl-C, that of the chunks that were done; the others have the status INTERRUPTED. A caller that cuts
        observations itself (it gives `index`) gets the KeyboardInterrupt instead.

    Raises
    ------
    ValueError, TypeError
        See `Problem.condition`; and if memory does not hold the answer, before anything is computed.
    """
    started, asked = datetime.now(UTC), index
    whole, screen, index = prepare(problem, y, conditions, index)
    chunk = layout.fitting_chunk(type(method).__name__, whole, len(screen), chunk)
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
