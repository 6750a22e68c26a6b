"""Small classifiers of two samples: logistic regression on quadratic features, and a network; no other library.

Both train several folds at once, as the two-sample test needs them, and follow from their seed.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor

from ..random import normal, single_stream, uniform
from .sample_table import table_pair

Score = Callable[[Tensor], Tensor]
"""A function of samples ``(*, n)``: above 0 where they look generated, ``(*)``."""

_RIDGE = 1e-3  # of the mean log-likelihood: weak, but it keeps separable samples finite
_NEWTON_STEPS = 50
_MOST_PAIRS = 300  # quadratic features beyond which only squares are taken
_WIDTH, _STEPS, _BATCH, _RATE = 32, 400, 256, 0.01


def train_detector(real: Tensor, generated: Tensor, *, kind: str = "network", seed: int = 0) -> Score:
    """A detector of generated samples.

    Parameters
    ----------
    real : Tensor (N, n)
    generated : Tensor (M, n)
    kind : {"network", "logistic"}
        A network of two hidden layers, trained with Adam; or logistic regression on the features and their products
        of second order, by Newton's method.
    seed : int
        Of the network's start and the order of its training.

    Returns
    -------
    callable
        Samples ``(*, n)`` to scores ``(*)``: positive where they look generated, with equal weight of both classes.

    Raises
    ------
    ValueError, TypeError
        If samples are too few, not finite, or of different length, or `kind` is unknown.
    """
    x, y = table_pair(real, generated, ("real samples", "generated samples"), 10)
    rows = torch.cat([x, y])[None]
    label = (torch.arange(len(x) + len(y), device=x.device) >= len(x)).to(x)[None]
    model = fit_folds(rows, label, kind=kind, seed=seed)
    return lambda samples: model(samples.reshape(1, -1, samples.shape[-1]).to(x))[0].reshape(samples.shape[:-1])


def fit_folds(x: Tensor, label: Tensor, *, kind: str, seed: int) -> Score:
    """Train one classifier for each fold.

    Parameters
    ----------
    x : Tensor (F, N, n)
        Training samples of each fold.
    label : Tensor (F, N)
        1 for generated, 0 for real; the classes are weighted equally.
    kind : {"network", "logistic"}
    seed : int

    Returns
    -------
    callable
        Samples ``(F, M, n)`` to scores ``(F, M)``.
    """
    if kind not in _KINDS:
        raise ValueError(f"Unknown classifier {kind!r}. Choose from {', '.join(sorted(_KINDS))}.")
    mean, sd = x.mean(1, keepdim=True), x.std(1, keepdim=True)
    sd = torch.where(sd > 0, sd, 1)
    share = label.mean(1, keepdim=True)
    weight = torch.where(label > 0, 0.5 / share, 0.5 / (1 - share))
    score = _KINDS[kind]((x - mean) / sd, label, weight, seed)
    return lambda samples: score((samples - mean) / sd)


def _logistic(x: Tensor, label: Tensor, weight: Tensor, seed: int) -> Score:
    """Newton's method on the ridge-penalised likelihood (Hastie, Tibshirani & Friedman 2009, section 4.4.1)."""
    features = _quadratic(x)
    w = features.new_zeros(len(x), features.shape[-1])
    penalty = _RIDGE * torch.eye(features.shape[-1]).to(x)
    for _ in range(_NEWTON_STEPS):
        p = torch.sigmoid(torch.einsum("fnk,fk->fn", features, w))
        gradient = torch.einsum("fn,fnk->fk", weight * (p - label), features) / x.shape[1] + _RIDGE * w
        curvature = (weight * p * (1 - p))[..., None] * features
        step = torch.linalg.solve(features.mT @ curvature / x.shape[1] + penalty, gradient)
        # far from the optimum the curvature can be too small
        step = step / step.norm(dim=-1, keepdim=True).clamp(min=4) * 4
        w = w - step
        if float(step.abs().amax()) < 1e-6:
            break
    return lambda samples: torch.einsum("fnk,fk->fn", _quadratic(samples), w)


def _quadratic(x: Tensor) -> Tensor:
    """1, the standardised columns, and their products (only squares if the columns are many)."""
    n = x.shape[-1]
    i, j = torch.triu_indices(n, n) if n * (n + 1) // 2 <= _MOST_PAIRS else torch.arange(n).expand(2, -1)
    return torch.cat([torch.ones_like(x[..., :1]), x, (x[..., i] * x[..., j] - (i == j).to(x)) / 2**0.5], dim=-1)


@dataclass(frozen=True, eq=False)
class _Network:
    """Two hidden layers, one set of weights for each fold."""

    layers: list[tuple[Tensor, Tensor]]

    def __call__(self, x: Tensor) -> Tensor:
        for weight, bias in self.layers[:-1]:
            x = torch.nn.functional.silu(torch.baddbmm(bias, x, weight))
        weight, bias = self.layers[-1]
        return torch.baddbmm(bias, x, weight)[..., 0]


def _network(x: Tensor, label: Tensor, weight: Tensor, seed: int) -> Score:
    """Adam with a rate that falls to zero along a cosine, and a weak decay of the weights."""
    folds, count, n = x.shape
    net = _Network(_initial(folds, (n, _WIDTH, _WIDTH, 1), x, seed))
    parameters = [p for layer in net.layers for p in layer]
    with torch.inference_mode(False), torch.enable_grad():
        optimiser = torch.optim.AdamW(parameters, lr=_RATE, weight_decay=1e-2)
        schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, _STEPS)
        chosen = uniform((_STEPS, min(_BATCH, count)), single_stream(), seed=seed, stage=4)
        for index in (chosen * count).long().to(x.device):
            loss = torch.nn.functional.binary_cross_entropy_with_logits(
                net(x[:, index]), label[:, index], weight=weight[:, index], reduction="sum"
            )
            optimiser.zero_grad()
            (loss / len(index)).backward()
            optimiser.step()
            schedule.step()
    return _Network([(a.detach(), b.detach()) for a, b in net.layers])


def _initial(folds: int, widths: tuple[int, ...], like: Tensor, seed: int) -> list[tuple[Tensor, Tensor]]:
    """Weights of variance 1 / width (LeCun et al. 1998, section 4.6), biases 0."""
    layers = []
    for stage, (a, b) in enumerate(pairwise(widths)):
        w = normal((folds, a, b), single_stream(), seed=seed, stage=stage).to(like) / a**0.5
        layers.append((w.clone().requires_grad_(), like.new_zeros(folds, 1, b).requires_grad_()))
    return layers


_KINDS = {"logistic": _logistic, "network": _network}
