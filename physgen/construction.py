"""From a name and settings, as a recipe gives them, to a part: forward model, prior, noise or inversion."""

from __future__ import annotations

import inspect
import typing
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from pydantic import ConfigDict, PydanticSchemaGenerationError, PydanticUserError, TypeAdapter, ValidationError

from .recipe import RecipeError
from .registry import RegistryError, find, first_on_path, nearest

# a plain function can be a forward model or an inversion by itself; a prior or a noise is always an object
_MAY_BE_FUNCTION = ("forward model", "inversion")


def construct(
    kind: str,
    name: str,
    settings: Mapping[str, Any],
    *,
    folder: Path | None = None,
    place: str = "",
    offered: Mapping[str, Any] | None = None,
) -> Any:
    """Make the part that a recipe names.

    A class, or a function that makes the part, is called with the settings. An object that is a part already (a
    plain function of causes, a `torch.nn.Module`, an instance) is taken as it is and can have no settings.

    Parameters
    ----------
    kind : str
        A key of `physgen.registry.GROUPS`.
    name : str
        Registered, or ``module:attribute``.
    settings : mapping
        Of the constructor.
    folder : Path, optional
        Where a module is looked for first.
    place : str
        What an error begins with, such as "recipe.toml, [forward]".
    offered : mapping, optional
        Passed too where the constructor has a parameter of that name and the settings do not say otherwise.

    Raises
    ------
    RecipeError
        If the part is unknown, cannot be imported, or does not take these settings.
    """
    try:
        target = find(kind, name, folder)
    except RegistryError as error:
        raise RecipeError(f"{place}: {error}") from error
    if not _is_constructor(kind, target, settings):
        if settings:
            raise RecipeError(
                f"{place}: Unknown key {next(iter(settings))!r}, since {name!r} is a {kind} already and takes no "
                f"settings. Remove the key, or name the class or the function that makes the {kind}."
            )
        return target
    _check_types(target, settings, place)
    named = named_parameters(target)
    settings = {**{k: v for k, v in (offered or {}).items() if k in named}, **settings}
    _check_names(target, settings, f"{kind} {name!r}", place)
    return _call(target, settings, folder, f"{kind} {name!r}", place)


def distribution(table: Mapping[str, Any], place: str) -> Any:
    """One of `physgen.priors`' distributions from ``{distribution = "LogNormal", ...}``.

    Raises
    ------
    RecipeError
        If it is unknown or does not take these settings.
    """
    from . import priors

    settings = dict(table)
    name = settings.pop("distribution")
    known = distributions()
    if name not in known:
        raise RecipeError(f"{place}: Unknown distribution {name!r}. {nearest(str(name), known, 'Known are')}")
    target = getattr(priors, name)
    _check_names(target, settings, f"distribution {name!r}", place)
    _check_types(target, settings, place)
    return _call(target, settings, None, f"distribution {name!r}", place)


def distributions() -> list[str]:
    """Names of the distributions that a recipe may use."""
    from . import priors
    from .priors.distribution import Distribution

    found = {n: getattr(priors, n) for n in priors.__all__}
    return [
        n for n, c in found.items() if isinstance(c, type) and issubclass(c, Distribution) and c is not Distribution
    ]


def _is_constructor(kind: str, target: Any, settings: Mapping[str, Any]) -> bool:
    """Whether `target` makes the part, rather than being it."""
    if isinstance(target, type) or not inspect.isroutine(target):
        return isinstance(target, type)
    first = next(iter(_parameters(target).values()), None)
    if kind not in _MAY_BE_FUNCTION or first is None or first.name in settings:
        return True
    return first.default is not first.empty or first.kind not in (first.POSITIONAL_ONLY, first.POSITIONAL_OR_KEYWORD)


def _parameters(target: Callable[..., Any]) -> dict[str, inspect.Parameter]:
    try:
        return dict(inspect.signature(target).parameters)
    except (TypeError, ValueError):  # a compiled constructor may show no signature: it checks its settings itself
        return {"settings": inspect.Parameter("settings", inspect.Parameter.VAR_KEYWORD)}


def named_parameters(target: Callable[..., Any]) -> dict[str, inspect.Parameter]:
    """The parameters of a constructor that can be given by name."""
    return {n: p for n, p in _parameters(target).items() if p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY)}


def _check_names(target: Callable[..., Any], settings: Mapping[str, Any], what: str, place: str) -> None:
    named = named_parameters(target)
    if not any(p.kind is p.VAR_KEYWORD for p in _parameters(target).values()):
        for key in settings:
            if key not in named:
                raise RecipeError(f"{place}: Unknown key {key!r}. {nearest(key, named, f'The {what} takes')}")
    missing = [n for n, p in named.items() if p.default is p.empty and n not in settings]
    if missing:
        raise RecipeError(f"{place}: Missing key {missing[0]!r}. The {what} needs it.")


def _check_types(target: Callable[..., Any], settings: Mapping[str, Any], place: str) -> None:
    """Refuse text where the constructor declares a number, and the like; undeclared settings pass."""
    try:
        hints = typing.get_type_hints(getattr(target, "__init__", target) if isinstance(target, type) else target)
    except (NameError, TypeError, AttributeError):
        return
    for key, value in settings.items():
        hint = hints.get(key, Any)
        try:
            # TOML has no tuples: only what holds no list can be held to its exact type
            adapter: TypeAdapter[Any] = TypeAdapter(hint, config=ConfigDict(strict=not isinstance(value, list | dict)))
            adapter.validate_python(value)
        except (PydanticSchemaGenerationError, PydanticUserError):  # a type that TOML cannot hold, such as Tensor
            continue
        except ValidationError as error:
            why = error.errors()[0]["msg"].replace("Input should", "It must")
            raise RecipeError(f"{place}: Invalid {key} {value!r}. {why}.") from None


def _call(target: Callable[..., Any], settings: Mapping[str, Any], folder: Path | None, what: str, place: str) -> Any:
    try:
        with first_on_path(folder):
            return target(**settings)
    except (ValueError, TypeError) as error:
        raise RecipeError(f"{place}: {error}") from error
    except Exception as error:  # a plug-in may raise anything: say whose failure it is
        raise RecipeError(
            f"{place}: The {what} failed while it was made ({type(error).__name__}: {error}). "
            "Correct its settings, or the plug-in."
        ) from error
