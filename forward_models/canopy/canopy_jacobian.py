"""The Jacobian of `Canopy`, for little more than the cost of one gradient.

Reflectance at a wavelength depends on the leaf, the soil and the geometry at that wavelength only. With everything that
they share repeated along the wavelengths, one backward pass gives every partial derivative at every wavelength; the
chain rule to the causes is then a few products, averaged over the bands like reflectance itself.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from .leaf import LeafCoefficients, absorption_per_plate, plate_elementwise
from .sail import Geometry

__all__ = ["spectral_jacobian"]


def spectral_jacobian(
    leaf: tuple[Tensor, Tensor, LeafCoefficients],
    structure: tuple[Tensor, Callable[[Tensor], Geometry]],
    soil: tuple[Tensor, Tensor, Callable[[Tensor, Tensor], Tensor]],
    reflectance: Callable[[Tensor, Tensor, Tensor, Geometry], Tensor],
) -> tuple[Tensor, list[Tensor]]:
    """Reflectance and its derivatives at every wavelength.

    Parameters
    ----------
    leaf : (Tensor (R,), Tensor (R, constituents), LeafCoefficients)
        Structure n, contents, coefficients.
    structure : (Tensor (R, g), function)
        Leaf area, leaf angles and hot spot, and the `Geometry` of them.
    soil : (Tensor (R, s), Tensor (t, w), function)
        Parameters of the soil, its table, and the soil's reflectance of both.
    reflectance : function
        Of (rho, tau, ground, geometry), elementwise in the wavelengths.

    Returns
    -------
    Tensor (R, w), list of Tensor (R, w)
        Reflectance, and its derivatives by n, contents, structure and soil parameters, in this order.
    """
    n, contents, coefficients = leaf
    scalars, scalar_slopes = _geometry_slopes(*structure)
    with torch.enable_grad():
        k = absorption_per_plate(n, contents, coefficients.absorption).requires_grad_(True)

        def wide(columns: Tensor) -> list[Tensor]:
            return [c[:, None].expand_as(k).clone().requires_grad_(True) for c in columns.unbind(-1)]

        n_wide, shared, ground_wide = wide(n[:, None]), wide(scalars), wide(soil[0])
        rho, tau = plate_elementwise(n_wide[0], k, coefficients.interface)
        # a trailing axis of one element makes every wavelength a row of its own
        ground = soil[2](torch.stack(ground_wide, -1), soil[1][..., None])
        value = reflectance(rho, tau, ground[..., 0], Geometry(*shared))
        inputs = [k, *n_wide, *shared, *ground_wide]
        by_k, by_n, *rest = torch.autograd.grad(value.sum(), inputs, materialize_grads=True)
    by_shared, by_ground = rest[: len(shared)], rest[len(shared) :]
    per_plate = by_k / n[:, None]
    columns = [torch.addcmul(by_n, per_plate, k.detach(), value=-1)]
    columns += [per_plate * specific for specific in coefficients.absorption]
    columns += [_chain(by_shared, slope) for slope in scalar_slopes.unbind(-1)]
    return value.detach(), columns + by_ground


def _geometry_slopes(parameters: Tensor, function: Callable[[Tensor], Geometry]) -> tuple[Tensor, Tensor]:
    """The scalars (R, s) of the geometry, and their derivatives (R, s, g)."""
    with torch.enable_grad():
        leaf = parameters.detach().requires_grad_(True)
        scalars = torch.cat(function(leaf), -1)
        each = torch.eye(scalars.shape[-1], dtype=leaf.dtype, device=leaf.device)
        cotangents = each[:, None].expand(-1, *scalars.shape)
        (slopes,) = torch.autograd.grad(scalars, leaf, cotangents, is_grads_batched=True)
    return scalars.detach(), slopes.transpose(0, 1)


def _chain(partials: list[Tensor], slopes: Tensor) -> Tensor:
    """Sum over s of partials (R, w) times slopes (R, s)."""
    total = partials[0] * slopes[:, :1]
    for j in range(1, len(partials)):
        total = torch.addcmul(total, partials[j], slopes[:, j, None])
    return total
