"""How much more probable one prior makes causes than another."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from ..conditions import takes
from ..priors import Prior
from ..priors.weighted import Weighted
from .pointwise import log_prior

Conditions = Mapping[str, Tensor]

_DRAWS, _OBSERVATIONS = 256, 64  # of the new prior, for how many observations
_OUTSIDE = 1e-3  # share of the new prior that may lie where the old one has no mass


def comparable(new: Prior, old: Prior) -> bool:
    """Whether the ratio of their densities is known: both have one, or both weigh one and the same prior."""
    both = "log_prob" in new.capabilities and "log_prob" in old.capabilities
    return both or _innermost(new) is _innermost(old)


def log_densities(
    new: Prior, old: Prior, x: Tensor, new_conditions: Conditions, old_conditions: Conditions
) -> tuple[Tensor, Tensor]:
    """Log densities (S, b) of causes (S, b, n) under two priors, up to one constant that both share.

    Where both weigh one prior under the same conditions (as `shift` and `where` of it do), its own density cancels and
    need not be known.

    Raises
    ------
    TypeError
        If the ratio is not known: see `comparable`.
    """
    inner = _innermost(new)
    if inner is _innermost(old) and _alike(inner, new_conditions, old_conditions):
        return _factor(new, x, new_conditions), _factor(old, x, old_conditions)
    pairs = ((new, new_conditions), (old, old_conditions))
    values = [log_prior(p, x, takes(p, "decode").pick(c), latent=False) for p, c in pairs]
    return values[0], values[1]


def reaches_beyond(
    new: Prior, old: Prior, new_conditions: Conditions, old_conditions: Conditions, seed: int, dtype: torch.dtype
) -> bool:
    """Whether more than a thousandth of the new prior lies where the old one has no mass, and no draws can be.

    Weights of draws cannot show it: none of them is there.
    """
    rows = _spread(new_conditions, old_conditions)
    own_new, own_old = ({k: v[rows] for k, v in c.items()} for c in (new_conditions, old_conditions))
    shape = (_DRAWS, len(rows)) if rows.numel() > 1 else (_DRAWS * _OBSERVATIONS, 1)
    x = new.sample(shape, seed=seed, dtype=dtype, **takes(new, "decode").pick(own_new))
    _, under_old = log_densities(new, old, x, own_new, own_old)
    return float(torch.isneginf(under_old).double().mean()) > _OUTSIDE


def _innermost(prior: Prior) -> Prior:
    """The prior that `where` and `shift` have weighed."""
    while isinstance(prior, Weighted):
        prior = prior.prior
    return prior


def _alike(prior: Prior, one: Conditions, other: Conditions) -> bool:
    """Whether the conditions that the prior takes are the same."""
    first, second = (takes(prior, "decode").pick(c) for c in (one, other))
    return first.keys() == second.keys() and all(torch.equal(v, second[k]) for k, v in first.items())


def _factor(prior: Prior, x: Tensor, conditions: Conditions) -> Tensor:
    """The log factor (S, b) of a weighted prior, 0 of one without; NaN where x is NaN."""
    known = torch.isfinite(x).all(-1)
    out = torch.where(known, x.new_zeros(()), torch.nan)
    if "log_factor" not in prior.capabilities or not isinstance(prior, Weighted):
        return out
    own = {k: v.expand(x.shape[:2] + v.shape[1:])[known] for k, v in takes(prior, "decode").pick(conditions).items()}
    with torch.no_grad():
        out[known] = prior.log_factor(x[known], **own) if bool(known.any()) else out[known]
    return out


def _spread(*conditions: Conditions) -> Tensor:
    """Some of the observations, evenly spread; the first where no condition tells them apart."""
    counts = {len(v) for c in conditions for v in c.values()}
    count = max(counts, default=1)
    kept = min(count, _OBSERVATIONS)
    return torch.arange(kept) * count // kept
