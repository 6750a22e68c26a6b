"""The problem, or its prior alone, from the recipe that a result's file carries.

A recipe may name code of its own (``module:attribute``), and a file may come from anywhere: such code runs only where
the reader has named the recipe. What is registered, built in or installed, is made from plain values.
"""

from __future__ import annotations

import json
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from pydantic import ValidationError

from ..conditions import takes
from ..priors import Prior
from ..problem import Problem
from ..recipe import Content, Recipe, load_recipe
from .reading import Answer

_PRIOR_DRAWS = 4000


@dataclass(frozen=True, eq=False)
class Rebuilt:
    """What could be made of the recipe.

    Attributes
    ----------
    problem : Problem or None
    prior : Prior or None
    why : str
        Why one of them is missing, in words; empty if none is.
    """

    problem: Problem | None = None
    prior: Prior | None = None
    why: str = ""


def rebuild(answer: Answer, recipe: Path | None = None) -> Rebuilt:
    """The problem of a result, as far as its recipe and the files that it names allow.

    Parameters
    ----------
    answer : Answer
    recipe : path, optional
        The recipe that the result was made with; code that it names is run.

    Raises
    ------
    ValueError
        If `recipe` cannot be read, or is another one than the result's.
    """
    text = answer.attributes.get("recipe")
    if recipe is not None:
        loaded = load_recipe(recipe)
        _check_same(loaded, text, answer.path)
        return _checked(_whole(loaded, own_code=True), answer)
    if not isinstance(text, str) or not text:
        return Rebuilt(why="The file carries no recipe. Give it with --recipe.")
    try:
        content = Content.model_validate(tomllib.loads(text))
    except (tomllib.TOMLDecodeError, ValidationError):
        return Rebuilt(why="The recipe in the file cannot be read by this version. Give a newer one with --recipe.")
    return _checked(_whole(Recipe(_folder(answer, content) / "recipe.toml", text, content), own_code=False), answer)


def _check_same(loaded: Recipe, text: Any, result: Path) -> None:
    """Refuse a recipe that says something else than the one in the file."""
    try:
        same = not isinstance(text, str) or tomllib.loads(text) == tomllib.loads(loaded.text)
    except tomllib.TOMLDecodeError:
        same = False
    if not same:
        raise ValueError(
            f"The recipe {loaded.path} is not the one that made {result}. Give that one, or leave --recipe out."
        )


def _whole(recipe: Recipe, *, own_code: bool) -> Rebuilt:
    content = recipe.content
    named = {"forward model": content.forward.model, "prior": content.prior.model or "", "noise": content.noise.model}
    own = [part for part, name in named.items() if ":" in name]
    if own and not own_code:
        why = (
            f"The {' and the '.join(own)} {'is' if len(own) == 1 else 'are'} code of the recipe's author, which a "
            "report does not run unasked. Give --recipe RECIPE.toml to run it."
        )
        return Rebuilt(prior=None if "prior" in own else _prior(recipe), why=why)
    try:
        problem = recipe.problem()
    except Exception as error:  # a plug-in may raise anything; its files may be gone
        return Rebuilt(prior=None if own else _prior(recipe), why=f"The recipe's parts could not be made ({error})")
    return Rebuilt(problem, problem.prior)


def _prior(recipe: Recipe) -> Prior | None:
    """The prior without its forward model, which lends it no more than units and long names."""
    from ..job import build_prior

    try:
        return build_prior(recipe, None)
    except Exception:  # it needs the forward model, or its files are gone
        return None


def _checked(rebuilt: Rebuilt, answer: Answer) -> Rebuilt:
    """Without a prior over other causes than the result's."""
    ours = [b["name"] for b in json.loads(answer.attributes["spaces"])["causes"]]
    if rebuilt.prior is not None and list(rebuilt.prior.causes.names) != ours:
        return Rebuilt(why="The recipe's prior is over other causes than the result. The recipe has changed since.")
    return rebuilt


def _folder(answer: Answer, content: Content) -> Path:
    """Where the recipe lay: the inputs that were read tell; else where the result is."""
    try:
        inputs = [Path(f["path"]) for f in json.loads(answer.attributes.get("inputs", "[]"))]
    except (ValueError, KeyError, TypeError):
        inputs = []
    relative = [content.observations.file] if content.observations is not None else []
    relative += [content.prior.load] if content.prior.load else []
    for name in (Path(n) for n in relative if not n.startswith("physgen:")):
        for path in inputs:
            if not name.is_absolute() and path.parts[-len(name.parts) :] == name.parts:
                return Path(*path.parts[: -len(name.parts)])
            if path.stem == name.name and len(name.parts) == 1:  # a stored prior is named without its suffix
                return path.parent
    return answer.path.absolute().parent


def prior_draws(prior: Prior, answer: Answer, conditions: Mapping[str, torch.Tensor]) -> dict[str, np.ndarray]:
    """Draws of the prior (D,) or (D, *own) by cause, each with the conditions of an observation."""
    own = takes(prior, "decode").pick(conditions)
    try:
        if own and len(answer.kept.index):
            repeats = -(-_PRIOR_DRAWS // len(answer.kept.index))
            x = prior.sample((repeats, len(answer.kept.index)), **own).flatten(0, 1)
        else:
            x = prior.sample(_PRIOR_DRAWS)
    except (ValueError, TypeError, RuntimeError):
        return {}
    return {k: v.double().numpy() for k, v in prior.causes.unflatten(x).items()}
