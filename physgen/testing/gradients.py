"""Gradients of a map of rows against central differences."""

from __future__ import annotations

import torch
from torch import Tensor

from ..random import normal, single_stream
from ..rows import jacobian
from ..space import Space
from .cases import bounds
from .derivatives import central_differences, disagreement, steps
from .report import Findings
from .row_map import RowMap, same

_TORCH = "Use torch operations only, or wrap a function of NumPy arrays once with pg.blackbox."


def check_gradients(case: RowMap, made: Tensor, support: Space | None, findings: Findings, tolerance: float) -> None:
    """Reverse mode, the Jacobian that inversions use, and the map's own ``jacobian`` if it has one.

    Parameters
    ----------
    made : Tensor (R, m)
        What the map makes of its rows.
    support : Space or None
        Whose supports no difference may leave.
    tolerance : float
        Relative to the largest derivative of a row and cause, beyond the error of the differences.
    """
    low, high = bounds(support, case.x) if support is not None else (None, None)
    differences, error = central_differences(case, case.x, steps(case.x, low, high))
    usable = torch.isfinite(made).all(-1)
    with findings.check("gradient in reverse mode", _TORCH):
        _reverse(case, differences, error, usable, findings, tolerance)
    with findings.check("Jacobian, in forward mode where it exists", _TORCH):
        found = jacobian(case, case.x)[1]
        compare(case, found, differences, error, usable, findings, tolerance)
    own = getattr(case.function, "jacobian", None)
    if own is not None:
        with findings.check("its own jacobian", "It must return (prediction (*, m), Jacobian (*, m, n))."):
            value, found = own(case.x, **case.conditions)
            same(value, made, f"The value of jacobian() and the {case.made}", findings)
            compare(case, found, differences, error, usable, findings, tolerance)


def _reverse(
    case: RowMap, differences: Tensor, error: Tensor, usable: Tensor, findings: Findings, tolerance: float
) -> None:
    """One product with random weights, so that an output of any length costs one pass."""
    leaf = case.x.clone().requires_grad_(True)
    out = case(leaf)
    if not out.requires_grad:
        findings.add(f"The {case.made} carries no gradient: a method that needs one would ignore the data. {_TORCH}")
        return
    w = normal(tuple(out.shape[-1:]), single_stream(), seed=7).to(out)
    found = torch.autograd.grad((out[usable] * w).sum(), leaf, materialize_grads=True)[0]
    wanted, uncertainty = w @ differences, w.abs() @ error
    # a sum of outputs cancels: what it may err by is set by its terms
    scale = tolerance * (w.abs() @ differences.abs())
    compare(case, found[:, None], wanted[:, None], (uncertainty + scale)[:, None], usable, findings, tolerance)


def compare(
    case: RowMap,
    found: Tensor,
    wanted: Tensor,
    error: Tensor,
    usable: Tensor,
    findings: Findings,
    tolerance: float,
) -> None:
    """One finding for each element of x whose derivative ``(R, m, n)`` is not finite or not `wanted`."""
    if found.shape != wanted.shape:
        findings.add(f"The Jacobian has the shape {tuple(found.shape)}. It must be {tuple(wanted.shape)}.")
        return
    lost = ~torch.isfinite(found) & usable[:, None, None]
    wrong = disagreement(found, wanted, error, tolerance) & usable[:, None, None] & ~lost
    for j, name in enumerate(case.names):
        if bool(lost[..., j].any()):
            row = int(lost[..., j].any(-1).nonzero()[0])
            findings.add(
                f"The gradient with respect to {name} is not finite at {case.describe(row)}, where the {case.made} is. "
                "Look for sqrt, log or a division at 0, also in the branch that a torch.where does not take."
            )
        if bool(wrong[..., j].any()):
            row, output = wrong[..., j].nonzero()[0].tolist()
            findings.add(
                f"The gradient with respect to {name} is {float(found[row, output, j]):.6g} at {case.describe(row)}, "
                f"where central differences give {float(wanted[row, output, j]):.6g}. "
                "Look for detach, item, rounding, or a value that passes through NumPy."
            )


def check_no_gradient(case: RowMap, findings: Findings) -> None:
    """A model that says ``differentiable = False`` must refuse a gradient, not give zeros."""
    findings.skip("gradient against central differences", "the model says that it has none")
    with findings.check("a gradient is refused", _TORCH):
        out = case(case.x.clone().requires_grad_(True))
        try:
            out.sum().backward()
        except TypeError:
            return
        except RuntimeError:  # torch: the output is not in the graph, so that forward mode gives zeros
            findings.add(f"The model says differentiable=False but does not refuse a gradient. {_TORCH}")
            return
        findings.add("The model says differentiable=False but has a gradient. Leave the attribute out.")
