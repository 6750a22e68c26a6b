"""Random plane sections per second of one particle from tomography, one thread.

    OMP_NUM_THREADS=1 python benchmarks/speed_sections.py

The body is a sand particle of degree 16; it is cut as the coarsest mesh whose volume is within 0.5 % of that of the
coefficients. Every section comes with area, perimeter and aspect; the means are printed beside what they must be,
V / H and pi S / (4 H) of the mesh, with their error in standard errors.
"""

from __future__ import annotations

import math
import time

import torch
from torch import Tensor

from physgen.forward_models.stereology.bodies import StarBody
from physgen.forward_models.stereology.bodies_ct import ct_particles
from physgen.forward_models.stereology.random_sections import random_sections

SECTIONS, WITHIN = 100_000, 0.005


def coarsest(body: StarBody) -> int:
    """The least frequency of a mesh whose volume is close enough."""
    return next(f for f in range(4, 64) if abs(float(body.mesh(f).volume / body.volume) - 1) <= WITHIN)


def line(what: str, found: Tensor, expected: float) -> str:
    """A mean beside its expectation."""
    error = float(found.std()) / math.sqrt(found.numel())
    return f"  mean {what} {float(found.mean()):.4f}, expected {expected:.4f} ({float(found.mean()) - expected:+.4f}, \
standard error {error:.4f})"


def main() -> None:
    """Print seconds, sections per second and the means."""
    torch.set_num_threads(1)
    particle = ct_particles("sacci425")[1]
    for dtype in (torch.complex64, torch.complex128):
        body = StarBody(particle.to(dtype))
        body = StarBody(body.coefficients, coarsest(body))
        random_sections(body, 1000)
        wall, cpu = time.perf_counter(), time.process_time()
        found = random_sections(body, SECTIONS, seed=1)
        wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
        mesh = body.mesh()
        h, ratio = float(mesh.mean_caliper()), float(mesh.volume / body.volume)
        print(
            f"{found.area.dtype!s:14s} degree {body.degree}, {mesh.vertices.shape[-2]} vertices, volume of the mesh "
            f"{100 * (ratio - 1):+.2f} %: {SECTIONS} sections in {wall:.1f} s ({cpu:.1f} s of the processor), "
            f"{SECTIONS / wall:,.0f} a second"
        )
        print(line("area", found.area, float(mesh.volume) / h))
        print(line("perimeter", found.perimeter, math.pi * float(mesh.surface) / (4 * h)))


if __name__ == "__main__":
    main()
