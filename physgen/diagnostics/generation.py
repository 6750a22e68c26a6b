"""How good a prior is at generation: its held-out likelihood and the quality of its samples, side by side.

The two disagree: a prior of high likelihood may draw poor samples, and one that draws fine samples may have copied
them, or may miss a mode (Theis, van den Oord & Bethge 2016, *A note on the evaluation of generative models*).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from ..priors.prior import Prior
from .c2st import C2ST, c2st
from .frechet import frechet_distance
from .held_out import held_out_log_likelihood
from .memorisation import Memorisation, memorisation
from .pqmass import PQMass, pqmass
from .sample_table import sample_table, table_pair, thin
from .two_sample import energy_distance, gaussian_kernel, median_bandwidth, mmd, permutation_test, sliced_wasserstein

_REFERENCES = 100


@dataclass(frozen=True)
class GenerationReport:
    """How generated samples compare with held-out real ones. Distances are of columns scaled to unit deviation.

    Attributes
    ----------
    real, generated : int
        Samples compared.
    log_likelihood, log_likelihood_error : float or None
        Mean log density of the held-out samples (nats per sample) and its standard error; None for a prior without
        a density.
    c2st : C2ST
        1/2: cannot be told apart.
    pqmass : PQMass
        About its degrees of freedom: equal masses.
    mmd, mmd_p_value : float
        Squared, at the median distance, with the p-value of a permutation test.
    energy, sliced_wasserstein : float
    frechet : float or None
        None where there are not more samples than columns.
    memorisation : Memorisation or None
        None without training samples.
    """

    real: int
    generated: int
    log_likelihood: float | None
    log_likelihood_error: float | None
    c2st: C2ST
    pqmass: PQMass
    mmd: float
    mmd_p_value: float
    energy: float
    sliced_wasserstein: float
    frechet: float | None
    memorisation: Memorisation | None

    def as_dict(self) -> dict[str, Any]:
        """Plain numbers by name, fit for JSON; what was not computed is left out."""
        nested = {k: v._asdict() if hasattr(v, "_asdict") else v for k, v in vars(self).items()}
        return {k: v for k, v in nested.items() if v is not None}

    def __str__(self) -> str:
        return "\n".join(f"{name:<34} {value}" for name, value in _lines(self.as_dict()))


def generation_report(
    real: Tensor,
    generated: Tensor,
    *,
    log_prob: Tensor | None = None,
    training: Tensor | None = None,
    classifier: str = "network",
    most: int = 2000,
    seed: int = 0,
) -> GenerationReport:
    """Every figure of two samples.

    Parameters
    ----------
    real : Tensor (N, *own)
        Held-out samples, at least 50: those of the fit would reward copying.
    generated : Tensor (M, *own)
        At least 50.
    log_prob : Tensor (N,), optional
        The prior's log density of the held-out samples.
    training : Tensor (T, *own), optional
        The samples of the fit, for memorisation.
    classifier : {"network", "logistic"}
        Of the classifier two-sample test.
    most : int
        Samples of each kind that are compared at most, drawn at random; the likelihood takes all.
    seed : int

    Returns
    -------
    GenerationReport

    Raises
    ------
    ValueError, TypeError
        If samples are too few, not finite, or of different length.
    """
    real, generated = table_pair(real, generated, ("real samples", "generated samples"), 50)
    likelihood = (None, None) if log_prob is None else held_out_log_likelihood(log_prob)
    mean, sd = real.mean(0), real.std(0)
    sd = torch.where(sd > 0, sd, 1)
    x = thin((real - mean) / sd, most, seed=seed)
    y = thin((generated - mean) / sd, most, seed=seed, stage=1)
    fewest, bandwidth = min(len(x), len(y)), median_bandwidth(x, y)
    references = min(_REFERENCES, fewest // 4)
    copied = None
    if training is not None:
        copied = memorisation(y, (sample_table("training samples", training).to(x) - mean) / sd, x)
    return GenerationReport(
        real=len(x),
        generated=len(y),
        log_likelihood=likelihood[0],
        log_likelihood_error=likelihood[1],
        c2st=c2st(x, y, classifier=classifier, seed=seed),
        pqmass=pqmass(x, y, references=references, seed=seed),
        mmd=float(mmd(x, y, bandwidth=bandwidth)),
        mmd_p_value=permutation_test(x, y, gaussian_kernel(bandwidth), seed=seed),
        energy=float(energy_distance(x, y)),
        sliced_wasserstein=float(sliced_wasserstein(x, y, seed=seed)),
        frechet=float(frechet_distance(x, y)) if fewest > x.shape[1] else None,
        memorisation=copied,
    )


def report_prior(
    prior: Prior, held_out: Tensor, *, training: Tensor | None = None, seed: int = 0, **settings: Any
) -> GenerationReport:
    """`generation_report` of as many draws of a prior without conditions as there are held-out causes.

    Parameters
    ----------
    prior : Prior
        Its log density is reported if it has the capability "log_prob".
    held_out : Tensor (N, n)
        Causes that the prior was not fitted to.
    training : Tensor (T, n), optional
        Causes of the fit.
    seed : int
        Of the draws too.
    **settings
        `classifier` and `most`.
    """
    rows = sample_table("held-out causes", held_out, 50)
    drawn = prior.sample(len(rows), seed=seed, dtype=rows.dtype).to(rows)
    density = prior.log_prob(rows) if "log_prob" in prior.capabilities else None
    return generation_report(rows, drawn, log_prob=density, training=training, seed=seed, **settings)


def _lines(figures: Mapping[str, Any], prefix: str = "") -> list[tuple[str, str]]:
    out = []
    for name, value in figures.items():
        if isinstance(value, Mapping):
            out += _lines(value, f"{prefix}{name} ")
        else:
            out.append((prefix + name.replace("_", " "), f"{value:.4g}" if isinstance(value, float) else str(value)))
    return out
