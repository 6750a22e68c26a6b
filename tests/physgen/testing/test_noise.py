"""`check_noise`: silent on noises that are right, and naming each fault of noises that are wrong."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from scipy import stats
from torch import Tensor

from physgen.noise import DiagonalWhitener, Noise
from physgen.noise.noise import measured
from physgen.random import normal, single_stream
from physgen.testing import check_noise
from physgen.testing.rosenblatt import conditionals, grid

F = torch.tensor([[0.4, 1.3, 0.8], [0.9, 0.3, 0.5]])


class Normal(Noise):
    """Independent, with a relative standard deviation; right in everything; subclasses break one thing."""

    sd = 0.1

    def scale(self, f):
        return self.sd * (1 + f)

    def log_prob(self, y, prediction):
        mask, y = measured(y)
        sd = self.scale(prediction)
        each = -0.5 * ((y - prediction) / sd) ** 2 - sd.log() - 0.5 * math.log(2 * math.pi)
        return torch.where(mask, each, 0).sum(-1)

    def sample(self, prediction, *, seed=0, like=None):
        z = normal(tuple(prediction.shape), single_stream(), seed=seed).to(prediction)
        y = prediction + self.scale(prediction) * z
        return y if like is None else torch.where(torch.isnan(like), torch.nan, y)

    def whiten(self, y, prediction):
        mask, y = measured(y)
        sd, slope = self.scale(prediction), self.sd
        score = (y - prediction) / sd**2 + slope / sd * (((y - prediction) / sd) ** 2 - 1)
        return DiagonalWhitener(torch.where(mask, score * sd, 0), torch.where(mask, 1 / sd, 0))

    def standardise(self, y, prediction):
        mask, y = measured(y)
        return torch.where(mask, (y - prediction) / self.scale(prediction), 0)


class Correlated(Normal):
    """Two standard deviations shared between all bands; the density drops what is NaN."""

    def log_prob(self, y, prediction):
        y, f = torch.broadcast_tensors(y, prediction)
        mask = ~torch.isnan(y)
        both = mask[..., :, None] & mask[..., None, :]
        s = torch.where(both, 0.01 * (0.3 + 0.7 * torch.eye(y.shape[-1])).to(f), torch.eye(y.shape[-1]).to(f))
        e = torch.where(mask, torch.where(mask, y, 0) - f, 0)
        root = torch.linalg.cholesky(s)
        z = torch.linalg.solve_triangular(root, e[..., None], upper=False)[..., 0]
        log_det = root.diagonal(dim1=-2, dim2=-1).log().sum(-1)
        return -0.5 * z.square().sum(-1) - log_det - 0.5 * math.log(2 * math.pi) * mask.to(f).sum(-1)

    def sample(self, prediction, *, seed=0, like=None):
        z = normal((*prediction.shape[:-1], prediction.shape[-1] + 1), single_stream(), seed=seed).to(prediction)
        y = prediction + 0.1 * (math.sqrt(0.7) * z[..., 1:] + math.sqrt(0.3) * z[..., :1])
        return y if like is None else torch.where(torch.isnan(like), torch.nan, y)

    def whiten(self, y, prediction):
        return Noise.whiten(self, y, prediction)

    def standardise(self, y, prediction):
        return Noise.standardise(self, y, prediction)


def test_a_noise_that_is_right_passes() -> None:
    report = check_noise(Normal(), F)
    assert report.skipped == ()
    assert {"NaN and draws against integrals of the density", "whiten against the score", "standardise"} <= set(
        report.passed
    )
    report = check_noise(Correlated(), F)
    assert [skipped.split(":")[0] for skipped in report.skipped] == ["whiten against the score", "standardise"]


def noise(base: type = Normal, **members) -> Noise:
    return type("Broken", (base,), members)()


INDEPENDENT = noise(scale=lambda self, f: 0 * f + 0.1)


def independent_where_missing(self, y, prediction):
    """The marginal of correlated noise taken for independent: right only where all or one are measured."""
    whole = Correlated.log_prob(self, y, prediction)
    return torch.where(torch.isnan(y).any(-1), INDEPENDENT.log_prob(y, prediction), whole)


def nan_refused(self, y, prediction):
    return torch.distributions.Normal(prediction, 0.1).log_prob(y).sum(-1)


def nan_passes(self, y, prediction):
    z = (y - prediction) / self.scale(prediction)
    value = -0.5 * z.square() - self.scale(prediction).log() - 0.5 * math.log(2 * math.pi)
    return torch.where(torch.isnan(y).all(-1), 0, value.sum(-1))


def masked_too_late(self, y, prediction):
    density = torch.distributions.Normal(prediction, 0.1, validate_args=False).log_prob(y)
    return torch.where(torch.isnan(y), 0, density).sum(-1)


def whiten_without_the_variance(self, y, prediction):
    sd = self.scale(prediction)
    return DiagonalWhitener(torch.nan_to_num(y - prediction) / sd, torch.where(torch.isnan(y), 0, 1 / sd))


@pytest.mark.parametrize(
    ("made", "message"),
    [
        (3, "Derive it from"),
        (noise(sample=lambda self, f, **kw: f[..., 0]), "sample gave the shape"),
        (noise(sample=lambda self, f, **kw: f + torch.rand_like(f)), "other draws for the same seed"),
        (noise(sample=lambda self, f, **kw: f + 0.1), "the same draws for two seeds"),
        (noise(sample=lambda self, f, like=None, **kw: Normal.sample(self, f, **kw)), "NaN there, and only there"),
        (noise(log_prob=lambda self, y, f: -((y - f) ** 2)), "must keep every axis but the last"),
        (noise(log_prob=lambda self, y, f: Normal.log_prob(self, y, f) * 2), "must integrate to 1"),
        (noise(log_prob=lambda self, y, f: Normal.log_prob(self, torch.nan_to_num(y), f)), "With nothing measured"),
        (
            noise(log_prob=lambda self, y, f: Normal.log_prob(self, y, f) - torch.isnan(y).sum(-1)),
            "With nothing measured log_prob is -3",
        ),
        (
            noise(
                log_prob=lambda self, y, f: torch.distributions.Normal(f, 0.1, validate_args=True).log_prob(y).sum(-1)
            ),
            "raised ValueError",
        ),
        (noise(log_prob=nan_passes), "log_prob is not finite when an element of y is NaN"),
        (noise(log_prob=masked_too_late), "torch.where alone does not keep it out"),
        (noise(Correlated, log_prob=independent_where_missing), "integrated over that element"),
        (noise(sample=lambda self, f, **kw: f + 1.25 * (Normal.sample(self, f, **kw) - f)), "do not follow log_prob"),
        (noise(Correlated, sample=lambda self, f, **kw: INDEPENDENT.sample(f, **kw)), "do not follow log_prob"),
        (noise(sample=lambda self, f, **kw: Normal.sample(self, f + 0.03, **kw)), "do not follow log_prob"),
        (noise(whiten=whiten_without_the_variance), "The whitener's score differs"),
        (noise(standardise=lambda self, y, f: (y - f) / self.scale(f)), "standardise is not 0 where y is NaN"),
        (noise(standardise=lambda self, y, f: torch.nan_to_num(y - f) / 0.1), "not 1. They must have unit variance"),
    ],
)
def test_each_fault_of_a_noise_is_named(made, message: str, findings) -> None:
    assert message in findings(check_noise, made, F)


def test_ranks_of_known_conditionals() -> None:
    # bivariate normal, correlation 0.8: element 1 given element 0 is N(0.8 y0, 0.6^2)
    y = normal((200, 2), single_stream(), seed=0) @ torch.tensor([[1, 0.8], [0, 0.6]])

    def log_prob(v: Tensor) -> Tensor:
        marginal = -0.5 * v[..., 0] ** 2 - 0.5 * math.log(2 * math.pi)
        rest = -0.5 * ((v[..., 1] - 0.8 * v[..., 0]) / 0.6) ** 2 - math.log(0.6) - 0.5 * math.log(2 * math.pi)
        return torch.where(torch.isnan(v[..., 0]), 0, marginal) + torch.where(torch.isnan(v[..., 1]), 0, rest)

    before, total, rank = conditionals(log_prob, y, 1, grid(y[:, 1], 1601))
    torch.testing.assert_close(total, before, rtol=0, atol=1e-12)
    np.testing.assert_allclose(rank, stats.norm.cdf((y[:, 1] - 0.8 * y[:, 0]) / 0.6), rtol=0, atol=2e-4)


def test_ranks_of_counts_lie_within_their_jump() -> None:
    y = torch.as_tensor(stats.poisson(2.5).rvs((400, 1), random_state=1), dtype=torch.float64)

    def log_prob(v: Tensor) -> Tensor:
        known = torch.nan_to_num(v[..., 0])
        return torch.where(torch.isnan(v[..., 0]), 0, known * math.log(2.5) - 2.5 - torch.lgamma(known + 1))

    before, total, rank = conditionals(log_prob, y, 0, grid(y[:, 0], 100))
    torch.testing.assert_close(total, before, rtol=0, atol=1e-12)
    counts = y[:, 0].numpy()
    assert bool((rank.numpy() >= stats.poisson(2.5).cdf(counts - 1) - 1e-12).all())
    assert bool((rank.numpy() <= stats.poisson(2.5).cdf(counts) + 1e-12).all())
