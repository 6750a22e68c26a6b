"""From images of sections to the sizes of the particles, by two generative models and one integral: how far off?

    python benchmarks/learned_stereology.py 20 2

For each material, sets of 2,000 section images. The distance between the derived 3D size distribution (posterior mean)
and the true one is the 1-Wasserstein distance over the mean size. "made" is that of particles which the 3D model
generates from the derived distribution of its latents, measured by their meshes. Beside them 15 classes of Saltykov
(geometric) and of Schwartz and Saltykov (equal), negative ones at 0, given the exact radii. The second number: so many
sets are fitted without classes too (`FreeSpheres`), ten seconds to minutes each. Answers that are not trusted are
counted, and enter the means too.

Then real particles from tomography, cut by random planes, with the kernel sampled from particles that the 3D model
generates; and nuclei that were labelled by hand.
"""

from __future__ import annotations

import math
import sys
import time
from collections.abc import Callable
from importlib.resources import files
from typing import Any

import numpy as np
import torch
import xarray as xr
from torch import Tensor

import physgen as pg
from physgen.forward_models.stereology.bodies import StarBody
from physgen.forward_models.stereology.bodies_ct import ct_particles
from physgen.forward_models.stereology.classical import saltykov, schwartz_saltykov
from physgen.forward_models.stereology.free_spheres import FreeSpheres
from physgen.forward_models.stereology.harmonics import to_real
from physgen.forward_models.stereology.label_image import measure_sections
from physgen.forward_models.stereology.learned_images import (
    ball_log_radii,
    body_images,
    body_of_log_radii,
    crops,
    disc_images,
    log_radii,
)
from physgen.forward_models.stereology.learned_kernel import SectionKernel, section_classes
from physgen.forward_models.stereology.learned_stereology import SizedPrior, learn_size
from physgen.forward_models.stereology.random_sections import random_sections
from physgen.forward_models.stereology.section_noise import SectionSizes
from physgen.forward_models.stereology.shape_prior import canonical, positive, reflections
from physgen.inversions.nested_laplace import NestedLaplace
from physgen.noise import PoissonNoise
from physgen.priors.ppca import PPCA
from physgen.priors.smooth_field import SmoothField

SECTIONS = 2000
PIXELS, NOISE = 48, 0.05
SMALLEST = 4.0  # um: smaller profiles are not used
DEGREE = 8  # of the particles from tomography, as they are cut here
STRENGTH: dict[str, Any] = {"amplitude": pg.LogNormal(3.0, 0.7), "length": pg.LogNormal(1.0, 0.7)}

Radii = Callable[[int, np.random.Generator], np.ndarray]


def lognormals(*parts: tuple[float, float, float]) -> Radii:
    """A mixture of log-normals: share, geometric mean in um and multiplicative sd of each."""

    def draw(n: int, rng: np.random.Generator) -> np.ndarray:
        share, middle, sd = (np.array(column) for column in zip(*parts, strict=True))
        which = rng.choice(len(parts), n, p=share)
        return middle[which] * sd[which] ** rng.standard_normal(n)

    return draw


MATERIALS: dict[str, Radii] = {
    "log-normal 30, sd 1.3": lognormals((1.0, 30, 1.3)),
    "log-normal 30, sd 1.5": lognormals((1.0, 30, 1.5)),
    "bimodal .5 x 20 + .5 x 50, sd 1.2": lognormals((0.5, 20, 1.2), (0.5, 50, 1.2)),
    "bimodal .8 x 20 + .2 x 50, sd 1.2": lognormals((0.8, 20, 1.2), (0.2, 50, 1.2)),
    "uniform 10 to 50": lambda n, rng: rng.uniform(10, 50, n),
}


def log_uniform(n: int, low: float, high: float, seed: int) -> Tensor:
    """Sizes of no material: those of what the models are trained and calibrated with."""
    return torch.as_tensor(low * (high / low) ** np.random.default_rng(seed).random(n))


def disc_model(pixel: float = 10.0) -> SizedPrior:
    """The 2D model, from 1,200 images of single discs, and 200 of known radius."""
    top = 0.48 * PIXELS * pixel
    images = disc_images(log_uniform(1200, 2, top, 1), PIXELS, pixel, noise=NOISE, seed=1)
    known = log_uniform(200, 2, top, 2)
    shown = disc_images(known, PIXELS, pixel, noise=NOISE, seed=2)
    return learn_size(PPCA.fit(images, 16), shown, known, power=1.0)


