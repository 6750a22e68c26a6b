"""The picture of whom to trust: a map of the verdicts where coordinates allow one, and how many of each there are."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np
import xarray as xr

from .diagnostics.trust import Trust
from .picture import check_format
from .trust_table import counts, read_table
from .writing import whole_file

if TYPE_CHECKING:
    from matplotlib.axes import Axes

# after Okabe & Ito (2008); told apart in grey too
COLOURS = {
    Trust.TRUSTED: "#d5e8df",
    Trust.PRIOR_DOMINATED: "#f0e442",
    Trust.PRIOR_DATA_CONFLICT: "#e69f00",
    Trust.NOT_CONVERGED: "#0072b2",
    Trust.POOR_FIT: "#d55e00",
    Trust.OUTSIDE_THE_MODEL: "#000000",
}

_PLACES = (("x", "y"), ("lon", "lat"), ("longitude", "latitude"), ("easting", "northing"))
_COLUMNS = 100  # of observations that have no place


def trust_picture(table: xr.Dataset | str | Path, out: str | Path) -> Path:
    """Draw the verdicts of a table.

    A batch of two dimensions is a map, or observations over time where one holds times; a batch of one whose
    observations have places (x and y, lon and lat) is drawn there; any other in rows of a hundred, in their order.

    Parameters
    ----------
    table : xarray.Dataset or path
        Of `trust`, or a result's file that holds it.
    out : path
        Of the picture; its suffix says the format. It appears whole or not at all.

    Returns
    -------
    Path
        `out`.

    Raises
    ------
    ValueError
        If the file says nothing of trust, or the format is unknown.
    """
    from matplotlib.figure import Figure

    out = Path(out)
    check_format(out)
    table = table if isinstance(table, xr.Dataset) else read_table(table)
    figure = Figure(figsize=(9.6, 4.2), layout="constrained")
    where, numbers = figure.subplots(1, 2, width_ratios=(2.2, 1))
    _draw_where(where, table["trust"])
    _draw_counts(numbers, counts(table))
    figure.suptitle("Whom to trust", fontsize=11)
    with whole_file(out) as temporary:
        figure.savefig(temporary, dpi=150)
    return out


def _draw_where(axes: Axes, codes: xr.DataArray) -> None:
    places = _places(codes)
    if places is not None:
        x, y = places
        flat = codes.values.reshape(-1)
        order = np.argsort(flat != Trust.TRUSTED, kind="stable")  # what is flagged lies on top
        colours = np.array([COLOURS[Trust(int(c))] for c in flat])
        size = float(np.clip(4e4 / max(len(flat), 1), 1, 40))
        axes.scatter(x.values[order], y.values[order], s=size, c=colours[order], edgecolors="#888888", linewidths=0.2)
        axes.set(xlabel=_label(x), ylabel=_label(y))
    elif codes.ndim == 2:
        _draw_grid(axes, codes)
    else:
        _draw_rows(axes, codes)


def _draw_grid(axes: Axes, codes: xr.DataArray) -> None:
    """A map, or observations over time: time runs to the right, space as its coordinates do."""
    times = [d for d in codes.dims if d in codes.coords and codes.coords[d].dtype.kind == "M"]
    codes = codes.transpose(*(d for d in codes.dims if d not in times), *times)
    down, right = codes.dims
    if times:
        order = np.argsort(codes.coords[right].values)
        codes = codes.isel({right: order})
        _image(axes, codes.values, None)
        axes.set_xticks(np.arange(len(order)), _days(codes.coords[right].values), rotation=90, fontsize=7)
    else:
        _image(axes, codes.values, _extent(codes, str(right), str(down)))
    axes.set(xlabel=str(right), ylabel=str(down))


def _draw_rows(axes: Axes, codes: xr.DataArray) -> None:
    """Observations without a place, a hundred to a row."""
    flat = codes.values.reshape(-1)
    width = min(_COLUMNS, max(len(flat), 1))
    padded = np.full(-(-len(flat) // width) * width, np.nan)
    padded[: len(flat)] = flat
    _image(axes, padded.reshape(-1, width), None)
    axes.set(xlabel="observation", ylabel=f"and {width} times" if len(padded) > width else "")
    if len(padded) == width:
        axes.set_yticks([])


def _image(axes: Axes, values: np.ndarray, extent: tuple[float, float, float, float] | None) -> None:
    from matplotlib.colors import BoundaryNorm, ListedColormap
    from matplotlib.ticker import MaxNLocator

    colours = ListedColormap([COLOURS[t] for t in Trust], name="trust")
    norm = BoundaryNorm(np.arange(len(Trust) + 1) - 0.5, len(Trust))
    origin: Literal["upper", "lower"] = "upper" if extent is None else "lower"
    aspect: Literal["auto", "equal"] = "auto" if extent is None else "equal"
    shown = np.asarray(values, dtype=float)
    if extent is None:  # what is counted is whole
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        axes.yaxis.set_major_locator(MaxNLocator(integer=True))
    axes.imshow(shown, cmap=colours, norm=norm, origin=origin, aspect=aspect, extent=extent, interpolation="nearest")


def _draw_counts(axes: Axes, found: dict[Trust, int]) -> None:
    """Bars with number and share, trusted first, then from the commonest."""
    flagged = sorted((t for t in found if t is not Trust.TRUSTED), key=lambda t: -found[t])
    ranked = [t for t in (Trust.TRUSTED, *flagged) if t in found]
    total = max(sum(found.values()), 1)
    share = [100 * found[t] / total for t in ranked]
    axes.barh(np.arange(len(ranked)), share, color=[COLOURS[t] for t in ranked], edgecolor="#555555", linewidth=0.6)
    axes.set_yticks(np.arange(len(ranked)), [t.words for t in ranked])
    for place, (verdict, value) in enumerate(zip(ranked, share, strict=True)):
        axes.annotate(
            f"{found[verdict]:,} ({value:.1f} %)",
            (value, place),
            (4, 0),
            textcoords="offset points",
            va="center",
            fontsize=8,
        )
    axes.set_xlim(0, 150)
    axes.set_xticks([0, 50, 100])
    axes.invert_yaxis()
    axes.set_xlabel("observations (%)")
    axes.spines[["top", "right"]].set_visible(False)


def _places(codes: xr.DataArray) -> tuple[xr.DataArray, xr.DataArray] | None:
    """Coordinates of observations on one axis that say where they are."""
    for names in _PLACES:
        if codes.ndim == 1 and all(n in codes.coords and codes.coords[n].dims == codes.dims for n in names):
            return codes.coords[names[0]], codes.coords[names[1]]
    return None


def _extent(codes: xr.DataArray, right: str, down: str) -> tuple[float, float, float, float] | None:
    """Edges of a map in the units of evenly spaced coordinates; None where there are none."""
    edges: list[float] = []
    for dim in (right, down):
        values = codes.coords[dim].values if dim in codes.coords else np.zeros(0)
        steps = np.diff(values.astype(float)) if values.dtype.kind in "iuf" and len(values) > 1 else np.zeros(0)
        if not len(steps) or not np.allclose(steps, steps[0], rtol=1e-3):
            return None
        edges += [float(values[0] - steps[0] / 2), float(values[-1] + steps[0] / 2)]
    return edges[0], edges[1], edges[2], edges[3]


def _days(times: np.ndarray) -> list[str]:
    """Dates, at most sixteen of them."""
    step = -(-len(times) // 16)
    return [str(t)[:10] if i % step == 0 else "" for i, t in enumerate(times.astype("datetime64[D]"))]


def _label(coordinate: xr.DataArray) -> str:
    units = coordinate.attrs.get("units", "")
    return f"{coordinate.name} ({units})" if units and units != "1" else str(coordinate.name)
