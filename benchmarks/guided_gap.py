"""How far guided diffusion is from the posterior: a mixture of 25 modes in 8 dimensions, seen through one projection.

    python benchmarks/guided_gap.py

The prior's denoiser is exact, so that the method alone errs; the posterior is a mixture in closed form. Printed is the
sliced Wasserstein distance of the draws from draws of that, and the floor: of two sets of exact draws. Samplers that go
through the probability flow of the same prior stand beside.
"""

from __future__ import annotations

import argparse
import time
from typing import Any

import torch
from torch import Tensor

from physgen.diagnostics.two_sample import sliced_wasserstein
from physgen.inversions.guided_diffusion import GuidedDiffusion
from physgen.inversions.slice_sampler import SliceSampler
from physgen.inversions.tempered_smc import TemperedSMC
from physgen.noise import GaussianNoise
from physgen.priors.diffusion import Diffusion
from physgen.problem import Problem
from physgen.status import Status

SIDE, DIMENSION, APART, NOISE = 5, 8, 8.0, 1.0


def prior_parts(generator: torch.Generator) -> tuple[Tensor, Tensor, Tensor]:
    """Weights (25,), means (25, 8) on a square of modes 8 apart, repeated over the dimensions, and covariances I."""
    steps = APART * (torch.arange(SIDE, dtype=torch.float64) - SIDE // 2)
    square = torch.cartesian_prod(steps, steps)
    weights = torch.rand(SIDE**2, generator=generator, dtype=torch.float64) + 0.1
    return (
        weights / weights.sum(),
        square.repeat(1, DIMENSION // 2),
        torch.eye(DIMENSION).double().repeat(SIDE**2, 1, 1),
    )


def exact(parts: tuple[Tensor, Tensor, Tensor], a: Tensor, y: Tensor, count: int, generator: torch.Generator) -> Tensor:
    """Draws (count, 8) of the posterior of y = a x + noise: each mode's own linear estimate, by its evidence."""
    weights, means, covariances = parts
    gain = covariances @ a / (covariances @ a @ a + NOISE**2)[:, None]
    gap = y - means @ a
    spread = (covariances @ a @ a + NOISE**2).sqrt()
    share = torch.softmax(weights.log() - 0.5 * (gap / spread) ** 2 - spread.log(), 0)
    which = torch.multinomial(share, count, replacement=True, generator=generator)
    centre = means + gain * gap[:, None]
    factor = torch.linalg.cholesky(covariances - gain[:, :, None] * (covariances @ a)[:, None])
    e = torch.randn(count, DIMENSION, generator=generator, dtype=torch.float64)
    return centre[which] + (factor[which] @ e[..., None])[..., 0]


def methods(draws: int) -> dict[str, Any]:
    """What is compared."""
    return {
        "GuidedDiffusion, dps": GuidedDiffusion(draws=draws, guidance="dps", steps=1000),
        "GuidedDiffusion, moment-matching": GuidedDiffusion(draws=draws, steps=100),
        "TemperedSMC": TemperedSMC(draws=draws // 4, particles=max(20, draws // 2), max_moves=10),
        "SliceSampler": SliceSampler(draws=max(8, draws // 32), warm_up=50, max_evaluations=1),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--draws", type=int, default=1000)
    parser.add_argument("--problems", type=int, default=3)
    args = parser.parse_args()
    torch.set_default_dtype(torch.float64)
    torch.set_num_threads(1)
    for number in range(args.problems):
        generator = torch.Generator().manual_seed(number)
        parts = prior_parts(generator)
        a = torch.randn(DIMENSION, generator=generator)
        a = a / a.norm()
        x = exact(parts, torch.zeros(DIMENSION), torch.zeros(()), 1, generator)[0]
        y = a @ x + NOISE * torch.randn((), generator=generator)
        problem = Problem(lambda x, a=a: x @ a[:, None], Diffusion.mixture(*parts), GaussianNoise(NOISE))
        wanted, again = (exact(parts, a, y, args.draws, generator) for _ in range(2))
        print(f"problem {number}: sliced Wasserstein distance from {args.draws} draws of the posterior")
        print(f"  {'exact draws, the floor':<34}{float(sliced_wasserstein(again, wanted)):6.2f}", flush=True)
        for name, method in methods(args.draws).items():
            started = time.process_time()
            result = method(problem, y.reshape(1, 1), seed=number)
            distance = float(sliced_wasserstein(result.samples[:, :, 0].flatten(0, 1), wanted))
            said = Status(int(result.status[0])).name.lower()
            print(f"  {name:<34}{distance:6.2f}  {said}, {time.process_time() - started:.0f} s", flush=True)


if __name__ == "__main__":
    main()
