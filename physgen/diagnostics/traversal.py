"""Traversals: what a prior generates as one latent moves and the others stay."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

Decode = Callable[[Tensor], Tensor]
"""Latents ``(*, k)`` to causes ``(*, n)``: a prior's `decode`, with its conditions filled in."""


def traverse(
    decode: Decode,
    z: Tensor,
    *,
    latents: Sequence[int] | None = None,
    span: tuple[float, float] = (-2.0, 2.0),
    steps: int = 7,
) -> Tensor:
    """Generate along each latent.

    Parameters
    ----------
    decode : callable
    z : Tensor (k,)
        Where the other latents stay: zero, or the latents of an observed cause.
    latents : sequence of int, optional
        Which ones move; all by default.
    span : (float, float)
        From where to where, in standard deviations of the prior.
    steps : int
        At least 2.

    Returns
    -------
    Tensor (latents, steps, n)

    Raises
    ------
    ValueError
        If z is no finite vector, a latent does not exist, or the span is empty.
    """
    if z.ndim != 1 or not bool(torch.isfinite(z).all()):
        raise ValueError(f"Invalid latents of shape {tuple(z.shape)}. Give one finite vector.")
    chosen = list(range(len(z))) if latents is None else list(latents)
    unknown = [i for i in chosen if not 0 <= i < len(z)]
    if unknown or not chosen:
        raise ValueError(f"Unknown latent {unknown or 'list, which is empty'}. Choose from 0 to {len(z) - 1}.")
    if not span[0] < span[1] or steps < 2:
        raise ValueError(f"Invalid span {span} in {steps} steps. The second end must be larger, the steps at least 2.")
    value = torch.linspace(*span, steps, dtype=z.dtype, device=z.device)
    moved = z.expand(len(chosen), steps, -1).clone()
    for row, i in zip(moved, chosen, strict=True):
        row[:, i] = value
    return decode(moved)


def mosaic(images: Tensor, *, gap: int = 1) -> Tensor:
    """Tile images into one, a row for each latent.

    Parameters
    ----------
    images : Tensor (rows, columns, height, width)
    gap : int
        NaN pixels between them.

    Returns
    -------
    Tensor (height of all, width of all)

    Raises
    ------
    ValueError
        If there are not four axes.
    """
    if images.ndim != 4 or gap < 0:
        raise ValueError(f"Invalid images of shape {tuple(images.shape)}. Give (rows, columns, height, width).")
    framed = torch.nn.functional.pad(images, (0, gap, 0, gap), value=torch.nan)
    rows, columns, height, width = framed.shape
    whole = framed.permute(0, 2, 1, 3).reshape(rows * height, columns * width)
    return whole[: rows * height - gap, : columns * width - gap]
