"""LookupTable: simulate causes from the prior, and keep those whose predictions fit an observation best."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from physgen.noise import Noise
from physgen.problem import Posterior, Problem
from physgen.progress import Progress
from physgen.random import normal, single_stream, uniform
from physgen.result import Result
from physgen.status import Status

from .batched import Layout, invert

_STAGE = (1 << 21) + (1 << 17) + 2  # random stages: the table's latents, the order of the draws
_CRITERIA = ("log_prob", "chi2")


@dataclass(frozen=True)
class LookupTable:
    """The classic of remote sensing (Weiss et al. 2000): the best fits of a table of simulations.

    Mean and median of them are what users report. They do not follow the posterior: with a share too large they
    spread more than it, with one too small (or a table too small) they are a few chance fits. So an answer is never
    trusted, but `approximate`.

    The table is simulated under the conditions of each observation: once for all that share theirs, so that it costs
    `size` evaluations of the model for each set of conditions that occurs. Round conditions that differ from pixel to
    pixel first.

    Parameters
    ----------
    draws : int
        Best fits kept, in random order; `draws` / `size` is the share.
    size : int
        Simulations of the table.
    criterion : "log_prob" or "chi2"
        What is best: the highest log density of the observation (and of a weighted prior), or the smallest sum of
        squared residuals standardised by the noise.
    chunk : int
        Observations held at once.

    Raises
    ------
    ValueError
        If a setting is out of range.

    References
    ----------
    Weiss, Baret, Myneni, Pragnère & Knyazikhin 2000, *Investigation of a model inversion technique to estimate canopy
    biophysical variables from spectral and directional reflectance data*, Agronomie 20.
    """

    draws: int = 100
    size: int = 100_000
    criterion: str = "log_prob"
    chunk: int = 1024

    def __post_init__(self) -> None:
        for name in ("draws", "chunk"):
            if getattr(self, name) < 1:
                raise ValueError(f"Invalid {name} {getattr(self, name)}. Must be at least 1.")
        if self.size < 2 * self.draws:
            raise ValueError(f"Invalid size {self.size}. Must be at least twice the {self.draws} draws that are kept.")
        if self.criterion not in _CRITERIA:
            raise ValueError(f"Invalid criterion {self.criterion!r}. Must be one of {', '.join(_CRITERIA)}.")

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

        The result's `stats` are ess (effective draws of the whole table, each weighted by its likelihood: far fewer
        than `draws` means that the best fits are too wide), log_evidence (from these weights; it holds where ess is
        large), latent_mean and latent_covariance of the best fits, and nonfinite.

        Raises
        ------
        ValueError, TypeError
            If observations or conditions are of the wrong shape, names or range, or the noise has no chi2.
        """
        if self.criterion == "chi2" and type(problem.noise).standardise is Noise.standardise:
            raise TypeError(
                f"The criterion chi2 needs residuals, and {type(problem.noise).__name__} has no standardise. "
                'Use LookupTable(criterion="log_prob"), or SliceSampler.'
            )

        def answer(posterior: Posterior, index: Tensor, advance: Callable[[int], None]) -> dict[str, Tensor]:
            out: dict[str, Tensor] = {}
            for rows in _alike(posterior):
                table = _Table.simulate(posterior.select(rows[:1]), self.size, seed)
                for row in rows.tolist():  # one by one, so that no sum depends on the others
                    one = slice(row, row + 1)
                    for name, value in self._answer(posterior.select(one), table, seed, index[one]).items():
                        out.setdefault(name, value.new_zeros(len(index), *value.shape[1:]))[one] = value
                    advance(1)
            return out

        statistics: dict[str, tuple[int | str, ...]] = {"latent_mean": ("k",), "latent_covariance": ("k", "k")}
        statistics |= dict.fromkeys(("ess", "log_evidence"), ())
        shared = self.size * (problem.prior.latent_dim + problem.prior.causes.size)
        layout = Layout(1, self.draws, statistics, ("nonfinite",), shared=shared)
        settings = {"conditions": conditions, "seed": seed, "index": index, "progress": progress, "chunk": self.chunk}
        return invert(self, problem, y, answer, layout, **settings)

    def _answer(self, posterior: Posterior, table: _Table, seed: int, index: Tensor) -> dict[str, Tensor]:
        """One observation, as a batch of one."""
        weight = posterior.log_weight(table.x[:, None], table.prediction[:, None])[:, 0]
        undefined = torch.isnan(weight) | torch.isposinf(weight)
        weight = torch.where(undefined, -torch.inf, weight)
        score = weight
        if self.criterion == "chi2":
            noise, own = posterior.problem.noise, posterior.problem.noise_takes.pick(posterior.conditions)
            residual = noise.standardise(posterior.y, table.prediction[:, None], **own)[:, 0]
            score = torch.where(torch.isneginf(weight), -torch.inf, -(residual * residual).sum(-1))
        feasible = int((~torch.isneginf(score)).sum())
        best = score.topk(self.draws).indices[: max(1, feasible)]
        order = uniform((self.draws,), index, seed=seed, stage=_STAGE + 1)[0].argsort()
        # fewer feasible ones than are wanted come more than once
        pick = best[torch.arange(self.draws, device=best.device) % len(best)][order]
        z, x, total = table.z[pick], table.x[pick], torch.logsumexp(weight, 0)
        centred = z - z.mean(0)
        out = {
            "samples": x[None, None],
            "latent_mean": z.mean(0)[None],
            "latent_covariance": (centred.mT @ centred / len(z))[None],
            "ess": torch.exp(2 * total - torch.logsumexp(2 * weight, 0))[None],
            "log_evidence": (total - torch.log(total.new_tensor(float(self.size))))[None],
        }
        status = Status.APPROXIMATE if feasible >= self.draws else Status.FEW_EFFECTIVE_DRAWS
        status = Status.INFEASIBLE if not feasible else status
        status = Status.MODEL_UNDEFINED if bool(undefined.any()) else status
        if status in (Status.INFEASIBLE, Status.MODEL_UNDEFINED):
            out = {name: torch.full_like(value, torch.nan) for name, value in out.items()}
        return out | {"status": torch.full_like(index, int(status)), "nonfinite": undefined.sum()[None]}


@dataclass(frozen=True, eq=False)
class _Table:
    """Latents (N, k), causes (N, n) and predictions (N, m'), under the conditions of one observation."""

    z: Tensor
    x: Tensor
    prediction: Tensor

    @staticmethod
    def simulate(posterior: Posterior, size: int, seed: int) -> _Table:
        """Of a batch of one. The latents are the same whatever the conditions, and none that `simulate` draws."""
        k, y = posterior.problem.prior.latent_dim, posterior.y
        z = normal((size, k), single_stream(), seed=seed, stage=_STAGE, dtype=y.dtype).to(y.device)
        x, prediction = posterior.predict(z[:, None])
        return _Table(z, x[:, 0], prediction[:, 0])


def _alike(posterior: Posterior) -> list[Tensor]:
    """Places of the observations that share their conditions, group by group."""
    count = len(posterior.y)
    values = [v.reshape(count, -1).to(torch.float64) for v in posterior.conditions.values()]
    if not values:
        return [torch.arange(count)]
    _, group = torch.unique(torch.cat(values, 1), dim=0, return_inverse=True)
    return [torch.nonzero(group == g).squeeze(-1) for g in range(int(group.max()) + 1)]
