"""Two generative models that never met, joined by an integral: from images of sections to particles in 3D.

One model is learned from images of single sections (latent Z2), the other from whole particles, sand grains from
tomography (latent Z3). A few images of known area teach which way Z2 grows with size, a few grains of known volume the
same of Z3. No network has ever seen a particle and its section together. What joins them is the kernel of sections:
grains that the 3D model generates are cut by random planes, which says how many profiles of every size grains of
every size give. A material is then seen only through 2,000 images of its sections::

    images -> Z2 -> radii of the profiles -> posterior of the grains' sizes -> distribution of Z3 -> new grains

The material is made of other grains of the same sand, at sizes that are log-normal in two groups; the truth is known.

The 2D model is linear, and sections of all sizes are not a linear family: its codes tell the size well, its own draws
(a last row of the picture) are blurred. The errors of the profiles' radii, some per cent, are not in the posterior.

    python examples/learned_stereology.py learned_stereology.png
"""

from __future__ import annotations

import math
import sys
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import torch
from matplotlib.axes import Axes
from torch import Tensor

import physgen as pg
from physgen.forward_models.stereology.bodies import StarBody
from physgen.forward_models.stereology.bodies_ct import ct_particles
from physgen.forward_models.stereology.bodies_mesh import Mesh
from physgen.forward_models.stereology.harmonics import to_real
from physgen.forward_models.stereology.learned_images import body_images, body_of_log_radii, log_radii
from physgen.forward_models.stereology.learned_kernel import SectionKernel, section_classes
from physgen.forward_models.stereology.learned_stereology import SizedPrior, learn_size
from physgen.forward_models.stereology.random_sections import random_sections
from physgen.forward_models.stereology.shape_prior import canonical, positive, reflections
from physgen.inversions.nested_laplace import NestedLaplace
from physgen.noise import PoissonNoise
from physgen.priors.ppca import PPCA
from physgen.priors.smooth_field import SmoothField
from physgen.result import Result

DEGREE = 8  # of the grains' surfaces
PIXELS, PIXEL, NOISE = 40, 8.0, 0.05  # images of 320 um; the noise is that of every pixel, the grain being 1
SECTIONS = 2000
LOW, HIGH = 8.0, 220.0  # um: sizes that are possible, as radii of equal volume
GRID = np.linspace(LOW, 140, 400)


def grains() -> tuple[Tensor, Tensor]:
    """Coefficients of sand grains of unit volume and canonical attitude: to learn from, and to make the material of."""
    c = to_real(ct_particles("sacci425").to(torch.complex128))[:, : (DEGREE + 1) ** 2]
    c = c[positive(c)]
    c = canonical(
        StarBody.from_real(c[torch.as_tensor(np.random.default_rng(1).permutation(len(c))[:600])]).coefficients
    )
    return c[::2], c[1::2]


def learn_particles(c: Tensor) -> SizedPrior:
    """The 3D model: log radii of grains of many sizes, of 80 of which the size is known."""
    size = torch.as_tensor(np.random.default_rng(2).uniform(np.log(LOW), np.log(HIGH), len(c))).exp()
    every = (reflections(DEGREE).to(c)[:, None] * (c * size[:, None])).flatten(0, 1)
    return learn_size(
        PPCA.fit(log_radii(every), 30), log_radii(c[:80] * size[:80, None]), size[:80], power=0.0, nodes=6
    )


def cut(c: Tensor, size: Tensor, seed: int) -> tuple[Tensor, Tensor]:
    """Images of sections, one by a random plane through each of the grains of these sizes, and their true areas."""
    body = StarBody.from_real(c, 10)
    plane = random_sections(body, 1, seed=seed)
    offset = plane.offset[:, 0] * size
    images = body_images(c * size[:, None], plane.normal[:, 0], offset, PIXELS, PIXEL, noise=NOISE, seed=seed)
    return images, plane.area[:, 0] * size.square()


def learn_sections(c: Tensor) -> tuple[SizedPrior, Tensor]:
    """The 2D model, from 1,000 images, and of 300 more the area is known; and some of the images."""
    rng = np.random.default_rng(3)
    which = torch.as_tensor(rng.integers(0, len(c), 1300))
    size = torch.as_tensor(rng.uniform(np.log(5.0), np.log(0.35 * PIXELS * PIXEL), 1300)).exp()
    images, area = cut(c[which], size, 4)
    known = (area[:300] / math.pi).sqrt()
    return learn_size(PPCA.fit(images[300:], 20), images[:300], known, power=1.0), images[300:]


