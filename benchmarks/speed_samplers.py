"""Effective samples per second of `Hamiltonian` and of emcee on a canopy with ten unknowns, one thread, float32.

    OMP_NUM_THREADS=1 python benchmarks/speed_samplers.py             # 256 observations
    OMP_NUM_THREADS=1 python benchmarks/speed_samplers.py 32 2        # of 32, and of 2 by emcee one at a time
    OMP_NUM_THREADS=1 python benchmarks/speed_samplers.py 32 2 --compiled  # with the compiled model alone
    OMP_NUM_THREADS=1 python benchmarks/speed_samplers.py --draws 512  # longer chains, whose warm-up costs less of it

PROSPECT-5, leaf area, leaf angle, and soil brightness and moisture; all bands of Sentinel-2 with an error of 0.01. A
sampler runs until its rank-normalised R-hat is below 1.01 in every cause of (nearly) every observation; what counts is
the effective sample size (bulk) of the worst cause, summed over the observations that got there, over all the time it
took, warm-up and burn-in included. emcee is run as its users run it, one observation at a time with all walkers in one
call of the same likelihood; and, since nobody would do that with a batched model, its stretch move (Goodman & Weare
2010) is also run for all observations in step, which is emcee at its best. Both start from the modes, as Hamiltonian
does, at half the spread of the Laplace posterior. In step are all observations, of Hamiltonian as well. All have the
same likelihood: first the model as it is, then compiled (the code is made before the clock starts; a call of few rows
costs as much as one of 256, which emcee's do not fill).
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from dataclasses import replace

import emcee
import numpy as np
import torch
from torch import Tensor

import physgen as pg
from physgen.diagnostics.convergence import ess_bulk, folded, rhat
from physgen.forward_models import Canopy
from physgen.inversions import Hamiltonian, OptimalEstimation
from physgen.problem import Posterior

ANGLES = {"solar_zenith": 40.0, "view_zenith": 5.0, "relative_azimuth": 100.0}
WALKERS, GROUPS, KEPT = 40, 4, 4000
Walk = Callable[[int, int], Tensor]  # (steps, thin): every so many-th of the next steps, (s, WALKERS, b, k)


def canopy() -> pg.Problem:
    """Ten unknowns: PROSPECT-5's six, leaf area and angle, two of the soil; the hot spot is known."""
    model = Canopy(sensor="sentinel-2a", leaf="5", soil="dry-wet")
    names = [n for n in model.causes.names if n != "hotspot"]
    at = model.causes.names.index("hotspot")

    def forward(x: Tensor, *, solar_zenith: Tensor, view_zenith: Tensor, relative_azimuth: Tensor) -> Tensor:
        full = torch.cat([x[..., :at], torch.full_like(x[..., :1], 0.1), x[..., at:]], -1)
        return model(full, solar_zenith=solar_zenith, view_zenith=view_zenith, relative_azimuth=relative_azimuth)

    prior = pg.Independent(
        n=pg.TruncatedNormal(1.5, 0.3, 1.0, 3.0),
        cab=pg.TruncatedNormal(45.0, 20.0, 0.0, 120.0),
        car=pg.TruncatedNormal(9.0, 4.0, 0.0, 30.0),
        cbrown=pg.HalfNormal(0.2),
        cw=pg.LogNormal(0.015, 0.4),
        cm=pg.LogNormal(0.006, 0.4),
        lai=pg.TruncatedNormal(3.0, 2.0, 0.0, 10.0),
        ala=pg.TruncatedNormal(57.0, 12.0, 20.0, 85.0),
        rsoil=pg.TruncatedNormal(1.0, 0.3, 0.1, 1.9),
        psoil=pg.Uniform(0.0, 1.0),
    )
    assert list(prior.causes.names) == names
    return pg.Problem(forward, prior, pg.GaussianNoise(0.01))


def grouped(z: Tensor) -> Tensor:
    """Walks (steps, walkers, n) as chains (GROUPS, steps * walkers / GROUPS, n): what R-hat compares."""
    steps, walkers, n = z.shape
    each = walkers // GROUPS
    return z.reshape(steps, GROUPS, each, n).permute(1, 0, 2, 3).reshape(GROUPS, steps * each, n)


def effective(walks: Tensor) -> tuple[float, float]:
    """Effective samples of the worst cause or spread of it, and the worst R-hat, of walks (steps, walkers, n).

    The walkers of an ensemble are not independent: each one is a chain, and the sum of their effective sizes an upper
    bound, in emcee's favour.
    """
    chains = walks.transpose(0, 1)
    own = min(float(ess_bulk(x).min()) for x in (chains, folded(chains)))
    return own, float(rhat(grouped(walks)).max())


def starts(posterior: Posterior, result: pg.Result, seed: int) -> Tensor:
    """Walkers (WALKERS, b, k) about the modes, at half the spread of the Laplace posterior."""
    mean, factor = result.stats["latent_mean"], torch.linalg.cholesky(result.stats["latent_covariance"])
    e = torch.randn(WALKERS, *mean.shape, generator=torch.Generator().manual_seed(seed))
    return mean + 0.5 * (factor @ e[..., None]).squeeze(-1)


