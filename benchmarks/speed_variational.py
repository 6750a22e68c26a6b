"""What geometric variational inference of an image costs: Poisson counts of a log-normal field of 256 x 256 pixels.

    python benchmarks/speed_variational.py
    python benchmarks/speed_variational.py --picture posterior.png

The field is a Matern field on a torus; its latents are the pixels of white noise. Printed are the time, the error of
the posterior mean beside that of the counts themselves, and the share of pixels whose truth lies within the central 50
and 90 % of the draws. The time of the process is that of all cores together, which other work lengthens less.
"""

from __future__ import annotations

import argparse
import math
import time
from typing import Any

import torch
from torch import Tensor

from physgen.inversions import Variational
from physgen.noise import PoissonNoise
from physgen.priors import Prior
from physgen.problem import Problem
from physgen.result import Result
from physgen.space import Block, Space
from physgen.status import Status


class Smooth(torch.autograd.Function):
    """A convolution with an even kernel on a torus: its own transpose, so that gradients are the same convolution."""

    @staticmethod
    def forward(ctx: Any, w: Tensor, transfer: Tensor) -> Tensor:
        ctx.save_for_backward(transfer)
        return torch.fft.irfft2(torch.fft.rfft2(w) * transfer, s=w.shape[-2:])

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:  # type: ignore[override]
        return Smooth.apply(gradient, *ctx.saved_tensors), None


class LogField(Prior):
    """exp of a Matern field on a torus of ``side`` x ``side`` pixels.

    Parameters
    ----------
    side : int
    mean, sd : float
        Of the logarithm.
    length : float
        Correlation length, in sides.
    smoothness : float
        nu of the Matern covariance: its power spectrum is (1 + (length f)^2 / (2 nu))^-(nu + 1), f in radians a side.
    """

    capabilities = frozenset()

    def __init__(self, side: int, mean: float, sd: float, length: float, smoothness: float) -> None:
        self.causes = Space(Block("rate", support=(0.0, math.inf), shape=(side, side)))
        self.latent_dim, self.side, self.mean = side * side, side, mean
        across = 2 * math.pi * side * torch.fft.fftfreq(side, dtype=torch.float64)
        square = across[:, None] ** 2 + across**2
        power = (1 + length**2 * square / (2 * smoothness)) ** -(smoothness + 1)
        amplitude = sd * (power / power.mean()).sqrt()
        self._transfer = amplitude[:, : side // 2 + 1].contiguous()

    def decode(self, z: Tensor, /) -> Tensor:
        field = Smooth.apply(z.reshape(*z.shape[:-1], self.side, self.side), self._transfer.to(z))
        return torch.exp(self.mean + field).flatten(-2)


def report(result: Result, truth: Tensor, counts: Tensor) -> None:
    """Print the error and the coverage of one image."""
    draws = result.samples[0, :, 0]
    log_error = (draws.log().mean(0) - truth.log()).square().mean().sqrt()
    spread = draws.log().var(0).mean().sqrt()
    by_counts = (counts.clamp(min=0.5).log() - truth.log()).square().mean().sqrt()
    print(
        f"status                          {Status(int(result.status[0])).name}, "
        f"{int(result.stats['iterations'][0])} steps"
    )
    print(
        f"error of the log rate           {log_error:.4f} (its posterior sd {spread:.4f}; counts alone {by_counts:.3f})"
    )
    n = len(draws)
    below = (draws < truth).sum(0).float()
    for level in (0.5, 0.9):
        low, high = (n + 1) * (1 - level) / 2, (n + 1) * (1 + level) / 2
        # by ranks, which are uniform on 0 to n for a calibrated posterior: whole ones count by their share
        inside = ((below + 1).clamp(max=high) - below.clamp(min=low)).clamp(min=0, max=1).mean()
        print(f"truth within the central {100 * level:.0f} %   {100 * inside:.1f} % of the pixels")


def picture(result: Result, truth: Tensor, counts: Tensor, side: int, path: str) -> None:
    """Truth, counts, posterior mean, and the error in posterior standard deviations."""
    from matplotlib.figure import Figure

    logs = result.samples[0, :, 0].log()
    score = (truth.log() - logs.mean(0)) / logs.std(0)
    panels = {"log rate": truth.log(), "log counts": counts.clamp(min=0.5).log(), "posterior mean": logs.mean(0)}
    figure = Figure(figsize=(15, 3.4), layout="constrained")
    axes = figure.subplots(1, 5)
    low, high = float(truth.log().min()), float(truth.log().max())
    for ax, (name, values) in zip(axes, panels.items(), strict=False):
        image = ax.imshow(values.reshape(side, side), vmin=low, vmax=high)
        ax.set_title(name)
    figure.colorbar(image, ax=axes[:3].tolist())
    figure.colorbar(axes[3].imshow(logs.std(0).reshape(side, side), cmap="magma"), ax=axes[3])
    axes[3].set_title("posterior sd")
    figure.colorbar(axes[4].imshow(score.reshape(side, side), vmin=-3, vmax=3, cmap="RdBu"), ax=axes[4])
    axes[4].set_title("(truth - mean) / sd")
    figure.savefig(path, dpi=80)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--side", type=int, default=256)
    parser.add_argument("--draws", type=int, default=64)
    parser.add_argument("--threads", type=int, default=1, help="more pay only where nothing else uses the cores")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--picture", help="a PNG file")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    prior = LogField(args.side, mean=1.5, sd=0.8, length=0.1, smoothness=2.5)
    problem = Problem(lambda x: x, prior, PoissonNoise())
    truth, counts = (part[0] for part in problem.simulate(1, seed=args.seed + 1))
    method = Variational(draws=args.draws)
    started, used = time.perf_counter(), time.process_time()
    result = method(problem, counts[None], seed=args.seed)
    wall, cpu = time.perf_counter() - started, time.process_time() - used
    print(f"{args.side} x {args.side} pixels, {args.draws} draws, {args.threads} threads")
    print(f"time                            {wall:.1f} s, of the process {cpu:.1f} s")
    report(result, truth, counts)
    if args.picture:
        picture(result, truth, counts, args.side, args.picture)


if __name__ == "__main__":
    main()
