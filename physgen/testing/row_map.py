"""Checks of any map of rows, ``(*, n) -> (*, m)``: a forward model, a prior's decode, a noise's log_prob."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from .report import Findings

_AXES = "Index the last axis from the right (x[..., 0]), and put a condition against it with condition[..., None]."
_DTYPE = "Make constants of the dtype and device of the input, for instance with x.new_tensor."


@dataclass(frozen=True, eq=False)
class RowMap:
    """A map with the rows on which it is checked.

    Attributes
    ----------
    function : callable
        ``(x, **conditions)``, in float64.
    x : Tensor (R, n)
    conditions : mapping of str to Tensor (R, *own)
    names : tuple of str
        Of the n elements of x.
    single : callable
        The same map in float32.
    given, made : str
        The words for what goes in and what comes out.
    fixed : mapping of str to Tensor (R, *own)
        What is passed as the conditions are but is no condition: it always has the shape of the rows.
    """

    function: Callable[..., Any]
    x: Tensor
    conditions: Mapping[str, Tensor]
    names: tuple[str, ...]
    single: Callable[..., Any]
    given: str = "causes"
    made: str = "prediction"
    fixed: Mapping[str, Tensor] = field(default_factory=dict)

    def __call__(self, x: Tensor) -> Tensor:
        """Applied to x with the conditions as they are."""
        return self.function(x, **self.conditions, **self.fixed)

    def mapped(self, x: Tensor, change: Callable[[Tensor], Tensor]) -> Tensor:
        """Applied to x with every condition (and what is fixed) changed alike."""
        own = {k: change(v) for k, v in {**self.conditions, **self.fixed}.items()}
        return self.function(x, **own)

    def describe(self, row: int) -> str:
        """Where a row lies, in words."""
        values = [f"{name} {float(v):.4g}" for name, v in zip(self.names, self.x[row], strict=True)][:6]
        values += [f"{k} {float(v[row]):.4g}" for k, v in self.conditions.items() if v.ndim == 1][:4]
        return ", ".join(values)


def check_answer(case: RowMap, findings: Findings) -> Tensor | None:
    """What the map makes of its rows, or None if that has no usable shape."""
    before = len(findings.found)
    made: Any = None
    advice = f"It must make a {case.made} (*, m) of {case.given} (*, n) and the conditions that it names."
    with findings.check(f"a {case.made}", advice):
        made = case(case.x.clone())
        if not isinstance(made, Tensor):
            findings.add(
                f"The {case.made} is a {type(made).__name__}, not a tensor. Use torch, or wrap a function of NumPy "
                "arrays once with pg.blackbox."
            )
        elif not made.is_floating_point():
            findings.add(f"The {case.made} has the dtype {made.dtype}. It must be that of the {case.given}.")
        elif made.ndim == 0 or made.shape[:-1] != case.x.shape[:-1]:
            findings.add(
                f"The {case.made} has the shape {tuple(made.shape)} for {case.given} of shape {tuple(case.x.shape)}. "
                "It must keep every axis but the last."
            )
        elif made.device != case.x.device:
            findings.add(f"The {case.made} is on {made.device}, the {case.given} on {case.x.device}. {_DTYPE}")
    return made.detach() if len(findings.found) == before else None


def check_rows(case: RowMap, made: Tensor, findings: Findings) -> None:
    """Everything but gradients: finite, pure, row by row, broadcasting, dtype."""
    _finite(case, made, findings)
    _pure(case, made, findings)
    _batching(case, made, findings)
    if case.conditions:
        _broadcasting(case, made, findings)
    _dtype(case, made, findings)


def _finite(case: RowMap, made: Tensor, findings: Findings) -> None:
    with findings.check(f"finite {case.made}", "It must be finite wherever the prior has mass."):
        bad = ~torch.isfinite(made).all(-1)
        if bool(bad.any()):
            findings.add(
                f"The {case.made} is not finite in {int(bad.sum())} of {len(bad)} rows, first at "
                f"{case.describe(int(bad.nonzero()[0]))}. It must be finite wherever the prior has mass."
            )


def _pure(case: RowMap, made: Tensor, findings: Findings) -> None:
    with findings.check("the same answer twice", "It must depend on its arguments alone."):
        x = case.x.clone()
        again = case(x)
        if not torch.equal(x, case.x):
            findings.add(f"The {case.given} were changed in place. Work on a copy.")
        if again.shape != made.shape or not torch.equal(again.nan_to_num(), made.nan_to_num()):
            findings.add(
                f"The same {case.given} gave another {case.made} the second time. It must be free of random numbers: "
                "leave them to the noise, and call eval() on a module."
            )


def _batching(case: RowMap, made: Tensor, findings: Findings) -> None:
    with findings.check("batching equals looping", _AXES):
        rows = [case.mapped(case.x[i : i + 1], _row(i)) for i in range(len(case.x))]
        same(torch.cat(rows), made, "One row at a time and all rows together", findings)
    with findings.check("a single row (n,)", _AXES):
        one = case.mapped(case.x[0], lambda v: v[0])
        same(one, made[0], "A row of shape (n,) and the same row in a batch", findings)
    with findings.check("draws before rows (2, R, n)", _AXES):
        draws = case.mapped(torch.stack([case.x, case.x]), lambda v: torch.stack([v, v]))
        same(draws, torch.stack([made, made]), "The shapes (2, R, n) and (R, n)", findings)


def _row(i: int) -> Callable[[Tensor], Tensor]:
    return lambda v: v[i : i + 1]


def _broadcasting(case: RowMap, made: Tensor, findings: Findings) -> None:
    with findings.check("conditions (R,) under draws (2, R, n)", _AXES):
        draws = case(torch.stack([case.x, case.x]))
        same(draws, torch.stack([made, made]), "Conditions (R,) under draws (2, R, n), and row by row,", findings)
    with findings.check("a shared condition, 0-d or (1,)", _AXES):
        full = case.function(case.x, **{k: v[:1].expand_as(v) for k, v in case.conditions.items()}, **case.fixed)
        for size, cut in (("()", 0), ("(1,)", slice(0, 1))):
            shared = case.function(case.x, **{k: v[cut] for k, v in case.conditions.items()}, **case.fixed)
            same(shared, full, f"A condition of shape {size} and the same value for each row", findings)


def same(found: Tensor, wanted: Tensor, what: str, findings: Findings, tolerance: float = 1e-10) -> None:
    """A finding unless both agree beyond rounding (batched kernels may add in another order)."""
    if found.shape != wanted.shape:
        findings.add(f"{what} gave the shapes {tuple(found.shape)} and {tuple(wanted.shape)}. {_AXES}")
        return
    finite = torch.isfinite(found) & torch.isfinite(wanted)
    alike = finite | (found == wanted) | (torch.isnan(found) & torch.isnan(wanted))
    error = torch.where(finite, (found - wanted).abs(), 0).max()
    scale = torch.where(finite, wanted.abs(), 0).max()
    if not bool(alike.all()) or bool(error > tolerance * scale):
        findings.add(f"{what} differ by up to {float(error):.3g}. Every row must be answered by itself.")


def _dtype(case: RowMap, made: Tensor, findings: Findings) -> None:
    with findings.check("float32 in, float32 out", _DTYPE):
        own = {k: v.float() for k, v in {**case.conditions, **case.fixed}.items()}
        single = case.single(case.x.float(), **own)
        for found, wanted in ((made.dtype, torch.float64), (single.dtype, torch.float32)):
            if found != wanted:
                findings.add(f"A {case.made} of {found} came from {case.given} of {wanted}. {_DTYPE}")
        lost = torch.isfinite(made) & ~torch.isfinite(single)
        if bool(lost.any()):
            findings.add(
                f"In float32 {int(lost.sum())} of {lost.numel()} elements of the {case.made} are not finite that are "
                "in float64. Look for an overflow, or for a logarithm or division of something that rounds to 0."
            )
