"""The example of three weather generators: the right one alone stays within the sampling floor."""

import importlib.util
import sys
from pathlib import Path

import numpy as np
import pytest

EXAMPLE = Path(__file__).resolve().parents[3] / "examples" / "weather_generators.py"


@pytest.fixture(scope="module")
def example():
    spec = importlib.util.spec_from_file_location("weather_generators", EXAMPLE)
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # dataclasses look their module up
    spec.loader.exec_module(module)
    yield module
    del sys.modules[spec.name]


def test_the_station_has_the_moments_of_its_law(example):
    g = example.station()
    january = example.monthly(g.rain(4000, seed=5))[:, 0].numpy()
    chance = 0.0  # of rain on each day, from a dry last of December
    expected = 0.0
    for _ in range(31):
        chance = g.after_dry[0] + chance * (g.after_wet[0] - g.after_dry[0])
        expected += chance * g.shape[0] * g.scale[0]
    assert abs(january.mean() - expected) < 4 * january.std() / np.sqrt(4000)


def test_the_fit_recovers_the_station(example):
    truth = example.station()
    found = example.fit(truth.rain(1000, seed=6))
    for name in ("after_dry", "after_wet", "shape", "scale"):
        assert getattr(found, name) == pytest.approx(getattr(truth, name), rel=0.1)


@pytest.mark.parametrize("seed", [0, 1])
def test_only_the_right_generator_stays_within_the_floor(example, seed):
    scores, floor = example.score(seed)
    assert scores.pop("Markov chain, seasonal") <= float(floor.high)
    assert len(scores) == 2
    assert min(scores.values()) > float(floor.high)
