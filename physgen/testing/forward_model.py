"""Whether a forward model keeps the contract of `physgen.problem.ForwardModel`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from ..conditions import takes
from ..priors import Prior
from ..space import Space
from .cases import at_dtype, condition_rows, inside, names_of, row_count
from .gradients import check_gradients, check_no_gradient
from .report import Findings, Report
from .row_map import RowMap, check_answer, check_rows


def check_forward_model(
    model: Any,
    x: Any = None,
    prior: Prior | None = None,
    conditions: Mapping[str, Any] | None = None,
    *,
    seed: int = 0,
    tolerance: float = 1e-6,
) -> Report:
    """Tell the author of a forward model what is wrong with it.

    Parameters
    ----------
    model : ForwardModel
        A function, a module (checked in copies of float64 and float32), a black box.
    x : array_like (*, n), optional
        Causes to check it on; else draws from `prior`; else values inside the supports of ``model.causes``. Their
        device is the one that is checked.
    prior : Prior, optional
    conditions : mapping, optional
        One value each (spread over the rows by up to 1 %), or one for each row of `x`. Those that the model declares
        with a support need not be given.
    seed : int
        Of the draws.
    tolerance : float
        Of derivatives, relative to the largest derivative of a row, beyond the error of the central differences.

    Returns
    -------
    Report
        The checks that it passed; prints as a list.

    Raises
    ------
    CheckError
        With every finding: shapes, batching, broadcasting of conditions, non-finite values and gradients, gradients
        that differ from central differences, dtype and device.
    ValueError
        If there is nothing to check it on, or a condition is unknown or missing.

    Examples
    --------
    >>> report = check_forward_model(lambda x: torch.exp(-x), x=torch.rand(5, 2))
    >>> report.passed[:2]
    ('a prediction', 'finite prediction')
    """
    findings = Findings(_name(model))
    causes = getattr(model, "causes", None) or (prior.causes if prior is not None else None)
    case = _case(model, causes, x, prior, conditions, seed)
    prediction = check_answer(case, findings)
    if prediction is None:
        return findings.report()
    _sizes(model, case, prediction, findings)
    check_rows(case, prediction, findings)
    if getattr(model, "differentiable", True):
        support = causes if causes is not None and causes.size == case.x.shape[-1] else None
        check_gradients(case, prediction, support, findings, tolerance)
    else:
        check_no_gradient(case, findings)
    return findings.report()


def _name(model: Any) -> str:
    return str(getattr(model, "name", None) or getattr(model, "__name__", type(model).__name__))


def _case(
    model: Any, causes: Space | None, x: Any, prior: Prior | None, conditions: Mapping[str, Any] | None, seed: int
) -> RowMap:
    if x is None and causes is None:
        raise ValueError(f"No causes to check {_name(model)!r} on. Give x, a prior, or a model with causes.")
    observables = getattr(model, "observables", None)
    given = None if x is None else torch.as_tensor(x).to(torch.float64)
    size = causes.size if given is None and causes is not None else torch.as_tensor(given).shape[-1]
    rows = row_count(size, observables.size if observables is not None else None)
    device = given.device if given is not None else torch.device("cpu")
    index, like = torch.arange(rows, device=device), torch.empty((), dtype=torch.float64, device=device)
    taken, wide = takes(model), takes(model)
    if given is None and prior is not None:
        wide = taken | takes(prior, "decode")
    made = condition_rows(conditions, wide, getattr(model, "conditions", None), index, like)
    if given is not None:
        given = given.reshape(-1, size)
        given = given[index % len(given)]
    elif prior is not None:
        own = takes(prior, "decode").pick(made)
        given = prior.sample(rows, seed=seed, dtype=torch.float64, **own)
    elif causes is not None:
        given = inside(causes, rows, seed)
    double, single = at_dtype(model, torch.float64), at_dtype(model, torch.float32)
    return RowMap(double, torch.as_tensor(given), taken.pick(made), names_of(causes, size, "cause"), single)


def _sizes(model: Any, case: RowMap, prediction: Tensor, findings: Findings) -> None:
    with findings.check("declared causes and observables", "They must be Spaces."):
        for what, found in (("causes", case.x), ("observables", prediction)):
            space = getattr(model, what, None)
            if space is not None and space.size != found.shape[-1]:
                findings.add(
                    f"The model declares {space.size} {what} where the last axis holds {found.shape[-1]}. "
                    f"Its {what} must name every element."
                )
