"""Several modes: found where there are several, and not invented where there is one."""

import math

import numpy as np
import pytest
import torch

from physgen.inversions import OptimalEstimation
from physgen.inversions.mode_search import Search, climb_higher, find_modes
from physgen.noise import GaussianNoise
from physgen.priors import Gaussian, Independent, Normal
from physgen.problem import Problem


def fold(x):
    return (x[..., :1] - 0.2) ** 2 + 0.3 * x[..., 1:2]


PRIOR = Independent(a=Normal(0, 1), b=Normal(0, 1))


def left_share(sigma):
    """The mass of the mode at a < 0.2 and the two modes, by quadrature."""
    grid = np.linspace(-5, 5, 4001)
    a, b = np.meshgrid(grid, grid, indexing="ij")
    density = np.exp(-0.5 * a**2 - 0.5 * b**2 - 0.5 * (((a - 0.2) ** 2 + 0.3 * b - 1) / sigma) ** 2)
    return density[a < 0.2].sum() / density.sum()


@pytest.mark.parametrize("sigma", [0.4, 0.15, 0.05])
def test_no_trusted_answer_has_lost_a_mode(sigma):
    copies = 300
    problem = Problem(fold, PRIOR, GaussianNoise(sigma))
    result = OptimalEstimation()(problem, torch.ones(copies, 1), seed=3)
    share = (result.draws[..., 0] < 0.2).double().mean(0)[result.trusted]
    assert len(share) > 0.8 * copies
    true = left_share(sigma)
    # each from at least a hundred effective draws
    assert float((share - true).abs().max()) < 5 * math.sqrt(true * (1 - true) / 100)
    assert abs(float(share.mean()) - true) < 5 * float(share.std()) / math.sqrt(len(share)) + 0.01


def test_both_modes_are_found_with_their_shares():
    posterior = Problem(fold, PRIOR, GaussianNoise(0.15)).condition(torch.ones(50, 1))
    found = find_modes(posterior, Search(), seed=1, index=torch.arange(50))
    assert float((found.share.sum(-1) - 1).abs().max()) < 1e-12
    assert bool(((found.share > 0.3).sum(-1) == 2).all())  # on the ridge between them may stand a third, of no mass
    a = found.mean[..., 0].masked_fill(found.share < 0.3, torch.nan)
    assert bool((a.nan_to_num(9).amin(-1) < 0).all())
    assert bool((a.nan_to_num(-9).amax(-1) > 1).all())
    assert bool((found.best.log_prob[:, None] >= posterior.log_prob(found.mean.transpose(0, 1)).mT - 1e-9).all())


def test_a_linear_problem_has_one_mode():
    random = np.random.default_rng(1)
    a = torch.from_numpy(random.standard_normal((4, 6)))
    problem = Problem(lambda x: x @ a.T, Gaussian(torch.zeros(6), torch.eye(6)), GaussianNoise(0.01))
    posterior = problem.condition(torch.from_numpy(random.standard_normal((40, 4))))
    found = find_modes(posterior, Search(), seed=1, index=torch.arange(40))
    assert bool((found.share[:, 0] == 1).all())
    assert bool((found.mean == found.mean[:, :1]).all())


def test_a_higher_point_replaces_a_mode():
    posterior = Problem(fold, PRIOR, GaussianNoise(0.15)).condition(torch.ones(2, 1))
    found = find_modes(posterior, Search(candidates=1, restarts=0), seed=1, index=torch.arange(2))
    low = found.best
    other = torch.where(low.z[:, :1] < 0, 1.2, -0.8)
    point = torch.cat([other, torch.zeros(2, 1)], 1)
    higher = climb_higher(posterior, low, point, Search())
    better = posterior.log_prob(point[None])[0] > low.log_prob
    assert bool((higher.log_prob >= low.log_prob).all())
    assert bool(((higher.z[:, 0] - other[:, 0]).abs() < 0.3)[better].all())
