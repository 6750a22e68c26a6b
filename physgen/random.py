"""Counter-based random numbers: a function of (seed, stream, stage, position) and of nothing else.

Philox4x64-10 (Salmon et al. 2011, *Parallel random numbers: as easy as 1, 2, 3*), as NumPy ships it: the seed is its
key, stream and stage are words of its counter. The draws of one observation therefore do not depend on how the
observations are cut into chunks, nor on the order in which they come. Numbers are made in float64 on the CPU and then
rounded, so that a float32 run sees the same draws.
"""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor

_MASK = 2**64 - 1
NOISE_STAGE = 1 << 32  # stages from here on belong to noise, those below to priors and inversions


def _words(count: int, stream: Tensor, seed: int, stage: int) -> np.ndarray:
    """`count` 64-bit words for each stream, (B, count)."""
    bits = np.random.Philox(key=np.array([seed & _MASK, 0], dtype=np.uint64))
    state = bits.state
    out = np.empty((stream.numel(), count), dtype=np.uint64)
    for row, index in zip(out, stream.reshape(-1).tolist(), strict=True):
        # buffer_pos 4 says that no word of the previous counter is left over
        state["state"]["counter"] = np.array([0, stage & _MASK, index & _MASK, 0], dtype=np.uint64)
        state["buffer_pos"] = 4
        bits.state = state
        row[:] = bits.random_raw(count)
    return out


def uniform(
    shape: tuple[int, ...], stream: Tensor, *, seed: int, stage: int = 0, dtype: torch.dtype = torch.float64
) -> Tensor:
    """Independent uniform numbers on the open interval (0, 1), one set for each stream.

    Parameters
    ----------
    shape : tuple of int
        Numbers per stream.
    stream : integer Tensor (*batch)
        Which stream: the index of the observation. Its device is the result's.
    seed : int
        Of the whole computation.
    stage : int
        Which set of numbers of that stream; different stages are independent.
    dtype : torch.dtype
        Of the result.

    Returns
    -------
    Tensor (*batch, *shape)
        A longer `shape` begins with the numbers of a shorter one.
    """
    words = _words(math.prod(shape), stream, seed, stage)
    numbers = torch.from_numpy(((words >> np.uint64(12)).astype(np.float64) + 0.5) * 2.0**-52)
    # rounding to float32 must not reach 1
    largest = 1 - torch.finfo(dtype).eps / 2
    return numbers.to(dtype).clamp(max=largest).reshape((*stream.shape, *shape)).to(stream.device)


def normal(
    shape: tuple[int, ...], stream: Tensor, *, seed: int, stage: int = 0, dtype: torch.dtype = torch.float64
) -> Tensor:
    """Independent standard normal numbers, one set for each stream (Box & Muller 1958).

    Parameters and result are those of `uniform`.
    """
    count = math.prod(shape)
    pairs = uniform(((count + 1) // 2, 2), stream.cpu(), seed=seed, stage=stage)
    radius, angle = torch.sqrt(-2 * torch.log(pairs[..., 0])), 2 * math.pi * pairs[..., 1]
    numbers = torch.stack([radius * torch.cos(angle), radius * torch.sin(angle)], dim=-1).flatten(-2)
    return numbers[..., :count].reshape((*stream.shape, *shape)).to(dtype=dtype, device=stream.device)


def single_stream() -> Tensor:
    """The stream of a computation that has no observations, 0-d; no observation has its number."""
    return torch.tensor(-1)