def ball_model() -> SizedPrior:
    """The 3D model, from 400 balls with a rough surface, and 40 of known radius."""
    known = log_uniform(40, 2, 280, 4)
    prior = PPCA.fit(ball_log_radii(log_uniform(400, 2, 280, 3), seed=3), 4)
    return learn_size(prior, ball_log_radii(known, seed=4), known, power=0.0)


def cut_spheres(draw: Radii, seed: int) -> np.ndarray:
    """Radii of profiles: a plane meets a sphere with a probability proportional to its radius."""
    rng = np.random.default_rng(1000 + seed)
    radius = draw(50 * SECTIONS, rng)
    met = rng.choice(radius, SECTIONS, p=radius / radius.sum())
    return np.asarray(met * np.sqrt(1 - rng.random(SECTIONS) ** 2))


def derive(model: SectionKernel, counts: Tensor, share: Tensor | float = 1.0) -> Tensor:
    """Draws ``(draw, *, k)`` of the particles' numbers in classes, given the counts of profiles ``(*, m)``."""
    prior = SmoothField(forward=model, log=True, centre=model.centre(counts), level_sd=2.0, **STRENGTH)
    invert = NestedLaplace(draws=200, proposals=1000, covariance=False)
    result = invert(pg.Problem(model, prior, PoissonNoise(exposure=share)), counts)
    bad = int((result.status != 0).sum())
    if bad:
        print(f"    {bad} of {result.status.numel()} answers are not trusted")
    return result.samples[0]


def distance(cdf: np.ndarray, truth: np.ndarray, grid: np.ndarray, weight: np.ndarray | None = None) -> float:
    """1-Wasserstein distance from the true sizes, over their mean."""
    order = np.argsort(truth)
    w = np.full(len(truth), 1 / len(truth)) if weight is None else weight[order] / weight.sum()
    exact = np.append(0, np.cumsum(w))[np.searchsorted(truth[order], grid, side="right")]
    return float(np.trapezoid(np.abs(cdf - exact), grid) / (w @ truth[order]))


def of_saltykov(
    diameters: np.ndarray, grid: np.ndarray, weights: Tensor | None = None, *, equal: bool = False
) -> np.ndarray:
    """Its distribution function of the radius, linear in each class; of equal classes, or geometric ones."""
    method = schwartz_saltykov if equal else saltykov
    found = method(torch.as_tensor(diameters), 15, weights=weights).clipped()
    share = np.append(0, np.cumsum(found.number.numpy())) / float(found.number.sum())
    return np.interp(grid, found.edges.numpy() / 2, share)


def made(solid: SizedPrior, model: SectionKernel, draws: Tensor, seed: int = 0) -> np.ndarray:
    """Sizes of generated particles, one for each of 2,000 draws from the derived distribution, by their meshes."""
    p = torch.as_tensor(np.random.default_rng(seed).random((len(draws), 10)))
    x = solid.generate(model.quantile(draws, p).flatten(), seed=seed)
    unit = float(body_of_log_radii(torch.zeros(1, x.shape[-1])).volume)
    return np.asarray((body_of_log_radii(x).volume.numpy() / unit) ** (1 / 3))


def unbinned(radius: Tensor, grid: np.ndarray) -> np.ndarray:
    """The distribution function by the exact likelihood of the list of radii."""
    model = FreeSpheres(SMALLEST, 280.0, 30, size="radius")
    problem = pg.Problem(model, SmoothField(forward=model, **STRENGTH), SectionSizes(model.sizes, "radius"))
    seen = radius[radius > SMALLEST]
    found = NestedLaplace(draws=200, proposals=400, nodes=1.5, covariance=False)(
        problem, seen, conditions={"smallest": SMALLEST}
    )
    density = model.density(found.draws, torch.as_tensor(grid).clamp(min=1e-3)).mean(0).numpy()
    below = np.append(0, np.cumsum(0.5 * (density[1:] + density[:-1]) * np.diff(grid)))
    return below / below[-1]


