"""Published posteriors as a user writes them, for `gradients_to_error.py` and the tests."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from physgen.noise import Noise
from physgen.priors import Gaussian, HalfNormal, Independent, Normal
from physgen.problem import Problem

_MISSING = [torch.nan] * 10
_WALK = [0.21592641, 0.118771404, -0.07945447, 0.037677474, -0.27885845, -0.1484156, -0.3250906, -0.22957903]
_WALK += [-0.44110894, -0.09830782, *_MISSING, -0.8786016, -0.83736074, -0.7384849, -0.8939254, -0.7774566]
_WALK += [-0.70238715, -0.87771565, -0.51853573, -0.6948214, -0.6202789]


class UnknownScale(Noise):
    """Gaussian noise whose log standard deviation is the last element of the prediction."""

    def log_prob(self, y, prediction):
        level, log_scale = prediction[..., :-1], prediction[..., -1:]
        u = torch.where(torch.isnan(y), 0, torch.nan_to_num(y) - level) * torch.exp(-log_scale)
        return (torch.where(torch.isnan(y), 0, -0.5 * u * u - log_scale - 0.9189385332046727)).sum(-1)

    def sample(self, prediction, *, seed=0, like=None):
        raise NotImplementedError


class Answers(Noise):
    """Yes (1) or no (0), with the log odds as the prediction."""

    def log_prob(self, y, prediction):
        known = (~torch.isnan(y)).to(prediction)
        side = torch.nan_to_num(2 * y - 1) * known  # 0 where there is no answer
        return (known * torch.nn.functional.logsigmoid(side * prediction)).sum(-1)

    def sample(self, prediction, *, seed=0, like=None):
        raise NotImplementedError


class Walk(Gaussian):
    """Log scales of steps and noise ~ N(0, 2^2), and a random walk of 30 steps of that scale."""

    def __init__(self):
        super().__init__(torch.zeros(32), torch.eye(32), [f"x{i}" for i in range(32)])

    capabilities = frozenset()

    def decode(self, z, /):
        scales = 2 * z[..., :2]
        return torch.cat([scales, (torch.exp(scales[..., :1]) * z[..., 2:]).cumsum(-1)], -1)


class Places(Gaussian):
    """The same whose latents are the places themselves, as the Gym has them, and not the steps.

    The walk's density over the standard normal one is a factor.
    """

    def __init__(self):
        super().__init__(torch.zeros(32), torch.eye(32), [f"x{i}" for i in range(32)])

    capabilities = frozenset({"log_factor"})

    def decode(self, z, /):
        return torch.cat([2 * z[..., :2], z[..., 2:]], -1)

    def log_factor(self, x, /):
        log_scale, place = x[..., :1], x[..., 2:]
        step = torch.diff(place, dim=-1, prepend=torch.zeros_like(log_scale)) * torch.exp(-log_scale)
        return (0.5 * place**2 - 0.5 * step**2 - log_scale).sum(-1)


def brownian(prior: Gaussian | None = None) -> tuple[Problem, Tensor, Callable[[Tensor], Tensor]]:
    """A walk of 30 steps with missing middle, unknown scales of steps and noise: 32 unknowns."""

    def forward(x):
        return torch.cat([x[..., 2:], x[..., 1:2]], -1)

    def unknowns(x):
        return torch.cat([x[..., :2].exp(), x[..., 2:]], -1)

    return Problem(forward, prior or Walk(), UnknownScale()), torch.tensor(_WALK), unknowns


def brownian_moments() -> tuple[Tensor, Tensor]:
    """E[x^2] and Var[x^2] (32,) of `brownian`: normal given the scales, which are integrated over a lattice."""
    y, place = torch.tensor(_WALK), torch.arange(1.0, 31.0)
    seen = ~torch.isnan(y)
    K = torch.minimum(place[:, None], place)
    a, b = torch.meshgrid(torch.linspace(-4.5, 0.5, 41), torch.linspace(-10, 0.5, 85), indexing="ij")
    a, b = a.flatten(), b.flatten()
    step, noise = torch.exp(2 * a)[:, None, None], torch.exp(2 * b)[:, None, None]
    L = torch.linalg.cholesky(step * K[seen][:, seen] + noise * torch.eye(20))
    left = torch.linalg.solve_triangular(L, step * K[seen], upper=False)  # (G, 20, 30)
    white = torch.linalg.solve_triangular(L, y[seen][:, None].expand(len(a), -1, -1), upper=False)
    mean = (left * white).sum(1)
    variance = step[:, 0] * place - (left**2).sum(1)
    evidence = -0.5 * (white**2).sum((1, 2)) - L.diagonal(dim1=1, dim2=2).log().sum(1)
    weight = torch.softmax(evidence - (a**2 + b**2) / 8, 0)
    square = torch.stack([2 * a, 2 * b], 1).exp()  # of the scales
    second = torch.cat([square, mean**2 + variance], 1)
    fourth = torch.cat([square**2, mean**4 + 6 * mean**2 * variance + 3 * variance**2], 1)
    return weight @ second, weight @ fourth - (weight @ second) ** 2


def regression() -> tuple[Problem, Tensor, Callable[[Tensor], Tensor]]:
    """Sparse logistic regression: weights ~ N(0, 1), times local and global scales ~ Gamma(1/2, 1/2): 51 unknowns.

    Such a scale is the square of a half-normal variable.
    """
    g = torch.Generator().manual_seed(20)
    columns = torch.cat([torch.randn(1000, 24, generator=g), torch.ones(1000, 1)], -1)
    weights = torch.randn(25, generator=g) * (torch.rand(25, generator=g) < 0.4)
    y = (torch.rand(1000, generator=g) < torch.sigmoid(columns @ weights)).to(columns.dtype)
    roots = {f"root{i}": HalfNormal(1.0) for i in range(26)}
    prior = Independent(**roots, **{f"weight{i}": Normal(0.0, 1.0) for i in range(25)})

    def forward(x):
        return ((x[..., :1] * x[..., 1:26]) ** 2 * x[..., 26:]) @ columns.to(x).mT

    def unknowns(x):
        return torch.cat([x[..., :26] ** 2, x[..., 26:]], -1)

    return Problem(forward, prior, Answers()), y, unknowns


def responses() -> tuple[Problem, Tensor, Callable[[Tensor], Tensor]]:
    """Item response theory: mean ability ~ N(0.75, 1), 400 abilities, 100 difficulties ~ N(0, 1): 501 unknowns."""
    g = torch.Generator().manual_seed(21)
    known = torch.randperm(40000, generator=g)[:30105]

    def forward(x):
        ability, difficulty = x[..., :1] + x[..., 1:401], x[..., 401:]
        return (ability[..., :, None] - difficulty[..., None, :]).flatten(-2)

    forward.width = 40000
    truth = torch.randn(501, generator=g)
    truth[0] += 0.75
    y = torch.full((40000,), torch.nan)
    y[known] = (torch.rand(40000, generator=g) < torch.sigmoid(forward(truth)))[known].to(y.dtype)
    mean = torch.zeros(501)
    mean[0] = 0.75
    return Problem(forward, Gaussian(mean, torch.eye(501)), Answers()), y, lambda x: x


MODELS = {"brownian": lambda: brownian(Places()), "regression": regression, "responses": responses}
"""Name -> (problem, observation, causes -> the unknowns whose second moments are compared)."""
