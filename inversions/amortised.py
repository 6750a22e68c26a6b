"""Amortised: a network learns the posterior of every observation at once, and the likelihood corrects it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from physgen.priors.fitting import Training
from physgen.problem import Posterior, Problem
from physgen.progress import Progress
from physgen.random import normal
from physgen.result import Result
from physgen.small_matrices import product
from physgen.status import Status

from .adaptive_importance import Schedule
from .amortised_correction import corrected
from .amortised_network import Embedded, Features, PosteriorNetwork
from .amortised_training import STAGE, Trained, flat_conditions, learn, witnesses
from .batched import Layout, invert
from .escalation import EXACT, applicable, code, escalate
from .inversion import prepare

_HELD_OUT = 0.05  # share of the simulations that decides when to stop
_ROWS = 16384  # draws whose flow stays in the cache


@dataclass(frozen=True)
class Amortised:
    """Neural posterior estimation in latent space, corrected by importance sampling.

    A conditional flow q(z | y, conditions, what is missing) learns from draws of the prior and of the noise, once for
    a problem; an observation then takes milliseconds, most of which go into the correction: the draws are weighted
    by the true likelihood. Where the weights are not to be trusted an exact method is asked; `answered_by` says which.
    Needs neither a gradient nor a likelihood to learn, and a likelihood to correct.

    Call `fit` first, and use what it returns for any number of observations. Called without, it fits itself for the
    observations that it is given (so that the answer of one depends on the conditions and gaps of the others).

    Parameters
    ----------
    draws : int
        Draws of each observation.
    correct : bool
        Whether to weight the draws by the likelihood. Without, the status is APPROXIMATE.
    escalation : sequence of str
        Methods that are asked, in turn, where the weighted draws cannot be trusted; those that cannot answer the
        problem are passed over.
    defence : float
        Share of the draws that comes from the prior itself.
    accept_ess, accept_k_hat : float
        What an answer must reach to be trusted.
    simulations : int
        Draws of the prior that are learned from; noise and gaps are new at every step.
    epochs, batch, learning_rate, patience
        Of the training: see `physgen.priors.fitting.Training`.
    width, layers, context : int
        Of the network that reads an observation: units and number of its hidden layers, and of what it tells the flow.
    transforms, bins : int
    hidden : sequence of int
        Of the flow: see `physgen.priors.flow_network.CouplingFlow`. For posteriors that are nearly normal, four
        transforms of one bin (straight lines) are as good, and take a third of the time.
    chunk : int
        Observations held at once.
    trained : Trained, optional
        What `fit` has made.

    Raises
    ------
    ValueError
        If a setting is out of range.

    References
    ----------
    Papamakarios & Murray (2016), *Fast epsilon-free inference of simulation models with Bayesian conditional density
    estimation*, NeurIPS; Greenberg, Nonnenmacher & Macke (2019), *Automatic posterior transformation for
    likelihood-free inference*, ICML; Dax et al. (2023), *Neural importance sampling for rapid and reliable
    gravitational-wave inference*, Physical Review Letters 130.
    """

    draws: int = 200
    correct: bool = True
    escalation: tuple[str, ...] = ("OptimalEstimation", "Hamiltonian", "Ensemble")
    defence: float = 0.03
    accept_ess: float = 50.0
    accept_k_hat: float = 0.7
    simulations: int = 200_000
    epochs: int | None = None
    batch: int | None = None
    learning_rate: float = 3e-3
    patience: int | None = None
    width: int = 192
    layers: int = 3
    context: int = 16
    transforms: int = 2
    bins: int = 4
    hidden: tuple[int, ...] = (32,)
    chunk: int = 512
    trained: Trained | None = field(default=None, compare=False, repr=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "escalation", tuple(self.escalation))
        object.__setattr__(self, "hidden", tuple(self.hidden))
        least = {"draws": 20, "simulations": 200, "width": 1, "layers": 1}
        least |= {"context": 1, "transforms": 1, "bins": 1, "chunk": 1}
        for name, lowest in least.items():
            if getattr(self, name) < lowest:
                raise ValueError(f"Invalid {name} {getattr(self, name)}. Must be at least {lowest}.")
        self._training()
        unknown = [name for name in self.escalation if name not in EXACT]
        if unknown:
            raise ValueError(f"Unknown method {unknown[0]!r} of the escalation. Give some of {', '.join(EXACT)}.")
        if not 0 < self.defence <= 0.5:
            raise ValueError(f"Invalid defence {self.defence}. Must be above 0 and at most 0.5.")
        if not self.accept_ess > 0 or not self.accept_k_hat > 0:
            raise ValueError(
                f"Invalid accept_ess {self.accept_ess:g} or accept_k_hat {self.accept_k_hat:g}. Both must be positive."
            )

    def _training(self) -> Training:
        """Its settings, checked."""
        return Training(
            epochs=self.epochs,
            batch=self.batch,
            learning_rate=self.learning_rate,
            held_out=_HELD_OUT,
            patience=self.patience,
        )

    @property
    def fitted(self) -> bool:
        """Whether `fit` has made this."""
        return self.trained is not None

    @property
    def record(self) -> dict[str, Any]:
        """What provenance keeps of the fit: the learning curve, and the share of undefined simulations."""
        if self.trained is None:
            return {}
        return {"fit": {**self.trained.report.to_json(), "undefined": self.trained.undefined}}

    def fit(
        self,
        problem: Problem,
        *,
        y: Any,
        conditions: Mapping[str, Any] | None = None,
        seed: int = 0,
        progress: Progress = False,
        checkpoint: str | Path | None = None,
    ) -> Amortised:
        """Learn the posterior of a problem.

        Parameters
        ----------
        problem : Problem
        y : array_like (*batch, m)
            Observations such as will be inverted: which elements they lack is what the network learns to do without
            (besides others at random). Their values are not looked at.
        conditions : mapping, optional
            One value each, or one for each observation: simulations are made under these.
        seed : int
            The network is a function of it, of the conditions and of the gaps.
        progress : bool or callable
            Of the epochs.
        checkpoint : path, optional
            See `physgen.priors.fitting.train`.

        Returns
        -------
        Amortised
            With the same settings, `trained`.

        Raises
        ------
        ValueError, TypeError
            See `Problem.condition`; if hardly a draw of the prior can be simulated, or the checkpoint is of another
            fit.
        """
        seen = witnesses(problem, y, conditions or {})
        training = self._training()

        def build(features: Features) -> PosteriorNetwork:
            return PosteriorNetwork(
                features,
                problem.prior.latent_dim,
                width=self.width,
                layers=self.layers,
                context=self.context,
                transforms=self.transforms,
                bins=self.bins,
                hidden=self.hidden,
                seed=seed,
            )

        trained = learn(
            problem,
            seen,
            build,
            training,
            simulations=self.simulations,
            seed=seed,
            progress=progress,
            checkpoint=checkpoint,
        )
        return replace(self, trained=trained)

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

        Raises
        ------
        ValueError
            If observations or conditions are of the wrong shape, names or range, or the network was trained for
            another problem.
        """
        posterior, screen, _ = prepare(problem, y, conditions, index)
        any_good = bool((screen == Status.TRUSTED).any())
        method = self
        if self.trained is not None:
            self.trained.check(posterior, corrected=self.correct)
        elif any_good:
            method = self.fit(
                problem, y=posterior.y, conditions=posterior.conditions, seed=seed, progress=progress is True
            )

        def answer(posterior: Posterior, index: Tensor, advance: Callable[[int], None]) -> dict[str, Tensor]:
            out = method._answer(posterior, seed, index)
            advance(len(index))
            return out

        statistics: dict[str, tuple[int | str, ...]] = dict.fromkeys(("k_hat", "ess", "log_evidence"), ())
        statistics |= {"latent_mean": ("k",), "latent_covariance": ("k", "k")}
        layout = Layout(1, self.draws, statistics, ("answered_by",))
        settings = {"conditions": conditions, "seed": seed, "index": index, "progress": progress, "chunk": self.chunk}
        return invert(method, problem, y, answer, layout, **settings)

    def _answer(self, posterior: Posterior, seed: int, index: Tensor) -> dict[str, Tensor]:
        if self.trained is None:
            raise TypeError("This Amortised is not trained. Call fit first.")
        network = self.trained.like(posterior.y)
        parts = []
        for rows in torch.arange(len(index), device=posterior.y.device).split(max(1, _ROWS // self.draws)):
            here = posterior.select(rows)
            given = network.embed_rows(here.y, flat_conditions(here))
            act = self._corrected if self.correct else self._plain
            parts.append(act(here, network, given, seed, index[rows]))
        out = {name: torch.cat([p[name] for p in parts]) for name in parts[0]}
        return self._escalated(posterior, out, seed, index) if self.correct else out

    def _escalated(self, posterior: Posterior, out: dict[str, Tensor], seed: int, index: Tensor) -> dict[str, Tensor]:
        others = applicable(self.escalation, posterior.problem)
        if others:
            # that none of the learned draws was feasible does not say that nothing is
            none = out["status"] == Status.INFEASIBLE
            out["status"] = torch.where(none, int(Status.FEW_EFFECTIVE_DRAWS), out["status"])
        return escalate(posterior, index, out, others, seed=seed)

    def _corrected(
        self, posterior: Posterior, network: PosteriorNetwork, given: Embedded, seed: int, index: Tensor
    ) -> dict[str, Tensor]:
        schedule = Schedule(defence=self.defence, accept_ess=self.accept_ess, accept_k_hat=self.accept_k_hat)
        out = corrected(posterior, network, given, draws=self.draws, schedule=schedule, seed=seed, index=index)
        out["samples"] = posterior.decode(out.pop("z").transpose(0, 1)).transpose(0, 1)[:, None]
        none = (out["status"] == Status.MODEL_UNDEFINED) | (out["status"] == Status.INFEASIBLE)
        for name in ("samples", "latent_mean", "latent_covariance"):
            out[name][none] = torch.nan
        return out | {"answered_by": torch.full_like(out["status"], code(self))}

    def _plain(
        self, posterior: Posterior, network: PosteriorNetwork, given: Embedded, seed: int, index: Tensor
    ) -> dict[str, Tensor]:
        u = normal((self.draws, network.latents), index, seed=seed, stage=STAGE, dtype=posterior.y.dtype)
        z, _ = network.sample(u, given, density=False)
        mean = z.cumsum(1)[:, -1] / self.draws
        off = z - mean[:, None]
        status = torch.full_like(index, int(Status.APPROXIMATE))
        return {
            "samples": posterior.decode(z.transpose(0, 1)).transpose(0, 1)[:, None],
            "latent_mean": mean,
            "latent_covariance": product(off.mT, off) / self.draws,
            "status": status,
            "answered_by": torch.full_like(status, code(self)),
        }
