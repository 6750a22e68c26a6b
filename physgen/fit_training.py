"""How the network of a fit learns: the table [training], as the settings that the fitter takes."""

from __future__ import annotations

import typing
from collections.abc import Callable
from dataclasses import fields, is_dataclass
from typing import Any

from .fit_recipe import FitRecipe
from .priors import Training
from .recipe import RecipeError
from .registry import nearest


def training_of(recipe: FitRecipe, fitter: Callable[..., Any]) -> Any:
    """The settings of [training], of the class that the fitter declares; None without that table.

    Parameters
    ----------
    recipe : FitRecipe
    fitter : callable
        The annotation of its parameter `training` names the class: `Training`, or `AdversarialTraining` of a game.

    Raises
    ------
    RecipeError
        If that class has no such setting, or the value is out of range.
    """
    section = recipe.content.training
    if section is None:
        return None
    kind, place = _class(fitter), recipe.place("training")
    known = [f.name for f in fields(kind)]
    given = section.model_dump(exclude_unset=True)
    for key in given:
        if key not in known:
            name = recipe.content.prior.kind
            raise RecipeError(
                f"{place}: The kind {name!r} takes no {key!r}. {nearest(key, known, 'It takes')}",
            )
    try:
        return kind(**given)
    except ValueError as error:
        raise RecipeError(f"{place}: {error}") from error


def _class(fitter: Callable[..., Any]) -> type[Any]:
    try:
        hint = typing.get_type_hints(fitter).get("training")
    except (NameError, TypeError, AttributeError):  # a plug-in's annotations need not be resolvable
        return Training
    for choice in (hint, *typing.get_args(hint)):
        if isinstance(choice, type) and is_dataclass(choice):
            return choice
    return Training
