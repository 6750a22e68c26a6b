"""A Turing test for an expert: real and generated samples, mixed, and an exact test of the answers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from scipy.stats import binom, binomtest
from torch import Tensor

from ..random import single_stream, uniform
from .sample_table import permutation


class TuringScore(NamedTuple):
    """What an expert's answers show.

    Attributes
    ----------
    right, answered : int
    p_value : float
        Chance of so many right answers, or more, by guessing (exact binomial, one-sided).
    low, high : float
        95 % interval of the share of right answers (Clopper & Pearson 1934).
    """

    right: int
    answered: int
    p_value: float
    low: float
    high: float


@dataclass(frozen=True, eq=False)
class TuringSheet:
    """Samples to be judged one by one. Show `samples` only; `generated` is the key.

    Attributes
    ----------
    samples : Tensor (items, *own)
        In the order in which they are shown.
    generated : bool Tensor (items,)
        Which of them are generated.
    """

    samples: Tensor
    generated: Tensor

    def evaluate(self, answers: Any) -> TuringScore:
        """Score an expert.

        Parameters
        ----------
        answers : array_like (items,)
            1 (or True) where the expert says "generated", 0 for "real", NaN where there is no answer.

        Raises
        ------
        ValueError
            If there is not one answer for each sample, another value occurs, or nothing was answered.
        """
        given = torch.as_tensor(answers, dtype=torch.float64, device=self.generated.device)
        if given.shape != self.generated.shape:
            raise ValueError(f"Invalid answers of shape {tuple(given.shape)}. Give {len(self.generated)}, in order.")
        answered = ~torch.isnan(given)
        if not bool(((given == 0) | (given == 1) | ~answered).all()):
            raise ValueError("Invalid answers. Each must be 1 (generated), 0 (real) or NaN (no answer).")
        right = int(((given == self.generated.to(given)) & answered).sum())
        return score_answers(right, int(answered.sum()))


def turing_sheet(real: Tensor, generated: Tensor, *, items: int | None = None, seed: int = 0) -> TuringSheet:
    """Mix real and generated samples for an expert.

    A fair coin decides for every place which kind is shown. With fixed numbers of each, an expert could use those
    already seen, and the answers would not be binomial.

    Parameters
    ----------
    real, generated : Tensor (N, *own), (M, *own)
    items : int, optional
        How many places; as many as there are samples of the rarer kind by default, which is also the most.
    seed : int
        Of the coin and of which samples are shown. Keep it from the expert.

    Returns
    -------
    TuringSheet

    Raises
    ------
    ValueError
        If the samples differ in shape, are too few, or have NaN (which would give them away).
    """
    if real.ndim == 0 or generated.ndim == 0 or real.shape[1:] != generated.shape[1:]:
        raise ValueError(f"Invalid shapes {tuple(real.shape)} and {tuple(generated.shape)}. Samples must be alike.")
    most = min(len(real), len(generated))
    items = most if items is None else items
    if not 1 <= items <= most:
        raise ValueError(
            f"Too few samples: {len(real)} real and {len(generated)} generated. Give {max(items, 1)} of each."
        )
    if any(bool(torch.isnan(s).any()) for s in (real, generated)):
        raise ValueError("Invalid samples with NaN. Leave them out, as they would give themselves away.")
    coin = (uniform((items,), single_stream(), seed=seed, stage=0) < 0.5).to(real.device)
    shown = [
        s[permutation(len(s), seed=seed, stage=stage)[:items].to(s.device)].to(real)
        for stage, s in ((1, real), (2, generated))
    ]
    return TuringSheet(torch.where(coin.reshape(-1, *[1] * (real.ndim - 1)), shown[1], shown[0]), coin)


def score_answers(right: int, answered: int) -> TuringScore:
    """Exact binomial test of `right` out of `answered` against guessing: 60 of 100 has the p-value 0.028.

    Raises
    ------
    ValueError
        If nothing was answered, or more are right than were answered.
    """
    if not 0 <= right <= answered or answered == 0:
        raise ValueError(f"Invalid score {right} of {answered}. At least one answer is needed, and no more right ones.")
    interval = binomtest(right, answered).proportion_ci(0.95, method="exact")
    return TuringScore(right, answered, float(binom.sf(right - 1, answered, 0.5)), interval.low, interval.high)
