"""The picture of a few observations: their causes as curves with 50 and 90 % bands, beside what was observed."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np
import torch
from torch import Tensor

from .panel import Panel
from .picture import check_format
from .problem import Problem
from .result import Result
from .space import Block, Space
from .status import Status
from .unit_labels import raised, raised_label
from .writing import whole_file

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_MOST = 6  # observations, a row each
_DRAWS = 300  # enough for the ends of a 90 % band, few enough for a costly forward model
_COLOUR, _OBSERVED = "#0072b2", "#555555"


def has_picture(problem: Problem, observations: int) -> bool:
    """Whether this picture says more than `picture.picture`: few observations, and something to draw as a curve."""
    curves = any(len(b.shape) == 1 for b in problem.prior.causes)
    return observations <= _MOST and (curves or hasattr(problem.forward, "panels") or hasattr(problem.noise, "panels"))


def observation_picture(result: Result, problem: Problem, out: str | Path) -> Path:
    """Draw the posterior of one observation, or of a few, one below the other.

    Panels are those that forward model and noise offer (see `Panel`), and one for every cause and observable along a
    coordinate. Predictions in them are without noise unless the noise itself draws them.

    Parameters
    ----------
    result : Result
        Of six observations at most.
    problem : Problem
        What it was the answer to.
    out : path
        Of the picture; its suffix says the format. It appears whole or not at all.

    Raises
    ------
    ValueError
        If the result has more observations, or the format is unknown.
    """
    from matplotlib.figure import Figure

    out = Path(out)
    check_format(out)
    count = result.status.numel()
    if count > _MOST:
        raise ValueError(f"Invalid result of {count} observations. This picture is of {_MOST} at most.")
    rows = [panels_of(result, problem, number) for number in range(count)]
    columns = max(len(row) for row in rows)
    figure = Figure(figsize=(5.2 * columns, 1.2 + 3.0 * count), layout="constrained")
    parts = figure.subfigures(count, 1, squeeze=False)[:, 0]
    for number, (part, row) in enumerate(zip(parts, rows, strict=True)):
        part.suptitle(_title(result, number), fontsize=10)
        for axes, panel in zip(part.subplots(1, columns, squeeze=False)[0], row, strict=False):
            _draw(axes, panel)
    with whole_file(out) as temporary:
        figure.savefig(temporary, dpi=150)
    return out


def panels_of(result: Result, problem: Problem, number: int = 0) -> list[Panel]:
    """Every panel of one observation, counted along the batch."""
    batch = result.status.ndim
    draws = result.draws.reshape(-1, result.status.numel(), result.causes.size)[:, number]
    x = draws[torch.linspace(0, len(draws) - 1, min(_DRAWS, len(draws))).long()]
    y = result.y.reshape(-1, result.y.shape[-1])[number]
    conditions = {k: _of(v, batch, result.status.shape, number) for k, v in result.conditions.items()}
    with torch.no_grad():
        prediction = problem.forward(x, **_spread(problem.forward_takes.pick(conditions), len(x)))
        own = getattr(problem.forward, "panels", None)
        panels = list(own(x)) if own else _along(problem.prior.causes, x, None)
        noise = getattr(problem.noise, "panels", None)
        if noise is not None:
            return panels + list(noise(prediction, y, **problem.noise_takes.pick(conditions)))
    observables = problem.observables
    return panels + (_along(observables, prediction, y) if observables is not None else [])


def _of(value: Tensor, batch: int, shape: torch.Size, number: int) -> Tensor:
    """A condition of one observation, from that of all."""
    own = tuple(value.shape[batch:])
    return value.expand((*shape, *own)).reshape(-1, *own)[number]


def _spread(conditions: dict[str, Tensor], count: int) -> dict[str, Tensor]:
    return {k: v.expand(count, *v.shape) for k, v in conditions.items()}


def _along(space: Space, values: Tensor, observed: Tensor | None) -> list[Panel]:
    """A panel for every block along one coordinate."""
    panels, start = [], 0
    for block in space:
        cut = slice(start, start + block.size)
        start += block.size
        if len(block.shape) == 1:
            panels.append(_block(block, values[:, cut], None if observed is None else observed[cut]))
    return panels


def _block(block: Block, values: Tensor, observed: Tensor | None) -> Panel:
    numeric = [c for c in (block.coordinates or {}).values() if not isinstance(c.values[0], str)]
    name, at = block.dims[0] if block.dims else "element", torch.arange(block.size, dtype=torch.float64)
    if numeric:
        name, at = _labelled(numeric[0].long_name or name, numeric[0].units), torch.tensor(numeric[0].values)
    return Panel(block.long_name or block.name, name, _labelled(block.name, block.units), at, values, observed)


def _labelled(name: str, units: str) -> str:
    return name if units in ("", "1") else f"{name} ({units})"


def _draw(axes: Axes, panel: Panel) -> None:
    draws = panel.draws.double().numpy()
    levels = np.nanquantile(draws, [0.05, 0.25, 0.5, 0.75, 0.95], axis=0)
    x = panel.x.double().numpy()
    if panel.classes:
        levels = np.concatenate([levels, levels[:, -1:]], axis=1)
    step: Literal["post"] | None = "post" if panel.classes else None
    for low, high, alpha, words in ((0, 4, 0.25, "90 %"), (1, 3, 0.45, "50 %")):
        axes.fill_between(x, levels[low], levels[high], color=_COLOUR, alpha=alpha, lw=0, step=step, label=words)
    axes.plot(x, levels[2], color=_COLOUR, lw=1.2, drawstyle="steps-post" if step else "default", label="median")
    if panel.observed is not None:
        seen = panel.observed.double().numpy()
        if panel.classes:
            axes.stairs(seen, x, color=_OBSERVED, lw=1.3, label="observed")
        else:
            axes.plot(x, seen, ".", color=_OBSERVED, ms=3, label="observed")
    axes.set(xlabel=raised_label(panel.x_label), ylabel=raised_label(panel.y_label))
    axes.set_title(panel.title, fontsize=10)
    axes.margins(x=0)
    axes.legend(frameon=False, fontsize=9)


def _title(result: Result, number: int) -> str:
    """The observation's coordinates, median and 90 % interval of causes that are numbers, and the status."""
    draws = result.draws.reshape(-1, result.status.numel(), result.causes.size)[:, number].double()
    lines, start = [], 0
    for block in result.causes:
        if not block.shape:
            low, middle, high = draws[:, start].quantile(torch.tensor([0.05, 0.5, 0.95]).double()).tolist()
            units = "" if block.units in ("", "1") else f" {raised(block.units)}"
            lines.append(f"{block.long_name or block.name}: {middle:.4g}{units} (90 %: {low:.4g} to {high:.4g})")
        start += block.size
    status = Status(int(result.status.reshape(-1)[number]))
    trusted = status is Status.TRUSTED
    lines = [*lines[:6], f"status: {status.meaning.replace('_', ' ')}{'' if trusted else f'. {status.advice}'}"]
    return "\n".join([*_where(result, number), *lines])


def _where(result: Result, number: int) -> list[str]:
    """What the coordinates of a batch with one axis say of an observation."""
    if result.status.ndim != 1:
        return []
    said = []
    for name, entry in result.coords.items():
        values = entry[1] if isinstance(entry, tuple) else entry
        said.append(f"{name} {np.asarray(values)[number]}")
    return [", ".join(said)] if said else []
