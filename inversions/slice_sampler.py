"""SliceSampler: elliptical slice sampling of many chains at once, for models with or without a gradient."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from physgen.diagnostics.convergence import rhat
from physgen.problem import Posterior, Problem
from physgen.progress import Progress
from physgen.result import Result
from physgen.small_matrices import eigenvalues, product, triangular_inverse
from physgen.status import Status

from .batched import Layout, invert
from .gradient import Target
from .markov import Start, at_borders, can_climb, judge, mean_of, summary
from .slice_sampler_ellipse import Ellipse, Moved, learned, move, prior_ellipse
from .slice_sampler_start import begin

_STAGE = (1 << 21) + (1 << 17)  # random stages: starts from 16 on, then two for each step from 64 on
_STATES = 6  # positions that a move holds
_MOST_STEPS = 30000  # of a chain: as many as there are stages
_CONTRACTED = 30.0  # times narrower than the ellipses: chains of any affordable length stay biased
# At the border of the draws, the outer twentieth on either side of a latent, steps may become shorter: beyond it lies
# what the chains have not entered, however well they agree. Where the shape is the same everywhere, or there are modes,
# steps are at most 1.6 times shorter; in a walk of unknown noise, of whose lower twentieth the chains of one run in
# four had seen nothing, 2.4 to 13 times.
_CREEPING = 2.0


@dataclass(frozen=True)
class SliceSampler:
    """Elliptical slice sampling (Murray, Adams & MacKay 2010), many chains at once.

    A step draws an ellipse through the current latents and a level below their likelihood, and shrinks a bracket of
    angles until a point above the level is found. It evaluates the posterior density only, has nothing to tune, and is
    exact for every prior that is a transport of standard normals. The default for black boxes.

    Under the prior's own ellipses, a step is as short as the narrowest direction of the posterior. So the ellipses are
    those of a Student-t that resembles the posterior, all else being likelihood (Nishihara, Murray & Adams 2014): at
    first that of the Laplace approximation, where there is a gradient, or the prior; then that of the draws of all
    chains in the warm-up, window by window. It is fixed while the draws are made that are returned.

    Parameters
    ----------
    draws : int
        Draws kept of each chain.
    chains, superchains : int
        Chains of a superchain start together; the second divides the first, and is at least 2.
    warm_up : int
        Steps from which the ellipses are learned.
    precondition : bool
        Whether they are learned; without, they are the prior's, and an observation whose posterior is more than 30
        times narrower than the prior in some direction is never trusted.
    df : int
        Degrees of freedom of the Student-t.
    max_evaluations : int
        Of the posterior density, for one observation, at most, after the warm-up: the chains go on, each time twice as
        long, until they are good. The first stretch is made in any case.
    accept_rhat, accept_ess : float
        What an answer must reach to be trusted. R-hat is the larger of nested R-hat (Margossian et al. 2024) and of
        the rank-normalised, folded one with each superchain for a chain, over the causes. Where `creep` is above 2 its
        square times as many draws must be effective, which no chains reach that keep fewer: raise `draws` there.
    chunk : int
        Observations held at once.

    Raises
    ------
    ValueError
        If a setting is out of range.

    References
    ----------
    Murray, Adams & MacKay (2010), *Elliptical slice sampling*, AISTATS; Nishihara, Murray & Adams (2014), *Parallel
    MCMC with generalized elliptical slice sampling*, JMLR 15, section 3.
    """

    draws: int = 64
    chains: int = 32
    superchains: int = 8
    warm_up: int = 200
    precondition: bool = True
    df: int = 8
    max_evaluations: int = 1_000_000
    accept_rhat: float = 1.01
    accept_ess: float = 400.0
    chunk: int = 64

    def __post_init__(self) -> None:
        least = {"draws": 8, "superchains": 2, "warm_up": 20, "df": 1, "max_evaluations": 1, "chunk": 1}
        for name, bound in least.items():
            if getattr(self, name) < bound:
                raise ValueError(f"Invalid {name} {getattr(self, name)}. Must be at least {bound}.")
        if self.chains % self.superchains or self.chains <= self.superchains:
            raise ValueError(f"Invalid chains {self.chains}. Must be a multiple of the {self.superchains} superchains.")
        if self.warm_up + self.draws > _MOST_STEPS:
            raise ValueError(
                f"Invalid warm_up {self.warm_up} or draws {self.draws}. Together at most {_MOST_STEPS} steps."
            )
        if not self.accept_rhat > 1 or not self.accept_ess > 0:
            raise ValueError(
                f"Invalid accept_rhat {self.accept_rhat:g} or accept_ess {self.accept_ess:g}. "
                "The first must be greater than 1, the second positive."
            )

    def __call__(
        self,
        problem: Problem,
        y: Any,
        *,
        conditions: Mapping[str, Any] | None = None,
        seed: int = 0,
        index: Any = None,
        progress: Progress = False,
    ) -> Result:
        """Invert observations ``(*batch, m)``; see `physgen.inversions.inversion.Inversion`.

        The result's `stats` are rhat, ess (of mean and of spread, the smallest over the causes), contraction (how many
        times narrower than the ellipses the chains are, in the narrowest direction), creep (how many times shorter than
        elsewhere the steps are at the border of the draws, at the worst one), latent_mean, latent_covariance,
        steps, evaluations, and nonfinite (evaluations in which the model was undefined).

        Raises
        ------
        ValueError, TypeError
            If observations or conditions are of the wrong shape, names or range.
        """

        def answer(posterior: Posterior, index: Tensor, advance: Callable[[int], None]) -> dict[str, Tensor]:
            out = self._answer(posterior, seed, index)
            advance(len(index))
            return out

        statistics: dict[str, tuple[int | str, ...]] = {"latent_mean": ("k",), "latent_covariance": ("k", "k")}
        statistics |= dict.fromkeys(("rhat", "ess", "contraction", "creep"), ())
        states = self.chains * (self.warm_up // 2 + _STATES)
        layout = Layout(self.chains, self.draws, statistics, ("steps", "evaluations", "nonfinite"), states=states)
        settings = {"conditions": conditions, "seed": seed, "index": index, "progress": progress, "chunk": self.chunk}
        return invert(self, problem, y, answer, layout, **settings)

    def _answer(self, posterior: Posterior, seed: int, index: Tensor) -> dict[str, Tensor]:
        begun = begin(posterior, self.chains, self.superchains, seed=seed, index=index, stage=_STAGE + 16)
        rows = torch.nonzero(begun.status == Status.TRUSTED).squeeze(-1)
        out = {"status": begun.status}
        if not len(rows):
            return out
        run = _Run(self, posterior.select(rows), begun.select(rows), seed, index[rows])
        run.warm_up()
        for name, value in run.sample().items():
            blank = torch.nan if value.is_floating_point() else 0
            full = value.new_full((len(index), *value.shape[1:]), blank)
            full[rows] = value
            out[name] = torch.where(begun.status == Status.TRUSTED, full, out[name]) if name == "status" else full
        return out


class _Run:
    """The chains of b observations: where they are, and the ellipses that they move on."""

    def __init__(self, method: SliceSampler, posterior: Posterior, begun: Start, seed: int, index: Tensor) -> None:
        self.method, self.posterior, self.seed, self.index = method, posterior, seed, index
        z = begun.z
        self.target, self.z, self.moves = Target(posterior), z, 0
        self.value = _values(self.target, z)
        self.ellipse = prior_ellipse(z)
        if method.precondition and can_climb(posterior):
            self.ellipse = Ellipse(begun.mean, begun.factor, float(method.df))
        self.evaluations = torch.full_like(index, z.shape[1])

    def warm_up(self) -> None:
        """Learn the ellipses from windows of the chains, each longer than the one before."""
        m, window, before = self.method, [], self.evaluations
        for _ in range(m.warm_up):
            self._move()
            window.append(self.z)
            if m.precondition and self.moves in _windows(m.warm_up):
                cost = (self.evaluations - before) / (len(window) * m.chains)
                half = window[len(window) // 2 :]
                self._learn(torch.stack(half, 2), len(half), cost)
                window, before = [], self.evaluations

    def sample(self) -> dict[str, Tensor]:
        """Draws of each observation until its chains agree and are long enough, or the budget is spent."""
        out: dict[str, Tensor] = {}
        at, run, thin = torch.arange(len(self.index), device=self.z.device), self, 1
        warmed = self.evaluations
        while True:
            before = run.evaluations
            found, kept = run._stretch(thin)
            cost = run.evaluations - before
            spent = run.evaluations - warmed + 2 * cost > self.method.max_evaluations
            spent |= run.moves + 2 * thin * self.method.draws > _MOST_STEPS
            done = (found["status"] == Status.TRUSTED) | (found["status"] == Status.MODEL_UNDEFINED) | spent
            for name, value in found.items():
                out.setdefault(name, value.new_zeros(len(self.index), *value.shape[1:]))[at[done]] = value[done]
            if bool(done.all()):
                return out
            rest = torch.nonzero(~done).squeeze(-1)
            run, at, warmed, thin = run._select(rest), at[rest], warmed[rest], 2 * thin
            if self.method.precondition:
                # what is kept in the end is drawn anew, on ellipses that are fixed
                steps = thin // 2 * self.method.draws
                run._learn(kept[rest], steps, cost[rest] / (steps * self.method.chains))

    def _stretch(self, thin: int) -> tuple[dict[str, Tensor], Tensor]:
        """`draws` of every chain, each after `thin` steps: what they come to, and the latents (b, C, S, k)."""
        m, kept, chords = self.method, [], []
        for number in range(m.draws * thin):
            moved = self._move()
            if (number + 1) % thin == 0:
                kept.append(moved.z)
                chords.append(moved.log_chord)
        z = torch.stack(kept, 2)
        out = summary(self.posterior, z, m.superchains)
        out["rhat"] = torch.maximum(out["rhat"], _between(out["samples"], m.superchains))
        creep = _creep(z, torch.stack(chords, 2))
        # a walk at the border takes the square as long, and the effective draws of the middle do not tell of it
        useful = out["ess"] / torch.where(creep > _CREEPING, creep * creep, 1)
        agreed = {"accept_rhat": m.accept_rhat, "accept_ess": m.accept_ess}
        status = judge(self.target, torch.zeros_like(self.index), out["rhat"], useful, **agreed)
        contraction = _contraction(self.ellipse, z)
        narrow = (status == Status.TRUSTED) & ~(contraction <= _CONTRACTED)
        return out | {
            "status": torch.where(narrow, int(Status.CHAINS_TOO_SHORT), status),
            "contraction": contraction,
            "creep": creep,
            "steps": torch.full_like(self.index, self.moves),
            "evaluations": self.evaluations,
            "nonfinite": self.target.undefined,
        }, z

    def _learn(self, z: Tensor, steps: int, cost: Tensor) -> None:
        """New ellipses, from the draws (b, C, S, k) of so many steps, each at the cost (b,)."""
        self.ellipse = learned(self.ellipse, z, steps=steps, cost=cost.to(z.dtype), df=float(self.method.df))

    def _move(self) -> Moved:
        stage = _STAGE + 64 + 2 * self.moves
        moved = move(self.target, self.ellipse, self.z, self.value, seed=self.seed, index=self.index, stage=stage)
        self.z, self.value = moved.z, moved.value
        self.evaluations = self.evaluations + moved.evaluations
        self.moves += 1
        return moved

    def _select(self, rows: Tensor) -> _Run:
        """The chains of some of the observations, where they are."""
        new = _Run.__new__(_Run)
        new.method, new.seed, new.moves = self.method, self.seed, self.moves
        new.posterior, new.target = self.posterior.select(rows), self.target.select(rows)
        new.ellipse = replace(self.ellipse, mean=self.ellipse.mean[rows], factor=self.ellipse.factor[rows])
        for name in ("index", "z", "value", "evaluations"):
            setattr(new, name, getattr(self, name)[rows])
        return new


def _windows(warm_up: int) -> tuple[int, ...]:
    """After which steps the ellipses are learned anew."""
    return tuple(math.ceil(share * warm_up) for share in (0.1, 0.25, 0.5, 1.0))


def _values(target: Target, z: Tensor) -> Tensor:
    """Log density (b, C) at z (b, C, k)."""
    which = torch.arange(len(z), device=z.device).repeat_interleave(z.shape[1])
    return target.value(z.flatten(0, 1), which).reshape(z.shape[:2])


def _between(x: Tensor, superchains: int) -> Tensor:
    """R-hat (b,) of x (b, C, S, n), the largest over the causes, with each superchain for one chain.

    Its halves are those of time, and it sees tails that differ as well as means.
    """
    batch, chains, draws, n = x.shape
    joined = x.reshape(batch, superchains, chains // superchains, draws, n).permute(1, 3, 2, 0, 4)
    return torch.nan_to_num(rhat(joined.flatten(1, 2)), nan=0.0).amax(-1)


def _creep(z: Tensor, log_chord: Tensor) -> Tensor:
    """How many times shorter (b,) steps are at the worst border of draws (b, C, S, k); log of squared chords (b, C, S).

    Geometric means are compared.
    """
    least = at_borders(z, log_chord).amin((1, 2))
    return torch.exp(0.5 * (mean_of(log_chord.flatten(1, 2)) - least)).clamp(min=1)


def _contraction(ellipse: Ellipse, z: Tensor) -> Tensor:
    """How many times narrower (b,) than the ellipses a chain of z (b, C, S, k) is, in the narrowest direction.

    At least 1. About the chain's own mean, since chains that have not met spread more than the posterior.
    """
    centred = (z - mean_of(z.movedim(2, 1))[:, :, None]).flatten(1, 2)
    covariance = product(centred.mT, centred) / centred.shape[1]
    inverse = triangular_inverse(ellipse.factor)
    whitened = product(product(inverse, covariance), inverse.mT)
    tiny = torch.finfo(covariance.dtype).tiny
    return eigenvalues(0.5 * (whitened + whitened.mT))[..., 0].clamp(min=tiny, max=1).rsqrt()
