"""Pictures of traversals, on a figure that the caller has made (matplotlib stays at the edge)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from torch import Tensor

from .traversal import mosaic

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def draw_traversal(
    figure: Figure,
    causes: Tensor,
    *,
    span: tuple[float, float] = (-2.0, 2.0),
    names: Sequence[str] | None = None,
    image: tuple[int, int] | None = None,
) -> None:
    """Draw what `traverse` returned: each cause over each latent, or a row of images for each latent.

    Parameters
    ----------
    figure : matplotlib.figure.Figure
        Empty, of the caller's size.
    causes : Tensor (latents, steps, n)
    span : (float, float)
        That of `traverse`.
    names : sequence of str (n,), optional
        Of the causes.
    image : (int, int), optional
        Height and width, if the causes are the pixels of an image.

    Raises
    ------
    ValueError
        If names or image do not fit the causes.
    """
    if causes.ndim != 3:
        raise ValueError(f"Invalid causes of shape {tuple(causes.shape)}. Give (latents, steps, n).")
    latents, steps, n = causes.shape
    if names is not None and len(names) != n:
        raise ValueError(f"Invalid names: {len(names)} for {n} causes. Give one each.")
    if image is not None and image[0] * image[1] != n:
        raise ValueError(f"Invalid image of {image[0]} x {image[1]} pixels. The causes are {n}.")
    values = causes.detach().cpu()
    if image is not None:
        _draw_images(figure, values.reshape(latents, steps, *image), span)
        return
    along = np.linspace(*span, steps)
    panels = figure.subplots(n, latents, squeeze=False, sharex=True, sharey="row")
    for j in range(n):
        for i in range(latents):
            panels[j, i].plot(along, values[i, :, j].numpy())
        panels[j, 0].set_ylabel(names[j] if names is not None else f"cause {j}")
    for i in range(latents):
        panels[-1, i].set_xlabel(f"latent {i}")


def _draw_images(figure: Figure, images: Tensor, span: tuple[float, float]) -> None:
    latents, steps, height, width = images.shape
    axes = figure.subplots()
    axes.imshow(mosaic(images).numpy(), cmap="gray")
    axes.set_yticks((np.arange(latents) + 0.5) * (height + 1), [f"latent {i}" for i in range(latents)])
    axes.set_xticks((np.arange(steps) + 0.5) * (width + 1), [f"{v:.2g}" for v in np.linspace(*span, steps)])
