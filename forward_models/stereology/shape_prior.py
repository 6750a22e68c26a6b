"""A generative prior over the shape of particles, learned from tomography of real ones.

Causes are the coefficients (289,) of the real basis of `harmonics` up to degree 16, of a body

- of unit size: its volume is that of the unit ball (drawn bodies come within some per cent; `unit_volume` mends that);
- in canonical attitude: the principal axes of its second moment lie along x (longest), y and z. What plane sections at
  random show does not depend on the attitude, and a distribution over all attitudes would be far from normal, so that
  turning each particle costs nothing and makes the distribution compact. The axes are known up to their signs, and no
  rule for them (a third moment, say) is continuous: so every particle is entered in all eight attitudes, mirror images
  included, which is what a material of random orientation and without handedness holds. The prior is then exactly
  symmetric: each of its directions changes at most its sign under a reflection.

The fit is probabilistic principal component analysis of the coefficients over the square root of their root mean
square in each degree: half-way between plain coefficients, whose equal noise is too rough in the high degrees, and
whitened ones, whose code spends itself on ripples.
"""

from __future__ import annotations

import math
from functools import cache

import torch
from torch import Tensor

from physgen.priors.ppca import PPCA
from physgen.priors.storage import load_prior
from physgen.space import Block, Space

from .bodies import StarBody, least_radius
from .harmonics import degree_of, to_complex, to_real
from .harmonics_quadrature import at_nodes, rotate, sphere_rule


def particle_shape() -> PPCA:
    """The prior that ships with physgen: coefficients (289,) of bodies of unit volume in canonical attitude.

    Learned from cement, two sands and an aggregate; `physgen.priors.storage.prior_card("particle_shape")` says how, how
    well it fits, and what it is not for. A draw whose radius falls to 0 somewhere is rare, but can be:
    `particle_bodies` leaves such draws out.
    """
    return _shipped()


def particle_bodies(prior: PPCA, count: int, *, seed: int = 0, resolution: int = 16) -> StarBody:
    """Draw bodies ``(count,)`` from a shape prior: of unit-ball volume, with a positive radius everywhere.

    A draw without is replaced by the next one with, so that these are draws from the prior given that it makes a body.

    Raises
    ------
    ValueError
        If the prior makes hardly any bodies.
    """
    spare = count + max(8, count // 8)
    c = prior.sample(spare, seed=seed)
    c = c[positive(c)]
    if len(c) < count:
        raise ValueError(f"The shape prior made {len(c)} bodies in {spare} draws. Fit it to more or rounder particles.")
    return StarBody.from_real(unit_volume(c[:count]), resolution)


def shape_space(degree: int = 16) -> Space:
    """The one block `coefficient` of the shape prior."""
    words = "spherical-harmonic coefficients of the radius over that of the ball of equal volume"
    return Space(Block("coefficient", "1", long_name=words, shape=((degree + 1) ** 2,), dims=("harmonic",)))


def unit_volume(c: Tensor) -> Tensor:
    """Real coefficients ``(*, (L + 1)^2)`` over the radius of the ball of the body's volume."""
    exact = 3 * degree_of(c.shape[-1], real=True)
    cubed = at_nodes(c, exact) ** 3 @ sphere_rule(exact).weight.to(c) / (4 * math.pi)
    return c / cubed[..., None] ** (1 / 3)


def positive(c: Tensor) -> Tensor:
    """Which bodies ``(*)`` of real coefficients ``(*, (L + 1)^2)`` have a positive radius everywhere."""
    return least_radius(to_complex(c)) > 0


def canonical(coefficients: Tensor) -> Tensor:
    """Real coefficients ``(*, (L + 1)^2)`` of particles of unit size in canonical attitude, signs of the axes free.

    Parameters
    ----------
    coefficients : complex Tensor (*, (L + 1)(L + 2)/2)
        As `StarBody` takes them, in any unit of length.
    """
    c = unit_volume(to_real(coefficients))
    _, axes = torch.linalg.eigh(second_moment(c))  # columns, shortest axis first
    rotation = axes.flip(-1).mT
    return rotate(c, rotation * torch.linalg.det(rotation)[..., None, None])


def second_moment(c: Tensor) -> Tensor:
    """The integral of x x^T over the body about the origin, ``(*, 3, 3)``: that of r^5 u u^T / 5 over directions."""
    exact = 5 * degree_of(c.shape[-1], real=True) + 2
    rule = sphere_rule(exact)
    u = rule.u.to(c)
    products = (u[:, :, None] * u[:, None, :]).reshape(-1, 9)
    moments = (at_nodes(c, exact) ** 5 * rule.weight.to(c)) @ products / 5
    return moments.reshape(*c.shape[:-1], 3, 3)


def reflections(degree: int) -> Tensor:
    """Signs ``(8, (L + 1)^2)`` of the real basis under the eight reflections of x, y and z.

    Of (x + i y)^m, Re is even in y and of parity m in x, Im odd in y and of parity m + 1 in x; n - m is that in z.
    """
    n = torch.cat([torch.full((2 * k + 1,), k) for k in range(degree + 1)])
    m = torch.cat([torch.arange(-k, k + 1) for k in range(degree + 1)])
    odd_y = (m < 0).long()
    odd = torch.stack([(m.abs() + odd_y) % 2, odd_y, (n - m.abs()) % 2])
    which = torch.cartesian_prod(*[torch.arange(2)] * 3)
    return 1.0 - 2.0 * ((which @ odd) % 2)


def fit_shape_prior(c: Tensor, k: int) -> PPCA:
    """The prior of real coefficients ``(N, (L + 1)^2)`` in canonical attitude, each entered in eight attitudes."""
    degree = degree_of(c.shape[-1], real=True)
    every = (reflections(degree).to(c)[:, None] * c).reshape(-1, c.shape[-1])
    return PPCA.fit(every, k, scale=degree_scale(c).sqrt(), causes=shape_space(degree))


def degree_scale(c: Tensor) -> Tensor:
    """Root mean square ``((L + 1)^2,)`` of the coefficients of each degree, that of degree 0 about its mean."""
    widths = [2 * n + 1 for n in range(degree_of(c.shape[-1], real=True) + 1)]
    centred = torch.cat([c[..., :1] - c[..., :1].mean(0), c[..., 1:]], -1)
    return torch.cat([part.square().mean().sqrt().expand(part.shape[-1]) for part in centred.split(widths, -1)])


@cache
def _shipped() -> PPCA:
    with torch.inference_mode(False):
        return load_prior("particle_shape")
