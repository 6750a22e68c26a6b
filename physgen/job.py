"""The job: what a recipe becomes once its parts are made and its observations are read."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from .construction import construct, distribution
from .observations import Observations, element_labels, read_observations
from .problem import Problem
from .recipe import PartSection, Recipe, RecipeError
from .space import Space


@dataclass(frozen=True, eq=False)
class Job:
    """Everything that one inversion needs.

    Attributes
    ----------
    recipe : Recipe
        What was asked for.
    problem : Problem
    inversion : Inversion
    observations : Observations
    seed : int
    """

    recipe: Recipe
    problem: Problem
    inversion: Any
    observations: Observations
    seed: int

    def invert(self, folder: Path, *, progress: bool | Callable[[int, int], None] = False) -> Path:
        """Invert all observations into the netCDF file that the recipe names, in `folder`.

        Returns
        -------
        Path
            Of the file. It appears whole or not at all; after an interruption the same call resumes the work.
        """
        from .io import invert_to_netcdf
        from .provenance import collect

        content = self.recipe.content
        provenance = collect(
            recipe=self.recipe.text,
            seed=self.seed,
            inputs=inputs(self.recipe, self.observations),
            problem=self.problem,
            inversion=self.inversion,
            note=content.note,
            started=datetime.now(UTC),
        )
        return invert_to_netcdf(
            self.inversion,
            self.problem,
            self.observations.y,
            folder / content.output.file,
            conditions=self.observations.conditions,
            seed=self.seed,
            dims=self.observations.dims,
            coords=self.observations.coords,
            provenance=provenance,
            progress=progress,
        )


def build_problem(recipe: Recipe) -> Problem:
    """Forward model, prior and noise of a recipe; see `Recipe.problem`."""
    content = recipe.content
    forward = _part(recipe, "forward model", "forward", content.forward, content.forward.settings)
    prior = _part(recipe, "prior", "prior", content.prior, _prior_settings(recipe))
    labels = element_labels(getattr(forward, "observables", None))
    noise = _part(recipe, "noise", "noise", content.noise, _noise_settings(recipe, labels))
    try:
        return Problem(forward, prior, noise)
    except (ValueError, TypeError) as error:
        raise RecipeError(f"{recipe.path.name}: {error}") from error


def build_job(recipe: Recipe, seed: int | None = None) -> Job:
    """Problem, inversion and observations of a recipe; see `Recipe.build`."""
    content = recipe.content
    if content.inversion is None or content.observations is None:
        table = "inversion" if content.inversion is None else "observations"
        raise RecipeError(f"{recipe.path.name}: Missing table [{table}]. An inversion needs it.")
    problem = build_problem(recipe)
    inversion = construct(
        "inversion",
        content.inversion.method,
        content.inversion.settings,
        folder=recipe.folder,
        place=f"{recipe.path.name}, [inversion]",
    )
    observations = observe(recipe, problem)
    return Job(recipe, problem, inversion, observations, content.seed if seed is None else seed)


def observe(recipe: Recipe, problem: Problem) -> Observations:
    """The observations that a recipe names, in the order of the forward model's observables.

    Raises
    ------
    RecipeError
        If they cannot be read, or do not fit the problem.
    """
    section = recipe.content.observations
    if section is None:
        raise RecipeError(f"{recipe.path.name}: Missing table [observations]. Name the file that holds them.")
    place = f"{recipe.path.name}, [observations]"
    condition_space: Space | None = getattr(problem.forward, "conditions", None)
    observations = read_observations(
        section, recipe.folder, observables=problem.observables, condition_space=condition_space, place=place
    )
    try:
        _try_out(problem, observations)
    except (ValueError, TypeError) as error:
        raise RecipeError(f"{place}: {error}") from error
    return observations


def inputs(recipe: Recipe, observations: Observations | None) -> tuple[Path, ...]:
    """Every file that the answer depends on: the observations, and modules in the recipe's own folder."""
    content = recipe.content
    names = [part.model for part in (content.forward, content.prior, content.noise)]
    if content.inversion is not None:
        names.append(content.inversion.method)
    modules = [sys.modules.get(name.partition(":")[0]) for name in names if ":" in name]
    files = [Path(m.__file__) for m in modules if m is not None and getattr(m, "__file__", None)]
    own = [f for f in files if f.is_relative_to(recipe.folder)]
    return tuple(dict.fromkeys([*(observations.inputs if observations else ()), *own]))


def _try_out(problem: Problem, observations: Observations) -> None:
    """Check names, shapes and ranges of everything, and evaluate one observation: misfits show before any work."""
    posterior = problem.condition(observations.y, **observations.conditions).flatten().select(slice(0, 1))
    try:
        value = posterior.log_prob(posterior.y.new_zeros(1, problem.prior.latent_dim))
    except RuntimeError as error:
        text = str(error).splitlines()[0]
        raise ValueError(
            f"The parts do not fit {posterior.y.shape[-1]} observables ({text}). "
            "Check what the forward model returns, and the number of observables that the recipe names."
        ) from error
    if tuple(value.shape) != (1,):
        raise ValueError(
            f"One observation got the log density's shape {tuple(value.shape)}. The forward model must map the last "
            "axis only, and the noise must sum over it."
        )


def _part(recipe: Recipe, kind: str, key: str, section: PartSection, settings: Mapping[str, Any]) -> Any:
    return construct(kind, section.model, settings, folder=recipe.folder, place=f"{recipe.path.name}, [{key}]")


def _prior_settings(recipe: Recipe) -> dict[str, Any]:
    """Tables that name a distribution become one; those of ``[prior.causes]`` become keywords."""
    settings = recipe.content.prior.settings
    causes = settings.pop("causes", None)
    place = f"{recipe.path.name}, [prior"
    out = {k: _distributed(v, f"{place}] {k}") for k, v in settings.items()}
    if isinstance(causes, Mapping):
        out |= {k: _distributed(v, f"{place}.causes] {k}") for k, v in causes.items()}
    elif causes is not None:
        out["causes"] = causes
    return out


def _distributed(value: Any, place: str) -> Any:
    return distribution(value, place) if isinstance(value, Mapping) and "distribution" in value else value


def _noise_settings(recipe: Recipe, labels: tuple[str, ...] | None) -> dict[str, Any]:
    """A table of one value for each observable becomes a list in the forward model's order."""
    settings = recipe.content.noise.settings
    for key, value in settings.items():
        if not isinstance(value, Mapping) or labels is None:
            continue
        wrong = [*(k for k in value if k not in labels), *(k for k in labels if k not in value)]
        if wrong:
            place = f"{recipe.path.name}, [noise] {key}"
            raise RecipeError(f"{place}: Missing or unknown observable {wrong[0]!r}. Give one of {', '.join(labels)} each.")
        settings[key] = [value[label] for label in labels]
    return settings