def stretch(posterior: Posterior, z: Tensor, seed: int) -> Walk:
    """Stretch moves of all observations in step, from z (WALKERS, b, k)."""
    g, half, k = torch.Generator().manual_seed(seed), len(z) // 2, z.shape[-1]
    value = posterior.log_prob(z)

    def go(steps: int, thin: int) -> Tensor:
        walks = torch.empty(steps // thin, *z.shape)
        for step in range(steps):
            for own, other in ((slice(0, half), slice(half, None)), (slice(half, None), slice(0, half))):
                partner = torch.randint(half, (half, z.shape[1], 1), generator=g).expand(-1, -1, k)
                factor = (torch.rand(half, z.shape[1], generator=g) + 1) ** 2 / 2  # a = 2
                there = z[other].gather(0, partner)
                new = there + factor[..., None] * (z[own] - there)
                proposed = posterior.log_prob(new)
                better = (k - 1) * factor.log() + proposed - value[own]
                accept = torch.rand(half, z.shape[1], generator=g).log() < better
                z[own] = torch.where(accept[..., None], new, z[own])
                value[own] = torch.where(accept, proposed, value[own])
            if (step + 1) % thin == 0:
                walks[step // thin] = z
        return walks

    return go


def single(posterior: Posterior, z: Tensor, seed: int) -> Walk:
    """Those of emcee itself for one observation, from z (WALKERS, 1, k)."""

    def log_prob(theta: np.ndarray) -> np.ndarray:
        return posterior.log_prob(torch.as_tensor(theta, dtype=z.dtype)[:, None])[:, 0].double().numpy()

    sampler = emcee.EnsembleSampler(WALKERS, z.shape[-1], log_prob, vectorize=True)
    sampler._random.seed(seed)
    state = emcee.State(z[:, 0].double().numpy())

    def go(steps: int, thin: int) -> Tensor:
        nonlocal state
        sampler.reset()
        state = sampler.run_mcmc(state, steps, skip_initial_state_check=True)
        return torch.as_tensor(sampler.get_chain()[thin - 1 :: thin])[:, :, None]

    return go


def until_mixed(walk: Walk, steps: int = 2000, most: int = 64000) -> tuple[float, float, float]:
    """Summed effective samples, share of observations with R-hat < 1.01, seconds: twice as long till 95 % are there."""
    thin, seconds, walks = -(-steps // KEPT), 0.0, torch.empty(0)
    while True:
        start = time.perf_counter()
        new = walk(steps, thin)
        seconds += time.perf_counter() - start
        walks = torch.cat([walks, new]) if len(walks) else new
        kept, steps = walks[len(walks) // 5 :], thin * len(walks)
        figures = [effective(kept[:, :, b]) for b in range(kept.shape[2])]
        good = [e for e, r in figures if r < 1.01]
        if len(good) >= 0.95 * len(figures) or steps >= most:
            return sum(good), len(good) / len(figures), seconds
        if len(walks) >= KEPT:
            walks, thin = walks[1::2], 2 * thin


def main() -> None:
    """Print a line for each sampler, and how many times as fast Hamiltonian is; the model as it is, then compiled."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("count", type=int, nargs="?", default=256, help="observations")
    parser.add_argument("few", type=int, nargs="?", default=4, help="of them by emcee one at a time")
    parser.add_argument("--compiled", action="store_true", help="not with the model as it is")
    parser.add_argument("--draws", type=int, default=Hamiltonian().draws, help="of each chain of Hamiltonian, at least")
    asked = parser.parse_args()
    torch.set_num_threads(1)
    count, few, plain = asked.count, asked.few, canopy()
    _, y = plain.simulate(count, seed=3, **ANGLES)
    both = [("", plain), (", compiled", replace(plain, forward=pg.compiled(plain.forward)))]
    for label, problem in both[asked.compiled :]:
        with torch.no_grad():
            posterior = problem.condition(y, **ANGLES)
            for function in (posterior.log_prob, posterior.slope, posterior.predict):
                function(torch.zeros(count, 10))
            samplers(posterior, Hamiltonian(draws=asked.draws, chunk=count), few, label)


def samplers(posterior: Posterior, method: Hamiltonian, few: int, label: str) -> None:
    """All of them on the same observations, `few` of these by emcee one at a time."""
    problem, y = posterior.problem, posterior.y
    start = time.perf_counter()
    result = method(problem, y, conditions=ANGLES, seed=1)
    seconds = time.perf_counter() - start
    stats, chains = result.stats, result.samples.shape[0]
    print(
        f"Hamiltonian{label}: {seconds:.0f} s, {float(result.trusted.double().mean()):.3f} trusted, "
        f"{float(stats['gradients'].double().mean()) / chains:.0f} gradients a chain, "
        f"largest R-hat {float(stats['rhat'][result.trusted].max()):.3f}"
    )
    ours = float(stats["ess"][result.trusted].sum()) / seconds
    compared("Hamiltonian", ours, ours)

    laplace = OptimalEstimation()(problem, y, conditions=ANGLES, seed=1)
    z = starts(posterior, laplace, 1)
    each = []
    for b in range(few):
        one = posterior.select(torch.tensor([b]))
        total, share, seconds = until_mixed(single(one, z[:, b : b + 1], 1))
        print(f"emcee{label}, observation {b}: {seconds:.0f} s, R-hat < 1.01: {share:.0f}", flush=True)
        each.append((total, seconds))
    compared("emcee one at a time", sum(t for t, _ in each) / sum(s for _, s in each), ours)
    total, share, seconds = until_mixed(stretch(posterior, z.clone(), 1), steps=8000)
    print(f"stretch moves in step{label}: {seconds:.0f} s, {100 * share:.0f} % with R-hat < 1.01")
    compared("emcee batched", total / seconds, ours)


def compared(name: str, rate: float, ours: float) -> None:
    """Print a rate as soon as it is known."""
    print(f"{name:20s} {rate:8.0f} effective samples a second, Hamiltonian {ours / max(rate, 1e-9):.1f} x", flush=True)


if __name__ == "__main__":
    main()
