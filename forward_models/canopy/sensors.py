"""Spectral bands: responses of sensors, and short quadratures that replace their integrals.

A band averages reflectance over the sensor's spectral response. Two rules do so: the exact one, at every nanometre, and
a short one, at the few wavelengths per band that reproduce the exact average of any canopy spectrum.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from torch import Tensor

from .tables import FIRST, canopy_spectra, check_wavelengths, grid, sensor_names, sensor_table

TOLERANCE = 6e-5
"""Error allowed to a short quadrature, in reflectance; 9,000 random canopies erred by 1.4 times as much at most."""


@dataclass(frozen=True, eq=False)
class Quadrature:
    """Wavelengths to compute, and for each band which of them to add up with which weights.

    Attributes
    ----------
    wavelengths : Tensor (w,)
        nm, ascending.
    index : Tensor (k, band), int64
        Positions in `wavelengths`. Bands with fewer than k nodes are filled up with weight 0.
    weight : Tensor (k, band)
        Not negative; each band's sum to one.
    """

    wavelengths: Tensor
    index: Tensor
    weight: Tensor

    @cached_property
    def identity(self) -> bool:
        """Whether every wavelength is a band of its own, so that there is nothing to do."""
        w = self.wavelengths.numel()
        return self.index.shape == (1, w) and torch.equal(self.index[0].cpu(), torch.arange(w))

    @cached_property
    def matrix(self) -> Tensor:
        """The rule as a matrix (w, band)."""
        empty = self.weight.new_zeros(self.wavelengths.numel(), self.weight.shape[1])
        return empty.scatter_add(0, self.index, self.weight)


def band_average(spectrum: Tensor, quadrature: Quadrature) -> Tensor:
    """Average of a spectrum over the bands of a sensor.

    In float64 the sum runs in an order of its own, so that the bits of a row do not depend on how many rows go
    together; otherwise a matrix product does it, several times faster.

    Parameters
    ----------
    spectrum : Tensor (*, w)
        At `quadrature.wavelengths`.
    quadrature : Quadrature

    Returns
    -------
    Tensor (*, band)

    Raises
    ------
    ValueError
        If the last axis is not w long.
    """
    if spectrum.ndim == 0 or spectrum.shape[-1] != quadrature.wavelengths.numel():
        w = quadrature.wavelengths.numel()
        raise ValueError(f"Invalid spectrum of shape {tuple(spectrum.shape)}. The last axis must be {w} wavelengths.")
    if quadrature.identity:
        return spectrum
    if spectrum.dtype != torch.float64:
        return spectrum @ quadrature.matrix.to(spectrum)
    index, weight = quadrature.index.to(spectrum.device), quadrature.weight.to(spectrum)
    nodes = spectrum.index_select(-1, index.reshape(-1)).reshape(*spectrum.shape[:-1], *index.shape)
    return (nodes * weight).sum(-2)


@dataclass(frozen=True, eq=False)
class Sensor:
    """Bands of an instrument.

    Attributes
    ----------
    name : str
    bands : tuple of str
    centre, fwhm : Tensor (band,)
        Mean wavelength and full width at half maximum, nm.
    exact : Quadrature
        The whole response, at 400, 401, ..., 2500 nm. What lies outside is dropped and the rest scaled to sum to one.
    """

    name: str
    bands: tuple[str, ...]
    centre: Tensor
    fwhm: Tensor
    exact: Quadrature

    @staticmethod
    def named(name: str, bands: Sequence[str] | None = None) -> Sensor:
        """A known sensor, with all or some of its bands, in the order given.

        Parameters
        ----------
        name : {"sentinel-2a", "sentinel-2b", "landsat-8", "landsat-9", "emit", "full"}
            "full" is the spectrum itself at 1 nm, its bands named "400" to "2500".
        bands : sequence of str, optional

        Raises
        ------
        ValueError
            If the sensor or a band is unknown.
        """
        if name not in (*sensor_names(), "full"):
            raise ValueError(f"Unknown sensor {name!r}. Must be one of {', '.join((*sensor_names(), 'full'))}.")
        sensor = _full() if name == "full" else _from_table(name)
        return sensor if bands is None else sensor.select(bands)

    @staticmethod
    def gaussian(
        centres: Sequence[float] | Tensor,
        widths: Sequence[float] | Tensor,
        bands: Sequence[str] | None = None,
        name: str = "gaussian",
    ) -> Sensor:
        """Bands with Gaussian responses.

        Parameters
        ----------
        centres, widths : (band,)
            Centre and full width at half maximum, nm; a width of 0 is a single wavelength.
        bands : sequence of str, optional
            Names; the centres if not given.
        name : str

        Raises
        ------
        ValueError
            If a centre is outside 400 to 2500 nm, a width negative or not finite, or the lists differ in length.
        """
        c, f = check_wavelengths(centres), torch.as_tensor(widths, dtype=torch.float64)
        if f.shape != c.shape:
            raise ValueError(f"Invalid widths of shape {tuple(f.shape)}. Give one for each of the {len(c)} centres.")
        if not bool(((f >= 0) & f.isfinite()).all()):
            raise ValueError(f"Invalid widths {f.tolist()}. Each must be finite and at least 0 nm.")
        labels = tuple(bands) if bands is not None else tuple(f"{v:g}" for v in c.tolist())
        if len(labels) != len(c):
            raise ValueError(f"Invalid list of {len(labels)} band names. Give one for each of the {len(c)} centres.")
        return Sensor(name, labels, c, f, _exact(_gaussian_response(c, f)))

    def select(self, bands: Sequence[str]) -> Sensor:
        """The same sensor with some of its bands; `ValueError` if one is unknown, named twice, or none is given."""
        unknown = [b for b in bands if b not in self.bands]
        if unknown or isinstance(bands, str):
            what = bands if isinstance(bands, str) else unknown[0]
            raise ValueError(f"Unknown band {what!r} of {self.name}. Give a list out of {', '.join(self.bands)}.")
        if not bands or len(set(bands)) != len(bands):
            raise ValueError(f"Invalid bands {list(bands)}. Give at least one, and each only once.")
        i = torch.tensor([self.bands.index(b) for b in bands])
        exact = Quadrature(self.exact.wavelengths, self.exact.index[:, i], self.exact.weight[:, i])
        return Sensor(self.name, tuple(bands), self.centre[i], self.fwhm[i], exact)

    @property
    def response(self) -> Tensor:
        """Weights (band, 2101) of the whole response, each band's summing to one."""
        return self.exact.matrix.T

    @cached_property
    def quadrature(self) -> Quadrature:
        """The short rule: `short_quadrature` at its standard tolerance."""
        return short_quadrature(self)


