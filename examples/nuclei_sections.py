"""The sizes of 36 nuclei from plane sections only, beside their true sizes.

A stack of nuclei that were labelled by hand in 3D is cut by planes along its three axes. What is measured is what a
microscope would see: the profiles in these planes. From them follow the sizes of the nuclei as spheres (Saltykov's
classes; maximum likelihood by EM, smoothed) and as prolate spheroids with log-normal sizes (posterior). The 3D labels
then tell what is true.

Planes this close cut most nuclei more than once, and profiles of one nucleus are no independent evidence. Which
profiles belong together the labels tell (in a microscope, neighbouring planes do): the counts of profiles then vary
as many times more than Poisson's as the profiles of a nucleus have fellows, k on average weighted by k, and the noise
of the posterior is negative binomial with that excess. What remains: a log-normal law has small nuclei that are not
there, and nuclei are spheroids of random direction only roughly.

Voxels are assumed to be cubic, which the source does not say, and their edge is the unit of length.

    python examples/nuclei_sections.py nuclei_sections.png
"""

from __future__ import annotations

import sys
from importlib import resources
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import torch
import xarray as xr
from torch import Tensor

import physgen as pg
from physgen.forward_models.stereology.classical import SphereClasses, saltykov
from physgen.forward_models.stereology.expectation_maximisation import LikeliestSizes, likeliest_sizes
from physgen.forward_models.stereology.label_image import Sections, measure_sections
from physgen.forward_models.stereology.spheroids_model import SpheroidSections
from physgen.inversions import OptimalEstimation
from physgen.noise import NegativeBinomialNoise
from physgen.result import Result

SPACING = 8  # voxels between planes: each nucleus is cut by about two of each direction
SMALLEST = 4.0  # voxels: diameters below are digitised too coarsely
SIZE_CLASSES = (2.0, 3.0, 4.0, 5.0, 6.0, 7.5, 9.0, 12.0, 20.0)  # smaller semi-axis of the sections
ASPECT_CLASSES = (0.1, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0)
GRID = np.linspace(0, 45, 181)


