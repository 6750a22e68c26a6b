"""Simulated causes and observations of a recipe, in a file that a recipe can read as observations."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
import xarray as xr

from . import __version__
from .job import build_problem, observe
from .problem import Problem
from .random import single_stream, uniform
from .recipe import Recipe, RecipeError
from .space import Block, Space
from .writing import whole_file

_DIM = "observation"
_CONDITION_STAGE = 1 << 40  # which observation lends its conditions: a stage that neither prior nor noise draws from


def simulate_to_netcdf(recipe: Recipe, path: Path, *, n: int | None = None, seed: int | None = None) -> Path:
    """Draw causes from the prior and measure them, as `physgen simulate` does.

    Parameters
    ----------
    recipe : Recipe
        Its conditions are those of ``[simulate.conditions]``; without them those of the observations, each
        simulated observation taking the conditions of a random real one.
    path : Path
        A netCDF file: one variable for each cause, observable and condition. It appears whole or not at all.
    n, seed : int, optional
        Instead of the recipe's.

    Returns
    -------
    Path

    Raises
    ------
    RecipeError
        If a part cannot be made, or a condition is missing.
    """
    n = recipe.content.simulate.n if n is None else n
    seed = recipe.content.seed if seed is None else seed
    problem = build_problem(recipe)
    conditions = _conditions(recipe, problem, n, seed)
    try:
        x, y = problem.simulate(n, seed=seed, **conditions)
    except (ValueError, TypeError) as error:
        raise RecipeError(f"{recipe.path.name}, [simulate]: {error}") from error
    attributes = {
        "title": "Simulated causes and observations",
        "source": f"physgen {__version__} simulate, seed {seed}",
        "recipe": recipe.text,
        "seed": seed,
        **({"comment": recipe.content.note} if recipe.content.note else {}),
    }
    dataset = _dataset(problem, x, y, conditions).assign_attrs(attributes)
    with whole_file(path) as temporary:
        dataset.to_netcdf(temporary, engine="netcdf4")
    return path


def _conditions(recipe: Recipe, problem: Problem, n: int, seed: int) -> dict[str, Any]:
    own, section = recipe.content.simulate.conditions, recipe.content.observations
    named = own if own is not None else section.conditions if section is not None else {}
    if not any(isinstance(v, str) for v in named.values()):
        return {k: float(v) for k, v in named.items()}
    observed = observe(recipe, problem, conditions=named).conditions
    sizes = {np.size(v) for v in observed.values() if np.ndim(v)}
    pick = (uniform((n,), single_stream(), seed=seed, stage=_CONDITION_STAGE) * max(sizes)).long().numpy()
    return {k: v.reshape(-1)[pick] if np.ndim(v) else v for k, v in observed.items()}


def _dataset(problem: Problem, x: torch.Tensor, y: torch.Tensor, conditions: Mapping[str, Any]) -> xr.Dataset:
    observables = problem.observables
    if observables is None:
        observables = Space(Block("y", "", shape=(y.shape[-1],), dims=("observable",)))
    condition_space: Space = getattr(problem.forward, "conditions", None) or Space()
    variables = {**_variables(problem.prior.causes, x), **_variables(observables, y)}
    for name, value in conditions.items():
        known = [b for b in condition_space if b.name == name]
        values = np.broadcast_to(np.asarray(value, dtype=np.float64), (len(x),))
        variables[name] = ((_DIM,), values, _attributes(known[0]) if known else {})
    coords: dict[str, Any] = {}
    for block in (*problem.prior.causes, *observables):
        for name, c in block.coordinates.items():
            coords[name] = ((c.dim,), np.asarray(c.values), {"units": c.units} if c.units else {})
    return xr.Dataset(variables, coords)


def _variables(space: Space, values: torch.Tensor) -> dict[str, Any]:
    parts = space.unflatten(values.detach().cpu())
    return {b.name: ((_DIM, *b.dims), parts[b.name].numpy(), _attributes(b)) for b in space}


def _attributes(block: Block) -> dict[str, str]:
    named = {"units": block.units, "long_name": block.long_name}
    return {k: v for k, v in named.items() if v}
