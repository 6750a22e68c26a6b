"""In which way ranks are not uniform, in words: shifted, too narrow, too wide."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from ..random import single_stream, uniform
from .exchange import CALIBRATION_STAGE


def pit_values(rank: Tensor, draws: int, *, seed: int = 0) -> Tensor:
    """Numbers that are uniform on (0, 1) where the ranks ``(n, q)`` are uniform on 0 to `draws`, same shape.

    A rank stands for an interval, of which a random point is taken (Czado, Gneiting & Held 2009, eq. 1).
    """
    u = uniform(tuple(rank.shape), single_stream(), seed=seed, stage=CALIBRATION_STAGE + 2).to(rank.device)
    return (rank.to(torch.float64) + u) / (draws + 1)


def departure(pit: Tensor, cause: bool = True) -> str:
    """What is wrong with PIT values ``(n,)``, as the end of a sentence about the truth.

    The first two orthonormal polynomials on (0, 1) tell a shift from a wrong width (Neyman 1937). What that says of the
    posterior is added for a cause; of another quantity, such as the log likelihood, it may say many things.
    """
    n, centred = len(pit), pit - 0.5
    shift = float(centred.mean()) * math.sqrt(12 * n)
    width = float((centred.square() - 1 / 12).mean()) * math.sqrt(180 * n)
    if abs(shift) >= abs(width):
        where, means = "above" if shift > 0 else "below", "a shifted posterior"
    elif width > 0:
        where, means = "in the tails of", "a posterior that is too narrow"
    else:
        where, means = "in the middle of", "a posterior that is too wide"
    return f"the truth lies {where} its draws too often" + (f" ({means})" if cause else "")


def rounded(values: Tensor, digits: int = 4) -> list[float]:
    """Plain numbers of few digits, for a file."""
    return [round(float(v), digits) for v in values]
