"""Position of the sun."""

from __future__ import annotations

import numpy as np


def sun_position(time: np.ndarray, latitude: float, longitude: float) -> tuple[np.ndarray, np.ndarray]:
    """Zenith and azimuth of the sun's centre, without refraction, to 0.01 degrees between 1950 and 2050.

    The low-precision formulas of the Astronomical Almanac (mean longitude L, mean anomaly g, ecliptic longitude lambda,
    obliquity epsilon, sidereal time), as given by Michalsky (1988), Solar Energy 40:227, equations 1 to 10.

    Parameters
    ----------
    time : datetime64 (n,)
        Universal time.
    latitude, longitude : float
        Degrees north and east.

    Returns
    -------
    zenith, azimuth : (n,)
        Degrees; azimuth from north through east.
    """
    n = (np.asarray(time, "datetime64[ms]") - np.datetime64("2000-01-01T12:00")) / np.timedelta64(86_400_000, "ms")
    g = np.deg2rad(357.528 + 0.9856003 * n)
    lam = np.deg2rad(280.460 + 0.9856474 * n + 1.915 * np.sin(g) + 0.020 * np.sin(2 * g))
    epsilon = np.deg2rad(23.439 - 4e-7 * n)
    right_ascension = np.arctan2(np.cos(epsilon) * np.sin(lam), np.cos(lam))
    declination = np.arcsin(np.sin(epsilon) * np.sin(lam))
    sidereal = np.deg2rad(15 * ((18.697374558 + 24.06570982441908 * n) % 24) + longitude)
    hour, phi = sidereal - right_ascension, np.deg2rad(latitude)
    up = np.sin(phi) * np.sin(declination) + np.cos(phi) * np.cos(declination) * np.cos(hour)
    north = np.cos(phi) * np.sin(declination) - np.sin(phi) * np.cos(declination) * np.cos(hour)
    east = -np.cos(declination) * np.sin(hour)
    return np.rad2deg(np.arccos(up)), np.rad2deg(np.arctan2(east, north)) % 360
