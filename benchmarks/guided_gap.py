"""How far guided diffusion is from the posterior: a mixture of 25 modes in 8 dimensions, seen in a few projections.

    python benchmarks/guided_gap.py [--draws 1000] [--problems 3] [--measured 1]

The setting is that of Cardoso, Janati El Idrissi, Le Corff & Moulines (2024, *Monte Carlo guided denoising diffusion
models for Bayesian linear inverse problems*, ICLR, section 4.1): modes at (8 i, 8 j, 8 i, 8 j, ...) with i and j in
-2..2, of unit covariance and random weights; y = A x + noise, A of random singular vectors and of singular values and
a noise that are uniform on (0, 1). The prior's denoiser is exact, so that the method alone errs, and the posterior is
a mixture in closed form. Printed is the sliced Wasserstein distance of the draws from draws of that, and the floor: of
two sets of exact draws. Samplers that go through the probability flow of the same prior stand beside.
"""

from __future__ import annotations

import argparse
import time
from dataclasses import dataclass
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

SIDE, DIMENSION, APART = 5, 8, 8.0


@dataclass(frozen=True, eq=False)
class Mixture:
    """Weights (25,) and means (25, 8) of the prior, whose covariances are I; A (m, 8), the noise, and y (m,)."""

    weights: Tensor
    means: Tensor
    A: Tensor
    noise: float
    y: Tensor

    @staticmethod
    def of(seed: int, measured: int) -> Mixture:
        """A random one."""
        g = torch.Generator().manual_seed(seed)
        steps = APART * (torch.arange(SIDE, dtype=torch.float64) - SIDE // 2)
        means = torch.cartesian_prod(steps, steps).repeat(1, DIMENSION // 2)
        weights = torch.randn(SIDE**2, generator=g, dtype=torch.float64).square()
        u, _, v = torch.linalg.svd(torch.randn(measured, DIMENSION, generator=g).double(), full_matrices=False)
        values = torch.rand(measured, generator=g, dtype=torch.float64)
        A = u @ (values[:, None] * v)
        noise = float(torch.rand((), generator=g, dtype=torch.float64) * values.max())
        x = means[torch.multinomial(weights, 1, generator=g)][0] + torch.randn(DIMENSION, generator=g).double()
        y = A @ x + noise * torch.randn(measured, generator=g).double()
        return Mixture(weights / weights.sum(), means, A, noise, y)

    def problem(self) -> Problem:
        """The prior by its exact denoiser, the projections, the noise."""
        eye = torch.eye(DIMENSION, dtype=torch.float64).repeat(SIDE**2, 1, 1)
        return Problem(lambda x: x @ self.A.mT, Diffusion.mixture(self.weights, self.means, eye), self._noise())

    def exact(self, count: int, seed: int) -> Tensor:
        """Draws (count, 8) of the posterior: each mode's own linear estimate, by its evidence."""
        g = torch.Generator().manual_seed(seed)
        S = self.A @ self.A.mT + self.noise**2 * torch.eye(len(self.y), dtype=torch.float64)
        gain, gap = self.A.mT @ torch.linalg.inv(S), self.y - self.means @ self.A.mT
        evidence = torch.distributions.MultivariateNormal(torch.zeros(len(self.y)).double(), S).log_prob(gap)
        share = torch.softmax(self.weights.log() + evidence, 0)
        which = torch.multinomial(share, count, replacement=True, generator=g)
        centre = self.means + gap @ gain.mT
        factor = torch.linalg.cholesky(torch.eye(DIMENSION, dtype=torch.float64) - gain @ self.A)
        e = torch.randn(count, DIMENSION, generator=g, dtype=torch.float64)
        return centre[which] + e @ factor.mT

    def _noise(self) -> GaussianNoise:
        return GaussianNoise(self.noise)


def methods(draws: int) -> dict[str, Any]:
    """What is compared."""
    return {
        "dps": GuidedDiffusion(draws=draws, guidance="dps", steps=1000),
        "moment matching": GuidedDiffusion(draws=draws, steps=100),
        "twisted, p(y | D)": GuidedDiffusion(draws=draws, guidance="dps", particles=256, steps=200),
        "twisted, inflated": GuidedDiffusion(draws=draws, particles=256, steps=100),
        "TemperedSMC": TemperedSMC(draws=max(8, draws // 4), particles=max(20, draws // 2), max_moves=10),
        "SliceSampler": SliceSampler(draws=max(8, draws // 32), warm_up=50, max_evaluations=1),
    }


def distances(x: Tensor, truth: Tensor) -> tuple[float, float]:
    """Sliced W1 and W2."""
    first, second = (float(sliced_wasserstein(x, truth, order=p)) for p in (1.0, 2.0))
    return first, second


def words(found: list[tuple[float, float]]) -> str:
    """The means."""
    return "".join(f"{sum(each) / len(each):7.2f}" for each in zip(*found, strict=True))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--draws", type=int, default=1000)
    parser.add_argument("--problems", type=int, default=3)
    parser.add_argument("--measured", type=int, default=1, help="projections")
    parser.add_argument("--method", nargs="*", help="some of the methods, by a part of their names")
    args = parser.parse_args()
    torch.set_default_dtype(torch.float64)
    torch.set_num_threads(1)
    wanted = {k: v for k, v in methods(args.draws).items() if any(m in k for m in args.method or [""])}
    every: dict[str, list[tuple[float, float]]] = {}
    print(f"Sliced Wasserstein distances W1 and W2 from {args.draws} draws of the posterior, {args.measured} measured")
    for number in range(args.problems):
        mixture = Mixture.of(number, args.measured)
        truth, again = (mixture.exact(args.draws, seed) for seed in (100, 101))
        every.setdefault("exact draws, the floor", []).append(distances(again, truth))
        print(f"problem {number}: floor {words(every['exact draws, the floor'][-1:])}", flush=True)
        for name, method in wanted.items():
            started = time.process_time()
            result = method(mixture.problem(), mixture.y[None], seed=number)
            every.setdefault(name, []).append(distances(result.samples[:, :, 0].flatten(0, 1), truth))
            said = Status(int(result.status[0])).name.lower()
            used = time.process_time() - started
            print(f"  {name:<24}{words(every[name][-1:])}  {said}, {used:.0f} s of the process", flush=True)
    print("mean of all problems")
    for name, found in every.items():
        print(f"  {name:<24}{words(found)}")


if __name__ == "__main__":
    main()