def planes(label: np.ndarray) -> list[np.ndarray]:
    """Label images along the three axes, those with at least two profiles."""
    cut = [np.take(label, range(SPACING // 2, n, SPACING), axis) for axis, n in enumerate(label.shape)]
    every = [plane for axis, stack in enumerate(cut) for plane in np.moveaxis(stack, axis, 0)]
    return [plane for plane in every if len(np.unique(plane)) > 2]


def total_area(label: np.ndarray) -> float:
    """Area of all planes, those without profiles included."""
    counts = [len(range(SPACING // 2, n, SPACING)) for n in label.shape]
    return float(sum(k * label.size / n for k, n in zip(counts, label.shape, strict=True)))


def pooled(sections: list[Sections], name: str) -> Tensor:
    """One measure of the profiles of all images."""
    return torch.cat([getattr(s, name) for s in sections])


def truth(label: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Diameters of equal volume, and numbers per volume, of the nuclei inside: each for the positions it could have."""
    diameters, numbers = [], []
    for number in np.unique(label[label > 0]):
        at = np.argwhere(label == number)
        first, last = at.min(0), at.max(0)
        if (first > 0).all() and (last < np.array(label.shape) - 1).all():
            diameters.append((6 * len(at) / np.pi) ** (1 / 3))
            numbers.append(1 / np.prod(np.array(label.shape) - 1 - (last - first + 1)))
    return np.array(diameters), np.array(numbers)


def fellows(images: list[np.ndarray]) -> float:
    """By how much counts vary more than Poisson's, ``sum k^2 / sum k``, of nuclei that are seen k times."""
    labels = np.concatenate([np.unique(image[image > 0]) for image in images])
    k = np.unique(labels, return_counts=True)[1]
    return float((k**2).sum() / k.sum())


def histogram(sections: list[Sections]) -> tuple[Tensor, Tensor]:
    """Whole profiles by classes of smaller semi-axis and aspect, and which share of all in a class they are.

    Both ``(64,)``; the share, by classes of size, is the number of whole profiles over the sum of their weights.
    """
    half, aspect = pooled(sections, "minor_axis").numpy() / 2, pooled(sections, "aspect").numpy()
    weight = pooled(sections, "weight").numpy()
    whole = weight > 0
    table = np.histogram2d(half[whole], aspect[whole], [SIZE_CLASSES, ASPECT_CLASSES])[0]
    weighted = np.histogram(half[whole], SIZE_CLASSES, weights=weight[whole])[0]
    share = np.where(weighted > 0, table.sum(1) / np.where(weighted > 0, weighted, 1), 1)
    return torch.as_tensor(table.ravel()), torch.as_tensor(np.repeat(share, table.shape[1]))


def posterior(counts: Tensor, share: Tensor, area: float, together: float) -> tuple[pg.Problem, Result]:
    """Number, sizes and aspects of prolate spheroids, given the histogram."""
    prior = pg.Independent(
        number=pg.LogNormal(1e-5, 1.5),
        size=pg.LogNormal(7.0, 0.5),
        size_sd=pg.Uniform(1.05, 2.5),
        aspect=pg.Uniform(0.3, 0.95),
        aspect_sd=pg.LogNormal(0.5, 0.5),
    )
    model = SpheroidSections(SIZE_CLASSES, ASPECT_CLASSES, "prolate", unit="voxel")
    problem = pg.Problem(model, prior, NegativeBinomialNoise(0.0, together - 1, exposure=share))
    return problem, OptimalEstimation()(problem, counts, conditions={"area": area}, seed=1)


def cumulative_curves(draws: Tensor) -> np.ndarray:
    """P(D <= GRID) of the equal-volume diameter D = 2 w q^(-1/3), for each draw, by 400 spheroids each."""
    scores = torch.special.ndtri((torch.arange(400) + 0.5) / 400)
    other = scores[torch.from_numpy(np.random.default_rng(0).permutation(400))]
    _, size, size_sd, aspect, aspect_sd = (one[:, None] for one in draws.unbind(-1))
    q = torch.sigmoid(torch.logit(aspect) + aspect_sd * other)
    d = (2 * size * size_sd**scores * q ** (-1 / 3)).sort(1).values
    return np.stack([np.searchsorted(row, GRID, side="right") / 400 for row in d.numpy()])


def of_classes(found: SphereClasses | LikeliestSizes) -> np.ndarray:
    """P(D <= GRID) of classes, linear within each, negative ones included."""
    edges, number = found.edges.numpy(), found.number.numpy()
    return np.interp(GRID, edges, np.concatenate([[0.0], np.cumsum(number) / number.sum()]))


def draw(
    path: str,
    image: np.ndarray,
    counts: Tensor,
    predicted: Tensor,
    curves: np.ndarray,
    lines: dict[str, np.ndarray],
) -> None:
    """A plane; its profiles beside their posterior predictive; the sizes of the nuclei."""
    figure, (left, middle, right) = plt.subplots(1, 3, figsize=(13, 4), layout="constrained")
    left.imshow(np.ma.masked_equal(image, 0), cmap="tab20", interpolation="nearest")
    left.set(title="one of the planes", xlabel="x, voxels", ylabel="y, voxels")
    half = np.array(SIZE_CLASSES)
    middles, width = 0.5 * (half[1:] + half[:-1]), np.diff(half)
    seen = counts.reshape(len(middles), -1).sum(1).numpy()
    drawn = predicted.reshape(len(predicted), len(middles), -1).sum(-1).numpy() / width
    middle.bar(middles, seen / width, width, color="0.85", edgecolor="0.6", label="profiles")
    for low, high, share in ((5, 95, 0.25), (25, 75, 0.5)):
        ends = np.percentile(drawn, [low, high], axis=0)
        stairs = [np.append(e, e[-1]) for e in ends]
        middle.fill_between(half, *stairs, step="post", color="tab:blue", alpha=share, lw=0)
    middle.set(title="sections: observed, predicted (50, 90 %)", xlabel="smaller semi-axis, voxels", ylabel="per voxel")
    for low, high, share in ((5, 95, 0.2), (25, 75, 0.4)):
        ends = np.percentile(curves, [low, high], axis=0)
        right.fill_between(GRID, *ends, color="tab:blue", alpha=share, lw=0, label=f"posterior, {high - low} %")
    for (name, curve), style in zip(lines.items(), ("k-", "C1-", "C2-"), strict=True):
        right.plot(GRID, curve, style, lw=1.5, label=name, drawstyle="steps-post" if style == "k-" else "default")
    right.set(title="nuclei in 3D", xlabel="diameter of equal volume, voxels", ylabel="cumulative share", xlim=(0, 44))
    right.legend(frameon=False, fontsize="small", loc="lower right")
    figure.savefig(path, dpi=110)


def main(path: str) -> dict[str, Any]:
    """Cut, measure, infer, compare, draw; what was found, by name."""
    torch.set_default_dtype(torch.float64)
    with resources.as_file(resources.files("physgen") / "data" / "platynereis_nuclei.nc") as file:
        label = xr.load_dataset(file)["label"].values
    images, area = planes(label), total_area(label)
    sections = [measure_sections(image) for image in images]
    d, weight = pooled(sections, "equivalent_diameter"), pooled(sections, "weight")
    use = (weight > 0) & (d >= SMALLEST)
    classes = saltykov(d[use], 10, area=area, weights=weight[use])
    likeliest = likeliest_sizes(d[use], 20, area=area, smallest=SMALLEST, weights=weight[use], smoothing=3)
    counts, share = histogram(sections)
    together = fellows(images)
    problem, result = posterior(counts, share, area, together)
    draws = result.draws
    true, number = truth(label)
    exact = np.array([number[true <= x].sum() for x in GRID]) / number.sum()
    lines = {"true": exact, "Saltykov": of_classes(classes), "EM, smoothed": of_classes(likeliest)}
    curves = cumulative_curves(draws[:400])
    found = {
        "status": int(result.status),
        "profiles": int(use.sum()),
        "variance of counts over Poisson's": together,
        "true mean": float((true * number).sum() / number.sum()),
        "true number": float(number.sum()),
        "number": draws[:, 0].quantile(torch.tensor([0.05, 0.5, 0.95])).tolist(),
        "mean": np.percentile(np.trapezoid(1 - curves, GRID, axis=1), [5, 50, 95]).tolist(),
    }
    for name, curve in {**lines, "posterior median": np.median(curves, 0)}.items():
        if name == "true":
            continue
        found[f"distance of {name}"] = float(np.trapezoid(np.abs(curve - exact), GRID)) / found["true mean"]
    found["number by Saltykov"], found["number by EM"] = float(classes.number.sum()), float(likeliest.number.sum())
    with torch.no_grad():
        rates = problem.forward(draws[:400], area=torch.tensor(area))
    biggest = max(images[: label.shape[0] // SPACING], key=lambda image: len(np.unique(image)))
    draw(path, biggest, counts, problem.noise.sample(rates, seed=2), curves, lines)
    return found


if __name__ == "__main__":
    for name, value in main(sys.argv[1] if len(sys.argv) > 1 else "nuclei_sections.png").items():
        print(f"{name}: {value}")