def short_quadrature(sensor: Sensor, tolerance: float = TOLERANCE) -> Quadrature:
    """A few wavelengths and weights per band that give the average over the whole response.

    Weights are fitted, not negative and summing to one, so that the rule is right on the principal spectra of simulated
    canopies (`data/build/canopy_spectra.py`), each as large as it occurs. Narrow bands come first; wavelengths they use
    cost nothing in the bands that overlap them; further ones are added one by one, each time the best, until the
    root of the summed squares of the errors is below `tolerance`. What can then be spared is taken out.

    Parameters
    ----------
    sensor : Sensor
    tolerance : float
        In reflectance. The largest error of a canopy's band values has been found to be up to 1.5 times this.

    Returns
    -------
    Quadrature

    Raises
    ------
    ValueError
        If the tolerance is not positive.

    References
    ----------
    Positive quadrature on an empirical basis: Lawson & Hanson 1974, Solving Least Squares Problems, chapter 23
    (non-negative least squares); Hernández, Caicedo & Ferrer 2017, Comput. Methods Appl. Mech. Eng. 313:687.
    """
    if not tolerance > 0:
        raise ValueError(f"Invalid tolerance {tolerance!r}. Must be greater than 0.")
    if sensor.exact.identity:
        return sensor.exact
    response, spectra = sensor.response.numpy(), canopy_spectra().numpy()
    used, fits = np.zeros(response.shape[1], dtype=bool), {}
    steps = np.round(np.log2(np.maximum(sensor.fwhm.numpy(), 1.0)))
    for band in np.lexsort((sensor.centre.numpy(), steps)):
        r = response[band]
        nodes = np.flatnonzero(r > 1e-4 * r.max())  # the far wings offer no useful node
        fits[band] = (nodes, spectra[:, nodes], spectra @ r)
        used[nodes[_choose(*fits[band][1:], used[nodes], tolerance)]] = True
    _prune(used, fits, tolerance)
    weights = np.zeros_like(response)
    for band, (nodes, columns, target) in fits.items():
        chosen = np.flatnonzero(used[nodes])
        weights[band, nodes[chosen]] = _fit(columns, target, chosen)[1]
    return _compact(weights)


