r"""Plane sections of spheroids: Wicksell's kernel for their size, a kernel of its own for their shape.

A spheroid has one semi-axis twice, w, and the semi-axis c along its axis of rotation. Its size is w: the smaller
semi-axis of a prolate one (c > w), the larger of an oblate one (c < w). Its aspect is q, the smaller semi-axis over the
larger, 0 < q < 1. A plane whose normal is inclined by theta to the axis meets it within the height
:math:`h = \sqrt{c^2 \cos^2\theta + w^2 \sin^2\theta}` on either side of the centre, and at the height p in an ellipse
of semi-axes

.. math:: w \sqrt{1 - p^2/h^2} \quad \text{and} \quad \frac{w c}{h} \sqrt{1 - p^2/h^2}

So the first, m, is cut from w as the radius of a circle from that of a sphere, whatever the orientation; it is the
smaller semi-axis of the section of a prolate spheroid, the larger of an oblate one. And the aspect s of the section
(smaller over larger) tells the inclination, whatever the height: s = h/c for a prolate one, c/h for an oblate one. With
planes (or spheroids) of isotropic direction, profiles per area of one spheroid per volume have the density

.. math:: n_A(m, s) = 2 \frac{m}{\sqrt{w^2 - m^2}} \kappa(s | q), \qquad 0 < m < w, \; q < s < 1

.. math:: \kappa = \frac{s^2}{q \sqrt{(1-q^2)(s^2-q^2)}} \text{ (prolate)}, \qquad
          \kappa = \frac{q^3}{s^3 \sqrt{(1-q^2)(s^2-q^2)}} \text{ (oblate)}.

References
----------
Cruz-Orive (1976), *Particle size-shape distributions: the general spheroid problem. I*, J. Microsc. 107:235, in our
notation; 1978, II, J. Microsc. 112:153. Wicksell (1926), Biometrika 18:151.
"""

from __future__ import annotations

import torch
from torch import Tensor

SHAPES = ("prolate", "oblate")


def check_shape(shape: str) -> str:
    """The shape, "prolate" or "oblate".

    Raises
    ------
    ValueError
        If it is anything else, a mixture of both in particular: the same sections can come from many mixtures.
    """
    if shape in ("mixed", "both", "spheroid"):
        raise ValueError(
            f"Invalid shape {shape!r}: a mixed population cannot be identified from its sections (Cruz-Orive 1976). "
            "Give 'prolate' or 'oblate', and only particles that all are so."
        )
    if shape not in SHAPES:
        raise ValueError(f"Unknown shape {shape!r}. Must be 'prolate' or 'oblate'.")
    return shape


def size_density(m: Tensor, w: Tensor) -> Tensor:
    """Wicksell's kernel ``m / sqrt(w^2 - m^2)``, 0 outside 0 < m < w: the broadcast shape of the two."""
    inside = (m > 0) & (m < w)
    square = torch.where(inside, w.square() - m.square(), 1)
    return torch.where(inside, m / square.sqrt(), 0)


def aspect_density(s: Tensor, q: Tensor, shape: str) -> Tensor:
    """kappa(s | q), 0 outside q < s < 1: the broadcast shape of the two.

    Its integral is `mean_height`, not 1.
    """
    check_shape(shape)
    inside = (s > q) & (s < 1)
    one, two = torch.where(inside, q, 0.5), torch.where(inside, s, 0.75)
    root = ((1 - one.square()) * (two.square() - one.square())).sqrt()
    value = two.square() / (one * root) if shape == "prolate" else (one / two) ** 3 / root
    return torch.where(inside, value, 0)


def aspect_integral(s: Tensor, q: Tensor, shape: str) -> Tensor:
    r"""Integral of kappa from q to s, 0 where s <= q: the broadcast shape of the two; s at most 1, q below 1.

    .. math:: \frac{s \sqrt{s^2-q^2} + q^2 \mathrm{arccosh}(s/q)}{2 q \sqrt{1-q^2}}, \qquad
              \frac{q \sqrt{s^2-q^2} / s^2 + \arccos(q/s)}{2 \sqrt{1-q^2}}
    """
    check_shape(shape)
    # the small differences by factors, and both inverse functions from their sine: q may be close to s, and s to 1
    inside = s > q
    a, b = torch.where(inside, q, 0.5), torch.where(inside, s, 0.75)
    leg, base = ((b - a) * (b + a)).sqrt(), ((1 - a) * (1 + a)).sqrt()
    if shape == "prolate":
        value = (b * leg + a.square() * torch.asinh(leg / a)) / (2 * a * base)
    else:
        value = (a * leg / b.square() + torch.atan2(leg, a)) / (2 * base)
    return torch.where(inside, value, 0)


def mean_height(q: Tensor, shape: str) -> Tensor:
    """Mean of h over isotropic directions, over w, ``(*)``: half the mean caliper diameter of a spheroid of size 1."""
    return aspect_integral(torch.ones_like(q), q, shape)


def section_axes(w: Tensor, q: Tensor, cosine: Tensor, height: Tensor, shape: str) -> tuple[Tensor, Tensor]:
    """Size m and aspect s of the section of a spheroid by one plane: the broadcast shape of the arguments.

    Parameters
    ----------
    w, q : Tensor
        Size and aspect of the spheroid.
    cosine : Tensor
        Of the angle between the normal of the plane and the axis of rotation.
    height : Tensor
        Distance of the plane from the centre over the largest at which it meets the spheroid, 0 to 1.
    shape : {"prolate", "oblate"}
    """
    square = cosine.square()
    if check_shape(shape) == "prolate":
        s = (q.square() + (1 - q.square()) * square).sqrt()
    else:
        s = q / (1 - (1 - q.square()) * square).sqrt()
    return w * (1 - height.square()).sqrt(), s
