"""The job: what a recipe becomes once its parts are made and its observations are read."""

from __future__ import annotations

import sys
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import torch

from .compilation import Compiled, compiled
from .construction import construct, distribution
from .observations import Observations, element_labels, read_observations
from .priors import given, load_prior, shipped_priors
from .priors.storage import prior_files
from .problem import Problem
from .recipe import PartSection, Recipe, RecipeError
from .registry import nearest
from .space import Block, Space


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
            trust=True,
        )


def build_problem(recipe: Recipe) -> Problem:
    """Forward model, prior and noise of a recipe; see `Recipe.problem`."""
    content = recipe.content
    forward = _part(recipe, "forward model", "forward", content.forward, content.forward.settings)
    prior = build_prior(recipe, forward)
    settings = _noise_settings(recipe, getattr(forward, "observables", None))
    shared = getattr(forward, "noise_settings", None)
    noise = _part(recipe, "noise", "noise", content.noise, settings, shared)
    try:
        return Problem(compiled(forward) if content.forward.compiled else forward, prior, noise)
    except (ValueError, TypeError) as error:
        raise RecipeError(f"{recipe.path.name}: {error}") from error


def build_prior(recipe: Recipe, forward: object) -> Any:
    """The prior of a recipe; the forward model lends it causes, units and long names, and may be None."""
    return _stored_prior(recipe) if recipe.content.prior.load else _prior(recipe, forward)


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


def observe(recipe: Recipe, problem: Problem, conditions: Mapping[str, Any] | None = None) -> Observations:
    """The observations that a recipe names, in the order of the forward model's observables.

    Parameters
    ----------
    recipe : Recipe
    problem : Problem
        They are tried out on it.
    conditions : mapping, optional
        Instead of the recipe's own: numbers, or names of variables.

    Raises
    ------
    RecipeError
        If they cannot be read, or do not fit the problem.

    Warns
    -----
    UserWarning
        If the noise has a doubt (its method `doubt`): they are possible, but not plausible.
    """
    section = recipe.content.observations
    if section is None:
        raise RecipeError(f"{recipe.path.name}: Missing table [observations]. Name the file that holds them.")
    place = f"{recipe.path.name}, [observations]"
    if conditions is not None:
        section = section.model_copy(update={"conditions": dict(conditions)})
    condition_space: Space | None = getattr(problem.forward, "conditions", None)
    observations = read_observations(
        section, recipe.folder, observables=problem.observables, condition_space=condition_space, place=place
    )
    try:
        _try_out(problem, observations)
    except (ValueError, TypeError) as error:
        raise RecipeError(f"{place}: {error}") from error
    doubt = getattr(problem.noise, "doubt", None)
    own = problem.noise_takes.pick(observations.conditions)
    if doubt is not None and (why := doubt(torch.as_tensor(observations.y), **own)):
        warnings.warn(f"{place}: {why}", stacklevel=2)
    return observations


def inputs(recipe: Recipe, observations: Observations | None) -> tuple[Path, ...]:
    """Every file that the answer depends on: observations, modules in the recipe's own folder, a stored prior."""
    content = recipe.content
    names = [part.model or "" for part in (content.forward, content.prior, content.noise)]
    if content.inversion is not None:
        names.append(content.inversion.method)
    modules = [sys.modules.get(name.partition(":")[0]) for name in names if ":" in name]
    files = [Path(m.__file__) for m in modules if m is not None and m.__file__ is not None]
    own = [f for f in files if f.is_relative_to(recipe.folder)]
    stored = prior_files(_stored_name(recipe)) if content.prior.load else ()
    return tuple(dict.fromkeys([*(observations.inputs if observations else ()), *own, *stored]))


def _try_out(problem: Problem, observations: Observations) -> None:
    """Check names, shapes and ranges of everything, and evaluate one observation: misfits show before any work."""
    if isinstance(problem.forward, Compiled):  # code is made when it is known that all fits
        problem = replace(problem, forward=problem.forward.forward)
    posterior = problem.condition(observations.y, **observations.conditions).flatten().select(slice(0, 1))
    z = posterior.y.new_zeros(1, problem.prior.latent_dim)
    try:
        posterior.predict(z)
    except (ValueError, TypeError):
        raise
    except Exception as error:  # a plug-in may raise anything
        raise ValueError(
            f"The forward model failed at the prior's centre ({type(error).__name__}: {_first_line(error)}). "
            "Correct it, or the settings that it got."
        ) from error
    try:
        value = posterior.log_prob(z)
    except RuntimeError as error:
        raise ValueError(
            f"The noise does not fit {posterior.y.shape[-1]} observables ({_first_line(error)}). "
            "Check what the forward model returns, and the observables that the recipe names."
        ) from error
    if tuple(value.shape) != (1,):
        raise ValueError(
            f"One observation got the log density's shape {tuple(value.shape)}. The forward model must map the last "
            "axis only, and the noise must sum over it."
        )


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [""])[0]


