"""What the sensitivities of one cause say, as a code, in a word, and in two sentences."""

from __future__ import annotations

from enum import IntEnum

import torch
from torch import Tensor

SENSITIVE = 0.05
"""From this sensitivity on a power of prior or likelihood matters (Kallioinen et al. 2023, section 3.3)."""

CLEAR = 1.7
"""A sensitivity this many times its noise is not noise: of draws that have none, 4 to 5 % reach it."""


class Verdict(IntEnum):
    """One code for each cause of each observation; its `advice` says what to do."""

    DATA_DECIDE = 0
    PRIOR_DATA_CONFLICT = 1
    LIKELIHOOD_NONINFORMATIVE = 2
    NEITHER_MATTERS = 3
    TOO_FEW_DRAWS = 4
    UNKNOWN = 5

    @property
    def meaning(self) -> str:
        """Lower case, words joined by underscores, as a CF flag meaning."""
        return self.name.lower()

    @property
    def words(self) -> str:
        """For a table: lower case, with blanks."""
        return _WORDS.get(self, self.name.lower().replace("_", " "))

    @property
    def advice(self) -> str:
        """What was found and what to do, in two sentences."""
        return _ADVICE[self]


_WORDS = {Verdict.PRIOR_DATA_CONFLICT: "prior-data conflict"}

_ADVICE = {
    Verdict.DATA_DECIDE: "The likelihood moves the answer and the prior does not. Another sensible prior will agree.",
    Verdict.PRIOR_DATA_CONFLICT: (
        "Prior and likelihood both move the answer, since they pull apart or are equally strong. "
        "Ask whether the prior is meant so, and report the answer under another one beside it."
    ),
    Verdict.LIKELIHOOD_NONINFORMATIVE: (
        "The prior moves the answer and the likelihood hardly does: it is what the prior said before. "
        "Report it as such, or measure something that depends on this cause."
    ),
    Verdict.NEITHER_MATTERS: (
        "Neither prior nor likelihood moves the answer: the prior is flat here, and the data do not add to it. "
        "Report the prior's range."
    ),
    Verdict.TOO_FEW_DRAWS: (
        "The draws are too few to tell this sensitivity from noise. Invert with more draws: see `draws_needed`."
    ),
    Verdict.UNKNOWN: "There are no draws, or all are equal. Nothing can be said about this cause.",
}


def verdict(
    prior: Tensor,
    likelihood: Tensor,
    prior_noise: Tensor | float = 0.0,
    likelihood_noise: Tensor | float = 0.0,
    *,
    threshold: float = SENSITIVE,
) -> Tensor:
    """Codes of `Verdict` from sensitivities to prior and likelihood, and the noise of each.

    Parameters
    ----------
    prior, likelihood : Tensor (*)
    prior_noise, likelihood_noise : Tensor (*) or float
        What draws of this number give where there is no sensitivity (`PowerScaling.prior_noise`).
    threshold : float
        Of a sensitivity that matters.

    Returns
    -------
    integer Tensor (*)
    """
    shown = []
    for value, noise in ((prior, prior_noise), (likelihood, likelihood_noise)):
        noise = torch.as_tensor(noise, dtype=value.dtype, device=value.device)
        shown.append((value >= threshold, (value >= threshold) & (value < CLEAR * noise)))
    (by_prior, prior_unclear), (by_likelihood, likelihood_unclear) = shown
    codes = {
        Verdict.DATA_DECIDE: ~by_prior & by_likelihood,
        Verdict.PRIOR_DATA_CONFLICT: by_prior & by_likelihood,
        Verdict.LIKELIHOOD_NONINFORMATIVE: by_prior & ~by_likelihood,
        Verdict.TOO_FEW_DRAWS: prior_unclear | likelihood_unclear,
        Verdict.UNKNOWN: torch.isnan(prior) | torch.isnan(likelihood),
    }
    out = torch.full(prior.shape, int(Verdict.NEITHER_MATTERS), dtype=torch.int64, device=prior.device)
    for code, rows in codes.items():
        out[rows] = int(code)
    return out