def spheres(sets: int, exact: int) -> None:
    """The table of the materials made of spheres."""
    flat, solid = disc_model(), ball_model()
    model = SectionKernel.of_spheres(*section_classes(SMALLEST, 280.0, 42))
    grid = np.linspace(0, 280, 2801)
    print(f"{'spheres, % of the mean size':40} derived   worst    made Saltyk. Schwartz unbinned  {sets} sets")
    for name, draw in MATERIALS.items():
        truth = draw(400_000, np.random.default_rng(7))
        radii = [cut_spheres(draw, seed) for seed in range(sets)]
        seen = [
            flat.size(disc_images(torch.as_tensor(r).clamp(min=0.01), PIXELS, 10.0, noise=NOISE, seed=100 + i))
            for i, r in enumerate(radii)
        ]
        draws = derive(model, torch.stack([model.count(r) for r in seen]))
        curves = model.cdf(draws, torch.as_tensor(grid)).mean(0).numpy()
        derived = [distance(curve, truth, grid) for curve in curves]
        peers = [
            [distance(of_saltykov(2 * r, grid, equal=equal), truth, grid) for r in radii] for equal in (False, True)
        ]
        body = np.sort(made(solid, model, draws[:, 0]))
        of_made = distance(np.searchsorted(body, grid) / len(body), truth, grid)
        lists = [distance(unbinned(r, grid), truth, grid) for r in seen[:exact]]
        last = f"{100 * np.mean(lists):8.2f}" if lists else "       -"
        row = (np.mean(derived), np.max(derived), of_made, np.mean(peers[0]), np.mean(peers[1]))
        print(f"{name:40} " + "".join(f"{100 * v:8.2f}" for v in row) + f"  {last}", flush=True)


def body_model(c: Tensor) -> SizedPrior:
    """The 3D model, from particles of coefficients ``(n, (L + 1)^2)``; of the first 80 the volume is known."""
    size = (StarBody.from_real(c).volume * (0.75 / math.pi)) ** (1 / 3)
    level = canonical(StarBody.from_real(c).coefficients) * size[:, None]
    every = (reflections(DEGREE).to(c)[:, None] * level).flatten(0, 1)
    prior = PPCA.fit(log_radii(every), 30)
    return learn_size(prior, log_radii(level[:80]), size[:80], power=0.0, nodes=6)