def _prior(recipe: Recipe, forward: object) -> Any:
    section, place = recipe.content.prior, f"{recipe.path.name}, [prior]"
    settings = _prior_settings(recipe, forward)
    return construct(
        "prior", str(section.model), settings, folder=recipe.folder, place=place, offered={"forward": forward}
    )


def _stored_prior(recipe: Recipe) -> Any:
    """The prior of a file, with the conditions that the recipe fixes."""
    try:
        return given(load_prior(_stored_name(recipe)), **recipe.content.prior.given)
    except (ValueError, TypeError) as error:
        raise RecipeError(f"{recipe.path.name}, [prior]: {error}") from error


def _stored_name(recipe: Recipe) -> str:
    """A file beside the recipe goes before a shipped prior of the same name."""
    name = str(recipe.content.prior.load)
    beside = recipe.folder / name
    return name if not prior_files(beside) and name.replace("-", "_") in shipped_priors() else str(beside)


def _part(
    recipe: Recipe,
    kind: str,
    key: str,
    section: PartSection,
    settings: Mapping[str, Any],
    offered: Mapping[str, Any] | None = None,
) -> Any:
    place = f"{recipe.path.name}, [{key}]"
    return construct(kind, section.model, settings, folder=recipe.folder, place=place, offered=offered)


def _prior_settings(recipe: Recipe, forward: object) -> dict[str, Any]:
    """Tables that name a distribution become one; those of ``[prior.causes]`` become keywords.

    Causes have the units and long names that the forward model declares, unless the recipe states others.
    """
    declared: Space = getattr(forward, "causes", None) or Space()
    settings = recipe.content.prior.settings
    causes = settings.pop("causes", None)
    place = f"{recipe.path.name}, [prior]"
    for key, value in settings.items():
        if (
            isinstance(value, Mapping)
            and "distribution" not in value
            and nearest(key, ["causes"], "").startswith("Did")
        ):
            raise RecipeError(f"{place}: Unknown key {key!r}. Did you mean 'causes'?")
    out = {k: _distributed(v, f"{place} {k}") for k, v in settings.items()}
    if causes is None:
        return out
    if not isinstance(causes, Mapping):
        known = isinstance(causes, list) and all(name in declared for name in causes)
        return out | {"causes": Space(*(declared.block(name) for name in causes)) if known else causes}
    for name, value in causes.items():
        if not isinstance(value, Mapping) or "distribution" not in value:
            raise RecipeError(
                f"{recipe.path.name}, [prior.causes] {name}: Missing key 'distribution'. "
                'Write it as { distribution = "Normal", mean = 0.0, sd = 1.0 }.'
            )
        block = declared.block(name) if name in declared else Block(name)
        whole = {"units": block.units, "long_name": block.long_name, **value}
        out[name] = _distributed(whole, f"{recipe.path.name}, [prior.causes] {name}")
    return out


def _distributed(value: Any, place: str) -> Any:
    return distribution(value, place) if isinstance(value, Mapping) and "distribution" in value else value


def _noise_settings(recipe: Recipe, observables: Space | None) -> dict[str, Any]:
    """Settings by label become lists in the forward model's order; a coordinate named in words, its values."""
    settings = recipe.content.noise.settings
    labels = element_labels(observables)
    for key, value in settings.items():
        place = f"{recipe.path.name}, [noise]"
        if isinstance(value, Mapping) and labels is not None:
            wrong = [*(k for k in value if k not in labels), *(k for k in labels if k not in value)]
            if wrong:
                raise RecipeError(
                    f"{place} {key}: Missing or unknown observable {wrong[0]!r}. "
                    f"Give one value for each of {', '.join(labels)}."
                )
            settings[key] = [value[label] for label in labels]
        elif key == "coordinate" and isinstance(value, str):
            settings[key] = _coordinate(value, observables, place)
    return settings


def _coordinate(name: str, observables: Space | None, place: str) -> list[float]:
    """The values of a coordinate of the observables, one for each element."""
    known = {n: c for block in observables or () for n, c in block.coordinates.items()}
    numeric = [n for n, c in known.items() if all(isinstance(v, int | float) for v in c.values)]
    blocks = [b for b in observables or () if b.size > 1 or name in b.coordinates]
    if name not in numeric or not all(name in b.coordinates and len(b.shape) == 1 for b in blocks):
        hint = nearest(name, numeric, "The observables have the coordinates")
        raise RecipeError(f"{place}: Unknown coordinate {name!r}. {hint}")
    return [float(v) for b in blocks for v in b.coordinates[name].values]
