"""`SectionSizes`: the exact likelihood of a list of sizes of profiles."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import torch
from torch import Tensor

from physgen.noise import Noise, Whitener
from physgen.panel import Panel

from .microscope import Microscope
from .section_rows import SectionRows
from .section_simulation import number_of_profiles, simulate_profiles
from .size_families import family
from .size_measures import LEAST_PROFILES, check_measure, check_sizes, from_radius, like_areas, to_radius
from .sizes import Sizes


@dataclass(frozen=True, eq=False)
class FisherWhitener(Whitener):
    """A whitener whose information is a full matrix.

    Attributes
    ----------
    factor : Tensor (*, p, p)
        L^T.
    log_prob : Tensor (*), optional
        The log density there, where it was computed with the score.
    """

    factor: Tensor
    log_prob: Tensor | None = None

    def __call__(self, jacobian: Tensor) -> Tensor:
        return (self.factor[..., None] * jacobian[..., None, :, :]).sum(-2)


@dataclass(frozen=True, eq=False)
class SectionSizes(Noise):
    """Profiles of spheres, each of a size y_i that chance decides: where the plane happened to pass.

    The prediction ``(*, p)`` holds the parameters of the radius of the spheres in um, as `Spheres` returns them; with
    `counts` one more, the number of spheres in mm-3. y ``(*, m)`` holds sizes in any order, NaN for no profile, so that
    lists of different lengths make a batch.

    ``ln p(y) = sum_i ln h(y_i)``, h the density of the profiles that are seen; with `counts` also the Poisson
    probability of their number on the area `field_area`, on which every profile must then be listed.

    Conditions: `smallest`, the size below which no profile is seen; `thickness` of the section in um; `cap_angle` in
    degrees, see `Microscope`; `field_area` in mm2.

    Parameters
    ----------
    sizes : str or Sizes
        The family of the spheres' sizes; see `family`.
    measure : {"diameter", "radius", "area"}
        What y and `smallest` are, in um or um2. The density is per unit of it.
    counts : bool
        Whether the number of profiles on a known area is an observation too.
    profiles : int
        How many `sample` draws where nothing says it; with `counts`, the most that it may draw.
    least : int
        An observation with fewer profiles is an error.

    Raises
    ------
    ValueError, TypeError
        If a name is unknown or a number not positive. The methods raise for sizes that are not positive or below
        `smallest`, for too few profiles, and without `field_area` if `counts`.
    """

    sizes: str | Sizes = "lognormal"
    measure: str = "diameter"
    counts: bool = False
    profiles: int = 1000
    least: int = LEAST_PROFILES

    def __post_init__(self) -> None:
        _ = self._family
        check_measure(self.measure)
        for name in ("profiles", "least"):
            if getattr(self, name) < 1:
                raise ValueError(f"Invalid {name} {getattr(self, name)}. Must be at least 1.")

    def log_prob(  # type: ignore[override]
        self,
        y: Tensor,
        prediction: Tensor,
        *,
        smallest: Tensor | None = None,
        thickness: Tensor | None = None,
        cap_angle: Tensor | None = None,
        field_area: Tensor | None = None,
    ) -> Tensor:
        """Log density ``(*)`` of the sizes that are measured; draws may lead in the prediction."""
        conditions = {"smallest": smallest, "thickness": thickness, "cap_angle": cap_angle, "field_area": field_area}
        rows, theta, shape = self._rows(y, prediction, conditions)
        return rows.log_prob(theta).reshape(shape)

    def whiten(self, y: Tensor, prediction: Tensor, **conditions: Tensor) -> FisherWhitener:
        """Exact score and the Fisher information, by quadrature."""
        rows, theta, shape = self._rows(y, prediction, conditions)
        residual, factor, value = rows.whiten(theta)
        p = theta.shape[-1]
        return FisherWhitener(residual.reshape(*shape, p), factor.reshape(*shape, p, p), value.reshape(shape))

    def standardise(self, y: Tensor, prediction: Tensor, **conditions: Tensor) -> Tensor:
        """Normal scores of the sizes' ranks, ``(*, m)``; 0 where there is no profile.

        Their squares say whether the sizes follow the family, not where: a chi2 too small is a misfit too.
        """
        rows, theta, shape = self._rows(y, prediction, conditions)
        return rows.normal_scores(theta).reshape(*shape, y.shape[-1])

    def sample(  # type: ignore[override]
        self, prediction: Tensor, *, seed: int = 0, like: Tensor | None = None, **conditions: Tensor
    ) -> Tensor:
        """Sizes ``(*, m)`` of profiles for each prediction; NaN where `like` has NaN.

        Without `like`, m is `profiles`; with `counts`, profiles beyond the number that the field holds are NaN.

        Raises
        ------
        ValueError
            If a field holds more than `profiles`.
        """
        lead = prediction.shape[:-1] if like is None else torch.broadcast_shapes(prediction.shape[:-1], like.shape[:-1])
        m = self.profiles if like is None else like.shape[-1]
        theta = prediction.detach().expand(*lead, prediction.shape[-1]).reshape(-1, prediction.shape[-1])
        microscope, field_area = microscope_rows(conditions, lead, prediction, self.measure, self.counts)
        own = theta[:, :-1] if self.counts else theta
        size = from_radius(simulate_profiles(self._family, own, microscope, m, seed=seed), self.measure)
        if field_area is not None and like is None:
            n = number_of_profiles(self._family, theta, microscope, field_area, m, seed=seed)
            size = torch.where(torch.arange(m, device=size.device) < n[:, None], size, torch.nan)
        size = size.reshape(*lead, m)
        return size if like is None else torch.where(torch.isnan(like).to(size.device), torch.nan, size)

    def pointwise(self, y: Tensor, prediction: Tensor, **conditions: Tensor) -> Tensor:
        """Log density ``(*, m)`` of each size by itself, their number aside; 0 where there is no profile."""
        rows, theta, shape = self._rows(y, prediction, conditions)
        return rows.pointwise(theta).reshape(*shape, y.shape[-1])

    def doubt(self, y: Tensor, **conditions: Tensor) -> str | None:
        """What is implausible about sizes ``(*, m)`` that are possible, in two sentences."""
        if conditions.get("smallest") is not None:
            return None
        lists = (row[~torch.isnan(row)].cpu().numpy() for row in y.reshape(-1, y.shape[-1]))
        return next(filter(None, (like_areas(sizes, self.measure) for sizes in lists if len(sizes))), None)

    def panels(self, prediction: Tensor, y: Tensor, **conditions: Tensor) -> list[Panel]:
        """The histogram of the sizes, and those of lists of as many that the posterior predicts; see `Panel`."""
        seen = y[~torch.isnan(y)]
        classes = max(5, round(2 * len(seen) ** (1 / 3)))  # the rule of Rice University
        edges = torch.linspace(0, 1.02 * float(seen.max()), classes + 1).to(seen)
        like = seen.expand(len(prediction), -1)
        again = self.sample(prediction, seed=0, like=like, **{k: v.expand(len(like)) for k, v in conditions.items()})
        counts = torch.stack([torch.histc(row, classes, 0.0, float(edges[-1])) for row in (seen, *again)])
        density = counts / (len(seen) * (edges[1] - edges[0]))
        unit = "um2" if self.measure == "area" else "um"
        label = f"{self.measure} ({unit})"
        return [Panel("profiles, and what is predicted", label, f"density ({unit}-1)", edges, density[1:], density[0])]

    @cached_property
    def _family(self) -> Sizes:
        return family(self.sizes)

    def _rows(
        self, y: Tensor, prediction: Tensor, conditions: dict[str, Any]
    ) -> tuple[SectionRows, Tensor, torch.Size]:
        """The rows, their parameters ``(R, p)``, and the shape that the rows had."""
        p = self._family.parameters + self.counts
        if prediction.shape[-1] != p:
            raise ValueError(
                f"Invalid prediction of {prediction.shape[-1]} parameters. {self.sizes!r} has {p}: give forward model "
                "and noise the same sizes and counts."
            )
        y = y.to(prediction)
        self._check(y, conditions.get("smallest"))
        shape = torch.Size(np.broadcast_shapes(y.shape[:-1], prediction.shape[:-1]))  # torch's own is slow
        theta = prediction.expand(*shape, p).reshape(-1, p)
        microscope, field_area = microscope_rows(conditions, shape, prediction, self.measure, self.counts)
        return SectionRows.of(self._family, self.measure, y, shape, microscope, field_area), theta, shape

    def _check(self, y: Tensor, smallest: Tensor | None) -> None:
        check_sizes(y, smallest)
        count = (~torch.isnan(y)).sum(-1)
        few = (count > 0) & (count < self.least)
        if bool(few.any()):
            raise ValueError(f"Invalid observation of {int(count[few][0])} profiles. Give at least {self.least}.")


def microscope_rows(
    conditions: Mapping[str, Any], shape: torch.Size | tuple[int, ...], like: Tensor, measure: str, counts: bool
) -> tuple[Microscope, Tensor | None]:
    """The microscope and, with `counts`, the field's area in mm2: one value for each of the rows of `shape`.

    Raises
    ------
    ValueError
        If profiles are counted and there is no `field_area`.
    """
    rows = {
        name: None if value is None else torch.as_tensor(value).to(like).expand(shape).reshape(-1)
        for name, value in conditions.items()
    }
    area, smallest = rows.get("field_area"), rows.get("smallest")
    if counts and area is None:
        raise ValueError(
            "Missing condition field_area. The number of spheres per volume needs the area, in mm2, on which all "
            "profiles were listed."
        )
    if smallest is not None:
        smallest = to_radius(smallest, measure)
    return Microscope(smallest, rows.get("thickness"), rows.get("cap_angle")), area if counts else None
