"""Gradients that each sampler needs until the error of E[x^2] is small, on three published posteriors.

    python benchmarks/gradients_to_error.py                      # all
    python benchmarks/gradients_to_error.py --model brownian --method NUTS
    python benchmarks/gradients_to_error.py --model responses --single --others    # an hour or two

--single computes in float32. --others takes as the truth of each chain what the others of its run say, and needs no run
for it: the error is then too large by one part in their number, and blind to what all chains have in common.

Printed is the number of gradients of one chain, after the warm-up, until the squared error of its estimate of E[x_i^2]
is below 0.01 Var[x_i^2] in the worst of the unknowns (Robnik, Cohn-Gordon & Seljak 2025, section 5), the median over
the chains of a run; the warm-up's gradients stand beside it. A chain's share of a warm-up that all chains make together
is what each of them computed. The truth of the Brownian motion is an integral over its two scales; that of the others
comes from a run of another seed that is ten times as long.

The models are those of the Inference Gym (Sountsov et al. 2020) through `Problem`, the Brownian motion in its
coordinates (places, not steps). What is squared is what the Gym reports: scales themselves, not their logarithms (of
which one has a long tail that no chain of some hundred draws knows). Brownian motion has the published observations.
The other two have made data of the same size: the regression a table of 1000 rows of 24 normal columns and a constant,
the item responses answers of 400 students to 100 questions, of which 30105 are known.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import torch
from posteriors import MODELS, brownian_moments
from torch import Tensor

from physgen.inversions import NUTS, Hamiltonian, Microcanonical
from physgen.problem import Problem
from physgen.result import Result

METHODS: dict[str, Any] = {
    "Hamiltonian": Hamiltonian(draws=5000, max_steps=5000),
    "NUTS": NUTS(draws=1500, chains=8, max_steps=1500),
    "Microcanonical": Microcanonical(draws=6000, max_steps=6000),
}
ERROR = 0.01


def truth(problem: Problem, y: Tensor, unknowns: Callable[[Tensor], Tensor], times: int) -> tuple[Tensor, Tensor]:
    """E[x^2] and Var[x^2] (n,) from a long run."""
    method = replace(METHODS["Microcanonical"], draws=600 * times, max_steps=600 * times, warm_up=300)
    result = method(problem, y, seed=1)
    print(f"truth: rhat {float(result.stats['rhat']):.4f}, ess {float(result.stats['ess']):.0f}", flush=True)
    squares = unknowns(result.samples).flatten(0, 1) ** 2
    return squares.mean(0), squares.var(0)


def others(x: Tensor) -> tuple[Tensor, Tensor]:
    """E[x^2] (C, 1, n) as all chains but one have it, and Var[x^2] (n,), of draws x (C, S, n)."""
    each = (x**2).mean(1)
    return ((each.sum(0) - each) / (len(x) - 1))[:, None], (x**2).flatten(0, 1).var(0)


def gradients(result: Result, x: Tensor, mean: Tensor, variance: Tensor, warm_up: int) -> tuple[float, float]:
    """Gradients of one chain after the warm-up until the error is small (inf: never), and in the warm-up."""
    chains, draws = x.shape[:2]
    count = torch.arange(1, draws + 1)[:, None]
    running = (x**2).cumsum(1) / count
    error = ((running - mean) ** 2 / variance).amax(-1).median(0).values  # of the chains
    below = torch.nonzero(error < ERROR).squeeze(-1)
    first = int(below[0]) + 1 if len(below) else draws + 1
    each = float(result.stats["gradients"]) / chains / (warm_up + draws)
    return (first * each if first <= draws else float("inf")), warm_up * each


def main() -> None:
    """Print a line for each model and method."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", choices=MODELS, nargs="*", default=list(MODELS))
    parser.add_argument("--method", choices=METHODS, nargs="*", default=list(METHODS))
    parser.add_argument("--times", type=int, default=10, help="how many times longer the run is that gives the truth")
    parser.add_argument("--others", action="store_true", help="the truth of a chain is what the others say")
    parser.add_argument("--single", action="store_true", help="in float32")
    asked = parser.parse_args()
    torch.set_default_dtype(torch.float32 if asked.single else torch.float64)
    torch.set_num_threads(1)
    for name in asked.model:
        problem, y, unknowns = MODELS[name]()
        moments = None
        if not asked.others:
            moments = brownian_moments() if name == "brownian" else truth(problem, y, unknowns, asked.times)
        for method in asked.method:
            began = time.perf_counter()
            result = METHODS[method](problem, y, seed=0)
            x = unknowns(result.samples)
            after, before = gradients(result, x, *(moments or others(x)), METHODS[method].warm_up)
            seconds = time.perf_counter() - began
            print(
                f"{name:10} {method:15} {after:9.0f} gradients, warm-up {before:7.0f}, {seconds:6.0f} s, "
                f"rhat {float(result.stats['rhat']):.4f}",
                flush=True,
            )


if __name__ == "__main__":
    main()
