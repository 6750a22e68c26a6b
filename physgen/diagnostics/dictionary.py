"""A dictionary of directions, few of which add up to each sample: what a table of causes or activations is made of.

It is no prior. Which atoms take part is a discrete choice: as a map of normal latents it would have plateaus on which
no gradient tells an inversion where to go, and atoms that go together would have to be drawn as if they did not. It
reads what a prior, a network or an instrument has made.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from ..priors.fitting import FitReport, Training, train
from ..progress import Progress
from .dictionary_network import SparseAutoencoder
from .sample_table import sample_table


@dataclass(frozen=True, eq=False)
class Dictionary:
    """x is about mean + sum of few atoms, each times its code; made by `fit_dictionary`.

    Attributes
    ----------
    atoms : Tensor (m, n)
        Directions of length 1.
    mean : Tensor (n,)
    usage : Tensor (m,)
        Share of the samples in which each atom takes part; 0: it is dead.
    explained : float
        Share of the samples' variance.
    report : FitReport
        Its losses are shares of the variance that is left.
    network : SparseAutoencoder
    scale : float
        What samples are divided by before the network sees them.
    """

    atoms: Tensor
    mean: Tensor
    usage: Tensor
    explained: float
    report: FitReport
    network: SparseAutoencoder
    scale: float

    @property
    def active(self) -> int:
        """k, the most atoms of a sample."""
        return self.network.active

    @property
    def dead(self) -> Tensor:
        """Which atoms take part in no sample, bool ``(m,)``."""
        return self.usage == 0

    def codes(self, x: Tensor) -> Tensor:
        """How much of each atom is in samples ``(N, n)``, in their units: ``(N, m)``, at most k of a row above 0.

        Raises
        ------
        ValueError, TypeError
            If samples are not finite, or of another length.
        """
        rows = sample_table("samples", x, 1)
        if rows.shape[1] != len(self.mean):
            raise ValueError(f"Invalid samples with {rows.shape[1]} columns. The dictionary has {len(self.mean)}.")
        made = self.network.encode(((rows - self.mean.to(rows)) / self.scale).float())
        return made.to(rows) * self.scale

    def reconstruct(self, x: Tensor) -> Tensor:
        """Samples ``(N, n)`` made again of their codes."""
        codes = self.codes(x)
        return self.mean.to(codes) + self.network.bias.detach().to(codes) * self.scale + codes @ self.atoms.to(codes)


def fit_dictionary(
    table: Any,
    atoms: int,
    active: int,
    *,
    revived: int | None = None,
    dead_after: int = 200,
    training: Training | None = None,
    seed: int = 0,
    progress: Progress = False,
) -> Dictionary:
    """Learn a sparse autoencoder that keeps the k largest codes.

    Parameters
    ----------
    table : array_like (N, n)
        One sample a row.
    atoms : int
        m, how many; more than n for an overcomplete dictionary.
    active : int
        k, how many take part in a sample.
    revived : int, optional
        Dead atoms that are fitted to what the living ones leave of a sample, with the weight 1/32 (Gao et al. 2024,
        appendix A.2); twice `active` by default, 0 for none.
    dead_after : int
        An atom is dead that has taken part in no sample for so many steps.
    training : Training, optional
        With a learning rate of 0.01 by default.
    seed, progress
        See `Flow.fit`.

    Returns
    -------
    Dictionary

    Raises
    ------
    ValueError, TypeError
        If a number is out of range, or samples are too few, not finite or constant.

    References
    ----------
    Makhzani & Frey (2014), k-sparse autoencoders, *ICLR*. Gao et al. (2024), Scaling and evaluating sparse
    autoencoders.
    """
    revived = 2 * active if revived is None else revived
    if not 1 <= active <= atoms or revived < 0 or dead_after < 1:
        raise ValueError(
            f"Invalid numbers: {active} active of {atoms} atoms, {revived} revived after {dead_after} steps. "
            "At least 1 and at most all atoms are active; the others must not be negative."
        )
    rows = sample_table("samples", torch.as_tensor(table), max(100, atoms))
    mean, scale = rows.mean(0), float((rows - rows.mean(0)).square().sum(1).mean().sqrt())
    if not scale > 0:
        raise ValueError("Invalid samples: all are equal. Give samples that vary.")
    w = ((rows - mean) / scale).float()
    network = SparseAutoencoder(w.shape[1], atoms, active, min(revived, atoms), dead_after, seed=seed)

    def loss(part: Sequence[Tensor], stage: int) -> Tensor:
        return network.loss(part[0], learning=stage >= 0)

    training = training or Training(learning_rate=0.01)
    report = train(network, loss, [w], training=training, seed=seed, progress=progress)
    return _made(network, w, mean, scale, report)


def _made(network: SparseAutoencoder, w: Tensor, mean: Tensor, scale: float, report: FitReport) -> Dictionary:
    parts = [network.encode(part) for part in w.split(4096)]
    left = sum(float((part - network.decode(c)).square().sum()) for part, c in zip(w.split(4096), parts, strict=True))
    usage = torch.stack([(c > 0).sum(0) for c in parts]).sum(0).to(mean) / len(w)
    return Dictionary(network.unit_atoms().to(mean), mean, usage, 1 - left / len(w), report, network, scale)