def _choose(columns: np.ndarray, target: np.ndarray, used: np.ndarray, tolerance: float) -> list[int]:
    """Columns (m, c) of which some weights make target (m,); those `used` (c,) are free of charge."""
    chosen = np.flatnonzero(used).tolist()
    error, first = _fit(columns, target, chosen)[0] if chosen else math.inf, len(chosen)
    while error > tolerance and len(chosen) < columns.shape[1]:
        thinned = range(0, columns.shape[1], max(1, columns.shape[1] // 100))  # moving finds what lies between
        free = [c for c in thinned if c not in chosen] or [c for c in range(columns.shape[1]) if c not in chosen]
        error, chosen = _best(columns, target, [[*chosen, c] for c in free])
        for _ in range(4):
            moved = _best(columns, target, _moves(chosen, first, columns.shape[1]))
            if not moved[0] < 0.99 * error:
                break
            error, chosen = moved
    return chosen


def _moves(chosen: list[int], first: int, count: int) -> list[list[int]]:
    """All ways to shift one of the nodes from `first` on by a few places."""
    return [
        [*chosen[:p], chosen[p] + d, *chosen[p + 1 :]]
        for p in range(first, len(chosen))
        for d in (-4, -2, -1, 1, 2, 4)
        if 0 <= chosen[p] + d < count and chosen[p] + d not in chosen
    ]


def _best(columns: np.ndarray, target: np.ndarray, trials: list[list[int]]) -> tuple[float, list[int]]:
    """The least error and the nodes that have it."""
    errors = [_fit(columns, target, t)[0] for t in trials]
    return min(zip(errors, trials, strict=True), key=lambda pair: pair[0], default=(math.inf, []))


def _prune(used: np.ndarray, fits: dict, tolerance: float) -> None:
    """Take out of `used` (2101,), in place, one after the other, the wavelengths that no band needs."""
    for w in np.flatnonzero(used):
        used[w] = False
        for nodes, columns, target in fits.values():
            if nodes[0] <= w <= nodes[-1]:
                chosen = np.flatnonzero(used[nodes])
                if not len(chosen) or _fit(columns, target, chosen)[0] > tolerance:
                    used[w] = True
                    break


def _fit(columns: np.ndarray, target: np.ndarray, chosen: Sequence[int] | np.ndarray) -> tuple[float, np.ndarray]:
    """Error and weights of the best rule on the chosen nodes."""
    from scipy.optimize import nnls

    a = columns[:, chosen]
    heavy = 10.0  # far above the size of a spectrum, so that the weights sum to one
    w = nnls(np.vstack([a, np.full(len(chosen), heavy)]), np.append(target, heavy))[0]
    w = w / w.sum()
    return float(np.linalg.norm(a @ w - target)), w


def _compact(weights: np.ndarray) -> Quadrature:
    """The rule of a weight matrix (band, 2101), on the wavelengths that have any weight."""
    used = np.flatnonzero((weights > 0).any(0))
    rule = _exact(torch.as_tensor(weights))
    position = torch.zeros(weights.shape[1], dtype=torch.int64)
    position[used] = torch.arange(len(used))
    return Quadrature(grid()[used], position[rule.index] * (rule.weight > 0), rule.weight)


def _exact(response: Tensor) -> Quadrature:
    """The rule that takes every wavelength of responses (band, 2101) with its weight."""
    r = response.double().clamp(min=0)
    r = r / r.sum(1, keepdim=True)
    k = int((r > 0).sum(1).max())
    index = torch.sort((r <= 0).long(), dim=1, stable=True).indices[:, :k]  # where there is weight, ascending, first
    return Quadrature(grid(), index.T.contiguous(), r.gather(1, index).T.contiguous())


def _full() -> Sensor:
    w = grid()
    rule = Quadrature(w, torch.arange(w.numel())[None], torch.ones(1, w.numel(), dtype=torch.float64))
    return Sensor("full", tuple(f"{v:g}" for v in w.tolist()), w, torch.zeros_like(w), rule)


def _from_table(name: str) -> Sensor:
    t = sensor_table(name)
    response = _gaussian_response(t.centre, t.fwhm) if t.response is None else t.response
    return Sensor(name, t.bands, t.centre, t.fwhm, _exact(response))


def _gaussian_response(centre: Tensor, fwhm: Tensor) -> Tensor:
    """Weights (band, 2101) that integrate the linear interpolation of a spectrum against Gaussians.

    The weight of a grid point is the integral of the Gaussian against that point's hat function: the second difference
    of E[max(x - w, 0)] over w, exact for any width, down to the linear interpolation itself at width 0.
    """
    sigma = (fwhm / math.sqrt(8 * math.log(2))).clamp(min=1e-9)[:, None]
    edges = torch.arange(FIRST - 1, FIRST + grid().numel() + 1, dtype=torch.float64)
    z = (centre[:, None] - edges) / sigma
    density = torch.exp(-0.5 * z**2) / math.sqrt(2 * math.pi)
    mean_excess = sigma * (z * torch.special.ndtr(z) + density)
    r = mean_excess[:, 2:] - 2 * mean_excess[:, 1:-1] + mean_excess[:, :-2]
    return torch.where(r > 1e-6 * r.amax(1, keepdim=True), r, 0.0)
