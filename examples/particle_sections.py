"""Particles drawn from the shape prior, cut by random planes: what a polished section shows of one size of particle.

    python examples/particle_sections.py [particle_sections.png]

Every particle has the volume of the unit ball. Drawn are six of them with three of their sections each, and the
density of section area over that of the ball's equator: of 2,000 particles from the prior, of real sand particles, and
of balls.
"""

from __future__ import annotations

import math
import sys
from pathlib import Path

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import numpy as np
import torch

from physgen.forward_models.stereology.bodies import StarBody
from physgen.forward_models.stereology.bodies_ct import ct_particles
from physgen.forward_models.stereology.bodies_cut import plane_axes
from physgen.forward_models.stereology.bodies_ellipsoid import Ellipsoid
from physgen.forward_models.stereology.harmonics import to_real
from physgen.forward_models.stereology.random_sections import random_sections
from physgen.forward_models.stereology.shape_prior import particle_bodies, particle_shape, unit_volume

SHOWN, PLANES, PARTICLES = 6, 3, 2000
COLOURS = ("#d55e00", "#0072b2", "#009e73")


def outline(vertices: np.ndarray, faces: np.ndarray, n: np.ndarray, p: float) -> np.ndarray:
    """Segments (N, 2, 3) in which the plane n . x = p crosses the triangles."""
    height = vertices @ n - p
    segments = []
    above = height[faces] > 0
    for face in faces[above.any(1) & ~above.all(1)]:
        ends = [
            (height[b] * vertices[a] - height[a] * vertices[b]) / (height[b] - height[a])
            for a, b in zip(face, np.roll(face, -1), strict=True)
            if (height[a] > 0) != (height[b] > 0)
        ]
        segments.append(ends)
    return np.array(segments)


def draw_body(figure: plt.Figure, column: int, body: StarBody, seed: int) -> None:
    """A particle with its cuts on top, the sections below, side by side."""
    mesh = body.mesh()
    vertices, faces = mesh.vertices.numpy(), mesh.faces.numpy()
    left, width = 0.01 + 0.98 * column / SHOWN, 0.98 / SHOWN
    solid = figure.add_axes((left, 0.63, width, 0.38), projection="3d")
    skin = solid.plot_trisurf(*vertices.T, triangles=faces, color="#d8d2c4", edgecolor="none", alpha=0.55, shade=True)
    skin.set_clip_on(False)  # axes of three dimensions are mostly empty: it may reach over their edges
    flat = figure.add_axes((left, 0.505, width, 0.13))
    sections = random_sections(mesh, PLANES, seed=seed)
    for k in range(PLANES):
        n, p = sections.normal[k], float(sections.offset[k])
        segments = outline(vertices, faces, n.numpy(), p)
        axes = torch.stack(plane_axes(n)).numpy()
        for a, b in segments:
            solid.plot(*np.stack([a, b]).T, color=COLOURS[k], linewidth=1.5, zorder=10, clip_on=False)
            flat.plot(*(np.stack([a, b]) @ axes.T + [2.9 * k, 0]).T, color=COLOURS[k], linewidth=1)
    solid.set(xlim=(-1.5, 1.5), ylim=(-1.5, 1.5), zlim=(-1.5, 1.5))
    solid.set_box_aspect((1, 1, 1), zoom=1.42)
    solid.view_init(25, -60)
    solid.set_axis_off()
    flat.set(xlim=(-1.7, 7.5), ylim=(-2, 2))
    flat.set_aspect("equal")
    flat.set_axis_off()


def areas(body: StarBody | Ellipsoid, planes: int, seed: int) -> np.ndarray:
    """Areas of random sections over the area of the equator of the ball of the same volume."""
    return random_sections(body, planes, seed=seed).area.reshape(-1).numpy() / math.pi


def draw_areas(axes: plt.Axes, drawn: np.ndarray, real: np.ndarray) -> None:
    """Densities of section area."""
    bins = np.linspace(0, 1.5, 46)
    axes.hist(drawn, bins, density=True, color="#b9d7c3", label=f"{PARTICLES} particles of the prior")
    axes.hist(real, bins, density=True, histtype="step", color="#d55e00", linewidth=1.5, label="real sand particles")
    x = np.linspace(0, 0.999, 400)
    axes.plot(x, 0.5 / np.sqrt(1 - x), color="black", linewidth=1, label="balls of the same volume (Wicksell)")
    axes.set(
        xlabel="area of the section over that of the ball's equator", ylabel="density", xlim=(0, 1.5), ylim=(0, 3.2)
    )
    axes.legend(frameon=False)
    axes.spines[["top", "right"]].set_visible(False)


def main() -> None:
    """Draw, cut, print the means, save the picture."""
    out = Path(sys.argv[1] if len(sys.argv) > 1 else "particle_sections.png")
    bodies = particle_bodies(particle_shape(), PARTICLES, seed=4, resolution=10)
    sand = torch.cat([ct_particles(name) for name in ("sacci425", "ma165")])[::2]
    real = StarBody.from_real(unit_volume(to_real(sand)), resolution=10)
    drawn, measured = areas(bodies, 20, seed=1), areas(real, 40, seed=2)
    ball = areas(Ellipsoid(torch.ones(3)), 40_000, seed=3)
    for what, values in (("prior", drawn), ("real sand", measured), ("balls", ball)):
        print(f"{what:10s} mean {values.mean():.4f}, standard deviation {values.std():.4f} ({len(values)} sections)")

    figure = plt.figure(figsize=(13, 6.2))
    for column in range(SHOWN):
        draw_body(figure, column, StarBody(bodies.coefficients[column], resolution=16), seed=column)
    draw_areas(figure.add_axes((0.05, 0.09, 0.93, 0.37)), drawn, measured)
    figure.savefig(out, dpi=110)
    print(out)


if __name__ == "__main__":
    main()