def material(c: Tensor) -> tuple[Tensor, np.ndarray]:
    """What the microscope shows of the material: images; and the sizes of its grains."""
    rng = np.random.default_rng(5)
    n = 40 * SECTIONS
    size = np.where(rng.random(n) < 0.6, 25.0, 60.0) * 1.2 ** rng.standard_normal(n)
    shape = rng.integers(0, len(c), n)
    caliper = StarBody.from_real(c, 10).mesh().mean_caliper().numpy()
    met = rng.choice(n, SECTIONS, p=size * caliper[shape] / (size * caliper[shape]).sum())
    images, _ = cut(c[torch.as_tensor(shape[met])], torch.as_tensor(size[met]), 6)
    return images, size


def sizes_of_grains(model: SectionKernel, counts: Tensor) -> Result:
    """The posterior of the numbers of grains in classes of size, which are smooth and positive and no more."""
    prior = SmoothField(
        forward=model,
        log=True,
        centre=model.centre(counts),
        level_sd=2.0,
        amplitude=pg.LogNormal(3.0, 0.7),
        length=pg.LogNormal(1.0, 0.7),
    )
    return NestedLaplace()(pg.Problem(model, prior, PoissonNoise()), counts, seed=1)


def densities(model: SectionKernel, draws: Tensor) -> np.ndarray:
    """Densities of ln(size) in each class ``(draw, k)``."""
    width = model.sizes.log().diff()
    return np.asarray((draws / (draws.sum(-1, keepdim=True) * width)).numpy())


def bands(axes: Axes, x: np.ndarray, curves: np.ndarray) -> None:
    """The 50 and 90 % bands of curves ``(draw, k)`` in classes of limits x ``(k + 1,)``."""
    for low, high, share in ((5, 95, 0.25), (25, 75, 0.45)):
        below, above = (np.append(e, e[-1]) for e in np.percentile(curves, [low, high], axis=0))
        axes.fill_between(x, below, above, step="post", color="tab:blue", alpha=share, lw=0, label=f"{high - low} %")


def show_solid(axes: Axes, mesh: Mesh, which: int, place: tuple[float, float]) -> None:
    """One grain, lit from the side."""
    v, f = mesh.vertices[which].numpy(), mesh.faces.numpy()
    corner = v[f]
    n = np.cross(corner[:, 1] - corner[:, 0], corner[:, 2] - corner[:, 0])
    n /= np.linalg.norm(n, axis=1, keepdims=True)
    front = np.argsort(corner[:, :, 2].mean(1))
    front = front[n[front, 2] > 0]
    light = np.clip(0.25 + 0.75 * n[front] @ np.array([0.5, 0.4, 0.77]), 0, 1)
    polygons = corner[front][:, :, :2] + np.array(place)
    for polygon, value in zip(polygons, light, strict=True):
        axes.fill(*polygon.T, color=(0.92 * value, 0.83 * value, 0.68 * value), lw=0.3)


