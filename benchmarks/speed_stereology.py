"""Log-normal spheres from 1,000 sections: exact fit and full posterior, beside PyPI `Wicksell`, in one run, one thread.

    OMP_NUM_THREADS=1 python benchmarks/speed_stereology.py

Seconds are those of the processor, so that other work on the machine does not count. `Wicksell` (Depriester)
approximates the spheres' density by 1,000 uniform classes, or 100 here; it stops after two minutes of the clock.
Another peer is the usual fit: the integral by 2,000 trapezoids, Nelder-Mead.
"""

from __future__ import annotations

import multiprocessing
import time
from collections.abc import Callable

import numpy as np
import torch
from scipy import optimize, stats

import physgen as pg
from physgen.forward_models.stereology.section_fit import fit_sections
from physgen.forward_models.stereology.section_noise import SectionSizes
from physgen.forward_models.stereology.spheres_model import Spheres
from physgen.inversions import OptimalEstimation

SECTIONS, LIMIT = 1000, 120.0
TRUTH = torch.tensor([15.0, 1.5], dtype=torch.float64)


def seconds(work: Callable[[], object], repeats: int) -> float:
    """The best of some repeats, after one to warm up."""
    work()
    times = []
    for _ in range(repeats):
        start = time.process_time()
        work()
        times.append(time.process_time() - start)
    return min(times)


def wicksell_fit(r: np.ndarray, classes: int, answer: multiprocessing.Queue) -> None:
    """Maximum likelihood by PyPI `Wicksell`: geometric mean, multiplicative standard deviation, seconds."""
    from Wicksell.transform import wickselltransform

    spheres = wickselltransform(stats.lognorm, nbins=classes)
    # its version 2.1 hands NumPy an array of one number, which NumPy 2 no longer takes for a number
    single = spheres._pdf_untruncated_single
    spheres._pdf_untruncated_vec = np.vectorize(lambda x, *a: np.asarray(single(x, *a)).item(), otypes=[float])
    start = time.process_time()
    s, _, scale = spheres.fit(r, floc=0)
    answer.put((scale, float(np.exp(s)), time.process_time() - start))


def limited(r: np.ndarray, classes: int) -> str:
    """What `Wicksell` says within the limit."""
    answer: multiprocessing.Queue = multiprocessing.Queue()
    process = multiprocessing.Process(target=wicksell_fit, args=(r, classes, answer))
    process.start()
    process.join(LIMIT)
    if process.is_alive():
        process.terminate()
        return f"not finished after {LIMIT:.0f} s"
    if answer.empty():
        return "failed"
    scale, sd, took = answer.get()
    return f"{took:8.3f} s   {scale:.3f}, {sd:.4f}"


def trapezoids(r: np.ndarray) -> tuple[float, float]:
    """The usual fit: R = sqrt(r^2 + t^2), 2,000 equal steps of t, Nelder-Mead."""
    t = np.linspace(0, 12 * r.max(), 2001)
    R = np.sqrt(r[:, None] ** 2 + t**2)

    def minus(v: np.ndarray) -> float:
        m, s = np.exp(v[0]), np.exp(v[1])
        f = stats.norm.pdf((np.log(R) - np.log(m)) / s) / (s * R)
        return -float(np.log(r / (m * np.exp(s**2 / 2)) * np.trapezoid(f / R, t, axis=1)).sum())

    best = optimize.minimize(minus, [np.log(np.median(r)), -0.9], method="Nelder-Mead").x
    return float(np.exp(best[0])), float(np.exp(np.exp(best[1])))


def main() -> None:
    """Time and print."""
    torch.set_num_threads(1)
    noise = SectionSizes(measure="radius", profiles=SECTIONS)
    r = noise.sample(TRUTH, seed=1)
    start = [float(r.median()), 1.4]
    fit = fit_sections(r, noise, start)
    took = seconds(lambda: fit_sections(r, noise, start), 5)
    print(f"{SECTIONS} sections of spheres of geometric mean 15 and multiplicative standard deviation 1.5 (radii)")
    print(f"physgen, exact fit          {took:8.3f} s   {float(fit.theta[0]):.3f}, {float(fit.theta[1]):.4f}")
    model = Spheres(size="radius")
    prior = pg.Independent(geometric_mean=pg.LogNormal(30.0, 1.0), multiplicative_sd=pg.Uniform(1.02, 4.0))
    problem, inversion = pg.Problem(model, prior, noise), OptimalEstimation(draws=1000, round_draws=(600, 600, 1200))
    result = inversion(problem, r)
    took_posterior = seconds(lambda: inversion(problem, r), 3)
    mean = result.draws.mean(0).tolist()
    print(f"physgen, full posterior     {took_posterior:8.3f} s   {mean[0]:.3f}, {mean[1]:.4f} (means)")
    begin = time.process_time()
    m, g = trapezoids(r.numpy())
    peer = time.process_time() - begin
    print(f"2,000 trapezoids            {peer:8.3f} s   {m:.3f}, {g:.4f}   ratio {peer / took:.0f}")
    for classes in (100, 1000):
        print(f"Wicksell, {classes:4d} classes      {limited(r.numpy(), classes)}")


if __name__ == "__main__":
    main()
