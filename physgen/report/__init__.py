"""The report: a result as one self-contained page that a colleague can read."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

from ..netcdf_file import check_target
from ..writing import whole_file
from .answered import answered, contraction
from .asked import asked, computed, provenance
from .calibration import find_calibration
from .checked import calibrated, sensitive
from .doubted import not_trusted
from .misfit import misfitted
from .page import render
from .predictive import own_panels, predict, tensors
from .reading import Answer, read_answer
from .rebuild import Rebuilt, prior_draws, rebuild
from .verdict import verdict

__all__ = ["write_report"]

_REPLICATES = (400, 40)  # of observations that are drawn one by one, and of many


def write_report(
    result: str | Path,
    out: str | Path | None = None,
    *,
    check: str | Path | None = None,
    recipe: str | Path | None = None,
) -> Path:
    """Write the report of a result.

    Parameters
    ----------
    result : path
        A file of `physgen invert` or `Result.to_netcdf`.
    out : path, optional
        Of the page; that of the result with the suffix ``.html`` by default. It appears whole or not at all.
    check : path, optional
        A file of `physgen check`; one beside the result by default.
    recipe : path, optional
        The result's recipe. Only where it is given is code run that the recipe names as ``module:attribute``.

    Returns
    -------
    Path
        Of the page.

    Raises
    ------
    ValueError
        If the result is missing, damaged, no result, or of another version; if `check` or `recipe` do not fit.
    OSError
        If the page cannot be written.
    """
    result = Path(result)
    out = check_target(out or result.with_suffix(".html"))
    if out.exists() and result.exists() and out.samefile(result):
        raise ValueError(f"The report would replace the result {result}. Give another name with --out.")
    answer = read_answer(result)
    page = _page(answer, Path(check) if check else None, Path(recipe) if recipe else None)
    with whole_file(out) as temporary:
        temporary.write_text(page, encoding="utf-8")
    return out


def _page(answer: Answer, check: Path | None, recipe: Path | None) -> str:
    text = answer.attributes.get("recipe")
    calibration = find_calibration(answer.path, check, text if isinstance(text, str) else None)
    rebuilt = rebuild(answer, recipe)
    prior = answer.prior or (
        prior_draws(rebuilt.prior, answer, tensors(answer.kept.conditions)) if rebuilt.prior is not None else {}
    )
    why = rebuilt.why or "The prior could not be drawn from."
    causes, noises, few, many, trouble = _predictions(answer, rebuilt)
    ratio = contraction(answer, prior)
    note = str(answer.attributes.get("note", "") or "")
    sections = [
        asked(answer),
        answered(answer, prior, why, causes),
        computed(answer),
        calibrated(calibration),
        sensitive(answer, ratio, why, calibration),
        misfitted(answer, few, many, noises, trouble),
        not_trusted(answer),
        provenance(answer, note),
    ]
    data = answer.path.read_bytes() if answer.path.stat().st_size < 1 << 24 else None
    return render(
        title=_title(answer),
        kicker=f"physgen report on {answer.path.name}, {_when(answer)}",
        note=note,
        verdict=verdict(answer, ratio, calibration),
        sections=sections,
        file=answer.path.name,
        size=answer.path.stat().st_size,
        sha256=hashlib.sha256(data).hexdigest() if data is not None else _checksum(answer.path),
    )


def _checksum(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _title(answer: Answer) -> str:
    names = [str(b["name"]) for b in json.loads(answer.attributes["spaces"])["causes"]]
    what = (
        names[0]
        if len(names) == 1
        else f"{', '.join(names[:-1])} and {names[-1]}"
        if len(names) < 4
        else f"{len(names)} causes"
    )
    return f"Posterior of {what} from {answer.count:,} observation{'s' * (answer.count != 1)}"


def _when(answer: Answer) -> str:
    when = str(answer.attributes.get("ended") or answer.attributes.get("created_at") or "")
    return f"computed {when[:10]}" if when else "of unknown date"


def _predictions(answer: Answer, rebuilt: Rebuilt) -> tuple[Any, Any, Any, Any, str]:
    """Panels of forward model and noise, predictions of few and of many observations, and why there are none."""
    problem = rebuilt.problem
    if problem is None:
        return [], [], None, None, rebuilt.why
    try:
        causes, noises = [], []
        for n, index in enumerate(answer.shown.index):
            found = own_panels(problem, answer, n)
            cut = 1 if found and hasattr(problem.forward, "panels") else 0
            own = hasattr(problem.noise, "panels")
            causes.append((answer.name(int(index)), found[:-1] if own else found))
            noises.append((answer.name(int(index)), found[-1:] if own and len(found) > cut - 1 else []))
        few = predict(problem, answer, answer.shown, _REPLICATES[0])
        many = predict(problem, answer, answer.kept, _REPLICATES[1])
    except Exception as error:  # a forward model may raise anything; the rest of the report stands
        return [], [], None, None, f"The forward model failed ({type(error).__name__}: {error})."
    return causes, noises, few, many, "The forward model or the noise offers no prediction that can be drawn."
