"""Tables of causes to learn from, and what makes one unusable."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..space import Block, Space

_FEWEST, _PER_COLUMN = 100, 20


def read_samples(
    table: Any,
    causes: Space | Sequence[Block | str] | None,
    conditions: Mapping[str, Any] | None,
    *,
    constant: str = "refuse",
    fewest: int | None = None,
) -> tuple[Tensor, Tensor, Space, tuple[str, ...]]:
    """A table that a network can learn from, checked.

    Parameters
    ----------
    table : array_like (N, n)
        One row a sample, in the units of the causes.
    causes : Space or sequence, optional
        What the columns are; ``x0, x1, ...`` on the whole line by default.
    conditions : mapping of str to array_like (N,), optional
        Under which each row was found.
    constant : {"refuse", "keep"}
        What to do with a cause of one value.
    fewest : int, optional
        Rows needed at least; by default 100, or 20 for each column. Less for networks whose number of weights does not
        grow with the columns.

    Returns
    -------
    x : Tensor (N, n), float64
    c : Tensor (N, c), float64
    causes : Space
    names : tuple of str
        Of the conditions.

    Raises
    ------
    ValueError
        If shapes disagree, there are too few rows, a value is missing or infinite, a column is constant, or a cause
        lies outside its support; columns are named.
    """
    x = _float64(table)
    if x.ndim != 2 or x.shape[1] == 0:
        raise ValueError(f"Invalid table of shape {tuple(x.shape)}. Give (samples, causes).")
    if constant not in ("refuse", "keep"):
        raise ValueError(f"Invalid constant {constant!r}. Must be 'refuse' or 'keep'.")
    space = causes if isinstance(causes, Space) else Space(*(causes or [f"x{i}" for i in range(x.shape[1])]))
    if space.size != x.shape[1]:
        raise ValueError(f"Invalid causes with {space.size} elements. The table has {x.shape[1]} columns.")
    names = tuple(conditions or ())
    clash = sorted(set(names) & set(space.names))
    if clash:
        raise ValueError(f"{', '.join(clash)} is both a cause and a condition. Give the two names of their own.")
    c = _conditions(conditions or {}, len(x))
    if fewest is None:
        fewest = max(_FEWEST, _PER_COLUMN * (x.shape[1] + len(names)))
    if len(x) < fewest:
        raise ValueError(
            f"Too few samples: {len(x)} for {x.shape[1]} causes and {len(names)} conditions. "
            f"Give at least {fewest}, or use a prior with fewer parameters, such as PPCA or Gaussian."
        )
    every = torch.cat([x, c], 1)
    labels = (*space.element_names, *names)
    _refuse(~torch.isfinite(every).all(0), labels, "Missing or infinite values of", "Leave such rows or columns out.")
    flat = (every == every[:1]).all(0)
    if constant == "keep":
        flat[: x.shape[1]] = False
    _refuse(flat, labels, "No variation in", "Leave such columns out.")
    _check_supports(x, space)
    return x, c, space, names


def _conditions(conditions: Mapping[str, Any], rows: int) -> Tensor:
    columns = []
    for name, value in conditions.items():
        column = _float64(value)
        if column.shape != (rows,):
            raise ValueError(
                f"Invalid condition {name!r} of shape {tuple(column.shape)}. Give one for each of the {rows} rows."
            )
        columns.append(column)
    return torch.stack(columns, 1) if columns else torch.zeros(rows, 0, dtype=torch.float64)


def _refuse(which: Tensor, labels: Sequence[str], what: str, advice: str) -> None:
    if bool(which.any()):
        names = [name for name, named in zip(labels, which.tolist(), strict=True) if named]
        more = f" and {len(names) - 5} more" if len(names) > 5 else ""
        raise ValueError(f"{what} {', '.join(names[:5])}{more}. {advice}")


def _check_supports(x: Tensor, space: Space) -> None:
    ends = [b for b in space for _ in range(b.size)]
    for column, name, block in zip(x.unbind(1), space.element_names, ends, strict=True):
        low, high = block.support
        outside = (column <= low) | (column >= high)
        if bool(outside.any()):
            value = float(column[outside][0])
            raise ValueError(
                f"Invalid {name} {value:g} in {int(outside.sum())} of {len(column)} rows. "
                f"Must lie within {low:g} to {high:g}, both excluded."
            )


def _float64(values: Any) -> Tensor:
    if isinstance(values, Tensor):
        return values.detach().to("cpu", torch.float64)
    try:
        return torch.as_tensor(np.array(values, dtype=np.float64))
    except (TypeError, ValueError) as error:
        raise TypeError(f"Invalid samples of type {type(values).__name__}. Give numbers.") from error
