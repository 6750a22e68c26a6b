"""Whom to trust: one table of every observation, with the figures behind each verdict."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr

from .datatree import to_datatree
from .diagnostics.out_of_range import Embedding
from .diagnostics.trust import Trust
from .diagnostics.trust_assessment import Judge, learn_judge
from .diagnostics.trust_verdict import FALSE_ALARMS
from .problem import Problem
from .result import Result

FIGURES = (
    "trust",
    "status",
    "range_p",
    "predictive_p",
    "conflict_p",
    "chi2",
    "measured",
    "dofs",
    "k_hat",
    "ess",
    "rhat",
    "prior_sensitivity",
    "likelihood_sensitivity",
)
"""Variables of the table, as far as the method knows them."""


def trust(
    problem: Problem,
    result: Result,
    *,
    judge: Judge | None = None,
    embedding: Embedding | None = None,
    causes: Sequence[str] | None = None,
    false_alarms: float = FALSE_ALARMS,
    simulations: int = 4000,
    seed: int = 0,
) -> xr.Dataset:
    """Ask of every observation of a result whether its answer may be relied on.

    Parameters
    ----------
    problem : Problem
        That the result answers.
    result : Result
    judge : Judge, optional
        What an earlier call of `learn_judge` has learned about the problem; the settings below are then its own.
    embedding, causes, false_alarms, simulations, seed
        Of `learn_judge`.

    Returns
    -------
    xarray.Dataset
        Variables `FIGURES` along the batch with its coordinates; the codes with CF flag values and meanings.

    Raises
    ------
    ValueError
        If the result has no draws, or is of another problem, or simulations are too few.

    Examples
    --------
    >>> table = trust(problem, result)
    >>> table["lai_ok"] = table.trust == Trust.TRUSTED
    """
    return table_of(judged(problem, result, judge, _settings(embedding, causes, false_alarms, simulations, seed)))


def judged(
    problem: Problem, result: Result, judge: Judge | None = None, settings: Mapping[str, Any] | None = None
) -> Result:
    """The result with the statistics of `trust` in it, to be stored; settings are those of `learn_judge`."""
    judge = judge or learn_judge(problem, conditions=result.conditions, **(settings or {}))
    return judge.judge(result)


def table_of(result: Result) -> xr.Dataset:
    """The table of a result that holds `trust` among its statistics."""
    if "trust" not in result.stats:
        raise ValueError("The result says nothing of trust. Call trust(problem, result), or use `physgen invert`.")
    some = replace(result, stats={k: v for k, v in result.stats.items() if k in FIGURES})
    table = to_datatree(some)["sample_stats"].to_dataset()
    if "cause" in table.dims and result.causes.size == len(result.causes):
        table = table.assign_coords(cause=list(result.causes.names))
    return table[[name for name in FIGURES if name in table]]


def read_table(path: str | Path) -> xr.Dataset:
    """The table in a result's file, without its draws.

    Raises
    ------
    ValueError
        If the file is missing, damaged, not a result, or says nothing of trust.
    """
    path = Path(path)
    if not path.is_file():
        raise ValueError(f"No result at {path}. Check the path.")
    try:
        tree = xr.open_datatree(path, engine="netcdf4")
    except Exception as error:  # netCDF4 and xarray raise many kinds on a damaged file
        raise ValueError(f"The file {path} is not netCDF, or damaged. Give a result of physgen invert.") from error
    with tree:
        if "sample_stats" not in tree.children or "trust" not in tree["sample_stats"]:
            raise ValueError(f"The file {path} says nothing of trust. Invert again with this version of physgen.")
        table = tree["sample_stats"].to_dataset()
        return table[[name for name in FIGURES if name in table]].load()


def counts(table: xr.Dataset) -> dict[Trust, int]:
    """How many observations have each verdict that occurs, in the order of the codes."""
    codes, numbers = np.unique(table["trust"].values, return_counts=True)
    return {Trust(int(code)): int(number) for code, number in zip(codes, numbers, strict=True)}


def _settings(*values: Any) -> dict[str, Any]:
    return dict(zip(("embedding", "causes", "false_alarms", "simulations", "seed"), values, strict=True))
