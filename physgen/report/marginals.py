"""Marginal distributions: the prior behind the posterior."""

from __future__ import annotations

import numpy as np

from .figure import Panel, interval
from .svg import HEIGHT, axes, band, horizontal, label, path, pretty_units, tag, vertical

_GRID = 160
_NARROW = 12.0  # a posterior so many times narrower than the prior gets the picture for itself
_MOST = 4000  # draws of an estimate of density


def density(draws: np.ndarray, at: np.ndarray, support: tuple[float, float] = (-np.inf, np.inf)) -> np.ndarray:
    """Kernel density estimate (Silverman 1986, eq. 3.31), reflected at the ends of the support (section 2.10).

    Parameters
    ----------
    draws : ndarray (D,)
    at : ndarray (G,)
    support : (float, float)

    Returns
    -------
    ndarray (G,)
        Zero outside the support.
    """
    draws = draws[np.isfinite(draws)]
    draws = draws[np.linspace(0, len(draws) - 1, min(len(draws), _MOST)).astype(int)]
    if not len(draws):
        return np.zeros_like(at)
    low, high = np.quantile(draws, [0.25, 0.75])
    spread = min(draws.std(), (high - low) / 1.34) or draws.std() or abs(draws[0]) * 1e-3 or 1.0
    h = 0.9 * spread * len(draws) ** -0.2
    copies = [draws, *(2 * end - draws for end in support if np.isfinite(end))]
    total = sum(np.exp(-0.5 * ((at[:, None] - c) / h) ** 2).sum(1) for c in copies)
    inside = (at >= support[0]) & (at <= support[1])
    return np.where(inside, total / (len(draws) * h * np.sqrt(2 * np.pi)), 0.0)


def marginal(
    name: str, units: str, support: tuple[float, float], posterior: np.ndarray, prior: np.ndarray | None
) -> Panel:
    """Density of the posterior, that of the prior behind it, and the central 90 % interval below.

    Parameters
    ----------
    name, units : str
    support : (float, float)
    posterior : ndarray (D,)
    prior : ndarray (D,), optional
    """
    posterior = posterior[np.isfinite(posterior)]
    low, middle, high = np.quantile(posterior, [0.05, 0.5, 0.95])
    left, right, zoomed = _range(posterior, prior)
    at = np.linspace(max(left, support[0]), min(right, support[1]), _GRID)
    of_posterior = density(posterior, at, support)
    of_prior = density(prior, at, support) if prior is not None else None
    top = max(of_posterior.max(), 0.0 if of_prior is None else of_prior.max())
    x, y = horizontal(left, right, left=26), vertical(0, 1.08 * top)
    parts = [axes(x, y, label(name, units), "density", y_ticks=())]
    if of_prior is not None:
        parts.append(tag("path", d=band(x(at), y(0 * at), y(of_prior)), class_="fill prior"))
    parts.append(tag("path", d=band(x(at), y(0 * at), y(of_posterior)), class_="fill posterior"))
    if of_prior is not None:
        parts.append(tag("path", d=path(x(at), y(of_prior)), class_="line prior"))
    parts.append(tag("path", d=path(x(at), y(of_posterior)), class_="line posterior"))
    base = y.start - 3
    parts.append(tag("path", d=path(x([low, high]), [base, base]), class_="bar posterior"))
    parts.append(tag("circle", cx=float(x(middle)), cy=base, r=3.2, class_="dot"))
    shown, ends = interval(low, middle, high)
    unit = "" if units in ("", "1") else f" {pretty_units(units)}"
    words = f"Posterior of {name}: median {shown}{unit}, 90 % of it from {ends}{unit}."
    if prior is not None:
        words += f" The prior: median {interval(*np.nanquantile(prior, [0.05, 0.5, 0.95]))[0]}, 90 % from "
        words += f"{interval(*np.nanquantile(prior, [0.05, 0.5, 0.95]))[1]}."
    if zoomed:
        words += " The prior goes on far beyond both sides of the picture."
    return Panel(f"{name}: {shown}{unit} ({ends})", tag("g", *parts), words, height=HEIGHT)


def _range(posterior: np.ndarray, prior: np.ndarray | None) -> tuple[float, float, bool]:
    """Where the picture begins and ends, and whether the prior goes on outside."""
    low, high = np.quantile(posterior, [0.002, 0.998])
    width = (high - low) or abs(high) or 1.0
    if prior is None or not np.isfinite(prior).any():
        return low - 0.1 * width, high + 0.1 * width, False
    wide_low, wide_high = np.nanquantile(prior, [0.01, 0.98])
    wide_low, wide_high = min(low, wide_low), max(high, wide_high)
    if wide_high - wide_low > _NARROW * width:
        return low - 1.0 * width, high + 1.0 * width, True
    room = 0.03 * (wide_high - wide_low)
    return wide_low - room, wide_high + room, False
