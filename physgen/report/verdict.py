"""The verdict: what a reader must know before the pictures, in plain words."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from ..diagnostics.trust import Trust
from ..status import Status
from .calibration import Calibration
from .figure import percent
from .reading import Answer

NARROW = 0.5  # a posterior sd below this share of the prior's: the observations have said something
LITTLE = 0.9  # above this share: next to nothing
SENSITIVE = 0.05  # of power-scaling (Kallioinen et al. 2023, section 3.3)
MISFIT = 0.01  # a p-value below this is a misfit


@dataclass(frozen=True)
class Verdict:
    """The box on top.

    Attributes
    ----------
    headline : str
    lines : tuple of str
    tone : str
        "good", "mixed" or "bad".
    """

    headline: str
    lines: tuple[str, ...]
    tone: str


def verdict(answer: Answer, contraction: Mapping[str, float], calibration: Calibration | None) -> Verdict:
    """Words on the answer as a whole.

    Parameters
    ----------
    answer : Answer
    contraction : mapping of str to float
        By cause: typical posterior sd over prior sd; empty if the prior is unknown.
    calibration : Calibration, optional
        What `physgen check` has found.
    """
    good, total = int(answer.usable.sum()), answer.count
    lines = [*_reasons(answer), *_informed(contraction), *_fit(answer), *_sensitivity(answer), _calibrated(calibration)]
    bad = calibration is not None and not calibration.passed
    tone = "bad" if good == 0 else "mixed" if good < 0.95 * total or bad else "good"
    headline = _computed(good, total) if "trust" not in answer.stats else _headline(good, total)
    return Verdict(headline, tuple(lines), tone)


def _computed(good: int, total: int) -> str:
    """Without a verdict of trust: the inversion's own statuses say no more than that."""
    if total == 1:
        return "The computation succeeded." if good else "The computation did not succeed."
    if good == total:
        return f"The computation succeeded for all {total:,} observations."
    if not good:
        return f"The computation succeeded for none of the {total:,} observations."
    return f"The computation succeeded for {good:,} of {total:,} observations ({percent(good, total)})."


def _headline(good: int, total: int) -> str:
    if total == 1:
        return "The answer can be used as it is." if good else "The answer should not be used as it is."
    if good == total:
        return f"All {total:,} answers can be used as they are."
    if not good:
        return f"None of the {total:,} answers should be used as it is."
    return f"{good:,} of {total:,} answers ({percent(good, total)}) can be used as they are."


def _reasons(answer: Answer) -> list[str]:
    """Why the others cannot be, most frequent first."""
    found: list[tuple[int, str]] = []
    trust = answer.stats.get("trust")
    if trust is None:
        codes, counts = np.unique(answer.status[answer.status != Status.TRUSTED], return_counts=True)
        found = [(int(n), Status(int(c)).meaning.replace("_", " ")) for c, n in zip(codes, counts, strict=True)]
        note = [
            "That is not yet trust: whether the prior decides, or the observation is none that the model makes, has "
            "not been checked."
        ]
    else:
        codes, counts = np.unique(trust[~answer.usable].astype(int), return_counts=True)
        found = [(int(n), trust_words(int(c))) for c, n in zip(codes, counts, strict=True)]
        note = []
    if not found:
        return note
    said = ", ".join(f"{words} ({n:,})" for n, words in sorted(found, reverse=True))
    return [f"Not to be used as they are: {said}." if answer.count > 1 else f"The reason: {found[0][1]}.", *note]


def trust_words(code: int) -> str:
    """A code of `trust` in words."""
    return Trust(code).words if code in set(Trust) else f"code {code}"


def _informed(contraction: Mapping[str, float]) -> list[str]:
    known = {k: v for k, v in contraction.items() if math.isfinite(v)}
    if not known:
        return []
    ordered = sorted(known, key=lambda k: known[k])
    lines = []
    told = [k for k in ordered if known[k] < NARROW]
    if told:
        best = told[0]
        times = 1 / max(known[best], 1e-9)
        rest = f", then on {listed(told[1:4])}" if len(told) > 1 else ""
        lines.append(
            f"The observations say most on {best}, whose posterior is {times:.2g} times narrower than its prior{rest}."
        )
    little = [k for k in ordered if known[k] > LITTLE]
    if little:
        lines.append(f"They say next to nothing on {listed(little)}: there the answer is that of the prior.")
    return lines


def listed(names: Sequence[str]) -> str:
    """Names as a sentence lists them, at most six."""
    names = [*names[:6], *([f"{len(names) - 6} more"] if len(names) > 6 else [])]
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"


def _fit(answer: Answer) -> list[str]:
    p = misfit_p(answer)
    if p is None or not np.isfinite(p).any():
        return []
    p = p[np.isfinite(p)]
    if len(p) == 1:
        if p[0] < MISFIT:
            return [f"The model does not reproduce the observation within its noise (p = {p[0]:.2g})."]
        return [f"The model reproduces the observation within its noise (p = {p[0]:.2f})."]
    share = float((p < MISFIT).mean())
    if not share and len(p) < 1 / MISFIT:
        return ["The model reproduces every one of the observations within its noise."]
    return [
        f"The model reproduces {percent(1 - share)} of the observations within its noise "
        f"(if it holds, about {percent(1 - MISFIT)})."
    ]


def misfit_p(answer: Answer) -> np.ndarray | None:
    """A p-value of each observation's misfit (N,): the one that is stored, else that of chi2 with m degrees of freedom.

    At the best fit of a linear model chi2 is smaller than that, as the fit takes up some: m, the number of measured
    elements, is the cautious choice.
    """
    stored = answer.stats.get("predictive_p")
    if stored is not None:
        return np.asarray(stored, dtype=float)
    chi2, measured = answer.stats.get("chi2"), answer.stats.get("measured")
    if chi2 is None or measured is None or not np.isfinite(chi2).any():
        return None
    from scipy.stats import chi2 as distribution

    return np.where(np.isfinite(chi2), distribution.sf(chi2, np.maximum(measured, 1)), np.nan)


def _sensitivity(answer: Answer) -> list[str]:
    p = answer.stats.get("conflict_p")
    if p is None or not np.isfinite(p).any():
        return []
    share = float((p[np.isfinite(p)] < MISFIT).mean())
    if answer.count == 1:
        return ["Prior and observation pull apart (see Sensitivity)." if share else "Prior and observation agree."]
    if not share:
        return ["Prior and observations agree."]
    return [
        f"Prior and observation pull apart in {percent(share)} of the cases ({percent(MISFIT)} if the prior holds)."
    ]


def _calibrated(calibration: Calibration | None) -> str:
    if calibration is None:
        return "Whether the method is calibrated for this problem has not been checked (see Calibration)."
    return calibration.words
