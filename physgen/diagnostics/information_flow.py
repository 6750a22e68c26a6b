"""Information flow: how many nats each latent tells about a retrieved quantity, by intervention."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from ..random import normal, single_stream, uniform

Quantity = Callable[[Tensor], Tensor]
"""Latents ``(N, k)`` to the noise-free retrieved quantity ``(N,)`` or ``(N, m)``: what is retrieved of g(z)."""

_NUMBERS = 1 << 22  # of the matrix of densities, held at once
_MEASURED = 20  # measurements of each row
_FEWEST = 50
_STRATA = 1 << 16  # their stages


def information_flow(
    quantity: Quantity,
    latent_dim: int,
    sd: float | Tensor,
    *,
    latents: Sequence[Sequence[int]] | None = None,
    outer: int = 200,
    inner: int = 1000,
    seed: int = 0,
    dtype: torch.dtype | None = None,
) -> Tensor:
    """Causal influence of latents on a retrieved quantity, I(z_S; q), where q = quantity(z) + N(0, sd^2).

    Latents are independent and unconfounded, so that setting them and seeing them agree, and the information flow of
    Ay & Polani is the mutual information (O'Shaughnessy et al. 2020, section 3). It is estimated by nested
    sampling: `outer` values of the latents of the set, stratified, each with `inner` values of all others; p(q | z_S)
    and p(q) are means of normal densities over equally many of these, so that their biases nearly cancel. Where q is
    retrieved so well that sd is below a tenth of its spread, raise `inner`: the figure is uncertain by some 0.05 nat.

    Parameters
    ----------
    quantity : callable
    latent_dim : int
        k.
    sd : float or Tensor (m,)
        How well the quantity is retrieved, in its units: its error's standard deviation.
    latents : sequence of sequences of int, optional
        The sets S; each latent by itself by default.
    outer, inner : int
        At least 50 each.
    seed : int
    dtype : torch.dtype, optional
        `torch.get_default_dtype()` by default.

    Returns
    -------
    Tensor (sets,)
        In nats; about 0 (also below) for latents that do not matter.

    Raises
    ------
    ValueError
        If a latent does not exist, the error is not positive, draws are too few, or the quantity is not finite.

    References
    ----------
    O'Shaughnessy et al. (2020), *Generative causal explanations of black-box classifiers*, section 3. Ay & Polani
    (2008), *Information flows in causal networks*. The strata: McKay, Beckman & Conover (1979).
    """
    sets = [[i] for i in range(latent_dim)] if latents is None else [list(s) for s in latents]
    _check(sets, latent_dim, sd, min(outer, inner))
    kind = dtype or torch.get_default_dtype()
    found = []
    for stage, chosen in enumerate(sets):
        z = normal((outer, inner, latent_dim), single_stream(), seed=seed, stage=2 * stage, dtype=kind)
        z[..., chosen] = _strata(outer, len(chosen), seed, 2 * stage + 1).to(z)[:, None]
        h = quantity(z.flatten(0, 1)).reshape(outer * inner, -1)
        if not bool(torch.isfinite(h).all()):
            raise ValueError("Invalid quantity with NaN or infinite values. It must be finite for every latent.")
        h = (h / torch.as_tensor(sd, dtype=kind)).reshape(outer, inner, -1)
        e = normal((outer, _MEASURED, h.shape[-1]), single_stream(), seed=seed, stage=2 * stage + 1, dtype=kind)
        found.append(_influence(h[:, _MEASURED:], h[:, :_MEASURED] + e))
    return torch.stack(found)


def linear_information_flow(b: Tensor, sd: float | Tensor, latents: Sequence[Sequence[int]] | None = None) -> Tensor:
    """The same in closed form for q = B z + N(0, sd^2): 1/2 ln det C_q - 1/2 ln det(C_q - B_S B_S^T).

    Parameters
    ----------
    b : Tensor (k,) or (m, k)
        Row by row the derivatives of the quantity by the latents; k numbers for a scalar quantity.
    sd : float or Tensor (m,)
    latents : sequence of sequences of int, optional
        The sets S; each latent by itself by default.

    Returns
    -------
    Tensor (sets,)
        In nats.

    Raises
    ------
    ValueError
        If a latent does not exist or the error is not positive.

    References
    ----------
    Cover & Thomas (2006), *Elements of information theory*, theorem 8.4.1.
    """
    b = b.reshape(-1, b.shape[-1])
    sets = [[i] for i in range(b.shape[1])] if latents is None else [list(s) for s in latents]
    _check(sets, b.shape[1], sd)
    variance = torch.as_tensor(sd, dtype=b.dtype, device=b.device).square().expand(len(b))
    c = b @ b.mT + torch.diag(variance)
    return torch.stack([(torch.logdet(c) - torch.logdet(c - b[:, s] @ b[:, s].mT)) / 2 for s in sets])


def _influence(h: Tensor, q: Tensor) -> Tensor:
    """Mean of log p(q | own row) - log p(q), for h ``(outer, inner, m)`` and q ``(outer, r, m)``, in errors."""
    # as many for p(q) as for p(q | z_S), evenly of all rows: the biases of both logarithms nearly cancel
    whole = h.flatten(0, 1)[None, :: len(h)]
    conditional = torch.stack([_log_density(own, row[None]) for own, row in zip(q, h, strict=True)])
    rows = max(1, _NUMBERS // whole.shape[1])
    marginal = torch.cat([_log_density(part, whole) for part in q.flatten(0, 1).split(rows)])
    return conditional.mean() - marginal.mean()


def _log_density(q: Tensor, h: Tensor) -> Tensor:
    """Logarithm ``(r,)`` of the mean density of q ``(r, m)`` about h ``(1, s, m)``, but for a constant of both."""
    return torch.logsumexp(-0.5 * (q[:, None] - h).square().sum(-1), -1) - math.log(h.shape[1])


def _strata(outer: int, columns: int, seed: int, stage: int) -> Tensor:
    """Standard normal numbers ``(outer, columns)``, one in each of `outer` equally likely intervals of every column."""
    u = uniform((columns, 2, outer), single_stream(), seed=seed, stage=_STRATA + stage)
    return torch.special.ndtri((u[:, 0].argsort(-1) + u[:, 1]) / outer).mT


def _check(sets: list[list[int]], k: int, sd: float | Tensor, draws: int = _FEWEST) -> None:
    unknown = [i for s in sets for i in s if not 0 <= i < k]
    if unknown or not sets or not all(sets):
        raise ValueError(f"Unknown latents {unknown or 'in an empty set'}. Choose from 0 to {k - 1}.")
    if not bool((torch.as_tensor(sd) > 0).all()):
        raise ValueError(f"Invalid error {sd} of the quantity. Must be greater than 0.")
    if draws < _FEWEST:
        raise ValueError(f"Too few draws: {draws}. Give at least {_FEWEST} outer and inner ones.")
