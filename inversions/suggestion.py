"""Which methods a problem allows, which one to take, and why: `suggest`."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

import torch

from physgen.noise import Noise
from physgen.problem import Problem

from .pathfinder import MOST

FEW = 50  # latents up to which importance weights correct a Laplace posterior
DENSE = 2000  # latents up to which matrices of their covariance are held
MANY = 10_000  # observations from which it pays to learn the inverse


@dataclass(frozen=True)
class Facts:
    """What a problem offers.

    Attributes
    ----------
    latents : int
        Dimension k of the latents.
    observables : int or None
        Elements of an observation, where one is given.
    observations : int or None
        How many there are, where they are given.
    gradient : bool
        Whether the forward model can be differentiated.
    whitening : bool
        Whether the noise has a local quadratic model (`whiten`), as Gauss-Newton steps and linearisations need.
    selection : bool
        Whether the prior is weighted (`where`, `shift`).
    hyper_latents : int
        Hyper-parameters that the prior names.
    denoiser : bool
        Whether the prior is a diffusion.
    """

    latents: int
    observables: int | None
    observations: int | None
    gradient: bool
    whitening: bool
    selection: bool
    hyper_latents: int
    denoiser: bool = False

    @staticmethod
    def of(problem: Problem, y: Any = None) -> Facts:
        """Those of a problem and, where they are given, its observations ``(*batch, m)``."""
        shape = None if y is None else tuple(torch.as_tensor(y).shape)
        hyper = getattr(problem.prior, "hyper_latents", None) or ()
        return Facts(
            problem.prior.latent_dim,
            shape[-1] if shape else None,
            int(torch.Size(shape[:-1]).numel()) if shape else None,
            problem.differentiable,
            type(problem.noise).whiten is not Noise.whiten,
            "log_factor" in problem.prior.capabilities,
            len(hyper),
            hasattr(problem.prior, "denoise"),
        )

    def __str__(self) -> str:
        parts = [_count(self.latents, "latent")]
        if self.observables is not None and self.observations is not None:
            parts += [_count(self.observables, "observable"), _count(self.observations, "observation")]
        parts.append("a gradient" if self.gradient else "no gradient (a black box)")
        parts.append("a noise with whiten" if self.whitening else "a noise without whiten")
        parts += ["a weighted prior"] if self.selection else []
        parts += [_count(self.hyper_latents, "hyper-parameter")] if self.hyper_latents else []
        return ", ".join(parts)


@dataclass(frozen=True)
class Need:
    """What a method cannot do without.

    Attributes
    ----------
    lacks : callable
        What a problem of these facts lacks, in words, or "".
    good_for : str
    """

    lacks: Callable[[Facts], str]
    good_for: str


def _nothing(facts: Facts) -> str:
    return ""


def _slopes(facts: Facts) -> str:
    return "" if facts.gradient else "needs the gradient of the forward model"


def _steps(facts: Facts) -> str:
    return _slopes(facts) or ("" if facts.whitening else "needs a noise with whiten")


def _nested(facts: Facts) -> str:
    named = "" if 1 <= facts.hyper_latents <= 2 else "needs a prior with one or two hyper-parameters, as SmoothField"
    return _steps(facts) or named


def _guided(facts: Facts) -> str:
    weighted = "needs a prior that is not weighted" if facts.selection else ""
    return _steps(facts) or ("" if facts.denoiser else "needs a prior with a denoiser, as Diffusion") or weighted


def _paths(facts: Facts) -> str:
    return _slopes(facts) or ("" if facts.latents <= MOST else f"needs at most {MOST} latents, not {facts.latents}")


def _two(facts: Facts) -> str:
    return _slopes(facts) or ("" if facts.latents > 1 else "needs two latents or more")


def _grid(facts: Facts) -> str:
    return "" if facts.latents <= 3 else f"needs one to three latents, not {facts.latents}"


NEEDS: Mapping[str, Need] = MappingProxyType(
    {
        "OptimalEstimation": Need(_steps, f"milliseconds for each observation, where there are up to {FEW} latents"),
        "Pathfinder": Need(_paths, f"any noise that has a density, where there are up to {FEW} latents"),
        "NestedLaplace": Need(_nested, "fields whose amplitude and length scale are unknown"),
        "Hamiltonian": Need(_slopes, f"up to {DENSE} latents, curved posteriors"),
        "NUTS": Need(_slopes, "the standard to check others by"),
        "Microcanonical": Need(_two, "a hundred latents and more"),
        # its other families need no whiten
        "Variational": Need(_slopes, f"more than {DENSE} latents; approximate beyond {FEW}"),
        "GuidedDiffusion": Need(_guided, "images under a diffusion prior; approximate without particles"),
        "SliceSampler": Need(_nothing, f"black boxes, nothing to tune, up to {DENSE} latents"),
        "TemperedSMC": Need(_nothing, "several modes, and the evidence"),
        "Ensemble": Need(_nothing, "a second opinion that only evaluates the model"),
        "Grid": Need(_grid, "the exact answer in one to three latents"),
        "LookupTable": Need(_nothing, "comparison with what is usual; always approximate"),
        "Amortised": Need(_nothing, f"{MANY} observations of one problem or more, after training"),
    }
)
"""What each method needs: the one table of capabilities. A method that needs more has its own row."""


@dataclass(frozen=True)
class Suggestion:
    """What to do with a problem; printing it is the point.

    Attributes
    ----------
    facts : Facts
    take : tuple of str
        The method to take first, and those that answer what it does not.
    why : tuple of str
        A reason for each of them.
    allowed : tuple of str
        Methods that work besides.
    refused : mapping of str to str
        Those that do not, and what they lack.
    """

    facts: Facts
    take: tuple[str, ...]
    why: tuple[str, ...]
    allowed: tuple[str, ...]
    refused: Mapping[str, str]

    def __str__(self) -> str:
        lines = [f"The problem has {self.facts}."]
        for place, (name, reason) in enumerate(zip(self.take, self.why, strict=True)):
            lines.append(f"  {'take' if place == 0 else 'then':7s} {name:18s} {reason}")
        lines += [f"  {'or':7s} {name:18s} {NEEDS[name].good_for}" for name in self.allowed]
        lines += [f"  {'not':7s} {name:18s} {lack}" for name, lack in self.refused.items()]
        return "\n".join(lines)


def suggest(problem: Problem, y: Any = None) -> Suggestion:
    """Which methods a problem allows, which to take, and why. Nothing is computed; print the answer.

    Parameters
    ----------
    problem : Problem
    y : array_like (*batch, m), optional
        The observations; their number bears on what pays.

    Returns
    -------
    Suggestion
    """
    facts = Facts.of(problem, y)
    chosen = [(name, why) for name, why in _order(facts) if method_class(name) and not NEEDS[name].lacks(facts)]
    take = tuple(name for name, _ in chosen)
    known = [name for name in NEEDS if method_class(name)]
    lacking = {name: NEEDS[name].lacks(facts) for name in known}
    refused = {name: lack for name, lack in lacking.items() if lack}
    allowed = tuple(name for name in known if name not in take and name not in refused)
    return Suggestion(facts, take, tuple(why for _, why in chosen), allowed, refused)


def method_class(name: str) -> type | None:
    """The inversion of that class name, or None if there is none."""
    return getattr(importlib.import_module("physgen.inversions"), name, None)


def _order(facts: Facts) -> list[tuple[str, str]]:
    """Methods from the first to the last resort, each with the reason."""
    k = facts.latents
    last = [("TemperedSMC", "finds modes apart from each other")]
    last += [("Ensemble", "shares no weakness with the others")] if k <= FEW else []
    if not facts.gradient:
        beyond = "" if k <= DENSE else f"; {k} latents are many for a method without a gradient"
        return [("SliceSampler", f"needs values only, and nothing to tune{beyond}"), *last]
    if k > DENSE:
        return [("Variational", f"holds no {k} x {k} matrix"), ("Microcanonical", "for many latents")]
    slow = [("Hamiltonian", f"many chains with gradients, {_count(k, 'latent')}")]
    slow += [("SliceSampler", "needs no step size, where trajectories diverge"), *last]
    if not _nested(facts):
        return [("NestedLaplace", f"{_count(facts.hyper_latents, 'hyper-parameter')} on a lattice"), *slow]
    if k <= FEW and facts.whitening:
        return [("OptimalEstimation", f"at most {FEW} latents: Laplace, corrected by importance weights"), *slow]
    if k <= FEW:
        return [("Pathfinder", f"at most {FEW} latents: climbs, corrected by importance weights"), *slow]
    return slow


def _count(number: int, what: str) -> str:
    return f"{number} {what}{'' if number == 1 else 's'}"
