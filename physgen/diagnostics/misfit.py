"""Does the mode reproduce the observation, and does it lie where the prior expects it? Each with its own p-value.

In the whitened linear problem w = A z + e with z, e ~ N(0, I) and singular values s_i of A, let v_i ~ N(0, 1) be what
the prior makes of w along the i-th left singular vector, over its standard deviation. At the mode, with eigenvalues
a_i = s_i^2 / (1 + s_i^2) of the averaging kernel,

    chi2 = |w - A z|^2 = sum_i (1 - a_i) v_i^2,        |z|^2 = sum_i a_i v_i^2.

What the data cannot be fitted with stays in the first, how far the fit had to go out into the prior in the second.
Their sum has m degrees of freedom: the Mahalanobis distance of the observation under the prior predictive.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from ..noise import Noise
from ..problem import Posterior, Problem
from ..result import Result
from .pointwise import flat_draws, posterior_of
from .weighted_chi2 import power_sums, weighted_chi2_tail

_DRAWS = 64  # whose predictions are made
_FEWEST = 20  # draws that have moments
_NUMBERS = 1 << 22  # of predictions held at once


Sums = tuple[Tensor, Tensor, Tensor]
"""Sums of the first three powers of the eigenvalues of the averaging kernel, each (b,)."""


@dataclass(frozen=True, eq=False)
class Misfit:
    """Figures of b observations on one axis, each ``(b,)``; NaN where they cannot be known.

    Attributes
    ----------
    chi2 : Tensor
        Sum of squared standardised residuals at the mode.
    predictive_p : Tensor
        Chance of a larger chi2 if the model holds: small where no likely cause reproduces the observation.
    conflict_p : Tensor
        Chance of causes farther out in the prior, if the model holds: small where prior and data disagree
        (Evans & Moshonov 2006, *Bayesian Analysis* 1:893, for a problem that is linear around the mode).
    dofs : Tensor
        Trace of the averaging kernel.
    """

    chi2: Tensor
    predictive_p: Tensor
    conflict_p: Tensor
    dofs: Tensor


def misfit(problem: Problem, result: Result) -> Misfit:
    """Misfit and prior-data conflict of every observation, from the mode and the averaging kernel, or from draws.

    Parameters
    ----------
    problem : Problem
    result : Result
        With the statistics `latent_mean` and `averaging_kernel` or `latent_covariance`; without them moments of the
        draws' latents take their place, and without a prior that can encode, of their predictions (no `conflict_p`).

    Raises
    ------
    ValueError
        If the result has other causes, conditions or observations than the problem, or no draws.
    """
    posterior = posterior_of(problem, result)
    b = len(posterior.y)
    stats = {k: v.reshape(b, *v.shape[result.status.ndim :]) for k, v in result.stats.items()}
    mean, sums = _stated(stats)
    if mean is None or sums is None:
        mean, sums = _of_latent_draws(problem, posterior, flat_draws(result))
    measured = (~torch.isnan(posterior.y)).sum(-1).to(result.samples)
    if mean is None or sums is None:
        return _of_predictions(problem, posterior, flat_draws(result), measured)
    chi2 = stats["chi2"].to(mean) if "chi2" in stats else _chi2(problem, posterior, mean)
    conflict = weighted_chi2_tail(mean.square().sum(-1), *sums)
    return Misfit(chi2, _left_over(chi2, measured, sums), conflict, sums[0])


def has_chi2(noise: Noise) -> bool:
    """Whether residuals can be standardised under a noise."""
    return type(noise).standardise is not Noise.standardise


def _left_over(chi2: Tensor, measured: Tensor, sums: Sums) -> Tensor:
    """P-value of a chi2: its weights are 1 - a_i for the informed directions and 1 for all others measured."""
    s1, s2, s3 = sums
    first, second = (measured - s1).clamp(min=0), (measured - 2 * s1 + s2).clamp(min=0)
    return weighted_chi2_tail(chi2, first, second, (measured - 3 * s1 + 3 * s2 - s3).clamp(min=0))


def _stated(stats: Mapping[str, Tensor]) -> tuple[Tensor | None, Sums | None]:
    """Centre (b, k), and the power sums of the averaging kernel's eigenvalues, that a method has stated."""
    mean, kernel = stats.get("latent_mean"), stats.get("averaging_kernel")
    if kernel is None and "latent_covariance" in stats:
        covariance = stats["latent_covariance"]
        kernel = torch.eye(covariance.shape[-1]).to(covariance) - covariance
    if kernel is None:
        return mean, None
    known = torch.isfinite(kernel).all(-1).all(-1)
    s1, s2, s3 = (torch.where(known, s, torch.nan) for s in power_sums(torch.nan_to_num(kernel)))
    return mean, (s1, s2, s3)


