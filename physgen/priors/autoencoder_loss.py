"""What an autoencoder's networks learn from, step by step."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from .adversarial_correlation import DensityRatio, orders_of
from .fitting import Loss
from .objectives import Objective
from .sparse_mask import SpikeSlab
from .vae_network import AutoencoderNetwork, draw_codes


def objective_of(objective: Objective | None, sparse: SpikeSlab | None, labels: Tensor | None) -> Objective | None:
    """The objective given, or one with the terms that mask and labels need; None for the evidence lower bound alone.

    Raises
    ------
    ValueError
        If the objective has a term for what is not there, or none for what is.
    """
    needed = {"spike_slab": sparse is not None, "label": labels is not None}
    if objective is None:
        extra = {name: 1.0 for name, there in needed.items() if there}
        return Objective({"reconstruction": 1.0, "kl": 1.0} | extra) if extra else None
    for name, argument in (("spike_slab", "sparse"), ("label", "labels")):
        weighted = objective.weights.get(name, 0) > 0
        if weighted and not needed[name]:
            raise ValueError(f"The term {name!r} needs `{argument}`. Give it to the fit, or leave the term out.")
        if needed[name] and not weighted:
            raise ValueError(f"The objective does not use `{argument}`. Give the term {name!r} a weight above 0.")
    return objective


def critic_of(objective: Objective | None, code: int, seed: int) -> DensityRatio | None:
    """The critic that learns beside the autoencoder, if the objective has a term for it."""
    weighted = objective is not None and objective.weights.get("adversarial_correlation", 0) != 0
    return DensityRatio(code, seed=seed) if weighted else None


def autoencoder_loss(
    network: AutoencoderNetwork,
    objective: Objective | None,
    samples: int,
    seed: int,
    critic: DensityRatio | None = None,
) -> Loss:
    """The loss of rows ``[w (B, n), context (B, c), log |dx / dw| (B,)]``, with labels ``(B, l)`` if there are some.

    The critic's own loss has its gradient there, but not its value: the two are made small at once, by parameters of
    their own.
    """

    def loss(rows: Sequence[Tensor], stage: int) -> Tensor:
        w, context, offset = rows[0].mT, rows[1].mT, rows[2]
        eps = draw_codes(network.code, len(offset), seed=seed, stage=stage)
        if objective is None:
            seen, base, posterior = network.terms(w, context, eps)
            return offset - (seen + base - posterior)
        labels = rows[3].mT if len(rows) > 3 else None
        step = network.step(w, context, eps, samples=samples, labels=labels)
        if critic is None:
            return (offset.mean() + objective(step)).expand(len(offset))
        own = critic.loss(step.code, orders_of(step.code, seed=seed, step=stage)).mean()
        step = replace(step, ratio=critic.held(step.code))
        return (offset.mean() + objective(step) + own - own.detach()).expand(len(offset))

    return loss


def read_labels(labels: Any, rows: int, code: int) -> Tensor:
    """Labels ``(N, l)``, standardised, float32.

    Raises
    ------
    ValueError
        If their shape does not fit, one is infinite, or a column has no two different values.
    """
    values = torch.as_tensor(labels).detach().to("cpu", torch.float64)
    if values.ndim != 2 or len(values) != rows or not 1 <= values.shape[1] <= code:
        raise ValueError(
            f"Invalid labels of shape {tuple(values.shape)}. "
            f"Give one row for each of the {rows} samples, and from 1 to {code} columns, as the code is that long."
        )
    if bool(torch.isinf(values).any()):
        raise ValueError("Invalid labels with infinite values. Give NaN where there is none.")
    mean = values.nanmean(0)
    sd = (values - mean).square().nanmean(0).sqrt()
    if not bool((sd > 0).all()):
        raise ValueError("Invalid labels: a column has no two different values. Leave such columns out.")
    return ((values - mean) / sd).float()
