"""The work of `physgen fit`: read the table, hold some of it out, fit, report, and store."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from .construction import construct, named_parameters
from .diagnostics.sample_table import permutation
from .fit_recipe import FitRecipe
from .fit_report import FitFigures, figures
from .fit_table import FitTable, read_table
from .fit_training import training_of
from .priors import Prior
from .priors.fitting import ORDER_STAGE
from .priors.samples import read_samples
from .priors.storage import save_prior
from .progress import Progress
from .provenance import describe, record, sha256
from .recipe import RecipeError
from .registry import RegistryError, find

HELD_OUT_STAGE = ORDER_STAGE + 2  # of which rows are held out for the report
_FEWEST_HELD_OUT = 50  # what the distances of the report need
_OFFERED = ("table", "causes", "conditions", "training", "seed", "progress", "checkpoint")


@dataclass(frozen=True, eq=False)
class Fitted:
    """What `FitJob.fit` returns.

    Attributes
    ----------
    prior : Prior
    path : Path
        Of the tensors; the card lies beside it.
    figures : FitFigures
        Held-out likelihood and sample quality.
    """

    prior: Prior
    path: Path
    figures: FitFigures


@dataclass(frozen=True, eq=False)
class FitJob:
    """Everything that one fit needs; made by `build_fit`.

    Attributes
    ----------
    recipe : FitRecipe
    fitted, held : FitTable
        Samples to learn from, and samples for the report.
    seed : int
    """

    recipe: FitRecipe
    fitted: FitTable
    held: FitTable
    seed: int

    def fit(self, folder: Path, *, progress: Progress = False) -> Fitted:
        """Fit, measure and store into `folder`; after an interruption the same call resumes.

        Raises
        ------
        RecipeError
            If the fitter refuses the settings or the samples, or what it made cannot be kept.
        """
        started, output = datetime.now(UTC), self.recipe.content.output
        checkpoint = folder / f"{output.file}.partial"
        prior = self._fit(progress, checkpoint)
        self._check(prior)
        found = figures(prior, self.fitted, self.held, seed=self.seed)
        card = self._card(found, prior, started)
        if output.picture:
            from .fit_picture import fit_picture

            fit_picture(prior, self.held, folder / output.picture, seed=self.seed)
        path = save_prior(prior, folder / output.file, card)
        checkpoint.unlink(missing_ok=True)
        return Fitted(prior, path, found)

    def _fit(self, progress: Progress, checkpoint: Path) -> Prior:
        content, table = self.recipe.content, self.fitted
        training = training_of(self.recipe, find("fitter", content.prior.kind, self.recipe.folder))
        offered: dict[str, Any] = {"table": table.x, "causes": table.causes, "seed": self.seed}
        offered |= {"progress": progress, "checkpoint": checkpoint, "training": training}
        offered |= {"conditions": table.conditions} if table.conditions else {}
        made = construct(
            "fitter",
            content.prior.kind,
            content.prior.settings,
            folder=self.recipe.folder,
            place=self.recipe.place("prior"),
            offered=offered,
        )
        if not isinstance(made, Prior):
            raise RecipeError(
                f"{self.recipe.place('prior')}: The fitter {content.prior.kind!r} returned a {type(made).__name__}. "
                "It must return a physgen Prior."
            )
        return made

    def _check(self, prior: Prior) -> None:
        """Refuse a prior that gives up a support that the recipe states."""
        lost = [b.name for b, got in zip(self.fitted.causes, prior.causes, strict=True) if b.support != got.support]
        if lost:
            raise RecipeError(
                f"{self.recipe.place(f'causes.{lost[0]}')}: A prior of the kind {self.recipe.content.prior.kind!r} "
                "keeps no support. Take the support out, or choose a kind such as flow."
            )

    def _card(self, found: FitFigures, prior: Prior, started: datetime) -> dict[str, Any]:
        """The card: what the recipe says, and what the table, the fit and the machine say."""
        content, table = self.recipe.content, self.fitted
        said, kind, file = content.card, content.prior.kind, table.file.name
        report = getattr(prior, "report", None)
        fit = {"on samples held out": found.as_dict(), **({"learning": _learning(report)} if report else {})}
        total = len(table.x) + len(self.held.x)
        dropped = f", {table.dropped} incomplete rows left out" if table.dropped else ""
        provenance = record(
            {"fitter": find("fitter", kind, self.recipe.folder)},
            recipe=self.recipe.text,
            seed=self.seed,
            inputs=[table.file],
            note=content.note,
            started=started,
        )
        return {
            "title": said.title or content.note or f"A {kind} over {', '.join(table.causes.names)}",
            "learned_from": f"{len(table.x)} of {total} samples of {file}{dropped} (sha256 {sha256(table.file)[:16]})",
            "units": {b.name: b.units for b in table.causes},
            "range": ranges(table),
            "intended_use": said.intended_use or f"prior over causes like those sampled in {file}",
            "not_for": said.not_for or "values outside the range of the samples; another population than theirs",
            "fit": describe(fit),
            "licence": said.licence or "not stated",
            "provenance": provenance,
        }


def build_fit(recipe: FitRecipe, seed: int | None = None) -> FitJob:
    """Read the table and check everything that can be checked before any computing.

    Raises
    ------
    RecipeError
        If the fitter is unknown or does not take what the recipe gives it, the table cannot be read, there are too few
        samples, a column is constant or has missing values, or a cause lies outside its support.
    """
    seed = recipe.content.seed if seed is None else seed
    _check_fitter(recipe)
    table = read_table(recipe)
    place = recipe.place("samples")
    held = _held_out(recipe, table, seed)
    kept = table.rows(~held)
    if held.sum() < _FEWEST_HELD_OUT or len(kept.x) < _FEWEST_HELD_OUT:
        raise RecipeError(
            f"{place}: Too few samples: {len(table.x)}, of which {int(held.sum())} are held out for the report. It "
            f"needs {_FEWEST_HELD_OUT}, and the fit as many at least: give more, or change held_out of [report]."
        )
    for part in (table, kept):  # what varies in the whole table may not in the part that is learned from
        try:
            read_samples(part.x, part.causes, part.conditions, fewest=3)
        except ValueError as error:
            raise RecipeError(f"{place}: {error}") from error
    return FitJob(recipe, kept, table.rows(held), seed)


def _learning(report: Any) -> dict[str, Any]:
    """How long it took; the curve itself is kept with the prior."""
    names = ("samples", "held_out_samples", "epochs", "best_epoch", "best", "baseline", "seconds", "stopped_early")
    return {name: getattr(report, name) for name in names if hasattr(report, name)}  # a game stops by no rows


def ranges(table: FitTable) -> dict[str, list[float]]:
    """Smallest and largest value of every cause and condition, to four digits."""
    columns = {b.name: table.x[:, table.causes.slice(b.name)] for b in table.causes} | table.conditions
    return {n: [float(f"{end:.4g}") for end in (v.min(), v.max())] for n, v in columns.items()}


def _check_fitter(recipe: FitRecipe) -> None:
    content, place = recipe.content, recipe.place("prior")
    try:
        target = find("fitter", content.prior.kind, recipe.folder)
    except RegistryError as error:
        raise RecipeError(f"{place}: {error}") from error
    named: Mapping[str, Any] = named_parameters(target)
    for key in content.prior.settings:
        if key in _OFFERED:
            raise RecipeError(f"{place}: Invalid key {key!r}. It has a table of its own: see the recipe of a fit.")
    for key, given in (("conditions", content.conditions), ("training", content.training)):
        if given and key not in named:
            kind = content.prior.kind
            raise RecipeError(
                f"{recipe.path.name}: The kind {kind!r} takes no {key}. Remove the table [{key}], or choose another "
                "kind: see physgen models."
            )
    training_of(recipe, target)


def _held_out(recipe: FitRecipe, table: FitTable, seed: int) -> np.ndarray:
    """Which rows (N,) the fit never sees: a share of them, or whole groups until there are as many."""
    share, rows = recipe.content.report.held_out, len(table.x)
    if rows == 0:
        return np.zeros(0, dtype=bool)
    names = np.arange(rows) if table.group is None else np.unique(table.group, return_inverse=True)[1]
    order: Tensor = permutation(int(names.max()) + 1, seed=seed, stage=HELD_OUT_STAGE)
    counts = torch.bincount(torch.as_tensor(names))[order]
    chosen = order[: int((counts.cumsum(0) < share * rows).sum()) + 1]
    return np.isin(names, chosen.numpy())
