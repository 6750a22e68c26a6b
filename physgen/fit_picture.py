"""The picture of a fit: draws against samples that it has not seen, one by one and in pairs, and the learning curve."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from .fit_report import draws
from .fit_table import FitTable
from .picture import check_format
from .priors import Prior
from .priors.adversarial_training import AdversarialReport
from .unit_labels import raised
from .writing import whole_file

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_PANELS = 6
_POINTS = 1000
_REAL, _DRAWN = "#777777", "#0072b2"


def fit_picture(prior: Prior, held: FitTable, out: Path, *, seed: int = 0) -> Path:
    """Draw a fitted prior against held-out samples.

    On the diagonal are the distributions of up to six elements of the causes, below it their pairs. The upper right
    shows the learning curve, where a network has learned.

    Parameters
    ----------
    prior : Prior
    held : FitTable
        Samples that it has not seen.
    out : Path
        Its suffix says the format. It appears whole or not at all.
    seed : int
        Of the draws.

    Raises
    ------
    ValueError
        If the format is unknown.
    """
    check_format(out)
    figure = draw(held.x, draws(prior, held, seed=seed).numpy(), labels(held), getattr(prior, "report", None))
    with whole_file(out) as temporary:
        figure.savefig(temporary, dpi=150)
    return out


def draw(real: np.ndarray, drawn: np.ndarray, names: list[str], report: Any = None) -> Figure:
    """The figure of real samples and draws, each ``(N, n)``, and of a `FitReport` or an `AdversarialReport`."""
    from matplotlib.figure import Figure

    shown = np.unique(np.linspace(0, len(names) - 1, min(len(names), _PANELS)).round().astype(int))
    side = len(shown)
    size = max(2.1 * side, 4.2)
    figure = Figure(figsize=(size * (2 if side == 1 else 1), size), layout="constrained")
    grid = figure.add_gridspec(side, 2 if side == 1 else side)
    spans = {k: _span(real[:, k], drawn[:, k]) for k in shown}
    for i, row in enumerate(shown):
        for j, column in enumerate(shown[: i + 1]):
            axes = figure.add_subplot(grid[i, j])
            if i == j:
                _marginal(axes, real[:, row], drawn[:, row], spans[row])
            else:
                _pair(axes, real[:, [column, row]], drawn[:, [column, row]], spans[column], spans[row])
            axes.set_xlabel(names[column], fontsize=8) if i == side - 1 else axes.set_xticklabels([])
            if j == 0 and i > 0:
                axes.set_ylabel(names[row], fontsize=8)
            elif i != j:
                axes.set_yticklabels([])
            axes.tick_params(labelsize=7)
    handles, words = figure.axes[0].get_legend_handles_labels()
    if report is not None and report.epochs:
        half = side // 2  # above the diagonal is room for so many rows
        holder = figure.add_subplot(grid[0, 1] if side == 1 else grid[:half, half:])
        holder.set_axis_off()
        _curve(holder.inset_axes((0.25, 0.2, 0.75, 0.8)), report)  # its labels leave the grid of pairs as it is
    figure.legend(handles, words, loc="outside upper left", ncols=2, frameon=False, fontsize=9)
    return figure


def labels(table: FitTable) -> list[str]:
    """A label for each element of the causes, with units."""
    blocks = [b for b in table.causes for _ in range(b.size)]
    named = zip(table.causes.element_names, blocks, strict=True)
    return [name if b.units in ("", "1") else f"{name} ({raised(b.units)})" for name, b in named]


def _span(real: np.ndarray, drawn: np.ndarray) -> tuple[float, float]:
    """Where all but the farthest thousandths of both samples lie."""
    low = min(np.quantile(v, 0.001) for v in (real, drawn))
    high = max(np.quantile(v, 0.999) for v in (real, drawn))
    return float(low), float(high)


def _marginal(axes: Axes, real: np.ndarray, drawn: np.ndarray, span: tuple[float, float]) -> None:
    bins: list[float] = np.linspace(*span, min(40, max(10, int(len(real) ** 0.5))) + 1).tolist()
    axes.hist(real, bins, density=True, color=_REAL, alpha=0.45, label="held-out samples")
    axes.hist(drawn, bins, density=True, histtype="step", color=_DRAWN, lw=1.4, label="draws of the prior")
    axes.set_xlim(*span)
    axes.set_yticks([])


def _pair(axes: Axes, real: np.ndarray, drawn: np.ndarray, x: tuple[float, float], y: tuple[float, float]) -> None:
    style: dict[str, Any] = {"ls": "none", "rasterized": True}
    axes.plot(*real[:_POINTS].T, marker="o", ms=2.2, mew=0, color=_REAL, alpha=0.55, **style)
    axes.plot(*drawn[:_POINTS].T, marker="o", ms=1.6, mew=0, color=_DRAWN, alpha=0.45, **style)
    axes.set_xlim(*x)
    axes.set_ylim(*y)


def _curve(axes: Axes, report: Any) -> None:
    """Loss by epoch: of the rows learned from and of those that decided when to stop, or of both players of a game."""
    epochs, game = np.arange(1, report.epochs + 1), isinstance(report, AdversarialReport)
    first, second = ("generator", "critic") if game else ("training", "held_out")
    curves = [getattr(report, name) for name in (first, second)]
    axes.plot(epochs, curves[0], color=_REAL, lw=1.2, label=first if game else "fitted")
    axes.plot(epochs, curves[1], color="#d55e00", lw=1.4, label=second if game else "held out to stop")
    if not game:
        axes.axvline(max(report.best_epoch, 1), color="#d55e00", lw=0.8, ls=":", label="kept")
    values = np.array([*curves[0], *curves[1]])
    low, high = values.min(), np.quantile(values, 0.97)
    axes.set_ylim(low - 0.05 * (high - low) - 1e-9, high + 0.15 * (high - low) + 1e-9)
    axes.set_xlabel("epoch", fontsize=8)
    axes.set_ylabel("loss of the player" if game else "loss (nats a sample)", fontsize=8)
    axes.tick_params(labelsize=7)
    axes.legend(fontsize=7, frameon=False)
