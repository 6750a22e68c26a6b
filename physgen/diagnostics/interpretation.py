"""How interpretable codes are: every score against known factors, side by side, as they measure different things."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from .binning import mutual_information
from .dci import dci
from .disentanglement import attribute_predictability, modularity, mutual_information_gap
from .factor_vae_score import factor_vae_score
from .matching import mcc
from .sample_table import paired_rows


@dataclass(frozen=True)
class InterpretationReport:
    """Scores of codes against factors; each is at most 1, where each factor has a code of its own.

    Attributes
    ----------
    mcc, mcc_rank : float
        Mean correlation coefficient, Pearson's and Spearman's.
    mig : float
        Mutual information gap.
    sap : float
        Separated attribute predictability.
    disentanglement, completeness, informativeness : float
        DCI; informativeness is the mean over the factors that vary.
    modularity : float
        0 if no code tells about a factor, or there is one factor only.
    factor_vae : float
        FactorVAE score.
    """

    mcc: float
    mcc_rank: float
    mig: float
    sap: float
    disentanglement: float
    completeness: float
    informativeness: float
    modularity: float
    factor_vae: float

    def as_dict(self) -> dict[str, float]:
        """The scores by name."""
        return dict(vars(self))

    def __str__(self) -> str:
        return "\n".join(f"{name.replace('_', ' '):<18} {value:.4f}" for name, value in vars(self).items())


def interpretation_report(codes: Tensor, factors: Tensor, *, bins: int = 20, seed: int = 0) -> InterpretationReport:
    """Every score of codes against the factors behind the samples.

    Parameters
    ----------
    codes : Tensor (N, k)
        One code a sample: `encode` of a prior, or an encoder's mean.
    factors : Tensor (N, f)
        What was varied, as numbers; at least 200 samples, and 10 a bin.
    bins : int
        Of continuous columns.
    seed : int
        Of the held-out samples of DCI and of the FactorVAE score's votes.

    Returns
    -------
    InterpretationReport

    Raises
    ------
    ValueError, TypeError
        If rows are too few, not finite, or differ in number, no factor varies, or no code does.
    """
    c, v = paired_rows(codes, factors, ("codes", "factors"), 200)
    if not bool((c.amax(0) > c.amin(0)).any()):
        raise ValueError("Invalid codes: all are constant. At least one must vary.")
    scores = dci(c, v, seed=seed)
    information, _ = mutual_information(c, v, bins=bins)
    tells = v.shape[1] > 1 and bool((information > 0).any())
    varies = v.amax(0) > v.amin(0)
    return InterpretationReport(
        mcc=float(mcc(c, v)),
        mcc_rank=float(mcc(c, v, rank=True)),
        mig=float(mutual_information_gap(c, v, bins=bins)),
        sap=float(attribute_predictability(c, v)),
        disentanglement=float(scores.disentanglement),
        completeness=float(scores.completeness),
        informativeness=float(scores.informativeness[varies].mean()),
        modularity=float(modularity(information)) if tells else 0.0,
        factor_vae=factor_vae_score(c, v, bins=bins, seed=seed),
    )
