"""Training and pixels per second of `Amortised` on Sentinel-2 canopy, and `sbi`'s NPE at equal simulations.

    OMP_NUM_THREADS=1 python benchmarks/speed_amortised.py
    OMP_NUM_THREADS=1 python benchmarks/speed_amortised.py 20000      # simulations: a quick look

The problem and the angles are those of `examples/canopy/forest_plots.toml`; pixels are its real ones, and simulated
ones under their angles. The forward model is compiled (training includes that); it alone bounds what a corrected pixel
costs: the last column says what share it is. Where `sbi` is installed (extra `benchmark`), both learn from the same
simulations of one geometry, and both posteriors, not corrected, are told apart from draws of `OptimalEstimation` (C2ST:
0.5 is the best there is).
"""

from __future__ import annotations

import sys
import time
from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor

import physgen as pg
from physgen.diagnostics.c2st import c2st
from physgen.inversions import Amortised, OptimalEstimation
from physgen.inversions.escalation import answered_by
from physgen.recipe import load_recipe

RECIPE = Path(__file__).parent.parent / "examples" / "canopy" / "forest_plots.toml"
ANGLES = {"solar_zenith": 40.0, "view_zenith": 5.0, "relative_azimuth": 100.0}
PIXELS, FEW, SEED = 5000, 400, 0
METHOD = Amortised(
    transforms=4, bins=1
)  # these posteriors are nearly normal: straight lines serve, at a third the cost