def _of_latent_draws(problem: Problem, posterior: Posterior, x: Tensor) -> tuple[Tensor | None, Sums | None]:
    """The same from the latents of draws (S, b, n): the kernel is the identity less their covariance."""
    if "encode" not in problem.prior.capabilities or len(x) < _FEWEST:
        return None, None
    own = {k: v.expand(x.shape[:2] + v.shape[1:]) for k, v in problem.prior_takes.pick(posterior.conditions).items()}
    with torch.no_grad():
        z = problem.prior.encode(x, **own)
    c1, c2, c3 = _sums_of_covariance((z - z.mean(0)).movedim(0, -2))
    k = z.shape[-1]
    s1, s2, s3 = k - c1, k - 2 * c1 + c2, k - 3 * c1 + 3 * c2 - c3
    return z.mean(0), (s1.clamp(min=0), s2.clamp(min=0), s3.clamp(min=0))


def _sums_of_covariance(d: Tensor) -> Sums:
    """Power sums (b,) of the eigenvalues of the covariance of centred draws (b, S, k), less what S draws add to them.

    The moments of a Wishart matrix of S - 1 degrees of freedom, to first order (Muirhead 1982, section 3.2).
    """
    count = max(d.shape[-2] - 1, 1)
    gram = d @ d.mT if d.shape[-1] > d.shape[-2] else d.mT @ d
    t1, t2, t3 = power_sums(gram / count)
    second = t2 - t1.square() / count
    return t1, second, t3 - 3 * t1 * second / count - t1**3 / count**2


def _chi2(problem: Problem, posterior: Posterior, z: Tensor) -> Tensor:
    if not has_chi2(problem.noise):
        return z.new_full(z.shape[:1], torch.nan)
    with torch.no_grad():
        _, prediction = posterior.predict(torch.nan_to_num(z))
        r = problem.noise.standardise(posterior.y, prediction, **problem.noise_takes.pick(posterior.conditions))
    return torch.where(torch.isfinite(z).all(-1), r.square().sum(-1), torch.nan)


def _of_predictions(problem: Problem, posterior: Posterior, x: Tensor, measured: Tensor) -> Misfit:
    """Residuals at the draws' mean prediction; the covariance of whitened predictions has the kernel's eigenvalues."""
    unknown = x.new_full(x.shape[1:2], torch.nan)
    if not has_chi2(problem.noise) or len(x) < _FEWEST:
        return Misfit(unknown, unknown, unknown, unknown)
    x = x[torch.linspace(0, len(x) - 1, min(_DRAWS, len(x))).round().long()]
    size, parts = max(1, _NUMBERS // (len(x) * posterior.y.shape[-1])), []
    for rows in torch.arange(x.shape[1]).split(size):
        here = posterior.select(rows)
        with torch.no_grad():
            f = here.predict_causes(x[:, rows])
            r = problem.noise.standardise(here.y, f, **problem.noise_takes.pick(here.conditions))
        sums = _sums_of_covariance((r - r.mean(0)).movedim(0, -2))
        parts.append(torch.stack([r.mean(0).square().sum(-1), *sums]))
    chi2, s1, s2, s3 = torch.cat(parts, -1).unbind()
    return Misfit(chi2, _left_over(chi2, measured, (s1, s2, s3)), unknown, s1)
