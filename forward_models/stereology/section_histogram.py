"""`SectionHistogram`: profiles that were counted by classes of size."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import torch
from scipy import stats
from torch import Tensor

from physgen.noise import Noise
from physgen.random import NOISE_STAGE, single_stream, uniform

from .microscope import Microscope, log_number
from .section_likelihood import at
from .section_noise import FisherWhitener, microscope_rows
from .section_rows import LOG_UNITS, information_factor
from .size_families import family
from .size_measures import check_measure, to_radius
from .sizes import Sizes
from .spheres import section_cdf


@dataclass(frozen=True, eq=False)
class SectionHistogram(Noise):
    """Numbers of profiles in C classes of size, NaN for a class that was not counted.

    Without `counts` a multinomial distribution of the profiles over the classes that were counted, given their
    number; with `counts` independent Poisson counts on the area `field_area`. Prediction and conditions are those of
    `SectionSizes`.

    Parameters
    ----------
    edges : sequence of float (C + 1)
        Limits of the classes, increasing, the first 0 or more.
    sizes, measure, counts
        See `SectionSizes`; `edges` are in the measure.
    profiles : int
        How many `sample` draws without `counts`, where nothing says it.

    Raises
    ------
    ValueError, TypeError
        If a setting is out of range. The methods raise for counts that are negative or not whole.
    """

    edges: Sequence[float]
    sizes: str | Sizes = "lognormal"
    measure: str = "diameter"
    counts: bool = False
    profiles: int = 1000

    def __post_init__(self) -> None:
        check_measure(self.measure)
        _ = self._family
        edges = torch.as_tensor(self.edges, dtype=torch.float64)
        if edges.ndim != 1 or len(edges) < 3 or not bool((edges.diff() > 0).all()) or not float(edges[0]) >= 0:
            raise ValueError("Invalid edges of classes. Give three or more numbers that increase from 0 or above.")
        object.__setattr__(self, "edges", tuple(edges.tolist()))

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
        """Log probability ``(*)`` of the counts ``(*, C)``."""
        conditions = {"smallest": smallest, "thickness": thickness, "cap_angle": cap_angle, "field_area": field_area}
        n, mask, theta, shape, seen = self._rows(y, prediction, conditions)
        return self._log_prob(n, mask, self._expected(theta, *seen)).reshape(shape)

    def whiten(self, y: Tensor, prediction: Tensor, **conditions: Tensor) -> FisherWhitener:
        """Exact score and Fisher information."""
        n, mask, theta, shape, seen = self._rows(y, prediction, conditions)
        C, p = n.shape[-1], theta.shape[-1]
        each = torch.arange(len(theta), device=theta.device).repeat_interleave(C)
        with torch.enable_grad():  # one row of parameters for each class: one pass backwards gives every derivative
            leaf = theta.detach()[each].requires_grad_()
            microscope, area = seen
            own = self._expected(leaf, at(microscope, each), None if area is None else area[each])
            mu = own.reshape(len(theta), C, C).diagonal(dim1=-2, dim2=-1)
            (slopes,) = torch.autograd.grad(mu.sum(), leaf)
        mu, slopes = self._given(mu.detach(), mask), slopes.reshape(len(theta), C, p) * mask[..., None]
        if not self.counts:  # of the logarithm of shares, which sum to 1 over the classes that were counted
            total = mu.sum(-1, keepdim=True)
            slopes = slopes - mu[..., None] / total[..., None] * slopes.sum(1, keepdim=True)
            slopes, mu = slopes * (n.sum(-1, keepdim=True) / total)[..., None], mu * n.sum(-1, keepdim=True) / total
        safe = mu.clamp(min=torch.finfo(mu.dtype).tiny)
        score = (slopes * ((n - mu) / safe * mask)[..., None]).sum(1)
        scaled = slopes / safe.sqrt()[..., None]
        factor = information_factor((scaled[..., :, None] * scaled[..., None, :]).sum(1))
        residual = torch.linalg.solve_triangular(factor, score[..., None], upper=False)[..., 0]
        return FisherWhitener(residual.reshape(*shape, p), factor.mT.reshape(*shape, p, p))

    def standardise(self, y: Tensor, prediction: Tensor, **conditions: Tensor) -> Tensor:
        """``(n - expected) / sqrt(expected)``, ``(*, C)``; 0 where not counted.

        The sum of squares is Pearson's chi2; without `counts` the residuals sum to 0 and have a degree of freedom less.
        """
        n, mask, theta, shape, seen = self._rows(y, prediction, conditions)
        mu = self._given(self._expected(theta, *seen), mask)
        mu = mu if self.counts else mu * n.sum(-1, keepdim=True) / mu.sum(-1, keepdim=True)
        return torch.where(mask, (n - mu) / mu.sqrt(), 0).reshape(*shape, -1)

    def sample(  # type: ignore[override]
        self, prediction: Tensor, *, seed: int = 0, like: Tensor | None = None, **conditions: Tensor
    ) -> Tensor:
        """Counts ``(*, C)`` for each prediction; NaN where `like` has NaN, and without `counts` as many as it."""
        C = len(self.edges) - 1
        y = torch.zeros(C).to(prediction) if like is None else like
        _, mask, theta, shape, seen = self._rows(y, prediction, conditions)
        total = theta.new_full((len(theta),), self.profiles)
        if like is not None:
            total = torch.nan_to_num(like).to(theta).sum(-1).expand(shape).reshape(-1)
        mu = self._given(self._expected(theta.detach(), *seen), mask).cpu().double()
        u = uniform((*shape, C), single_stream(), seed=seed, stage=NOISE_STAGE).reshape(-1, C)
        n = torch.as_tensor(stats.poisson.ppf(u.numpy(), mu.numpy())) if self.counts else _multinomial(u, mu, total)
        return torch.where(mask, n.to(theta), torch.nan).reshape(*shape, C)

    @cached_property
    def _family(self) -> Sizes:
        return family(self.sizes)

    def _rows(
        self, y: Tensor, prediction: Tensor, conditions: Mapping[str, Tensor | None]
    ) -> tuple[Tensor, Tensor, Tensor, torch.Size, tuple[Microscope, Tensor | None]]:
        C = len(self.edges) - 1
        if y.shape[-1] != C:
            raise ValueError(f"Invalid shape {tuple(y.shape)} of y. Its last axis must hold the {C} classes.")
        mask = ~torch.isnan(y)
        n = torch.where(mask, y, 0).to(prediction)
        bad = (n < 0) | (n != n.round())
        if bool(bad.any()):
            raise ValueError(f"Invalid count {n[bad][0].item():g}. Counts must be whole numbers, 0 or more.")
        shape = torch.broadcast_shapes(y.shape[:-1], prediction.shape[:-1])
        theta = prediction.expand(*shape, prediction.shape[-1]).reshape(-1, prediction.shape[-1])
        seen = microscope_rows(conditions, shape, prediction, self.measure, self.counts)
        return n.expand(*shape, C).reshape(-1, C), mask.expand(*shape, C).reshape(-1, C), theta, shape, seen

    def _expected(self, prediction: Tensor, microscope: Microscope, field_area: Tensor | None) -> Tensor:
        """Expected numbers of profiles ``(R, C)``; without `field_area`, shares of all profiles."""
        theta = prediction if field_area is None else prediction[:, :-1]
        edges = to_radius(torch.tensor(self.edges, dtype=theta.dtype, device=theta.device), self.measure)
        safe = torch.where(edges > 0, edges, edges[1]).expand(len(theta), -1)
        below = section_cdf(safe, self._family, theta, microscope)
        share = torch.where(edges > 0, below, 0).diff(dim=-1).clamp(min=1e-290)
        if field_area is None:
            return share
        log_total = log_number(self._family, theta, microscope) + prediction[:, -1].log() + field_area.log()
        return share * (log_total + LOG_UNITS).exp()[:, None]

    def _given(self, mu: Tensor, mask: Tensor) -> Tensor:
        """Expected numbers, 1 where not counted with `counts`, else 0 there."""
        return torch.where(mask, mu, 1 if self.counts else 0)

    def _log_prob(self, n: Tensor, mask: Tensor, mu: Tensor) -> Tensor:
        log_mu = torch.where(mask, mu, 1).log()
        coefficients = torch.lgamma(n + 1).sum(-1)
        if self.counts:
            return torch.where(mask, n * log_mu - mu, 0).sum(-1) - coefficients
        some = mask.any(-1)
        total = torch.where(some, torch.where(mask, mu, 0).sum(-1), 1).log()
        return (n * (log_mu - total[:, None])).sum(-1) + torch.lgamma(n.sum(-1) + 1) - coefficients


def _multinomial(u: Tensor, mu: Tensor, total: Tensor) -> Tensor:
    """Counts (R, C), class by class: binomial among those that are left (Devroye 1986, section XI.1.4)."""
    left, rest = total.cpu().double(), mu.sum(-1)
    out = []
    for one, weight in zip(u.unbind(-1), mu.unbind(-1), strict=True):
        share = torch.where(rest > 0, weight / rest, 0).clamp(0, 1)
        drawn = torch.as_tensor(stats.binom.ppf(one.numpy(), left.numpy(), share.numpy())).clamp(min=0)
        out.append(torch.minimum(drawn, left))
        left, rest = left - out[-1], rest - weight
    return torch.stack(out, -1)
