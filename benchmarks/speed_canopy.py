"""Canopies per second: physgen beside PyPI `prosail` in one run, one thread.

    OMP_NUM_THREADS=1 python benchmarks/speed_canopy.py

`prosail` computes all 2,101 wavelengths for one canopy at a time; physgen ten Sentinel-2 bands by its short quadrature,
and all 2,101 wavelengths, for 4,096 canopies at a time, in float32 (blocks that fit the cache are timed alike), as it
is and compiled. Value and gradient: of the summed reflectance by all causes. Jacobian: of every band by all causes.
"""

from __future__ import annotations

import time
from collections.abc import Callable

import torch

from physgen.compilation import compiled
from physgen.forward_models import Canopy, vegetation
from physgen.problem import NUMBERS
from physgen.rows import in_blocks

BANDS = ("B02", "B03", "B04", "B05", "B06", "B07", "B08", "B8A", "B11", "B12")
CANOPIES, REPEATS = 4096, 7
ANGLES = {"solar_zenith": 40.0, "view_zenith": 5.0, "relative_azimuth": 100.0}


def rate(work: Callable[[], object], count: int) -> float:
    """Items per second: the best of some repeats, after one to warm up."""
    work()
    best = float("inf")
    for _ in range(REPEATS):
        start = time.perf_counter()
        work()
        best = min(best, time.perf_counter() - start)
    return count / best


def physgen_rates(canopy: Canopy) -> tuple[float, float, float, float]:
    """Canopies per second of the value, of value and gradient, and of value and Jacobian of the compiled model."""
    x = vegetation(canopy).sample(CANOPIES, seed=1, dtype=torch.float32)
    conditions = {name: torch.full((CANOPIES,), value) for name, value in ANGLES.items()}
    rows = NUMBERS // canopy.width

    def value() -> None:
        with torch.no_grad():
            in_blocks(lambda x, c: (canopy(x, **c),), x, conditions, rows)

    def gradient() -> None:
        def block(x: torch.Tensor, c: dict[str, torch.Tensor]) -> tuple[torch.Tensor]:
            leaf = x.detach().requires_grad_(True)
            return torch.autograd.grad(canopy(leaf, **c).sum(), leaf)

        in_blocks(block, x, conditions, rows)

    fast = compiled(canopy)
    return (
        rate(value, CANOPIES),
        rate(gradient, CANOPIES),
        rate(lambda: fast(x, **conditions), CANOPIES),
        rate(lambda: fast.jacobian(x, **conditions), CANOPIES),
    )


def prosail_rate(count: int = 300) -> float:
    """Canopies per second of the peer."""
    import prosail

    def work() -> None:
        for _ in range(count):
            prosail.run_prosail(
                *(1.5, 40.0, 8.0, 0.0, 0.01, 0.009, 3.0, 57.0, 0.01, 40.0, 5.0, 100.0),
                **{"prospect_version": "D", "typelidf": 2, "ant": 1.0, "rsoil": 1.0, "psoil": 0.5},
            )

    return rate(work, count)


def main() -> None:
    """Print the rates and their ratios."""
    torch.set_num_threads(1)
    peer = prosail_rate()
    print(f"{'':34s} {'canopies/s':>12s} {'/ prosail':>10s}")
    print(f"{'prosail, 2,101 wavelengths':34s} {peer:12,.0f} {1:10.1f}")
    for label, canopy in (
        ("physgen, ten Sentinel-2 bands", Canopy(bands=BANDS)),
        ("physgen, 2,101 wavelengths", Canopy(sensor="full")),
    ):
        value, gradient, code, jacobian = physgen_rates(canopy)
        print(f"{label:34s} {value:12,.0f} {value / peer:10.1f}")
        print(f"{'  with the gradient of all causes':34s} {gradient:12,.0f}   {value / gradient:.2f} times the value")
        print(f"{'  compiled':34s} {code:12,.0f} {code / peer:10.1f}")
        print(f"{'  compiled, with the Jacobian':34s} {jacobian:12,.0f}   {code / jacobian:.2f} times the value")


if __name__ == "__main__":
    main()
