"""Whether two dictionaries have the same atoms: a planted one and the one found, or those of two seeds."""

from __future__ import annotations

import torch
from scipy.optimize import linear_sum_assignment
from torch import Tensor

from .sample_table import table_pair


def atom_cosines(found: Tensor, planted: Tensor) -> Tensor:
    """Cosine of every planted atom with the one found that is its own, pairs made so that the cosines sum to the most.

    Parameters
    ----------
    found, planted : Tensor (m, n), (p, n)
        Atoms of any length above 0.

    Returns
    -------
    Tensor (p,)
        -1 for one without a partner, where fewer were found.

    Raises
    ------
    ValueError, TypeError
        If atoms are not finite, of different length, or 0.
    """
    a, b = table_pair(found, planted, ("found atoms", "planted atoms"), 1)
    lengths = [t.norm(dim=1) for t in (a, b)]
    if not all(bool((length > 0).all()) for length in lengths):
        raise ValueError("Invalid atoms of length 0. Leave them out.")
    cosine = (a / lengths[0][:, None]) @ (b / lengths[1][:, None]).mT
    row, column = linear_sum_assignment(-cosine.cpu().numpy())
    best = torch.full((len(b),), -1.0, dtype=cosine.dtype, device=cosine.device)
    best[torch.as_tensor(column)] = cosine[torch.as_tensor(row), torch.as_tensor(column)]
    return best
