"""Which of three weather generators reproduces the monthly rain of a station?

A weather generator is a learned prior of daily rain. Each of three is fitted to the first 100 years of a station's
record; the monthly totals that it makes are then compared with the other 100 years, month by month, by the
Jensen-Shannon divergence in bits. The two halves of the record differ, too: a generator is as good as the station's own
past where its divergence stays within that sampling floor. Totals of one calendar month in different years are
independent, as the floor assumes.

The station is simulated, so that the right answer is known: a first-order Markov chain of wet and dry days with
gamma-distributed amounts, all of whose parameters follow the seasons (Richardson 1981, *Stochastic simulation of daily
precipitation, temperature, and solar radiation*, Water Resources Research 17, 182-190), with a wet and a dry season.
Put the monthly totals of a real station in its place to score generators of your own.

Run: python examples/weather_generators.py
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from scipy.special import gammaincinv

from physgen.diagnostics.divergence import SamplingFloor, histogram, jensen_shannon, quantile_edges, sampling_floor
from physgen.random import single_stream, uniform

DAYS = np.array([31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31])
MONTH = np.repeat(np.arange(12), DAYS)
YEARS, MADE, BINS = 100, 1000, 6


@dataclass(frozen=True)
class WeatherGenerator:
    """Daily rain by calendar month.

    Parameters
    ----------
    after_dry, after_wet : array (12,)
        Chance of a wet day after a dry and after a wet day.
    shape, scale : array (12,)
        Of the gamma-distributed amount on a wet day; the scale in mm.
    """

    after_dry: np.ndarray
    after_wet: np.ndarray
    shape: np.ndarray
    scale: np.ndarray

    def rain(self, years: int, seed: int) -> np.ndarray:
        """Daily rain in mm, (years, 365); the first day of each year follows a dry one."""
        u = uniform((2, years, len(MONTH)), single_stream(), seed=seed).numpy()
        amount = gammaincinv(self.shape[MONTH], u[1]) * self.scale[MONTH]
        wet = np.zeros((years, len(MONTH)), dtype=bool)
        before = np.zeros(years, dtype=bool)
        for day, month in enumerate(MONTH):
            before = u[0, :, day] < np.where(before, self.after_wet[month], self.after_dry[month])
            wet[:, day] = before
        return np.where(wet, amount, 0)


def station() -> WeatherGenerator:
    """The true climate: wettest in January, long spells of rain, heavier showers in July."""
    season = np.cos(2 * np.pi * (np.arange(12) + 0.5) / 12)
    return WeatherGenerator(0.18 + 0.08 * season, 0.70 + 0.08 * season, 0.8 + 0.1 * season, 7.0 - 2.0 * season)


def fit(rain: np.ndarray, *, seasons: bool = True, spells: bool = True) -> WeatherGenerator:
    """Fit a generator: with or without seasons, with or without the memory of yesterday; gamma by moments."""
    parts = [_fit_month(rain, m == MONTH if seasons else MONTH >= 0, spells) for m in range(12)]
    return WeatherGenerator(*(np.array(column) for column in zip(*parts, strict=True)))


def _fit_month(rain: np.ndarray, days: np.ndarray, spells: bool) -> tuple[float, float, float, float]:
    wet = rain > 0
    today, yesterday = wet[:, 1:][:, days[1:]], wet[:, :-1][:, days[1:]]
    chances = (today[~yesterday].mean(), today[yesterday].mean()) if spells else (today.mean(), today.mean())
    amount = rain[:, days][wet[:, days]]
    return (*map(float, chances), float(amount.mean() ** 2 / amount.var()), float(amount.var() / amount.mean()))


def monthly(rain: np.ndarray) -> torch.Tensor:
    """Totals in mm, (years, 12)."""
    return torch.from_numpy(np.stack([rain[:, m == MONTH].sum(1) for m in range(12)], axis=1))


def score(seed: int = 0) -> tuple[dict[str, float], SamplingFloor]:
    """Divergence of every generator, the mean over the months in bits, and its sampling floor."""
    truth = station()
    learned, held_out = truth.rain(YEARS, seed=3 * seed), monthly(truth.rain(YEARS, seed=3 * seed + 1))
    # bins of the learned record: those of the held-out one would make its own counts too even
    edges = [quantile_edges(month, BINS) for month in monthly(learned).unbind(1)]
    generators = {
        "Markov chain, seasonal": fit(learned),
        "independent days, seasonal": fit(learned, spells=False),
        "Markov chain, no seasons": fit(learned, seasons=False),
    }

    def counts(totals: torch.Tensor) -> torch.Tensor:
        return torch.stack([histogram(x, e) for x, e in zip(totals.unbind(1), edges, strict=True)])

    real = counts(held_out)
    made = {name: counts(monthly(g.rain(MADE, seed=3 * seed + 2))) for name, g in generators.items()}
    scores = {name: float(jensen_shannon(real, c).mean()) for name, c in made.items()}
    # a fit cannot be expected to know the climate better than the years that it was fitted to
    return scores, sampling_floor(real, YEARS, YEARS, average=True, seed=seed)


def main() -> None:
    """Print the table."""
    scores, floor = score()
    print(f"{'JSD of monthly rain':<28} {'bits':>7}")
    print(f"{'sampling floor, mean':<28} {float(floor.mean):>7.4f}")
    print(f"{'sampling floor, upper 95 %':<28} {float(floor.high):>7.4f}")
    for name, bits in sorted(scores.items(), key=lambda item: item[1]):
        print(f"{name:<28} {bits:>7.4f}  {'within the floor' if bits <= float(floor.high) else 'beyond the floor'}")


if __name__ == "__main__":
    main()