def trained(problem: pg.Problem, y: Tensor, conditions: dict[str, Tensor], simulations: int | None) -> Amortised:
    """The method after its training, which is timed; with other simulations than usual if a number is given."""
    method = METHOD if simulations is None else replace(METHOD, simulations=simulations)
    start, cpu = time.perf_counter(), time.process_time()
    method = method.fit(problem, y=y, conditions=conditions, seed=SEED)
    wall, cpu = time.perf_counter() - start, time.process_time() - cpu
    curve = method.record["fit"]["held_out"]
    print(
        f"training: {wall:.0f} s, of the processor {cpu:.0f} s; {method.simulations} simulations, {len(curve)} epochs"
    )
    print(
        "learning curve:", " ".join(f"{value:.2f}" for value in curve[:: max(1, len(curve) // 8)]), f"{curve[-1]:.2f}"
    )
    sys.stdout.flush()
    return method


def rate(method: Amortised, problem: pg.Problem, y: Tensor, conditions: dict[str, Tensor]) -> tuple[float, pg.Result]:
    """Pixels per second of the processor, and the answer; a few pixels come before, untimed."""
    method(problem, y[:64], conditions={k: v[:64] for k, v in conditions.items()}, seed=SEED)
    start = time.process_time()
    result = method(problem, y, conditions=conditions, seed=SEED)
    return len(y) / (time.process_time() - start), result


def forward_rate(problem: pg.Problem, y: Tensor, conditions: dict[str, Tensor], draws: int) -> float:
    """Pixels per second if nothing but the forward model were evaluated, at as many draws."""
    posterior = problem.condition(y[:20], **{k: v[:20] for k, v in conditions.items()})
    z = torch.randn(draws, 20, problem.prior.latent_dim, generator=torch.Generator().manual_seed(SEED))
    with torch.no_grad():
        posterior.predict(z)
        start = time.process_time()
        posterior.predict(z)
    return 20 / (time.process_time() - start)


def report(label: str, method: Amortised, problem: pg.Problem, y: Tensor, conditions: dict[str, Tensor]) -> None:
    """Speed and trust on some pixels."""
    plain, _ = rate(replace(method, correct=False, draws=100), problem, y, conditions)
    few = {k: v[:FEW] for k, v in conditions.items()}
    alone, result = rate(replace(method, escalation=()), problem, y[:FEW], few)
    bound = forward_rate(problem, y, conditions, method.draws)
    stats = result.stats
    print(
        f"{label:9s} uncorrected {plain:5.0f} pixels/s (100 draws); corrected {alone:4.0f} pixels/s (200 draws; the "
        f"forward model alone: {bound:.0f}); median k_hat {stats['k_hat'].median():.2f}, "
        f"ess {stats['ess'].median():.0f}; to be escalated {1 - result.trusted.double().mean():.3f}"
    )


def escalated(method: Amortised, problem: pg.Problem, y: Tensor, conditions: dict[str, Tensor]) -> None:
    """Who answers, and whether it is trusted in the end."""
    result = method(problem, y[:FEW], conditions={k: v[:FEW] for k, v in conditions.items()}, seed=SEED)
    names = answered_by(result)
    counts = {name: names.count(name) for name in sorted(set(names))}
    print(f"answered by {counts}; trusted {result.trusted.double().mean():.3f}")


def peer(problem: pg.Problem, simulations: int) -> None:
    """Both learn from the same number of simulations of one geometry."""
    try:
        from sbi.inference import NPE
    except ImportError:
        print("sbi is not installed: no comparison")
        return
    k = problem.prior.latent_dim
    z = problem.prior.sample_latents(simulations, seed=11)
    posterior = problem.condition(torch.zeros(simulations, problem.observables.size), **ANGLES)
    with torch.no_grad():
        y = problem.noise.sample(posterior.predict(z)[1], seed=11)
    start = time.process_time()
    torch.manual_seed(SEED)
    prior = torch.distributions.MultivariateNormal(torch.zeros(k), torch.eye(k))
    learner = NPE(prior, density_estimator="nsf", show_progress_bars=False)
    learner.append_simulations(z, y).train()
    theirs = learner.build_posterior()
    cpu = time.process_time() - start
    start = time.process_time()
    ours = replace(METHOD, simulations=simulations, correct=False, draws=1000)
    _, seen = problem.simulate(5, seed=12, **ANGLES)
    ours = ours.fit(problem, y=seen, conditions=ANGLES, seed=SEED)
    print(f"{simulations} simulations: training {time.process_time() - start:.0f} s, sbi {cpu:.0f} s of the processor")
    truth = OptimalEstimation(draws=1000)(problem, seen, conditions=ANGLES, seed=SEED)
    start = time.process_time()
    own = ours(problem, seen, conditions=ANGLES, seed=SEED)
    ours_rate = 5000 / (time.process_time() - start)
    start = time.process_time()
    with torch.no_grad():
        drawn = theirs.sample_batched((1000,), x=seen, show_progress_bars=False)
        other = problem.condition(seen, **ANGLES).decode(drawn)
    theirs_rate = 5000 / (time.process_time() - start)
    scores = [[], []]
    for i in torch.nonzero(truth.trusted).squeeze(-1).tolist():
        for score, draws in zip(scores, (own.draws[:, i], other[:, i]), strict=True):
            score.append(c2st(truth.draws[:, i], draws, seed=SEED).accuracy)
    means = [sum(s) / len(s) for s in scores]
    print(
        f"C2ST, mean of {len(scores[0])} pixels: {means[0]:.3f}, sbi {means[1]:.3f}; draws/s {ours_rate:.0f}, "
        f"sbi {theirs_rate:.0f}: {ours_rate / theirs_rate:.1f} times"
    )


def main() -> None:
    """Print everything."""
    torch.set_num_threads(1)
    simulations = int(sys.argv[1]) if len(sys.argv) > 1 else None
    job = load_recipe(RECIPE).build()
    problem = pg.Problem(pg.compiled(job.problem.forward), job.problem.prior, job.problem.noise)
    every = torch.as_tensor(job.observations.y).reshape(-1, job.observations.y.shape[-1])
    all_conditions = {k: torch.as_tensor(v).reshape(-1) for k, v in job.observations.conditions.items()}
    method = trained(problem, every, all_conditions, simulations)
    pick = torch.randperm(len(every), generator=torch.Generator().manual_seed(SEED))[:PIXELS]
    conditions = {k: v[pick] for k, v in all_conditions.items()}
    report("real", method, problem, every[pick], conditions)
    report("simulated", method, problem, problem.simulate(PIXELS, seed=5, **conditions)[1], conditions)
    escalated(method, problem, every[pick], conditions)
    sys.stdout.flush()
    peer(problem, simulations or 5_000)


if __name__ == "__main__":
    main()
