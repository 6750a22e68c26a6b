"""Observations, parameters and conditions of profiles, joined row by row."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from .microscope import Microscope, log_number
from .section_likelihood import Profiles, at, information, log_rates, profile_rates
from .size_measures import log_jacobian, to_radius
from .sizes import Sizes
from .spheres import section_cdf

LOG_UNITS = math.log(1e-3)  # of mm-3 mm2 um, in numbers
_RANK = 1e-12  # distance from 0 and 1 that a rank must keep to become a normal score
_BLOCK = 1 << 15  # sizes whose ranks are computed at once


@dataclass(frozen=True, eq=False)
class SectionRows:
    """R rows: one for each draw of parameters and each observation.

    Attributes
    ----------
    sizes : Sizes
    measure : str
    profiles : Profiles
        Of the B observations.
    owner : integer Tensor (R)
        Whose observation each row is.
    microscope : Microscope
        One value for each row.
    field_area : Tensor (R), optional
        In mm2, where profiles are counted; the parameters then end with the number of spheres in mm-3.
    """

    sizes: Sizes
    measure: str
    profiles: Profiles
    owner: Tensor
    microscope: Microscope
    field_area: Tensor | None

    @classmethod
    def of(
        cls,
        sizes: Sizes,
        measure: str,
        y: Tensor,
        shape: torch.Size,
        microscope: Microscope,
        field_area: Tensor | None,
    ) -> SectionRows:
        """Rows of the observations y ``(*batch, m)`` repeated over draws to `shape`; conditions are rows already."""
        mask = ~torch.isnan(y)
        r = to_radius(torch.where(mask, y, 1), measure).reshape(-1, y.shape[-1])
        owner = torch.arange(len(r), device=y.device).reshape(y.shape[:-1]).expand(shape).reshape(-1)
        return cls(sizes, measure, Profiles(r, mask.reshape(r.shape)), owner, microscope, field_area)

    def log_prob(self, prediction: Tensor) -> Tensor:
        """Log density ``(R)`` of the sizes, with `field_area` also of their number, given parameters ``(R, p)``."""
        theta = self._theta(prediction)
        some = self.profiles.mask.any(-1)[self.owner]
        out = 0 * prediction[:, 0]  # a derivative that is 0, where there is no profile
        rows = torch.nonzero(some).squeeze(-1)
        if len(rows):
            out = out.index_copy(0, rows, self._sizes_at(rows, theta[rows]))
        return out if self.field_area is None else out + self._count(prediction)

    def whiten(self, prediction: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """L^-1 s ``(R, p)`` and L^T ``(R, p, p)`` of the score s and the Fisher information L L^T; the log density."""
        with torch.enable_grad():
            leaf = prediction.detach().requires_grad_()
            value = self.log_prob(leaf)
            (score,) = torch.autograd.grad(value.sum(), leaf)
        factor = information_factor(self.information(prediction.detach()))
        return torch.linalg.solve_triangular(factor, score[..., None], upper=False)[..., 0], factor.mT, value.detach()

    def information(self, prediction: Tensor) -> Tensor:
        """Fisher information ``(R, p, p)``; of the number of profiles by its expectation."""
        theta = self._theta(prediction)
        mean, covariance = information(self.sizes, theta, self.microscope)
        count = self.profiles.count[self.owner][:, None, None]
        if self.field_area is None:
            return count * covariance
        covariance = torch.nn.functional.pad(covariance, (0, 1, 0, 1))
        # d ln(expected number): the mean of d ln(rate), and 1 / N_V
        slope = torch.cat([mean, 1 / prediction[:, -1:]], -1)
        expected = self._log_expected(prediction).exp()[:, None, None]
        return count * covariance + expected * slope[:, :, None] * slope[:, None, :]

    def normal_scores(self, prediction: Tensor) -> Tensor:
        """Phi^-1 of the rank of each size ``(R, m)`` under its distribution; 0 where there is none."""
        m, theta = self.profiles.r.shape[-1], self._theta(prediction)
        parts = []
        for rows in torch.arange(len(theta), device=theta.device).split(max(1, _BLOCK // m)):
            own = self.owner[rows]
            rank = section_cdf(self.profiles.r[own], self.sizes, theta[rows], at(self.microscope, rows))
            scores = torch.special.ndtri(rank.clamp(_RANK, 1 - _RANK))
            parts.append(torch.where(self.profiles.mask[own], scores, 0))
        return torch.cat(parts)

    def pointwise(self, prediction: Tensor) -> Tensor:
        """Log density of each size ``(R, m)``, their number aside; 0 where there is none."""
        m, theta = self.profiles.r.shape[-1], self._theta(prediction)
        parts = []
        for rows in torch.arange(len(theta), device=theta.device).split(max(1, _BLOCK // m)):
            own, microscope = self.owner[rows], at(self.microscope, rows)
            rates = profile_rates(self.profiles.r[own], self.sizes, theta[rows], microscope)
            density = rates - log_number(self.sizes, theta[rows], microscope)[:, None]
            density = density + log_jacobian(self.profiles.r[own], self.measure)
            parts.append(torch.where(self.profiles.mask[own], density, 0))
        return torch.cat(parts)

    def _theta(self, prediction: Tensor) -> Tensor:
        return prediction if self.field_area is None else prediction[:, :-1]

    def _sizes_at(self, rows: Tensor, theta: Tensor) -> Tensor:
        own, microscope = self.owner[rows], at(self.microscope, rows)
        rates = log_rates(self.profiles, own, self.sizes, theta, microscope)
        jacobian = (log_jacobian(self.profiles.r, self.measure) * self.profiles.mask).sum(-1)
        return rates - self.profiles.count[own] * log_number(self.sizes, theta, microscope) + jacobian[own]

    def _log_expected(self, prediction: Tensor) -> Tensor:
        """ln of the number of profiles that the field is expected to hold, ``(R)``."""
        if self.field_area is None:
            raise ValueError("Missing condition field_area. The number of profiles is expected on a known area.")
        number = log_number(self.sizes, prediction[:, :-1], self.microscope)
        return prediction[:, -1].log() + self.field_area.log() + number + LOG_UNITS

    def _count(self, prediction: Tensor) -> Tensor:
        log_expected, n = self._log_expected(prediction), self.profiles.count[self.owner]
        poisson = n * log_expected - log_expected.exp() - torch.lgamma(n + 1)
        return torch.where(n > 0, poisson, 0)  # an observation of NaN only says nothing


def information_factor(information: Tensor) -> Tensor:
    """L ``(R, p, p)`` of L L^T; a direction that nothing is known of gets a little, so that there is one."""
    diagonal = information.diagonal(dim1=-2, dim2=-1)
    least = torch.finfo(information.dtype).eps ** 0.75 * diagonal.amax(-1, keepdim=True).clamp(min=1e-30)
    safe = torch.nan_to_num(information + torch.diag_embed(1e-10 * diagonal + least), posinf=0.0, neginf=0.0)
    factor, info = torch.linalg.cholesky_ex(safe)
    bad = (info > 0) | torch.isnan(information).flatten(1).any(-1)
    return torch.where(bad[:, None, None], torch.nan, factor)
