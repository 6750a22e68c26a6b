"""Inverse Abel transforms beside PyAbel's `three_point` in one run, one thread: speed and error.

    OMP_NUM_THREADS=1 python benchmarks/speed_abel.py

One image of 1,025 rows and 1,025 radii, the operators of both cached. The runs of the two take turns, so that a busy
machine slows both alike; the least time counts. Then the error on three pairs known in closed form, relative in L2.
"""

from __future__ import annotations

import time
from collections.abc import Callable

import abel as pyabel
import numpy as np
import torch

from physgen.forward_models.projection import inverse_abel

SIZE, REPEATS = 1025, 60


def least_times(works: list[Callable[[], object]]) -> list[float]:
    """Seconds of each, the least of some rounds in which they take turns."""
    best = [float("inf")] * len(works)
    for work in works:
        work()
    for _ in range(REPEATS):
        for i, work in enumerate(works):
            start = time.perf_counter()
            work()
            best[i] = min(best[i], time.perf_counter() - start)
    return best


def speed() -> None:
    """Print milliseconds, and ratios to the peer."""
    rows, r = np.random.default_rng(0).random((SIZE, 1)), np.linspace(0, 1, SIZE)
    image = np.exp(-(r**2) / 0.04) * (1 + rows)
    double, single = torch.as_tensor(image), torch.as_tensor(image, dtype=torch.float32)
    dr = 1 / (SIZE - 1)
    names = "PyAbel three_point, float64", "physgen, float64", "physgen, float32"
    with torch.no_grad():
        times = least_times(
            [
                lambda: pyabel.dasch.three_point_transform(image, dr=dr),
                lambda: inverse_abel(double, r),
                lambda: inverse_abel(single, r),
            ]
        )
    for name, seconds in zip(names, times, strict=True):
        print(f"{name:30s} {1e3 * seconds:8.2f} ms   {seconds / times[0]:.2f} times PyAbel")
    print(f"float32 is {times[1] / times[2]:.2f} times faster than float64, {times[0] / times[2]:.2f} than PyAbel")


def pairs(y: np.ndarray) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Name -> (profile, projection)."""
    s = np.sqrt(1 - y**2)
    log = np.log((1 + s) / np.where(y > 0, y, 1)) * (y > 0)
    cubic = 2 * (s - (s**3 + 3 * y**2 * s) + s / 2 + 3 * y**2 * s / 4 + 3 * y**4 * log / 4)
    return {
        "exp(-r^2/0.04)": (np.exp(-(y**2) / 0.04), 0.2 * np.sqrt(np.pi) * np.exp(-(y**2) / 0.04)),
        "(1-r^2)^1.5": ((1 - y**2) ** 1.5, 3 * np.pi / 8 * (1 - y**2) ** 2),
        "1-3r^2+2r^3": (1 - 3 * y**2 + 2 * y**3, cubic),
    }


def error(size: int) -> None:
    """Print the relative L2 errors with so many samples."""
    r = np.linspace(0, 1, size)
    for name, (f, projection) in pairs(r).items():
        ours = inverse_abel(torch.as_tensor(projection), r).numpy()
        peer = pyabel.dasch.three_point_transform(projection, dr=1 / (size - 1))
        found = [np.linalg.norm(g - f) / np.linalg.norm(f) for g in (ours, peer)]
        print(f"{size:5d} {name:16s} physgen {found[0]:.1e}   three_point {found[1]:.1e}")


def main() -> None:
    """Speed, then errors."""
    torch.set_num_threads(1)
    speed()
    for size in (257, 513, 1025):
        error(size)


if __name__ == "__main__":
    main()
