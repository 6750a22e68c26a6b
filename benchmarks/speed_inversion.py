"""Sentinel-2 pixels per second and memory of `OptimalEstimation`, one thread, float32.

    OMP_NUM_THREADS=1 python benchmarks/speed_inversion.py

Two jobs: pixels drawn from the vegetation prior at the noise of the main job, and pixels of which only leaf area and
pigments are unknown, where one or two rounds of draws suffice (of 200 and 300; then those of them alone where one
does); each with the model as it is and compiled (the code is made before the clock starts; how long that took is
printed). Memory: the peak above start-up while 20,000 of the second stream to a file.
"""

from __future__ import annotations

import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import torch

import physgen as pg
from physgen.inversions import OptimalEstimation
from physgen.io import invert_to_netcdf
from physgen.recipe import load_recipe

RECIPE = Path(__file__).parent.parent / "examples" / "canopy" / "forest_plots.toml"
ANGLES = {"solar_zenith": 40.0, "view_zenith": 5.0, "relative_azimuth": 100.0}


KNOWN = {"n": 1.5, "cm": 0.006, "cw": 0.017, "cbrown": 0.1, "ant": 1.0, "ala": 57.0, "hotspot": 0.2, "wetness": 0.5}
SOIL = {f"soil_{j}": 0.0 for j in (1, 2, 3)}


def easy(problem: pg.Problem) -> pg.Problem:
    """The same canopies with all but leaf area and pigments known, and white noise of 0.02: nearly linear."""
    return pg.Problem(problem.forward, problem.prior.do(**KNOWN, **SOIL), pg.GaussianNoise(0.02))


def timed(label: str, problem: pg.Problem, y: torch.Tensor, index: torch.Tensor | None = None) -> pg.Result:
    """Invert pixels (n, band) of some numbers (n,) and print what it took."""
    start = time.perf_counter()
    result = OptimalEstimation()(problem, y, conditions=ANGLES, seed=1, index=index)
    rate = len(y) / (time.perf_counter() - start)
    stats = result.stats
    print(
        f"{label:36s} {rate:8.0f} pixels/s   trusted {result.trusted.double().mean():.3f}   "
        f"rounds {stats['rounds'].double().mean():.2f}   median ess {stats['ess'].median():.0f}",
        flush=True,
    )
    return result


def peak() -> float:
    """Largest resident memory so far, MiB, of this process alone: Linux's ru_maxrss begins with its parent's."""
    status = Path("/proc/self/status")
    if status.exists():
        (line,) = (line for line in status.read_text().splitlines() if line.startswith("VmHWM"))
        return int(line.split()[1]) / 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (1024 if sys.platform != "darwin" else 1024**2)


def memory() -> None:
    """Print the peak above start-up while 20,000 pixels stream to a file."""
    problem = easy(load_recipe(RECIPE).problem())
    _, y = problem.simulate(20000, seed=4, **ANGLES)
    before = peak()
    with tempfile.TemporaryDirectory() as folder:
        invert_to_netcdf(OptimalEstimation(), problem, y, Path(folder) / "posterior.nc", conditions=ANGLES)
    print(f"memory above start-up, 20,000 pixels streamed: {peak() - before:.0f} MiB")


def main() -> None:
    """Print pixels per second, and memory, which a fresh process measures."""
    torch.set_num_threads(1)
    if sys.argv[1:] == ["memory"]:
        return memory()
    plain = load_recipe(RECIPE).problem()
    fast = pg.Problem(pg.compiled(plain.forward), plain.prior, plain.noise)
    _, main_job = plain.simulate(4096, seed=3, **ANGLES)
    _, nearly_linear = easy(plain).simulate(16384, seed=3, **ANGLES)
    for label, problem in (("", plain), (", compiled", fast)):
        start = time.perf_counter()
        timed(f"warm-up{label}", problem, main_job[:200])
        print(f"{'':36s} {time.perf_counter() - start:8.0f} s with what is made once")
        timed(f"prior, main noise{label}", problem, main_job)
        result = timed(f"leaf area, pigments{label}", easy(problem), nearly_linear)
        once = torch.nonzero(result.stats["rounds"] == 1).squeeze(-1)
        timed(f"  where one round suffices{label}", easy(problem), nearly_linear[once], once)
    subprocess.run([sys.executable, __file__, "memory"], check=True)


if __name__ == "__main__":
    main()
