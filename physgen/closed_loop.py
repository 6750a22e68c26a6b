"""The closed loop: learn a prior from observations alone, by inferring, refitting, generating and comparing.

Empirical Bayes by Monte-Carlo EM (Dempster, Laird & Rubin 1977, *J. R. Statist. Soc. B* 39, 1-38; Wei & Tanner 1990,
*J. Am. Stat. Assoc.* 85, 699-704). No cause is measured. Two figures are watched at every turn on observations that are
held out: their marginal likelihood, and the distance between them and generated ones. The second is there because a
loop that has stalled at a wrong prior may keep intervals of the right coverage.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor

from .closed_loop_scores import Scale, Turn, compare, score
from .conditions import align, takes
from .diagnostics.sample_table import permutation
from .priors import Gaussian, Prior
from .priors.closed_loop_prior import Updated
from .priors.closed_loop_refit import LatentGaussian, Refit
from .problem import Problem
from .progress import Progress, advancing
from .random import normal, single_stream
from .result import Result

CLOSED_LOOP_STAGE = 1 << 44  # of which observations are held out, and of where restarts begin
_PIECE = 0.5  # variance of the latents of a restart: pieces at random places add up to the whole prior
_FEWEST = 20

Method = Callable[..., Result]


@dataclass(frozen=True, eq=False)
class ClosedLoop:
    """What `closed_loop` returns.

    Attributes
    ----------
    problem : Problem
        With the learned prior: that of the turn of the highest held-out marginal likelihood.
    turns : tuple of Turn
        Every turn of every start; turn 0 is the prior that the start begins with.
    best : int
        Which of them was kept; 0 is the problem's own prior.
    floor : float
        The distance between observations and observations, in samples of the same size.
    held_out : Tensor (N,)
        Which observations were held out.
    """

    problem: Problem
    turns: tuple[Turn, ...]
    best: int
    floor: float
    held_out: Tensor

    @property
    def prior(self) -> Prior:
        """The learned prior."""
        return self.problem.prior

    @property
    def kept(self) -> Turn:
        """The turn that was kept."""
        return self.turns[self.best]

    @property
    def stalled(self) -> bool:
        """Whether what the learned prior generates is still farther from the observations than they are apart."""
        return self.kept.distance > 2 * self.floor

    def __str__(self) -> str:
        head = f"{'start':>5} {'turn':>4} {'log evidence':>13} {'gain':>18} {'distance':>9} {'trusted':>8}"
        rows = [f"{t}{'  <- kept' if i == self.best else ''}" for i, t in enumerate(self.turns)]
        last = f"distance between observations: {self.floor:.4f}"
        return "\n".join([head, *rows, last + ("; the loop has stalled" if self.stalled else "")])


def closed_loop(
    problem: Problem,
    y: Any,
    *,
    inversion: Method,
    refit: Refit | None = None,
    conditions: Mapping[str, Any] | None = None,
    held_out: float | Tensor = 0.25,
    turns: int = 20,
    starts: int = 3,
    patience: int = 3,
    tolerance: float = 0.01,
    features: Callable[[Tensor], Tensor] | None = None,
    seed: int = 0,
    progress: Progress = False,
) -> ClosedLoop:
    """Learn the prior of a problem from observations alone.

    Parameters
    ----------
    problem : Problem
        Its prior is where the first start begins, and where what the observations do not say stays.
    y : array_like (N, m)
        NaN where not measured.
    inversion : Inversion
        Gives draws and, in its statistics, `log_evidence`: `OptimalEstimation`.
    refit : Refit, optional
        How a prior is learned from posterior draws; `LatentGaussian()` by default.
    conditions : mapping, optional
        One value each, or N.
    held_out : float or bool Tensor (N,)
        Share of the observations that no prior is learned from, or which they are. Observations that belong together
        (a plot on several dates) should be held out together.
    turns : int
        Of each start, at most.
    starts : int
        The first begins with the problem's prior, each other one with a random piece of it: latents N(c, 1/2),
        c ~ N(0, 1/2). EM climbs to the nearest top, which may be a wrong one.
    patience : int
        A start ends after so many turns in which neither the held-out likelihood nor the distance has improved.
    tolerance : float
        Nats an observation that count as an improvement; of the distance, a fiftieth.
    features : callable, optional
        ``(N, m) -> (N, d)``: what of the observations is compared; by default the observations themselves. Each
        feature is divided by its deviation; rows with NaN are left out.
    seed : int
        The answer is a function of it.
    progress : bool or callable

    Returns
    -------
    ClosedLoop

    Raises
    ------
    ValueError
        If there are too few observations, or a setting is out of range.
    TypeError
        If the prior has no "encode" (for the refits that come with physgen), or the inversion gives no evidence.

    Notes
    -----
    The turn that is kept is the best of many on the held-out observations, whose gain is therefore a little too good;
    others tell without bias: ``log_evidence`` under both problems.
    """
    _check_settings(turns, starts, patience, tolerance)
    y = torch.as_tensor(y)
    y = y if y.is_floating_point() else y.to(torch.get_default_dtype())
    held = _held_out(y, held_out, seed)
    aligned = align(dict(conditions or {}), (len(y),), y, {})
    scale, refit = Scale.of(y, held, features), refit or LatentGaussian()
    floor = scale.floor(y, held, seed=seed)
    loop = _Loop(problem, y, held, aligned, inversion, refit, scale, seed)
    with advancing(progress, starts * (turns + 1), "turns") as advance:
        for start in range(starts):
            loop.climb(start, turns, _Watch(patience, tolerance), advance)
    found = loop.turns
    best = max(range(len(found)), key=lambda i: found[i].gain)
    return ClosedLoop(replace(problem, prior=loop.priors[best]), tuple(found), best, floor, held)


@dataclass(eq=False)
class _Loop:
    """Everything that the turns share, and what they have come to."""

    problem: Problem
    y: Tensor
    held: Tensor
    conditions: Mapping[str, Tensor]
    inversion: Method
    refit: Refit
    scale: Scale
    seed: int
    turns: list[Turn] = field(default_factory=list)
    priors: list[Prior] = field(default_factory=list)
    reference: Tensor | None = None

    def climb(self, start: int, turns: int, watch: _Watch, advance: Callable[[int], None]) -> None:
        """One start, until it ends."""
        prior = _begin(self.problem.prior, start, self.seed)
        for turn in range(turns + 1):
            result = self._turn(start, turn, prior)
            advance(1)
            if watch.ends(self.turns[-1]) or turn == turns:
                advance(turns - turn)
                return
            prior = self._learn(result)

    def _turn(self, start: int, turn: int, prior: Prior) -> Result:
        """Infer, generate, compare."""
        now = replace(self.problem, prior=prior)
        result = self.inversion(now, self.y, conditions=self.conditions, seed=self.seed)
        evidence = score(result, self.held)
        self.reference = evidence if self.reference is None else self.reference
        distance = self.scale.distance(now, self.conditions, self.y, self.held, seed=self.seed)
        self.turns.append(compare(start, turn, evidence, self.reference, distance, result))
        self.priors.append(prior)
        return result

    def _learn(self, result: Result) -> Prior:
        """The prior of the pooled draws of the observations to learn from, those that could be inverted."""
        draws, prior = result.draws, self.problem.prior
        usable = ~self.held & torch.isfinite(draws).all(-1).all(0)
        if int(usable.sum()) < _FEWEST:
            raise ValueError(
                f"Only {int(usable.sum())} observations have a posterior to learn from. Give more, or a wider prior."
            )
        own = {k: v[usable] for k, v in takes(prior, "decode").pick(self.conditions).items()}
        return self.refit(prior, draws[:, usable], own, seed=self.seed)


@dataclass
class _Watch:
    """When a start ends."""

    patience: int
    tolerance: float
    gain: float = -math.inf
    distance: float = math.inf
    idle: int = 0

    def ends(self, turn: Turn) -> bool:
        # against the last improvement, not the last turn: EM leaves a saddle by steps that grow from nothing
        better = turn.gain > self.gain + self.tolerance
        nearer = turn.distance < 0.98 * self.distance
        self.gain = turn.gain if better else self.gain
        self.distance = turn.distance if nearer else self.distance
        self.idle = 0 if better or nearer else self.idle + 1
        return self.idle >= self.patience


def _begin(prior: Prior, start: int, seed: int) -> Prior:
    """The problem's prior, or a random piece of it."""
    if start == 0:
        return prior
    k = prior.latent_dim
    centre = (1 - _PIECE) ** 0.5 * normal((k,), single_stream(), seed=seed, stage=CLOSED_LOOP_STAGE + start)
    return Updated(prior, Gaussian(centre, _PIECE * torch.eye(k, dtype=centre.dtype), [f"u{i}" for i in range(k)]))


