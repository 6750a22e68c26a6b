"""What the generative models of learned stereology see: pixel images of single profiles, and log radii of particles."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from physgen.random import normal, uniform

from .bodies_cut import plane_axes
from .bodies_mesh import Mesh, geodesic_sphere
from .harmonics import degree_of, harmonics

_PARTS = 3  # subdivisions of a pixel along each axis
_BLOCK = 32  # images rendered at once
_JITTER, _GRAIN = (1 << 36) + (1 << 20), (1 << 36) + (1 << 20) + 1  # random stages: place in the pixel, noise


def disc_images(radius: Tensor, pixels: int, pixel: float, *, noise: float = 0.0, seed: int = 0) -> Tensor:
    """Images ``(n, pixels^2)`` of discs of these radii ``(n,)``: each pixel the covered share of it, plus noise.

    The middle of the disc lies anywhere within the middle pixel's extent: crops are centred to a pixel, no better.

    Parameters
    ----------
    radius : Tensor (n,)
        In um.
    pixels : int
        Side of the image.
    pixel : float
        Side of a pixel in um.
    noise : float
        Standard deviation in every pixel; the inside is 1, the outside 0.
    seed : int
        Of place and noise.

    Raises
    ------
    ValueError
        If a radius is not positive, or a disc larger than the image.
    """
    _check(radius, pixels, pixel, noise)
    fine = (torch.arange(pixels * _PARTS).to(radius) + 0.5) / _PARTS - 0.5 * pixels
    parts = []
    place = uniform((2,), torch.arange(len(radius)), seed=seed, stage=_JITTER).to(radius) - 0.5
    for r, at in zip(radius.split(_BLOCK), place.split(_BLOCK), strict=True):
        square = (fine - at[:, :1])[:, :, None].square() + (fine - at[:, 1:])[:, None, :].square()
        # a ramp of one part at the edge adds pi/12 parts to the area, which a slightly smaller disc makes good
        inner = ((_PARTS * r / pixel).square() - 1 / 12).clamp(min=0).sqrt()
        share = (0.5 + inner[:, None, None] - _PARTS * square.sqrt()).clamp(0, 1)
        parts.append(torch.nn.functional.avg_pool2d(share[:, None], _PARTS).flatten(1))
    return _grainy(torch.cat(parts), noise, seed)


def body_images(
    c: Tensor, normal_: Tensor, offset: Tensor, pixels: int, pixel: float, *, noise: float = 0.0, seed: int = 0
) -> Tensor:
    """Images ``(n, pixels^2)`` of star-shaped bodies, each cut by its own plane normal . x = offset.

    A pixel's share is that of the half-plane bounded by the surface's linear continuation there. The crop is centred on
    the profile, to a pixel.

    Parameters
    ----------
    c : Tensor (n, (L + 1)^2)
        Real coefficients of the radius in um.
    normal_, offset : Tensor (n, 3), (n,)
        The planes, as `Sections` holds them.
    pixels, pixel, noise, seed
        See `disc_images`.
    """
    _check_image(pixels, pixel, noise)
    degree = degree_of(c.shape[-1], real=True)
    grid = (torch.arange(pixels).to(c) + 0.5 - 0.5 * pixels) * pixel
    e_1, e_2 = plane_axes(normal_)
    parts = []
    for start in range(0, len(c), _BLOCK):
        at = slice(start, start + _BLOCK)
        x = (offset[at, None] * normal_[at])[:, None, None] + (
            grid[:, None, None] * e_1[at, None, None] + grid[None, :, None] * e_2[at, None, None]
        )
        distance = torch.linalg.vector_norm(x, dim=-1)
        u = x / distance.clamp(min=1e-9)[..., None]
        reach = torch.einsum("bn,bhwn->bhw", c[at], harmonics(u, degree))
        parts.append(_centred(_covered(distance - reach, pixel)).flatten(1))
    return _grainy(torch.cat(parts), noise, seed)


def crops(labels: Tensor, pixels: int) -> tuple[Tensor, Tensor]:
    """Every profile of a label image, alone and centred to a pixel: images ``(n, pixels^2)`` and labels ``(n,)``.

    Profiles that touch the border are left out.

    Raises
    ------
    ValueError
        If a profile is larger than the crop.
    """
    images, kept = [], []
    half = pixels // 2
    padded = torch.nn.functional.pad(labels, (pixels, pixels, pixels, pixels))
    for label in labels.unique().tolist():
        at = (labels == label).nonzero()
        inside = bool((at > 0).all()) and bool((at < torch.tensor(labels.shape) - 1).all())
        if label == 0 or not inside:
            continue
        extent = int((at.amax(0) - at.amin(0)).max()) + 1
        if extent > pixels:
            raise ValueError(f"Invalid profile {label} of {extent} pixels. Make the crops at least as large.")
        row, column = (at.double().mean(0).round().long() + pixels - half).tolist()
        images.append((padded[row : row + pixels, column : column + pixels] == label).double().flatten())
        kept.append(label)
    shaped = torch.stack(images) if images else torch.zeros(0, pixels * pixels, dtype=torch.float64)
    return shaped, torch.tensor(kept)


def log_radii(c: Tensor, frequency: int = 5) -> Tensor:
    """Logarithms ``(n, 10 f^2 + 2)`` of the radii of bodies of real coefficients ``(n, (L + 1)^2)``.

    In the directions of `geodesic_sphere(frequency)`. In them size is a shift of all, so that a linear model of
    logarithms separates size from shape, and every draw has a positive radius.
    """
    u = geodesic_sphere(frequency)[0].to(c)
    return (c @ harmonics(u, degree_of(c.shape[-1], real=True)).mT).log()


def ball_log_radii(radius: Tensor, frequency: int = 5, *, roughness: float = 0.01, seed: int = 0) -> Tensor:
    """The same of spheres of radii ``(n,)``, with independent relative errors of the surface."""
    n = 10 * frequency**2 + 2
    grain = normal((n,), torch.arange(len(radius)), seed=seed, stage=_GRAIN, dtype=radius.dtype)
    return radius.log()[:, None] + roughness * grain


def body_of_log_radii(x: Tensor, frequency: int = 5) -> Mesh:
    """Meshes ``(n,)`` of log radii ``(n, 10 f^2 + 2)``."""
    u, faces = geodesic_sphere(frequency)
    return Mesh(x.exp()[..., None] * u.to(x), faces)


def _covered(f: Tensor, pixel: float) -> Tensor:
    """Share of each pixel where f < 0, f linear in it, ``(b, h, w)``."""
    by_row, by_column = torch.gradient(f, spacing=pixel, dim=(1, 2))
    slope = torch.sqrt(by_row.square() + by_column.square()).clamp(min=0.1)
    return (0.5 - f / (slope * pixel)).clamp(0, 1)


def _centred(images: Tensor) -> Tensor:
    """Images ``(b, h, w)`` rolled by whole pixels, their centroids at the middle."""
    h, w = images.shape[1:]
    mass = images.sum((1, 2)).clamp(min=1e-9)
    places = [torch.arange(n).to(images) - 0.5 * (n - 1) for n in (h, w)]
    row = (torch.einsum("bhw,h->b", images, places[0]) / mass).round().long()
    column = (torch.einsum("bhw,w->b", images, places[1]) / mass).round().long()
    shifted = [
        torch.roll(image, (-r, -q), (0, 1)) for image, r, q in zip(images, row.tolist(), column.tolist(), strict=True)
    ]
    return torch.stack(shifted)


def _grainy(images: Tensor, noise: float, seed: int) -> Tensor:
    if noise == 0:
        return images
    grain = normal((images.shape[1],), torch.arange(len(images)), seed=seed, stage=_GRAIN, dtype=images.dtype)
    return images + noise * grain.to(images)


def _check(radius: Tensor, pixels: int, pixel: float, noise: float) -> None:
    _check_image(pixels, pixel, noise)
    bad = (~((radius > 0) & torch.isfinite(radius))).nonzero()
    if len(bad):
        row = int(bad[0])
        raise ValueError(f"Invalid radius {float(radius[row]):g} in row {row}. Must be positive and finite.")
    if float(radius.max()) > 0.5 * pixels * pixel:
        half = 0.5 * pixels * pixel
        raise ValueError(f"Invalid radius {float(radius.max()):g}. Half the image is {half:g} um wide.")


def _check_image(pixels: int, pixel: float, noise: float) -> None:
    if pixels < 4 or not (math.isfinite(pixel) and pixel > 0) or not noise >= 0:
        raise ValueError(f"Invalid image of {pixels} pixels of {pixel:g} um. Give at least 4, and positive numbers.")
