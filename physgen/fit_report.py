"""How good a fit is: its held-out likelihood beside that of a Gaussian, and the quality of its samples."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from .diagnostics.generation import GenerationReport, generation_report
from .fit_table import FitTable
from .priors import Prior
from .priors.frame import Frame
from .priors.standard_normal import log_density
from .priors.support_map import SupportMap

if TYPE_CHECKING:
    from rich.table import Table


@dataclass(frozen=True)
class FitFigures:
    """Figures of a fit, on samples that it has not seen.

    Attributes
    ----------
    generation : GenerationReport
        Conditions stand beside the causes in both samples, so that what is compared is the joint distribution.
    training_log_likelihood : float or None
        Mean log density of the samples learned from, nats; None for a prior without a density.
    bound : float or None
        Mean lower bound of the log density of held-out samples, nats, of a prior that has one instead (`Decoder`).
    gaussian_log_likelihood : float or None
        That of a Gaussian of the same samples, on whole lines and with a linear trend in the conditions; None where
        one cause is a combination of others.
    """

    generation: GenerationReport
    training_log_likelihood: float | None
    bound: float | None
    gaussian_log_likelihood: float | None

    def as_dict(self) -> dict[str, Any]:
        """Plain numbers by name; what there is not is left out."""
        own = {k: v for k, v in vars(self).items() if k != "generation" and v is not None}
        return {**self.generation.as_dict(), **own}


def figures(prior: Prior, fitted: FitTable, held: FitTable, *, seed: int = 0) -> FitFigures:
    """Measure a prior on held-out samples.

    Parameters
    ----------
    prior : Prior
    fitted, held : FitTable
        What it learned from, and what it has not seen.
    seed : int
        Of the draws, and of the tests.
    """
    x, own = _tensors(held)
    drawn = draws(prior, held, seed=seed)
    density = "log_prob" in prior.capabilities
    seen, seen_own = _tensors(fitted)
    report = generation_report(
        torch.cat([x, *_columns(own)], 1),
        torch.cat([drawn, *_columns(own)], 1),
        log_prob=prior.log_prob(x, **own) if density else None,
        training=torch.cat([seen, *_columns(seen_own)], 1),
        seed=seed,
    )
    bound = getattr(prior, "bound", None)
    return FitFigures(
        report,
        float(prior.log_prob(seen, **seen_own).mean()) if density else None,
        None if density or bound is None else float(bound(x, draws=64, seed=seed, **own).mean()),
        _gaussian(fitted, held),
    )


def draws(prior: Prior, held: FitTable, *, seed: int = 0) -> Tensor:
    """One draw ``(N, n)`` for each held-out sample, under its conditions."""
    _, own = _tensors(held)
    return prior.sample(len(held.x), seed=seed, dtype=torch.float64, **own)


def side_by_side(found: FitFigures) -> Table:
    """A rich table: likelihood to the left, sample quality to the right, since the two disagree."""
    from rich.table import Table

    g, table = found.generation, Table(title="On samples that the fit has not seen")
    for heading in ("likelihood", "nats a sample", "quality of samples", ""):
        table.add_column(heading, no_wrap=True)
    left = [
        ("held out", _number(g.log_likelihood, g.log_likelihood_error)),
        ("learned from", _number(found.training_log_likelihood)),
        ("Gaussian, held out", _number(found.gaussian_log_likelihood)),
        ("bound, held out", _number(found.bound)),
    ]
    right = [
        ("C2ST, 0.5 if equal", f"{g.c2st.accuracy:.3f} (p {g.c2st.p_value:.1g})"),
        (f"PQMass, {g.pqmass.freedom} if equal", f"{g.pqmass.statistic:.1f} (p {g.pqmass.p_value:.1g})"),
        ("sliced Wasserstein", f"{g.sliced_wasserstein:.3f} sd"),
        ("MMD^2", f"{g.mmd:.2g} (p {g.mmd_p_value:.1g})"),
    ]
    for (a, b), (c, d) in zip(left, right, strict=True):
        table.add_row(a, b, c, d)
    if g.memorisation is not None:
        table.add_row("", "", "copies, 1 % if none", f"{100 * g.memorisation.copies:.1f} %")
    return table


def _number(value: float | None, error: float | None = None) -> str:
    if value is None:
        return "-"
    return f"{value:.3f}" + (f" +- {error:.3f}" if error is not None else "")


def _tensors(table: FitTable) -> tuple[Tensor, dict[str, Tensor]]:
    return torch.as_tensor(table.x), {n: torch.as_tensor(v) for n, v in table.conditions.items()}


def _columns(own: dict[str, Tensor]) -> list[Tensor]:
    return [v[:, None] for v in own.values()]


def _gaussian(fitted: FitTable, held: FitTable) -> float | None:
    """Mean log density of held-out samples under the frame alone, in the units of the causes."""
    maps, names = SupportMap(fitted.causes), tuple(fitted.conditions)
    x, own = _tensors(fitted)
    c = torch.stack([*own.values()], 1) if own else x[:, :0]
    try:
        frame = Frame.of(maps.encode(x.mT).mT, c, fitted.causes, names, whiten=True)
    except ValueError:
        return None
    x, own = _tensors(held)
    columns, context, _ = frame.spread(x, own)
    w, log_slope = frame.encode(columns[:, : len(x)], context[:, : len(x)])
    return float((log_density(w).sum(0) - log_slope).mean())
