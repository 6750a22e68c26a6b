"""The check of a recipe: is its inversion calibrated for its problem, and would another prior say otherwise?

Observations are simulated from the recipe's own problem under the conditions of its observations, and inverted together
with some of these, in one run that resumes after an interruption. What is found goes into one JSON file.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from .check_sensitivity import sensitivity
from .diagnostics.calibration import ELEMENTS, LEVEL, calibration, verdict
from .diagnostics.check import adjusted
from .diagnostics.conformal import conformal
from .diagnostics.expected_coverage import expected_coverage
from .diagnostics.replications import FEWEST_REPLICATIONS, Replications, replications_of
from .io import invert_to_netcdf
from .job import Job, inputs
from .progress import Progress
from .provenance import collect, describe, versions
from .random import single_stream, uniform
from .recipe import RecipeError
from .result import Result
from .rows import spread
from .status import Status
from .writing import whole_file

FILE = "calibration.json"
FORMAT = 1  # of the file; a reader refuses a higher one
SIMULATIONS = 500
_REAL = 200  # observations of the recipe whose sensitivity is looked at
_WORK = "calibration_draws.nc"  # what an interruption leaves, beside the file
_CONDITION_STAGE = 1 << 40  # as `physgen simulate`: which observation lends its conditions


@dataclass(frozen=True, eq=False)
class _Simulated:
    """Simulated observations before real ones, on one axis.

    Attributes
    ----------
    truth : Tensor (n, k)
    y : ndarray (n + r, m)
    conditions : mapping of str to ndarray, one value or (n + r, *own)
    """

    truth: Tensor
    y: np.ndarray
    conditions: Mapping[str, Any]

    @property
    def count(self) -> int:
        """n."""
        return len(self.truth)


def check_to_json(
    job: Job, folder: Path, *, n: int = SIMULATIONS, progress: Progress = False
) -> tuple[Path, dict[str, Any]]:
    """Check the calibration and the prior sensitivity of a recipe's inversion.

    Parameters
    ----------
    job : Job
        Of the recipe: see `physgen.recipe.Recipe.build`.
    folder : Path
        Where `FILE` goes. It appears whole or not at all; after an interruption the same call resumes the work.
    n : int
        Simulations.
    progress : bool or callable
        See `physgen.progress.advancing`.

    Returns
    -------
    (Path, dict)
        Of the file, and its content: `verdict`, `passed`, `checks` (see `Check.as_dict`, with `adjusted_p_value`),
        `skipped`, `coverage_of_all` (untrusted answers too), `conformal` (where a coverage fails), `status`,
        `sensitivity`, `recipe` and `provenance`.

    Raises
    ------
    RecipeError, ValueError
        If n is too small, the problem cannot be simulated, or too few answers are trusted.
    """
    if n < FEWEST_REPLICATIONS:
        raise ValueError(
            f"Too few simulations: {n}. At least {FEWEST_REPLICATIONS} are needed, and 300 see a posterior that is a "
            "fifth too narrow."
        )
    started = datetime.now(UTC)
    simulated = _simulate(job, n)
    work = folder / _WORK
    result = _inverted(job, simulated, work, progress)
    some, rest = _part(result, slice(0, n)), _part(result, slice(n, None))
    replications = replications_of(job.problem, simulated.truth, some)
    content = {
        **_calibration(replications, some, job.seed, progress),
        "sensitivity": sensitivity(job.problem, rest),
        "recipe": job.recipe.text,
        "provenance": collect(
            seed=job.seed,
            inputs=inputs(job.recipe, job.observations),
            problem=job.problem,
            inversion=job.inversion,
            note=job.recipe.content.note,
            started=started,
        ),
    }
    path = folder / FILE
    content = _plain(content)
    with whole_file(path) as temporary:
        temporary.write_text(json.dumps(content, indent=1, allow_nan=False) + "\n", encoding="utf-8")
    work.unlink(missing_ok=True)
    return path, content


def read_calibration(path: str | Path) -> dict[str, Any]:
    """The content of a file of `check_to_json`.

    Raises
    ------
    ValueError
        If there is no such file, it is damaged, or another version has written it.
    """
    path = Path(path)
    if not path.is_file():
        raise ValueError(f"No calibration at {path}. Make it with physgen check.")
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        version = content["physgen_calibration"]
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError(f"{path} is damaged or no calibration. Make it anew with physgen check.") from error
    if version != FORMAT:
        raise ValueError(
            f"{path} has the format {version}, this physgen reads {FORMAT}. Make it anew with physgen check."
        )
    return dict(content)


def _calibration(replications: Replications, result: Result, seed: int, progress: Progress) -> dict[str, Any]:
    checks, skipped = calibration(replications, seed=seed, progress=progress)
    passed, words = verdict(checks)
    everyone = expected_coverage(replace(replications, trusted=None).elements(ELEMENTS), times=1, seed=seed)
    content: dict[str, Any] = {
        "physgen_calibration": FORMAT,
        "verdict": words,
        "passed": passed,
        "level": LEVEL,
        "simulations": len(replications),
        "trusted": int(result.trusted.sum()),
        "draws": len(replications.draws),
        "causes": {b.name: {"units": b.units, "long_name": b.long_name} for b in result.causes},
        "checks": [{**c.as_dict(), "adjusted_p_value": p} for c, p in zip(checks, adjusted(checks), strict=True)],
        "skipped": skipped,
        "coverage_of_all": {"n": everyone.n, **everyone.figures},
        "status": {Status(int(c)).meaning: int((result.status == c).sum()) for c in result.status.unique()},
    }
    objecting = {c.name for c, p in zip(checks, adjusted(checks), strict=True) if p <= LEVEL}
    if "marginal coverage" in objecting:
        found = conformal(replications)
        margins = dict(zip(found.names, found.margin.tolist(), strict=True))
        content["conformal"] = {"words": found.words, "level": found.level, "margin_in_posterior_sd": margins}
    return content


def _simulate(job: Job, n: int) -> _Simulated:
    """Observations of the problem, each under the conditions of a random real one and with its gaps; then real ones."""
    problem, observed = job.problem, job.observations
    batch = observed.y.shape[:-1]
    real = observed.y.reshape(-1, observed.y.shape[-1])
    own = {k: _flat(v, batch) for k, v in observed.conditions.items()}
    good = np.flatnonzero(~np.isnan(real).all(-1) & ~problem.out_of_range(torch.as_tensor(real)).numpy())
    if not len(good):
        raise RecipeError(f"{job.recipe.path.name}, [observations]: None can be used. Their conditions are needed.")
    u = uniform((n,), single_stream(), seed=job.seed, stage=_CONDITION_STAGE)
    lender = good[(u * len(good)).long().clamp(max=len(good) - 1).numpy()]
    conditions = {k: v[lender] if v.ndim else v for k, v in own.items()}
    try:
        truth, y = problem.simulate(n, seed=job.seed, **conditions)
    except (ValueError, TypeError) as error:
        raise RecipeError(f"{job.recipe.path.name}: the problem cannot be simulated. {error}") from error
    made = y.detach().cpu().numpy().astype(real.dtype)
    made[np.isnan(real[lender])] = np.nan
    some = good[spread(len(good), _REAL).numpy()]
    joined = {k: np.concatenate([conditions[k], v[some]]) if v.ndim else v for k, v in own.items()}
    return _Simulated(truth, np.concatenate([made, real[some]]), joined)


def _flat(value: Any, batch: tuple[int, ...]) -> np.ndarray:
    """A condition with the observations on one axis; one value stays one."""
    array = np.asarray(value)
    return array.reshape(-1, *array.shape[len(batch) :]) if array.ndim and array.shape[: len(batch)] == batch else array


def _inverted(job: Job, simulated: _Simulated, work: Path, progress: Progress) -> Result:
    """The result of all, computed or left by an earlier call that was interrupted later on."""
    problem = job.problem
    parts = [job.inversion, problem.forward, problem.prior, problem.noise, versions()]
    said = [job.recipe.text, job.seed, simulated.y, dict(simulated.conditions), *parts]
    digest = hashlib.sha256(json.dumps(describe(said), sort_keys=True).encode()).hexdigest()
    before = _left(work)
    if before is not None and before.provenance.get("calibration_job") == digest:
        return before
    invert_to_netcdf(
        job.inversion,
        problem,
        simulated.y,
        work,
        conditions=simulated.conditions,
        seed=job.seed,
        provenance={"calibration_job": digest},
        progress=progress,
    )
    return Result.from_netcdf(work)


def _left(work: Path) -> Result | None:
    """The result that an earlier call has left, if it can be read."""
    try:
        return Result.from_netcdf(work) if work.exists() else None
    except ValueError:
        return None


def _part(result: Result, rows: slice) -> Result:
    """Some of the observations of a result on one axis."""
    count = len(result.status)
    stats = {k: v[rows] for k, v in result.stats.items()}
    conditions = {k: v[rows] if v.ndim and len(v) == count else v for k, v in result.conditions.items()}
    return replace(
        result,
        samples=result.samples[:, :, rows],
        status=result.status[rows],
        stats=stats,
        y=result.y[rows],
        conditions=conditions,
        coords={},
    )


def _plain(value: Any) -> Any:
    """What JSON can hold: no NaN, which becomes null."""
    if isinstance(value, Mapping):
        return {str(k): _plain(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(v) for v in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
