"""Where the chains of the slice sampler begin, with a gradient or without."""

from __future__ import annotations

import torch
from torch import Tensor

from physgen.problem import Posterior
from physgen.random import normal, uniform
from physgen.status import Status

from .markov import Start, can_climb, start

_CANDIDATES = 256  # prior draws of each attempt
_ATTEMPTS = 8  # sets of candidates until enough are feasible


def begin(posterior: Posterior, chains: int, superchains: int, *, seed: int, index: Tensor, stage: int) -> Start:
    """Starts from the Laplace posterior where there is a gradient, else from prior draws.

    These are picked without replacement with probability proportional to their likelihood (Efraimidis & Spirakis
    2006, as Gumbel keys), a superchain from each; the factor is then that of the prior, I.

    Parameters and result are those of `markov.start`; 16 stages are used.
    """
    if can_climb(posterior):
        return start(posterior, chains, superchains, seed=seed, index=index, stage=stage)
    k, dtype = posterior.problem.prior.latent_dim, posterior.y.dtype
    b = len(index)
    best = torch.full((b, superchains), -torch.inf, dtype=dtype, device=index.device)
    z = torch.zeros(b, superchains, k, dtype=dtype, device=index.device)
    undefined = torch.zeros(b, dtype=torch.bool, device=index.device)
    rows = torch.arange(b, device=index.device)
    for attempt in range(_ATTEMPTS):
        here, own = posterior.select(rows), index[rows]
        pool = normal((_CANDIDATES, k), own, seed=seed, stage=stage + 2 * attempt, dtype=dtype)
        u = uniform((_CANDIDATES,), own, seed=seed, stage=stage + 2 * attempt + 1)
        weight = here.log_prob(pool.transpose(0, 1)).mT + 0.5 * (pool * pool).sum(-1)
        undefined[rows] |= torch.isnan(weight).any(1)
        key = torch.nan_to_num(weight, nan=-torch.inf, posinf=-torch.inf) - torch.log(-torch.log(u)).to(dtype)
        keys, places = torch.cat([best[rows], key], 1), torch.cat([z[rows], pool], 1)
        best[rows], which = keys.topk(superchains, dim=1)
        z[rows] = places.gather(1, which[..., None].expand(-1, -1, k))
        rows = rows[torch.isneginf(best[rows]).any(1)]
        if not len(rows):
            break
    status = torch.where(torch.isneginf(best[:, 0]), int(Status.INFEASIBLE), int(Status.TRUSTED))
    status = torch.where((status == Status.INFEASIBLE) & undefined, int(Status.MODEL_UNDEFINED), status)
    z = torch.where(torch.isneginf(best)[..., None], z[:, :1], z)
    factor = torch.eye(k, dtype=dtype, device=z.device).expand(b, k, k).clone()
    return Start(z.repeat_interleave(chains // superchains, 1), torch.zeros_like(z[:, 0]), factor, status)