def cut_bodies(c: Tensor, count: int, seed: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Coefficients, normals, offsets and areas of the sections that planes show, all particles being equally many."""
    body = StarBody.from_real(c, 10)
    cut = random_sections(body, 40, seed=seed)
    rng = np.random.default_rng(seed)
    caliper = body.mesh().mean_caliper().numpy()
    i = torch.as_tensor(rng.choice(len(c), count, p=caliper / caliper.sum()))
    j = torch.as_tensor(rng.integers(0, 40, count))
    return c[i], cut.normal[i, j], cut.offset[i, j], cut.area[i, j]


def section_model(c: Tensor, pixel: float, count: int = 1000) -> SizedPrior:
    """The 2D model, from images of sections of other particles at every magnification; of 300 the area is known."""
    own, n, p, area = cut_bodies(c, count, 11)
    zoom = torch.as_tensor(np.random.default_rng(12).uniform(0.05, 1.3, count))
    zoom = torch.minimum(zoom, 0.4 * PIXELS * pixel / (area / math.pi).sqrt())
    images = body_images(own * zoom[:, None], n, p * zoom, PIXELS, pixel, noise=NOISE, seed=13)
    radius = (area / math.pi).sqrt() * zoom
    return learn_size(PPCA.fit(images[300:], 20), images[:300], radius[:300], power=1.0)


def particles(name: str) -> None:
    """Real particles: half of them teach the models, planes cut the others."""
    c = to_real(ct_particles(name).to(torch.complex128))[:, : (DEGREE + 1) ** 2]
    c = c[positive(c)]
    c = c[torch.as_tensor(np.random.default_rng(5).permutation(len(c))[:600])]
    teach, unknown = c[::2], c[1::2]
    truth = ((StarBody.from_real(unknown).volume * (0.75 / math.pi)) ** (1 / 3)).numpy()
    pixel = 3.2 * truth.max() / PIXELS
    solid, flat = body_model(teach), section_model(teach, pixel)
    own, n, p, area = cut_bodies(unknown, SECTIONS, 14)
    seen = flat.size(body_images(own, n, p, PIXELS, pixel, noise=NOISE, seed=15))
    limits = section_classes(0.1 * float(np.median(truth)), 3.0 * truth.max(), 40)
    shapes = solid.generate(torch.full((150,), float(np.median(truth))), seed=16)
    kernels = {
        "generated shapes": SectionKernel.of_bodies(body_of_log_radii(shapes), *limits),
        "spheres": SectionKernel.of_spheres(*limits),
    }
    grid = np.linspace(0, 3 * truth.max(), 3001)
    error = (seen / (area / math.pi).sqrt() - 1).abs().median()
    print(
        f"\n{name}: {len(truth)} particles cut, mean size {truth.mean():.1f} um, pixel {pixel:.1f} um, profile radii to"
    )
    print(f"    {100 * float(error):.1f} % (median); distance in % of the mean size:")
    for what, model in kernels.items():
        draws = derive(model, model.count(seen))
        found = distance(model.cdf(draws, torch.as_tensor(grid)).mean(0).numpy(), truth, grid)
        body = np.sort(made(solid, model, draws))
        of_made = distance(np.searchsorted(body, grid) / len(body), truth, grid)
        print(f"    kernel of {what}: derived {100 * found:.2f}, made {100 * of_made:.2f}")
    exact = 2 * (area / math.pi).sqrt().numpy()
    print(f"    Saltykov, exact areas: {100 * distance(of_saltykov(exact, grid), truth, grid):.2f}", flush=True)


def nuclei() -> None:
    """Profiles of 36 nuclei in planes along three axes, as spheres; lengths in voxels."""
    with xr.open_dataset(files("physgen") / "data" / "platynereis_nuclei.nc") as data:  # type: ignore[arg-type]
        label = data["label"].values.astype(np.int64)
    planes = [np.take(label, i, axis) for axis in range(3) for i in range(4, label.shape[axis], 8)]
    planes = [plane for plane in planes if len(np.unique(plane)) > 2]
    cut = [crops(torch.as_tensor(plane), 64)[0] for plane in planes]
    images = torch.cat(cut)
    noisy = images + NOISE * torch.as_tensor(np.random.default_rng(6).standard_normal(tuple(images.shape)))
    area = images.sum(-1)
    known = torch.as_tensor(np.random.default_rng(8).permutation(len(images))[:80])
    prior = PPCA.fit(noisy, 20)
    flat = learn_size(prior, noisy[known], (area[known] / math.pi).sqrt(), power=1.0, nodes=10)
    radius = flat.size(noisy)
    measured = [measure_sections(plane) for plane in planes]
    weight = torch.cat([s.weight[~s.touches_border] for s in measured])
    model = SectionKernel.of_spheres(*section_classes(2.0, 40.0, 30))
    counts = model.count(radius)
    at = torch.bucketize(radius, model.sections).sub(1).clamp(0, len(counts) - 1)
    use = (radius > model.sections[0]).double()
    whole = torch.zeros_like(counts).index_add(0, at, weight * use)
    share = torch.where(counts > 0, counts / whole.clamp(min=1e-9), 1.0)
    draws = derive(model, counts, share)
    truth, number = true_nuclei(label)
    grid = np.linspace(0, 45, 1801)
    found = distance(model.cdf(draws, torch.as_tensor(grid)).mean(0).numpy(), truth, grid, number)
    peer = distance(of_saltykov(2 * radius.numpy()[use > 0], grid, weight[use > 0]), truth, grid, number)
    error = (radius / (area / math.pi).sqrt() - 1).abs().median()
    print(f"\nnuclei: {len(truth)}, {int(counts.sum())} profiles, profile radii to {100 * float(error):.1f} % (median)")
    print(f"    derived {100 * found:.2f}, Saltykov {100 * peer:.2f} % of the mean size")


def true_nuclei(label: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Radii of equal volume of whole nuclei, each weighted for the positions that it could have had."""
    radius, number = [], []
    for one in np.unique(label[label > 0]):
        at = np.argwhere(label == one)
        room = np.array(label.shape) - 1 - (at.max(0) - at.min(0) + 1)
        if (at.min(0) > 0).all() and (at.max(0) < np.array(label.shape) - 1).all():
            radius.append((0.75 * len(at) / math.pi) ** (1 / 3))
            number.append(1 / np.prod(room))
    return np.array(radius), np.array(number)


def main() -> None:
    """Print the tables."""
    torch.set_default_dtype(torch.float64)
    sets, exact = (int(sys.argv[i]) if len(sys.argv) > i else default for i, default in ((1, 5), (2, 0)))
    start = time.perf_counter()
    if sets:
        spheres(sets, exact)
    particles("sacci425")
    particles("cement133")
    nuclei()
    print(f"\n{time.perf_counter() - start:.0f} s")


if __name__ == "__main__":
    main()
