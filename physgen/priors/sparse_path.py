"""How sparse a decoder may be: fits along a path of penalties, of which held-out samples choose one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..progress import Progress, advancing
from ..random import uniform
from .decoder import Decoder
from .fitting import ORDER_STAGE
from .sparse_mask import SpikeSlab

PENALTIES = tuple(SpikeSlab(4 * slab, slab) for slab in (1.0, 3.0, 10.0, 30.0, 100.0))


@dataclass(frozen=True, eq=False)
class SparsePath:
    """Result of `sparsest_path`.

    Attributes
    ----------
    decoders : tuple of Decoder
        One for each penalty.
    penalties : tuple of SpikeSlab
    log_likelihood : Tensor (P,)
        Of the samples held out, in nats a sample, by the importance-weighted bound.
    standard_error : Tensor (P,)
    elements : integer Tensor (P,)
        How many of each mask are not 0.
    chosen : int
        The sparsest within one standard error of the best held-out log-likelihood.
    """

    decoders: tuple[Decoder, ...]
    penalties: tuple[SpikeSlab, ...]
    log_likelihood: Tensor
    standard_error: Tensor
    elements: Tensor
    chosen: int

    @property
    def best(self) -> Decoder:
        """The decoder chosen."""
        return self.decoders[self.chosen]

    def __str__(self) -> str:
        lines = ["    spike     slab  elements  held-out log-likelihood"]
        for i, p in enumerate(self.penalties):
            value = f"{float(self.log_likelihood[i]):13.3f} +- {float(self.standard_error[i]):.3f}"
            mark = "  <- chosen" if i == self.chosen else ""
            lines.append(f"{p.spike:9g}{p.slab:9g}{int(self.elements[i]):10d}{value}{mark}")
        return "\n".join(lines)


def sparsest_path(
    table: Any,
    code: int,
    *,
    penalties: Sequence[SpikeSlab] = PENALTIES,
    held_out: float = 0.2,
    draws: int = 50,
    conditions: Mapping[str, Any] | None = None,
    seed: int = 0,
    progress: Progress = False,
    **settings: Any,
) -> SparsePath:
    """Fit sparse decoders, and pick the sparsest within one standard error of the best held-out log-likelihood.

    Parameters
    ----------
    table, code, conditions, **settings
        As of `Decoder.fit`.
    penalties : sequence of SpikeSlab
        At least one.
    held_out : float
        Share of the samples that decides, none of which any fit sees; at most 0.5.
    draws : int
        Of the importance-weighted bound.
    seed : int
        Which samples are held out, and of the fits.
    progress : bool or callable
        Over the fits.

    Returns
    -------
    SparsePath

    Raises
    ------
    ValueError
        If there is no penalty, the share is out of range, or as of `Decoder.fit`.

    References
    ----------
    The rule of one standard error: Breiman, Friedman, Olshen & Stone (1984), *Classification and regression trees*,
    section 3.4.3.
    """
    if not penalties:
        raise ValueError("No penalty to fit with. Give at least one SpikeSlab.")
    if not 0 < held_out <= 0.5:
        raise ValueError(f"Invalid held_out {held_out:g}. It must be greater than 0 and at most 0.5.")
    x = torch.as_tensor(np.asarray(table, dtype=np.float64))
    own = {n: torch.as_tensor(np.asarray(v, dtype=np.float64)) for n, v in (conditions or {}).items()}
    order = uniform((len(x),), torch.tensor(1), seed=seed, stage=ORDER_STAGE).argsort()
    held, kept = order.tensor_split([max(2, round(held_out * len(x)))])
    decoders, each = [], []
    with advancing(progress, len(penalties), "penalties") as advance:
        for penalty in penalties:
            decoder = Decoder.fit(x[kept], code, conditions=_rows(own, kept), sparse=penalty, seed=seed, **settings)
            each.append(decoder.bound(x[held], draws=draws, seed=seed, **_rows(own, held)))
            decoders.append(decoder)
            advance(1)
    values = torch.stack(each)
    mean, error = values.mean(1), values.std(1) / values.shape[1] ** 0.5
    elements = torch.stack([d.mask.count_nonzero() for d in decoders if d.mask is not None])
    return SparsePath(tuple(decoders), tuple(penalties), mean, error, elements, _chosen(mean, error, elements))


def _chosen(mean: Tensor, error: Tensor, elements: Tensor) -> int:
    best = int(mean.argmax())
    near = mean >= mean[best] - error[best]
    fewest = near & (elements == elements[near].min())
    return int(torch.where(fewest, mean, -torch.inf).argmax())


def _rows(conditions: Mapping[str, Tensor], index: Tensor) -> dict[str, Tensor]:
    return {n: v[index] for n, v in conditions.items()}
