"""The frame in which a network learns: causes on whole lines and standardised, conditions standardised."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch
from torch import Tensor

from ..conditions import Takes, check_names
from ..space import Space
from .columns import total
from .storage import space_from_json, space_to_json
from .support_map import SupportMap

_TENSORS = ("mean", "trend", "factor", "condition_mean", "condition_sd")
_ROWS = 8  # a product of a few rows, and an odd end of a vector, take another path and round differently


@dataclass(frozen=True, eq=False)
class Frame:
    """x = support map(mean + trend c + factor w), c = (condition - condition_mean) / condition_sd.

    Axes are (elements, rows): rows lie along memory.

    Parameters
    ----------
    causes : Space
    mean : Tensor (n,)
    trend : Tensor (n, c)
        What the causes change by with the conditions, on average; 0 where a graph decides what depends on what.
    factor : Tensor (n, n)
        Lower triangular; diagonal where the causes are standardised one by one.
    conditions : tuple of str
        Their names.
    condition_mean, condition_sd : Tensor (c,)
    """

    causes: Space
    mean: Tensor
    trend: Tensor
    factor: Tensor
    conditions: tuple[str, ...]
    condition_mean: Tensor
    condition_sd: Tensor

    @cached_property
    def support(self) -> SupportMap:
        """The maps of the causes to whole lines."""
        return SupportMap(self.causes)

    @cached_property
    def takes(self) -> Takes:
        """All conditions, required."""
        return Takes(frozenset(self.conditions))

    def spread(self, values: Tensor, conditions: Mapping[str, Any]) -> tuple[Tensor, Tensor, tuple[int, ...]]:
        """Lay values ``(*, k)`` and conditions ``(*)`` out.

        Returns
        -------
        values (k, R), conditions (c, R), lead
            Standardised conditions; rows of zeros fill up to a multiple of 8, so that a row's bits do not depend on
            the others.

        Raises
        ------
        ValueError
            If a condition is missing, unknown, or of a shape that does not broadcast.
        """
        check_names(conditions, self.takes)
        own = {n: torch.as_tensor(conditions[n], dtype=values.dtype, device=values.device) for n in self.conditions}
        try:
            lead = torch.broadcast_shapes(values.shape[:-1], *(v.shape for v in own.values()))
        except RuntimeError as error:
            shapes = {n: tuple(v.shape) for n, v in own.items()}
            raise ValueError(
                f"Conditions of shapes {shapes} do not fit rows of shape {tuple(values.shape[:-1])}. "
                "Give one value, or one for each row."
            ) from error
        columns = _fill(values.expand(*lead, values.shape[-1]).reshape(-1, values.shape[-1]).mT)
        if not own:
            return columns, columns[:0], tuple(lead)
        c = torch.stack([v.expand(lead).reshape(-1) for v in own.values()])
        centre, sd = self.condition_mean.to(c)[:, None], self.condition_sd.to(c)[:, None]
        return columns, _fill((c - centre) / sd), tuple(lead)

    def gather(self, columns: Tensor, lead: tuple[int, ...]) -> Tensor:
        """Undo `spread`: ``(*lead, n)`` of ``(n, R)``."""
        count = 1
        for n in lead:
            count *= n
        return columns[:, :count].mT.reshape(*lead, len(columns)).contiguous()

    def decode(self, w: Tensor, context: Tensor) -> Tensor:
        """Causes ``(n, R)`` of standardised values ``(n, R)`` under standardised conditions ``(c, R)``."""
        return self.support.decode(torch.addmm(self._centre(context), self.factor.to(w), w))

    def encode(self, x: Tensor, context: Tensor) -> tuple[Tensor, Tensor]:
        """Standardised values ``(n, R)``, and log |dx / dw| ``(R,)``; NaN and inf outside a support."""
        u = self.support.encode(x)
        w = torch.linalg.solve_triangular(self.factor.to(x), u - self._centre(context), upper=False)
        return w, total(self.support.log_slopes(u)) + self._log_factor

    def encode_parts(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """As `encode` with a diagonal factor, but log |dx_i / dw_i| of each cause ``(n, R)``."""
        u, sd = self.support.encode(x), self.factor.diagonal().to(x)[:, None]
        return (u - self.mean.to(x)[:, None]) / sd, self.support.log_slopes(u) + sd.log()

    def _centre(self, context: Tensor) -> Tensor:
        mean = self.mean.to(context)[:, None]
        return torch.addmm(mean, self.trend.to(context), context) if len(context) else mean

    @cached_property
    def _log_factor(self) -> float:
        return float(self.factor.diagonal().log().sum())

    def state(self) -> tuple[dict[str, Tensor], dict[str, Any]]:
        """Tensors and plain values that `from_state` makes the same frame of."""
        settings = {"causes": space_to_json(self.causes), "conditions": list(self.conditions)}
        return {f"frame.{n}": getattr(self, n) for n in _TENSORS}, settings

    @classmethod
    def from_state(cls, tensors: Mapping[str, Tensor], settings: Mapping[str, Any]) -> Frame:
        """The frame of `state`."""
        parts = {n: tensors[f"frame.{n}"] for n in _TENSORS}
        return cls(space_from_json(settings["causes"]), conditions=tuple(settings["conditions"]), **parts)

    @classmethod
    def of(
        cls, u: Tensor, c: Tensor, causes: Space, conditions: Sequence[str], *, whiten: bool, common: bool = False
    ) -> Frame:
        """The frame in which rows have mean 0 and variance 1, and with `whiten` no correlations.

        Parameters
        ----------
        u : Tensor (N, n)
            Causes on whole lines.
        c : Tensor (N, c)
            Conditions.
        causes : Space
        conditions : sequence of str
        whiten : bool
        common : bool
            Divide all causes by one number: the root of their mean variance.

        Raises
        ------
        ValueError
            If a combination of causes is constant.
        """
        condition_mean, condition_sd = c.mean(0), (c - c.mean(0)).square().mean(0).sqrt()
        mean = u.mean(0)
        trend = torch.zeros(u.shape[1], c.shape[1], dtype=u.dtype)
        if whiten and c.shape[1]:
            context = (c - condition_mean) / condition_sd
            trend = torch.linalg.lstsq(context, u - mean).solution.mT
            u = u - context @ trend.mT
        sd = u.std(0, correction=0)
        factor = torch.diag(sd.square().mean().sqrt().expand_as(sd) if common else sd)
        if whiten:
            correlation = torch.corrcoef(u.mT).reshape(len(sd), len(sd))
            if bool(torch.linalg.eigvalsh(correlation)[0] < 1e-9):
                raise ValueError("One cause is a linear combination of others. Leave one of them out.")
            factor = sd[:, None] * torch.linalg.cholesky(correlation)
        return cls(causes, mean, trend, factor, tuple(conditions), condition_mean, condition_sd)


def _fill(columns: Tensor) -> Tensor:
    lack = -columns.shape[-1] % _ROWS
    return torch.nn.functional.pad(columns, (0, lack)) if lack else columns.contiguous()
