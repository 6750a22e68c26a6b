"""Position of the sun, as the build scripts of `data/` compute it, against a published figure."""

import importlib.util
from pathlib import Path

import numpy as np
import pytest

SCRIPT = Path(__file__).parents[2] / "data" / "build" / "sun.py"


@pytest.fixture(scope="module")
def sun_position():
    spec = importlib.util.spec_from_file_location("sun", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.sun_position


def test_worked_example_of_the_solar_position_algorithm(sun_position):
    # Reda & Andreas 2004, Solar Energy 76:577, table A5.1: elevation before refraction 39.872046, azimuth 194.340241
    zenith, azimuth = sun_position(np.array(["2003-10-17T19:30:30"], "datetime64[s]"), 39.742476, -105.1786)
    assert zenith[0] == pytest.approx(90 - 39.872046, abs=0.01)
    assert azimuth[0] == pytest.approx(194.340241, abs=0.01)


def test_sun_is_overhead_at_the_subsolar_point(sun_position):
    # June solstice of 2018 at 10:07 UTC: declination 23.434; equation of time -1.8 minutes
    zenith, _ = sun_position(np.array(["2018-06-21T12:01:48"], "datetime64[s]"), 23.434, 0.0)
    assert zenith[0] < 0.05