def _held_out(y: Tensor, held_out: float | Tensor, seed: int) -> Tensor:
    """Which observations (N,) no prior is learned from."""
    if y.ndim != 2:
        raise ValueError(f"Invalid observations of shape {tuple(y.shape)}. Give (N, m).")
    if isinstance(held_out, Tensor):
        if held_out.shape != y.shape[:1] or held_out.dtype != torch.bool:
            raise ValueError(f"Invalid held_out of shape {tuple(held_out.shape)}. Give one bool for each observation.")
        held = held_out
    else:
        if not 0 < held_out < 1:
            raise ValueError(f"Invalid held_out {held_out:g}. Must lie within 0 to 1.")
        order = permutation(len(y), seed=seed, stage=CLOSED_LOOP_STAGE)
        held = torch.zeros(len(y), dtype=torch.bool)
        held[order[: round(held_out * len(y))]] = True
    fewest = min(int(held.sum()), int((~held).sum()))
    if fewest < _FEWEST:
        raise ValueError(
            f"Too few observations: {int((~held).sum())} to learn from and {int(held.sum())} held out. "
            f"Give {_FEWEST} of each at least."
        )
    return held


def _check_settings(turns: int, starts: int, patience: int, tolerance: float) -> None:
    for name, value in (("turns", turns), ("starts", starts), ("patience", patience)):
        if isinstance(value, bool) or not isinstance(value, int) or value < 1:
            raise ValueError(f"Invalid {name} {value!r}. It must be a whole number, at least 1.")
    if not 0 <= tolerance < math.inf:
        raise ValueError(f"Invalid tolerance {tolerance:g}. It must not be negative.")