def show_grains(axes: Axes, made: Mesh, title: str) -> None:
    """Twelve grains side by side."""
    room = 2.1 * float(made.vertices.abs().max()) * 0.8
    for i in range(12):
        show_solid(axes, made, i, (room * (i % 4), -room * (i // 4)))
    axes.set(title=title, aspect="equal", xticks=[], yticks=[])
    axes.plot([-room / 2, -room / 2 + 100], [-2.6 * room] * 2, "k-", lw=3)
    axes.text(-room / 2, -2.75 * room, "100 um", va="top", fontsize="small")


def show_images(axes: Axes, images: Tensor, title: str) -> None:
    """Twelve images side by side."""
    tiles = np.pad(
        images[:12].numpy().reshape(3, 4, PIXELS, PIXELS), ((0, 0), (0, 0), (1, 1), (1, 1)), constant_values=1
    )
    axes.imshow(tiles.transpose(0, 2, 1, 3).reshape(3 * (PIXELS + 2), -1), cmap="gray", vmin=-0.2, vmax=1.2)
    axes.set(title=title, xticks=[], yticks=[])


def draw(
    path: str, model: SectionKernel, counts: Tensor, draws: Tensor, size: np.ndarray, shown: dict[str, Any]
) -> None:
    """Images and grains of both models; the profiles; the sizes and the latents that follow."""
    figure, axes = plt.subplots(2, 3, figsize=(14, 8), layout="constrained")
    show_images(axes[0, 0], shown["images"], "images of sections of the material")
    show_images(axes[0, 1], shown["drawn"], "the 2D model: 8 of them by their codes, 4 draws")
    show_grains(axes[0, 2], shown["made"], "the 3D model: grains as derived for this material")
    left, middle, right = axes[1]
    limits = model.sections.numpy()
    width = np.diff(np.log(limits))
    left.bar(
        limits[:-1], counts.numpy() / width, np.diff(limits), align="edge", color="0.85", edgecolor="0.6", label="seen"
    )
    again = PoissonNoise().sample(model(draws), seed=2).numpy() / width
    bands(left, limits, again)
    left.set(title="profiles, and what is predicted", xlabel="radius of equal area, um", ylabel="per ln(radius)")
    bands(middle, model.sizes.numpy(), densities(model, draws))
    exact = (
        np.histogram(size, model.sizes.numpy(), density=True)[0] * (model.sizes[1:] * model.sizes[:-1]).sqrt().numpy()
    )
    middle.stairs(exact, model.sizes.numpy(), color="k", label="true")
    middle.set(title="sizes of the grains, derived", xlabel="radius of equal volume, um", ylabel="density of ln(size)")
    position = shown["solid"].map.position(model.sizes).numpy()
    scale = (model.sizes.log().diff().numpy() / np.diff(position))[None]
    bands(right, position, densities(model, draws) * scale)
    right.stairs(exact * scale[0], position, color="k", label="true")
    code = np.linspace(position[0], position[-1], 200)
    right.plot(code, np.exp(-0.5 * code**2) / math.sqrt(2 * math.pi), "C1--", label="as trained, N(0, 1)")
    right.set(title="Z3 along the direction of size, derived", xlabel="latent coordinate", ylabel="density")
    for one in (left, middle):
        one.set(xscale="log", xlim=(LOW, 150))
    for one in axes[1]:
        one.legend(frameon=False, fontsize="small")
    figure.savefig(path, dpi=110)


def main(path: str) -> dict[str, Any]:
    """Learn both models, look at the material, derive, generate, draw; what was found, by name."""
    torch.set_default_dtype(torch.float64)
    teach, other = grains()
    solid = learn_particles(teach)
    flat, _ = learn_sections(teach)
    images, size = material(other)
    shapes = body_of_log_radii(solid.generate(torch.full((150,), 30.0), seed=7))
    model = SectionKernel.of_bodies(shapes, *section_classes(LOW, HIGH, 40))
    counts = model.count(flat.size(images))
    result = sizes_of_grains(model, counts)
    draws = result.draws
    p = torch.as_tensor(np.random.default_rng(8).random((len(draws), 5)))
    derived = solid.generate(model.quantile(draws, p).flatten(), seed=9, residual=False)
    exact = np.searchsorted(np.sort(size), GRID) / len(size)
    curves = model.cdf(draws, torch.as_tensor(GRID)).numpy()
    inside = (np.percentile(curves, 5, 0) <= exact) & (exact <= np.percentile(curves, 95, 0))
    new = flat.generate(torch.tensor([15.0, 25.0, 40.0, 60.0]), seed=10, residual=False)
    shown = {
        "images": images,
        "drawn": torch.cat([flat.prior.reconstruct(images[:8]), new]),
        "made": body_of_log_radii(derived[:12]),
        "solid": solid,
    }
    draw(path, model, counts, draws, size, shown)
    made = solid.size(derived).numpy()
    between = (exact > 0.01) & (exact < 0.99)
    return {
        "status": int(result.status),
        "profiles": int(counts.sum()),
        "mean size, true": float(size.mean()),
        "mean size, 5 50 95 %": np.percentile(LOW + np.trapezoid(1 - curves, GRID, axis=1), [5, 50, 95]).tolist(),
        "distance over the mean": float(np.trapezoid(np.abs(curves.mean(0) - exact), GRID) / size.mean()),
        "share of the true curve inside the 90 % band": float(inside[between].mean()),
        "mean size of generated grains": float(made.mean()),
    }


if __name__ == "__main__":
    for name, value in main(sys.argv[1] if len(sys.argv) > 1 else "learned_stereology.png").items():
        print(f"{name}: {value}")
