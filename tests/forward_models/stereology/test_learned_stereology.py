"""Latents that speak of size; images of sections; the section kernel; and the whole way from images to particles."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

import physgen as pg
from physgen.forward_models.stereology.bodies import StarBody
from physgen.forward_models.stereology.bodies_mesh import Mesh, geodesic_sphere
from physgen.forward_models.stereology.learned_images import (
    ball_log_radii,
    body_images,
    body_of_log_radii,
    crops,
    disc_images,
    log_radii,
)
from physgen.forward_models.stereology.learned_kernel import SectionKernel, section_classes
from physgen.forward_models.stereology.learned_stereology import SizedPrior, SizeMap, learn_size
from physgen.forward_models.stereology.random_sections import random_sections
from physgen.inversions.nested_laplace import NestedLaplace
from physgen.noise import PoissonNoise
from physgen.priors.ppca import PPCA
from physgen.priors.smooth_field import SmoothField
from physgen.random import uniform

F64 = torch.float64
PIXELS, PIXEL = 24, 10.0


def log_uniform(n: int, low: float, high: float, seed: int) -> Tensor:
    return low * (high / low) ** uniform((n,), torch.tensor(-1), seed=seed)


@pytest.fixture(scope="module")
def discs() -> SizedPrior:
    known = log_uniform(150, 3, 110, 2)
    prior = PPCA.fit(disc_images(log_uniform(500, 3, 110, 1), PIXELS, PIXEL, noise=0.05, seed=1), 12)
    return learn_size(prior, disc_images(known, PIXELS, PIXEL, noise=0.05, seed=2), known, power=1.0)


@pytest.fixture(scope="module")
def balls() -> SizedPrior:
    known = log_uniform(40, 2, 200, 4)
    prior = PPCA.fit(ball_log_radii(log_uniform(200, 2, 200, 3), 3, seed=3), 3)
    return learn_size(prior, ball_log_radii(known, 3, seed=4), known, power=0.0)


def ellipsoid(axes: tuple[float, float, float], frequency: int = 10) -> Mesh:
    u, faces = geodesic_sphere(frequency)
    return Mesh(u * torch.tensor(axes, dtype=F64), faces)


@pytest.mark.parametrize("power", [0.0, 1.0, 2.0, 3.0])
def test_map_and_its_inverse(power: float) -> None:
    direction = torch.tensor([0.6, 0.0, 0.8], dtype=F64)
    index = torch.tensor([-1.0, 0.2, 1.0, 3.0], dtype=F64)
    sizes = torch.tensor([2.0, 3.0, 7.0, 20.0], dtype=F64)
    found = SizeMap(direction, index, sizes.log() if power == 0 else sizes**power, power)
    s = torch.linspace(2.0, 40, 57, dtype=F64)  # beyond the last node too
    t = found.position(s)
    assert bool((t.diff() > 0).all())
    torch.testing.assert_close(found.size(t[:, None] * direction), s, rtol=1e-12, atol=0)
    assert float(found.size(-100 * direction)) > 0


def test_size_of_images_it_has_not_seen(discs: SizedPrior) -> None:
    # the best weights of pixels for a radius, 1 / (2 pi rho), give it to noise * sqrt(ln(r/a) / 2 pi) = 0.03 pixels;
    # twice that for the code's finite length, and as much for the place in the pixel
    for r in (20.0, 45.0, 90.0):
        found = discs.size(disc_images(torch.full((100,), r, dtype=F64), PIXELS, PIXEL, noise=0.05, seed=7))
        assert abs(float(found.mean()) - r) < 0.12 * PIXEL
        assert float(found.std()) < 0.12 * PIXEL


def test_given_the_size_the_rest_of_the_latents_is_free(balls: SizedPrior) -> None:
    n = 4000
    s = torch.full((n,), 30.0, dtype=F64)
    z = balls.latents(s, seed=5)
    w = balls.map.direction
    torch.testing.assert_close(z[:, :3] @ w, balls.map.position(s), rtol=0, atol=1e-12)
    # across the direction of size: covariance of N(0, I) projected, to five standard errors
    expected = torch.eye(3, dtype=F64) - torch.outer(w, w)
    assert float((torch.cov(z[:, :3].T) - expected).abs().max()) < 5 * math.sqrt(2 / n)
    assert float((z[:, 3:].var(0) - 1).abs().max()) < 6 * math.sqrt(2 / n)
    assert bool((balls.latents(s[:3], residual=False)[:, 3:] == 0).all())


def test_generated_balls_have_the_size_that_was_asked(balls: SizedPrior) -> None:
    s = log_uniform(50, 5, 100, 6)
    mesh = body_of_log_radii(balls.generate(s, seed=8), 3)
    unit = body_of_log_radii(torch.zeros(1, 92, dtype=F64), 3).volume
    # the surface's errors, of 1 % each, average out over 92 directions; the map was learned from 40 balls
    torch.testing.assert_close((mesh.volume / unit) ** (1 / 3), s, rtol=0.01, atol=0)
    torch.testing.assert_close(balls.size(balls.generate(s, seed=8)), s, rtol=1e-9, atol=0)


def test_learning_size_refuses(balls: SizedPrior) -> None:
    x, s = torch.randn(30, 92, dtype=F64, generator=torch.Generator().manual_seed(0)), log_uniform(30, 1, 10, 1)
    with pytest.raises(ValueError, match="Too few examples of known size: 5"):
        learn_size(balls.prior, x[:5], s[:5], power=1.0)
    with pytest.raises(ValueError, match="in row 3"):
        learn_size(balls.prior, x, torch.where(torch.arange(30) == 3, -1.0, s), power=1.0)
    with pytest.raises(ValueError, match="Give examples"):
        learn_size(balls.prior, x, s[:9], power=1.0)
    with pytest.raises(ValueError, match="does not tell the size"):
        learn_size(balls.prior, x, s, power=1.0)
    with pytest.raises(ValueError, match="Invalid power"):
        learn_size(balls.prior, x, s, power=-1.0)


@pytest.mark.parametrize("radius", [3.0, 12.0, 80.0])
def test_discs_cover_their_area(radius: float) -> None:
    image = disc_images(torch.full((200,), radius, dtype=F64), PIXELS, PIXEL, seed=1)
    area = image.sum(-1) * PIXEL**2
    # exact on average over all places, of which these are 200
    assert abs(float(area.mean()) / (math.pi * radius**2) - 1) < 0.02 * PIXEL / radius
    assert float(image.min()) >= 0
    assert float(image.max()) <= 1 + 1e-12


def test_noise_of_images() -> None:
    r = torch.full((40,), 30.0, dtype=F64)
    grain = disc_images(r, PIXELS, PIXEL, noise=0.1, seed=3) - disc_images(r, PIXELS, PIXEL, seed=3)
    assert abs(float(grain.std()) / 0.1 - 1) < 5 / math.sqrt(2 * grain.numel())
    assert torch.equal(
        disc_images(r, PIXELS, PIXEL, noise=0.1, seed=3), disc_images(r, PIXELS, PIXEL, noise=0.1, seed=3)
    )


def test_images_of_bodies_cover_the_area_of_their_sections() -> None:
    c = torch.zeros(2, 9, dtype=F64)
    c[:, 0], c[:, 6], c[:, 2] = 60 * math.sqrt(4 * math.pi), 15.0, 10.0
    body = StarBody.from_real(c, 32)
    cut = random_sections(body, 30, seed=2)
    images = body_images(c.repeat_interleave(30, 0), cut.normal.flatten(0, 1), cut.offset.flatten(), 40, 5.0)
    # the independent area is that of the mesh, whose volume is too small by half a per cent
    large = cut.area.flatten() > 2000
    torch.testing.assert_close((images.sum(-1) * 25)[large], cut.area.flatten()[large], rtol=0.015, atol=0)
    places = torch.arange(40, dtype=F64) - 19.5
    row = images.reshape(-1, 40, 40).sum(2) @ places / images.sum(-1)
    assert float(row.abs().max()) <= 0.5 + 1e-9


def test_crops() -> None:
    labels = torch.zeros(20, 30, dtype=torch.long)
    labels[4:7, 5:10], labels[12:14, 20:22], labels[0, 3] = 3, 8, 5  # the last touches the border
    images, which = crops(labels, 8)
    assert which.tolist() == [3, 8]
    assert images.sum(-1).tolist() == [15, 4]
    with pytest.raises(ValueError, match="of 5 pixels"):
        crops(labels, 4)


def test_images_refuse() -> None:
    with pytest.raises(ValueError, match="in row 1"):
        disc_images(torch.tensor([1.0, -2.0]), PIXELS, PIXEL)
    with pytest.raises(ValueError, match="Half the image is 120 um"):
        disc_images(torch.tensor([500.0]), PIXELS, PIXEL)
    with pytest.raises(ValueError, match="image of 2 pixels"):
        disc_images(torch.tensor([1.0]), 2, PIXEL)


def test_log_radii_of_a_sphere() -> None:
    c = torch.zeros(1, 16, dtype=F64)
    c[0, 0] = 7 * math.sqrt(4 * math.pi)
    torch.testing.assert_close(log_radii(c, 3), torch.full((1, 92), math.log(7.0), dtype=F64))


def test_kernel_of_spheres_keeps_area_and_number() -> None:
    sections, sizes = torch.linspace(0, 60, 1201, dtype=F64), section_classes(1.0, 60.0, 400)[1]
    model = SectionKernel.of_spheres(sections, sizes)
    middle = 0.5 * (sizes[1:] + sizes[:-1])
    torch.testing.assert_close(model.kernel.sum(0), 2 * middle, rtol=1e-9, atol=0)  # N_A = N_V H, H = 2 R
    area = math.pi * (0.5 * (sections[1:] + sections[:-1])) ** 2
    ratio = area @ model.kernel / (4 / 3 * math.pi * middle**3)  # 1, by Delesse
    # the midpoint rule meets a density that grows as 1 / sqrt(R - r); sizes vary by 1 % within a class
    assert bool(((ratio - 1).abs() < (0.05 / middle) ** 1.5 + 1e-4).all())


def test_sampled_kernel_of_a_ball_is_that_of_spheres() -> None:
    sections, sizes = section_classes(5.0, 60.0, 12)
    exact = SectionKernel.of_spheres(sections, sizes)
    n = 20_000
    found = SectionKernel.of_bodies(ellipsoid((1.0, 1.0, 1.0), 12), sections, sizes, count=n, seed=1)
    # a class's share p has a standard error of sqrt(p (1 - p) / n); the mesh is some 0.3 % off a ball's
    caliper = sizes[1:] + sizes[:-1]
    p = exact.kernel / caliper
    error = (found.kernel - exact.kernel) / caliper
    assert float((error.abs() / (5 * (p * (1 - p) / n).sqrt() + 0.006)).max()) < 1


def test_sampled_kernel_scales_with_the_body_and_keeps_its_volume() -> None:
    limits = section_classes(5.0, 60.0, 60, start=0.05)
    small = SectionKernel.of_bodies(ellipsoid((1.0, 1.0, 2.0)), *limits, count=4000, seed=2)
    large = SectionKernel.of_bodies(ellipsoid((3.0, 3.0, 6.0)), *limits, count=4000, seed=2)
    torch.testing.assert_close(small.kernel, large.kernel, rtol=1e-9, atol=1e-9)
    middle = 0.5 * (limits[1][1:] + limits[1][:-1])
    # prolate 1, 1, 2: H = 2.7603460 for a radius of equal volume 2^(1/3); what falls beyond the last class is left out
    low = slice(0, 30)
    caliper = small.kernel.sum(0) / middle
    torch.testing.assert_close(caliper[low], torch.full_like(caliper[low], 2.760346 / 2 ** (1 / 3)), rtol=0.01, atol=0)
    area = math.pi * (0.5 * (limits[0][1:] + limits[0][:-1])) ** 2
    ratio = (area @ small.kernel) / (4 / 3 * math.pi * middle**3)
    assert float((ratio[low] - 1).abs().max()) < 0.03  # 4,000 sections, classes 4 % wide


def test_shares_and_quantiles_are_inverse() -> None:
    model = SectionKernel.of_spheres(*section_classes(3.0, 90.0, 20))
    x = 0.01 + uniform((2, 20), torch.tensor(-1), seed=3)
    p = torch.linspace(0.01, 0.99, 33, dtype=F64).expand(2, -1)
    s = model.quantile(x, p)
    torch.testing.assert_close(torch.stack([model.cdf(row, at) for row, at in zip(x, s, strict=True)]), p)
    ends = model.cdf(x, torch.tensor([1.0, 100.0]))
    torch.testing.assert_close(ends, torch.tensor([[0.0, 1.0], [0.0, 1.0]], dtype=F64))


def test_counts() -> None:
    model = SectionKernel.of_spheres(*section_classes(3.0, 90.0, 20, start=10.0))
    n = model.count(torch.tensor([2.0, 11.0, 11.0, 80.0], dtype=F64))
    assert float(n.sum()) == 3
    assert float(n[0]) == 2
    with pytest.raises(ValueError, match="above the last class"):
        model.count(torch.tensor([95.0]))
    with pytest.raises(ValueError, match="Limits must be positive"):
        section_classes(5.0, 2.0, 20)
    with pytest.raises(ValueError, match="Give \\(sections, sizes\\)"):
        SectionKernel(model.kernel[:3], model.sections, model.sizes)


def test_from_images_to_particles(discs: SizedPrior, balls: SizedPrior) -> None:
    generator = torch.Generator().manual_seed(11)
    R = 30 * 1.3 ** torch.randn(100_000, generator=generator, dtype=F64)
    met = R[torch.multinomial(R, 1000, True, generator=generator)]
    r = met * (1 - torch.rand(1000, generator=generator, dtype=F64) ** 2).sqrt()
    seen = discs.size(disc_images(r.clamp(min=0.01), PIXELS, PIXEL, noise=0.05, seed=12))
    model = SectionKernel.of_spheres(*section_classes(5.0, 130.0, 26))
    counts = model.count(seen)
    prior = SmoothField(
        forward=model,
        log=True,
        centre=model.centre(counts),
        level_sd=2.0,
        amplitude=pg.LogNormal(3.0, 0.7),
        length=pg.LogNormal(1.0, 0.7),
    )
    settings = NestedLaplace(draws=100, proposals=300, nodes=1.5, anneal=0, covariance=False)
    draws = settings(pg.Problem(model, prior, PoissonNoise()), counts).draws
    grid = torch.linspace(0, 130, 1301, dtype=F64)
    exact = torch.searchsorted(R.sort().values, grid) / len(R)
    derived = model.cdf(draws, grid).mean(0)
    mean = float(R.mean())
    assert float(torch.trapezoid((derived - exact).abs(), grid)) / mean < 0.05
    p = uniform((20,), torch.arange(100), seed=13)
    made = body_of_log_radii(balls.generate(model.quantile(draws, p).flatten(), seed=14), 3).volume
    size = (made / body_of_log_radii(torch.zeros(1, 92, dtype=F64), 3).volume) ** (1 / 3)
    assert abs(float(size.mean()) / mean - 1) < 0.05
