"""What a check says of prior and likelihood: their power over each cause, over some of the recipe's observations."""

from __future__ import annotations

from typing import Any

import torch

from .problem import Problem
from .result import Result


def sensitivity(problem: Problem, result: Result) -> dict[str, Any]:
    """Power-scaling sensitivities of trusted answers, as plain values.

    Parameters
    ----------
    problem : Problem
    result : Result
        Of observations on one axis.

    Returns
    -------
    dict
        `observations`, `trusted`, and `causes`: for each the median sensitivity to `prior` and `likelihood`, `verdicts`
        (how many observations have each), and `words` of the commonest. Where it cannot be computed, `why` instead.
    """
    from .diagnostics.power_scaling import power_scaling
    from .diagnostics.replications import element_names
    from .diagnostics.sensitivity_verdict import Verdict

    rows = result.trusted
    found: dict[str, Any] = {"observations": len(rows), "trusted": int(rows.sum())}
    if not found["trusted"]:
        return {**found, "why": "No answer is trusted. See the status of the observations."}
    try:
        scaled = power_scaling(problem, result)
    except (ValueError, TypeError) as error:
        return {**found, "why": str(error)}
    codes, causes = scaled.verdict[rows], {}
    for i, name in enumerate(element_names(result.causes)):
        counts = torch.bincount(codes[:, i], minlength=len(Verdict)).tolist()
        commonest = Verdict(max(range(len(counts)), key=counts.__getitem__))
        causes[name] = {
            "prior": float(scaled.prior_sensitivity[rows][:, i].nanmedian()),
            "likelihood": float(scaled.likelihood_sensitivity[rows][:, i].nanmedian()),
            "verdicts": {Verdict(code).meaning: count for code, count in enumerate(counts) if count},
            "words": f"{commonest.words}. {commonest.advice}",
        }
    return {**found, "causes": causes}
