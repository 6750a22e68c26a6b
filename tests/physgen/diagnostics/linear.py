"""A linear Gaussian problem and its exact posterior, which the checks of misfit and trust are held to."""

from __future__ import annotations

import torch

import physgen as pg
from physgen.random import normal, single_stream
from physgen.result import Result
from physgen.small_matrices import product

A = torch.tensor(
    [[3.0, 0, 0], [2, 1, 0], [0, 1, 0.3], [0, 0.5, 0.1], [1, 0, 0], [0.2, 0.2, 0.2], [0, 0, 0.1], [1, 1, 0]],
    dtype=torch.float64,
)


def linear(x):
    """Eight observables of three causes."""
    return x @ A.mT.to(x)


def problem(sd=1.0):
    """Causes with unit variance, noise of one standard deviation."""
    return pg.Problem(
        linear, pg.Independent(a=pg.Normal(0, 1), b=pg.Normal(0, 1), c=pg.Normal(0, 1)), pg.GaussianNoise(sd)
    )


def exact(problem, y, draws=200, seed=1, sd=1.0):
    """The result that a perfect inversion of y (b, 8) would give; NaN in y is not measured."""
    known = (~torch.isnan(y)).to(y)
    a = A.to(y) * known[..., None] / sd
    information = product(a.mT, a)
    covariance = torch.linalg.inv(torch.eye(3).to(y) + information)
    mean = (covariance @ (a.mT @ (torch.nan_to_num(y) / sd)[..., None]))[..., 0]
    z = normal((draws, len(y), 3), single_stream(), seed=seed).to(y)
    samples = mean + torch.einsum("bij,sbj->sbi", torch.linalg.cholesky(covariance), z)
    kernel = torch.eye(3).to(y) - covariance
    r = (torch.nan_to_num(y) / sd - (a @ mean[..., None])[..., 0]) * known
    stats = {
        "latent_mean": mean,
        "latent_covariance": covariance,
        "averaging_kernel": kernel,
        "chi2": r.square().sum(-1),
        "dofs": kernel.diagonal(dim1=-2, dim2=-1).sum(-1),
        "measured": known.sum(-1).long(),
        "ess": torch.full((len(y),), float(draws)).to(y),
    }
    return Result(samples[None], torch.zeros(len(y), dtype=torch.int64), stats, problem.prior.causes, y)
